"""Moments over the observed returns, and the repair of a covariance from them."""

import numpy as np

from quant_assets.market.panel import BoolArray, FloatArray
from quant_assets.windows.compiled import kernel

#: Lowest eigenvalue of a correlation matrix: with a lower one a solver's errors would look like a risk-free portfolio.
FLOOR = 1e-6


def exponential_weights(sessions: int, half_life: float) -> FloatArray:
    """1 for the last session, half as much `half_life` sessions before: float64 of shape (sessions,)."""
    return np.asarray(0.5 ** (np.arange(sessions - 1, -1, -1) / half_life))


def pairwise(returns: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted covariance, each pair over the sessions of both names.

    With equal weights it is the usual estimate, divided by the count less 1. With others the divisor is the sum of the
    weights less the sum of their squares over it, which is the same for equal weights.

    Args:
        returns: float64 of shape (n_sessions, n_names), NaN where missing.
        weights: of the sessions, positive, of shape (n_sessions,).

    Returns:
        float64 of shape (n_names, n_names); 0 for pairs that share fewer than two sessions.

    """
    known = np.isfinite(returns)
    weight = np.where(known, weights[:, None], 0.0)
    mean = np.where(known, returns, 0.0)
    mean = np.sum(mean * weight, axis=0) / np.maximum(np.sum(weight, axis=0), 1e-300)
    away = np.where(known, returns - mean, 0.0)
    sums, totals, squares = cross_products(away, known.astype(np.float64), np.ascontiguousarray(weights))
    divisor = totals - np.divide(squares, totals, out=np.zeros_like(totals), where=totals > 0.0)
    return np.asarray(np.divide(sums, divisor, out=np.zeros_like(sums), where=divisor > 1e-12))


def centred(returns: FloatArray) -> FloatArray:
    """Returns less each name's mean, 0 where missing: float64 of the same shape."""
    known = np.isfinite(returns)
    count = known.sum(axis=0)
    mean = np.where(known, returns, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.where(known, returns - mean, 0.0)


@kernel
def cross_products(
    away: FloatArray, known: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weighted sums over the sessions that two names share: of their products, of the weights and of their squares.

    Sums are added up session by session, whatever the number of threads and the width of the processor's vectors.

    Args:
        away: float64 of shape (n_sessions, n_names), 0 where missing.
        known: 1.0 or 0.0, of that shape.
        weights: of shape (n_sessions,).

    """
    sessions, n = away.shape
    sums, totals, squares = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
    total, whole_squares, complete = 0.0, 0.0, True
    for t in range(sessions):
        total += weights[t]
        whole_squares += weights[t] * weights[t]
        row, present = away[t], known[t]
        for i in range(n):
            value, line = row[i] * weights[t], sums[i]
            for j in range(i + 1):
                line[j] += value * row[j]
            if present[i] == 0.0:
                complete = False
    if complete:
        totals[:] = total
        squares[:] = whole_squares
    else:
        for t in range(sessions):
            present = known[t]
            for i in range(n):
                if present[i] == 0.0:
                    continue
                weight, line, line_of_squares = weights[t], totals[i], squares[i]
                for j in range(i + 1):
                    line[j] += weight * present[j]
                    line_of_squares[j] += weight * weight * present[j]
    for i in range(n):
        for j in range(i):
            sums[j, i], totals[j, i], squares[j, i] = sums[i, j], totals[i, j], squares[i, j]
    return sums, totals, squares


def repaired(covariance: FloatArray) -> FloatArray:
    """The covariance with eigenvalues of its correlations raised to `FLOOR`; unchanged where none is below.

    Names keep their variances: the raised correlations are scaled back to a diagonal of 1.
    """
    deviations = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(deviations, deviations))
    if values[0] >= FLOOR:
        return covariance
    raised = (vectors * np.maximum(values, FLOOR)) @ vectors.T
    scale = deviations / np.sqrt(np.diag(raised))
    result = raised * np.outer(scale, scale)
    return np.asarray((result + result.T) / 2.0)


def with_young(covariance: FloatArray, old: BoolArray, ahead: FloatArray) -> FloatArray:
    """The covariance of all names, from that of the names with enough returns; the package's docstring has the rule.

    Args:
        covariance: of the names with enough returns, per year.
        old: whether a name has enough returns, bool of shape (n_names,).
        ahead: GARCH volatilities per year, of that shape, NaN where missing.

    """
    if old.all():
        return covariance
    n = len(old)
    variances = np.full(n, np.nan)
    variances[old] = np.diag(covariance)
    usable = ~old & np.isfinite(ahead) & (ahead > 0.0)
    variances[usable] = ahead[usable] ** 2
    finite = np.isfinite(variances)
    variances[~finite] = np.median(variances[finite]) if finite.any() else 1.0
    correlation = 0.0
    if old.sum() > 1:
        deviations = np.sqrt(np.diag(covariance))
        every = covariance / np.outer(deviations, deviations)
        count = int(old.sum())
        correlation = max(float((every.sum() - np.trace(every)) / (count * (count - 1))), 0.0)
    deviations = np.sqrt(variances)
    result = correlation * np.outer(deviations, deviations)
    np.fill_diagonal(result, variances)
    result[np.ix_(old, old)] = covariance
    return repaired(result)
