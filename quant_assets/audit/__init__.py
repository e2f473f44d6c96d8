"""The look-ahead audit: the real assets computed again on altered inputs, and which rows changed that must not."""
