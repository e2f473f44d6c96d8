"""Returns of the decided weights, had they been held, and their summary figures."""
