"""Partitions as Parquet files on disk or at any fsspec URL, their store, and Dagster's IO manager over it."""
