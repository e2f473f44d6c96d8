"""Fixtures of the synthetic sector."""

from quant_assets_tests.synthetic import cut, identical, load, market, nothing_infinite, only

__all__ = ["cut", "identical", "load", "market", "nothing_infinite", "only"]
