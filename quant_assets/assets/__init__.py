"""Thin Dagster wiring in flow order: what each asset reads, with which window, and which domain function computes
it.
"""
