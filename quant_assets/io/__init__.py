"""Partitions on disk or at any fsspec URL: one Parquet file each, the store of them, and Dagster's IO manager over
it.
"""
