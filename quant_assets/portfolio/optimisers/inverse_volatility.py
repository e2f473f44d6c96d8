"""Weights inverse to volatility: equal risk contributions where returns are uncorrelated."""

import math
from dataclasses import dataclass

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import Constraints
from quant_assets.portfolio.fitting import fitted
from quant_assets.portfolio.optimisers.base import Outlook, sound


def inverse_volatility(volatility: FloatArray) -> FloatArray:
    """Weights inverse to volatility, summing to 1; equal where the volatilities are NaN.

    The sum is exactly rounded (`math.fsum`), so weights do not depend on the order of the names.

    Args:
        volatility: output of `usable_volatility`, shape (n_names,), at least one name.

    >>> inverse_volatility(np.array([0.10, 0.20, 0.20])).tolist()
    [0.5, 0.25, 0.25]
    """
    if np.isnan(volatility).any():
        return np.full(len(volatility), 1.0 / len(volatility))
    inverse = volatility.min() / volatility  # in (0, 1], so that a tiny volatility cannot overflow
    return np.asarray(inverse / math.fsum(inverse.tolist()))


@dataclass(frozen=True)
class InverseVolatility:
    """Each side's weights inverse to the names' volatilities.

    Where only volatilities are estimated (`needs_covariance` is false), the covariance is diagonal.
    """

    needs_covariance: bool = False

    def weights(
        self, covariance: FloatArray, outlook: Outlook, constraints: Constraints, previous: FloatArray
    ) -> FloatArray:
        """See `Optimiser`; only the diagonal is used."""
        constraints = constraints.feasible()
        volatility = np.sqrt(np.diag(sound(covariance)))
        return fitted(by_side(volatility, constraints), constraints)


def by_side(volatility: FloatArray, constraints: Constraints) -> FloatArray:
    """Sizes of each side inverse to volatility."""
    result = np.zeros(len(volatility))
    for short in (False, True):
        side = constraints.short == short
        if side.any():
            result[side] = inverse_volatility(volatility[side])
    return result
