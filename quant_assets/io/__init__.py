"""Partitions on disk or at any fsspec URL: one Parquet file each, their store, and Dagster's IO manager over it."""
