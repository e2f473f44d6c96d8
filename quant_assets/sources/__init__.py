"""Where data comes from: providers behind the Protocol in `base`, each by its own name."""
