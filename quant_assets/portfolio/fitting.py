"""Moves weights the least distance that puts them within their limits.

The limits are defined in constraints.py. Bounds and the sides' totals are met in closed form, all other limits by a
quadratic program, which needs the extra `portfolio`.
"""

import math

import numpy as np

from quant_assets.errors import InfeasibleError
from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import Constraints

#: Weights below this are a solver's noise.
DUST = 1e-6


def filled(weights: FloatArray, lower: FloatArray, upper: FloatArray, total: float) -> FloatArray:
    """The multiple of weights that sums to a total once the weights are cut to their bounds.

    Without lower bounds: names above their cap are capped, and the excess goes to the names below in proportion to
    their weights, until none is above it. The sums are exactly rounded, so the order of the names does not matter.

    Args:
        weights: not negative, float64 of shape (n_names,); a name of weight 0 gets more than its lower bound only
            where all others are at their upper bound.
        lower: lower bounds, not negative, of that shape.
        upper: upper bounds, of that shape.
        total: between the sums of `lower` and `upper`.

    Returns:
        float64 of that shape; sums to the total within 1e-12.

    """
    if total <= math.fsum(lower.tolist()):
        return lower.copy()
    if total >= math.fsum(upper.tolist()):
        return upper.copy()
    largest = float(weights.max())
    if largest < 1e-200:
        weights = weights / largest if largest > 0.0 else np.ones(len(weights))
        largest = 1.0
    # A name of weight 0 takes the rest that the others cannot.
    weights = np.maximum(weights, 1e-12 * largest)
    if (lower > 0.0).any():
        weights = _raised(weights, lower, upper, total)
    capped = np.zeros(len(weights), dtype=bool)
    while not capped.all():
        free = math.fsum(weights[~capped].tolist())
        result = np.where(capped, upper, weights * ((total - math.fsum(upper[capped].tolist())) / free))
        above = ~capped & (result > upper)
        if not above.any():
            return np.asarray(result)
        capped |= above
    return upper.copy()


def _raised(weights: FloatArray, lower: FloatArray, upper: FloatArray, total: float) -> FloatArray:
    """The multiple of weights cut to both bounds that sums to the total: it grows with the factor, piece by piece."""
    factors = np.unique(np.concatenate([lower / weights, upper / weights]))
    sums = np.array([math.fsum(np.clip(factor * weights, lower, upper).tolist()) for factor in factors.tolist()])
    at = int(np.clip(np.searchsorted(sums, total), 1, len(factors) - 1))
    between = (total - sums[at - 1]) / (sums[at] - sums[at - 1]) if sums[at] > sums[at - 1] else 1.0
    factor = factors[at - 1] + between * (factors[at] - factors[at - 1])
    return np.asarray(np.clip(factor * weights, lower, upper))


def fitted(weights: FloatArray, constraints: Constraints) -> FloatArray:
    """The nearest weights that respect the limits.

    Each side is first scaled to its total within the bounds. If that breaks other limits, the result is the nearest
    weights that respect all of them, by squared distance relative to a name's weight.

    Args:
        weights: sizes, not negative, float64 of shape (n_names,); only their ratios within a side matter.
        constraints: feasible ones (`Constraints.feasible`).

    Returns:
        float64 of shape (n_names,), shorts negative.

    Raises:
        InfeasibleError: no weights respect the limits; names the broken ones.
        MissingPackageError: there are limits besides bounds and totals, and the extra `portfolio` is missing.

    """
    lower, upper = constraints.bounds
    result = np.zeros(len(weights))
    for short in (False, True):
        side = constraints.short == short
        if not side.any():
            continue
        least, most = (-upper, -lower) if short else (lower, upper)
        low, high = constraints.total(short)
        total = low if low == high else min(max(_neutral(result, weights, constraints, side), low), high)
        filled_side = filled(weights[side], least[side], most[side], total)
        result[side] = -filled_side if short else filled_side
    if not constraints.violations(result, 1e-9):
        return result
    from quant_assets.portfolio.convex import nearest

    return settled(nearest(result, constraints), constraints)


def _neutral(result: FloatArray, weights: FloatArray, constraints: Constraints, side: FloatArray) -> float:
    """The total of a side that meets the first limit whose target is 0; 1 where there is none."""
    for limit in constraints.limits:
        if limit.low == limit.high == 0.0:
            shape = np.where(side, weights * constraints.sign, 0.0)
            per_unit = float(limit.coefficients @ shape) / max(float(weights[side].sum()), 1e-300)
            if per_unit != 0.0:
                return -float(limit.coefficients @ result) / per_unit
    return 1.0


def settled(weights: FloatArray, constraints: Constraints) -> FloatArray:
    """A solver's weights without its noise: within the bounds, without dust, with exact fixed totals.

    Raises:
        InfeasibleError: the result breaks a limit; names it.

    """
    lower, upper = constraints.bounds
    result = np.clip(weights, lower, upper)
    result = np.where((np.abs(result) < DUST) & (lower <= 0.0) & (upper >= 0.0), 0.0, result)
    for short in (False, True):
        low, high = constraints.total(short)
        side = (constraints.short == short) & (result != 0.0)
        if low == high and side.any():
            least, most = (-upper, -lower) if short else (lower, upper)
            exact = filled(np.abs(result[side]), least[side], most[side], low)
            if math.isclose(math.fsum(exact.tolist()), low, rel_tol=1e-9, abs_tol=1e-12):
                result[side] = -exact if short else exact
    broken = constraints.violations(result)
    if broken:
        # Unrounded: this matters where the room that the limits leave is as narrow as the dust.
        result = np.clip(weights, lower, upper)
        broken = constraints.violations(result)
    if broken:
        raise InfeasibleError(f"no weights were found that respect {'; '.join(broken)}, within {constraints.said}")
    return result
