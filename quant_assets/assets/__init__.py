"""Thin Dagster wiring in flow order: what each asset reads, with which window, and what domain function computes it."""
