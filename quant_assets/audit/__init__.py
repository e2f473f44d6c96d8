"""The look-ahead audit: the real assets computed again on altered inputs, and what of their rows changed that must
not.
"""
