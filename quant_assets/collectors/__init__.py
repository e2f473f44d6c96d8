"""Collectors: one file for each network provider, one HTTP layer, and the append-only store of what came.

Nothing in here is read by the domain directly. A provider of `sources/` reads the tables that are made from the store.
"""
