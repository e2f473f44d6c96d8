"""The pre-trained stock Transformer: network, inputs, windows, losses, published checkpoints. Not how it is trained.

`inputs` and `published` load no torch until they read a checkpoint; the other files need it (extra deep).
"""
