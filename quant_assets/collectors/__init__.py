"""Collectors: one file for each network provider, one HTTP layer, and the append-only store of answers.

The domain does not read from here. A provider of `sources/` reads the tables that are made from the store.
"""
