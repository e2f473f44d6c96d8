"""The pre-trained stock Transformer: network, inputs, windows, losses, published checkpoints, training.

`inputs` and `published` load torch only to read a checkpoint; the other files need it (extra deep).
"""
