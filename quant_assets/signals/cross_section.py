"""Cross-sections: ranks and z-scores of values among names on the same session."""

import numpy as np

from quant_assets.market.panel import BoolArray, FloatArray
from quant_assets.windows.compiled import kernel


def rank(values: FloatArray, among: BoolArray) -> FloatArray:
    """Percentile rank by session: 0 for the lowest value, 1 for the highest, ties share their mean rank.

    Args:
        values: float64 of shape (n_tickers, n_sessions), NaN where missing.
        among: bool of the same shape: the names compared.

    Returns:
        float64 of the same shape; NaN if the value is missing, the name is not compared, or fewer than two are.

    """
    return _rank(np.where(among, values, np.nan))


def zscore(values: FloatArray, among: BoolArray) -> FloatArray:
    """Deviation from the session's mean in standard deviations (ddof 1); arguments and missing values as for `rank`.

    Values are added in ascending order, so that other names and the order of the names do not change a bit. NaN if the
    values do not vary.
    """
    return _zscore(np.where(among, values, np.nan))


@kernel
def _rank(values: FloatArray) -> FloatArray:
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    names = np.empty(tickers, dtype=np.int64)
    observed = np.empty(tickers)
    for j in range(sessions):
        count = 0
        for i in range(tickers):
            if not np.isnan(values[i, j]):
                names[count] = i
                observed[count] = values[i, j]
                count += 1
        if count < 2:
            continue
        order = np.argsort(observed[:count])
        first = 0
        while first < count:
            last = first
            while last + 1 < count and observed[order[last + 1]] == observed[order[first]]:
                last += 1
            for k in range(first, last + 1):
                out[names[order[k]], j] = 0.5 * (first + last) / (count - 1)
            first = last + 1
    return out


@kernel
def _zscore(values: FloatArray) -> FloatArray:
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    observed = np.empty(tickers)
    for j in range(sessions):
        count = 0
        for i in range(tickers):
            if not np.isnan(values[i, j]):
                observed[count] = values[i, j]
                count += 1
        observed[:count].sort()
        if count < 2 or observed[0] == observed[count - 1]:
            continue
        total = squares = 0.0
        for k in range(count):
            total += observed[k]
        mean = total / count
        for k in range(count):
            squares += (observed[k] - mean) ** 2
        deviation = np.sqrt(squares / (count - 1))
        if deviation == 0.0:  # values so small that their squares vanish
            continue
        for i in range(tickers):
            if not np.isnan(values[i, j]):
                out[i, j] = (values[i, j] - mean) / deviation
    return out
