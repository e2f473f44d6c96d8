"""Weights inverse to volatility: every name contributes alike where their returns are unrelated."""

import math

import numpy as np
import polars as pl

from quant_assets.market.panel import FloatArray
from quant_assets.settings.domain import WeightSettings


def inverse_volatility(volatility: FloatArray) -> FloatArray:
    """Weights inverse to volatility, summing to 1; equal where the volatilities are NaN.

    The sum is exactly rounded (`math.fsum`), so weights do not depend on the order of the names.

    Args:
        volatility: output of `usable_volatility`, shape (n_names,), at least one name.

    """
    if np.isnan(volatility).any():
        return np.full(len(volatility), 1.0 / len(volatility))
    inverse = volatility.min() / volatility  # in (0, 1], so that a tiny volatility cannot overflow
    return np.asarray(inverse / math.fsum(inverse.tolist()))


def by_volatility(chosen: pl.DataFrame, settings: WeightSettings) -> FloatArray:
    """The optimiser: weights inverse to the names' `volatility`; it has no settings of its own."""
    return inverse_volatility(chosen["volatility"].fill_null(np.nan).to_numpy())
