"""Window kernels that compute several statistics at once: order, extremes and moves.

The rules are those of `windows.windows`: a window counts sessions, and a value exists only at an observed session of a
window with `fewest` observed sessions (`kernels.fewest`). Exact operations (comparisons, counts) slide along a ticker's
whole history. Sums consist of two parts that meet at a boundary, one back to the window's first session and one on to
its last (van Herk, 1992, for maxima). Boundaries are a month's first session and every `window` sessions after it, so
that a value depends only on its month and window, bit for bit; nothing is subtracted from a sum, so that outliers leave
no rounding, and equal values have a deviation of exactly 0.

Results have shape (k, n_tickers, n_sessions), one layer per statistic.
"""

import numpy as np

from quant_assets.market.panel import FloatArray, IntArray
from quant_assets.windows.compiled import kernel


@kernel
def order(values: FloatArray, window: int, fewest: int, lower: float, upper: float) -> FloatArray:
    """Rank of the newest of the window's values, and two of their quantiles.

    Args:
        values: float64 of shape (n_tickers, n_sessions).
        window: sessions.
        fewest: smallest number of observed sessions.
        lower: first quantile, from 0 to 1.
        upper: second quantile.

    Returns:
        Rank from 1 / n to 1 (the mean rank of equal values), and the two quantiles, interpolated linearly.

    """
    tickers, sessions = values.shape
    out = np.full((3, tickers, sessions), np.nan)
    ordered = np.empty(window + 1)
    for i in range(tickers):
        count = 0
        for j in range(sessions):
            if j >= window and not np.isnan(values[i, j - window]):
                place = np.searchsorted(ordered[:count], values[i, j - window])
                for k in range(place, count - 1):
                    ordered[k] = ordered[k + 1]
                count -= 1
            newest = values[i, j]
            if np.isnan(newest):
                continue
            place = count
            while place > 0 and ordered[place - 1] > newest:
                ordered[place] = ordered[place - 1]
                place -= 1
            ordered[place] = newest + 0.0  # 0 instead of -0, so that equal values have equal bits
            count += 1
            if count < fewest:
                continue
            equal = 1
            while place - equal >= 0 and ordered[place - equal] == newest:
                equal += 1
            out[0, i, j] = (place + 1 - 0.5 * (equal - 1)) / count
            for layer, share in ((1, lower), (2, upper)):
                position = share * (count - 1)
                below = int(position)
                step = ordered[below + 1] - ordered[below] if below + 1 < count else 0.0
                out[layer, i, j] = ordered[below] + step * (position - below)
    return out


@kernel
def peak(values: FloatArray, window: int, fewest: int) -> FloatArray:
    """Maximum of the window's values, and position of its first occurrence: 1 (oldest session) to `window`."""
    tickers, sessions = values.shape
    out = np.full((2, tickers, sessions), np.nan)
    for i in range(tickers):
        best, count = -1, 0
        for j in range(sessions):
            if j >= window and not np.isnan(values[i, j - window]):
                count -= 1
            if not np.isnan(values[i, j]):
                count += 1
                if best < 0 or values[i, j] > values[i, best]:
                    best = j
            if best >= 0 and best <= j - window:
                best = -1
                for k in range(j - window + 1, j + 1):
                    if not np.isnan(values[i, k]) and (best < 0 or values[i, k] > values[i, best]):
                        best = k
            if not np.isnan(values[i, j]) and count >= fewest:
                out[0, i, j] = values[i, best]
                out[1, i, j] = best - j + window
    return out


@kernel
def moves(changes: FloatArray, starts: IntArray, window: int, fewest: int) -> FloatArray:
    """Changes of the values between adjacent sessions, over the last `window` sessions.

    Args:
        changes: float64 of shape (n_tickers, n_sessions), from the session before; NaN where either value is missing.
        starts: int64 of shape (n_sessions,), `Windows.starts`.
        window: sessions; the oldest change is from the session before them.
        fewest: smallest number of observed changes.

    Returns:
        Sum of the rises, sum of the falls (positive), number of rises, number of falls.

    """
    tickers, sessions = changes.shape
    out = np.full((4, tickers, sessions), np.nan)
    tail_up, tail_down = np.empty(window), np.empty(window)
    for i in range(tickers):
        rises, falls, count = 0, 0, 0
        boundary = 0
        while boundary < sessions:
            # Sums from each session up to the boundary.
            tail_up[window - 1] = tail_down[window - 1] = 0.0
            for back in range(1, window):
                k = boundary - back
                change = changes[i, k] if k > 0 else 0.0
                tail_up[window - 1 - back] = tail_up[window - back] + (change if change > 0.0 else 0.0)
                tail_down[window - 1 - back] = tail_down[window - back] - (change if change < 0.0 else 0.0)
            up = down = 0.0
            j = boundary
            while j < sessions and j < boundary + window and starts[j] == starts[boundary]:
                change = changes[i, j]
                left = changes[i, j - window] if j > window else np.nan
                if not np.isnan(left):
                    count -= 1
                    rises -= left > 0.0
                    falls -= left < 0.0
                if not np.isnan(change):
                    count += 1
                    rises += change > 0.0
                    falls += change < 0.0
                    up += change if change > 0.0 else 0.0
                    down -= change if change < 0.0 else 0.0
                    if count >= fewest:
                        out[0, i, j] = tail_up[j - boundary] + up
                        out[1, i, j] = tail_down[j - boundary] + down
                        out[2, i, j] = rises
                        out[3, i, j] = falls
                j += 1
            boundary = j
    return out
