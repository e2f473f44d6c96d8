"""Where data comes from: one file per provider behind the Protocol in `base`."""
