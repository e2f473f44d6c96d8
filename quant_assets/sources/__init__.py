"""Data providers behind the Protocols in `base`, by name."""
