"""Provenance of partitions: digests of code, settings, inputs and source files.

They are recorded with the partition's rows. `io` writes the files; `running` handles differences (announce, recompute,
compare).
"""
