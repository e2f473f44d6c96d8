"""Runs started from the command line: their plan over the asset graph, and their execution in parallel."""
