"""Window kernels that give several statistics at once: order, extremes, moves, and a line through the window.

The rules are those of `signals.windows`: a window counts sessions, and a value exists only at a session whose own observation exists
and where `MIN_OBSERVED` of the window's are observed. What is exact whatever its order (comparisons, counts) slides along a ticker's
whole history. Sums do not: they are put together from two parts that meet at a boundary, from the boundary back to the window's first
session and from the boundary on to its last (van Herk, 1992, for maxima). Boundaries are each month's first session and every
`window` sessions after it, so that a value is a function of its month and window, bit for bit; nothing is ever subtracted from a sum, so
that no outlier leaves rounding behind, and equal values have a deviation of exactly 0.

Results have shape (k, n_tickers, n_sessions), one layer for each statistic.
"""

import math

import numpy as np
from numpy.typing import NDArray

from quant_assets.market.panel import FloatArray
from quant_assets.signals.compiled import kernel
from quant_assets.signals.kernels import MIN_OBSERVED

_PARTS, _WHOLE = MIN_OBSERVED


@kernel
def order(values: FloatArray, window: int, lower: float, upper: float) -> FloatArray:
    """Where the newest of the window's values stands among them, and two of their quantiles.

    Args:
        values: float64 of shape (n_tickers, n_sessions).
        window: sessions.
        lower: first quantile, from 0 to 1.
        upper: second quantile.

    Returns:
        Rank from 1 / n to 1 (the mean rank where values are equal), and the two quantiles, interpolated linearly.

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
            ordered[place] = newest
            count += 1
            if _WHOLE * count < _PARTS * window:
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
def peak(values: FloatArray, window: int) -> FloatArray:
    """Maximum of the window's values, and the place of its first occurrence: 1 for the window's first session, `window` for its last."""
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
            if not np.isnan(values[i, j]) and _WHOLE * count >= _PARTS * window:
                out[0, i, j] = values[i, best]
                out[1, i, j] = best - j + window
    return out


@kernel
def moves(values: FloatArray, window: int, starts: NDArray[np.int64]) -> FloatArray:
    """Changes of the values between adjacent sessions, over the last `window` sessions.

    Args:
        values: float64 of shape (n_tickers, n_sessions); a change that lacks one of its two values is not observed.
        window: sessions; the oldest change is against the session before them.
        starts: int64 of shape (n_sessions,), `Windows.starts`.

    Returns:
        Sum of the rises, sum of the falls (positive), number of rises, number of falls.

    """
    tickers, sessions = values.shape
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
                change = values[i, k] - values[i, k - 1] if k > 0 else 0.0
                tail_up[window - 1 - back] = tail_up[window - back] + (change if change > 0.0 else 0.0)
                tail_down[window - 1 - back] = tail_down[window - back] - (change if change < 0.0 else 0.0)
            up = down = 0.0
            j = boundary
            while j < sessions and j < boundary + window and starts[j] == starts[boundary]:
                change = values[i, j] - values[i, j - 1] if j > 0 else np.nan
                left = values[i, j - window] - values[i, j - window - 1] if j > window else np.nan
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
                    if _WHOLE * count >= _PARTS * window:
                        out[0, i, j] = tail_up[j - boundary] + up
                        out[1, i, j] = tail_down[j - boundary] + down
                        out[2, i, j] = rises
                        out[3, i, j] = falls
                j += 1
            boundary = j
    return out


@kernel
def line(x: FloatArray, y: FloatArray, window: int, starts: NDArray[np.int64], over_time: bool, least: float) -> FloatArray:
    """The least-squares line of y on x through the last `window` sessions.

    Means and sums of squares are updated by Welford's formulas and the two parts of a window put together by Chan's (Chan, Golub,
    LeVeque, The American Statistician 37, 1983, eq. 2.1).

    Args:
        x: float64 of shape (n_tickers, n_sessions); not read with `over_time`.
        y: float64 of the same shape. A pair counts where both are observed.
        window: sessions.
        starts: int64 of shape (n_sessions,), `Windows.starts`.
        over_time: x is the number of the session.
        least: up to this standard deviation of x or y there is no correlation.

    Returns:
        Mean of y, standard deviation of y (ddof 1), slope, correlation, and the newest y less the line's value there.

    """
    tickers, sessions = y.shape
    out = np.full((5, tickers, sessions), np.nan)
    tail = np.zeros((window, 6))
    inverse = 1.0 / np.maximum(np.arange(window + 1), 1)
    for i in range(tickers):
        boundary = 0
        while boundary < sessions:
            # First back from the boundary, keeping the state at each session; then on from it, one result at each session.
            n, x_mean, y_mean, xx, xy, yy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
            tail[window - 1, :] = 0.0
            step = 1
            while step < window:
                k = boundary - step
                if k >= 0:
                    u = float(-step) if over_time else x[i, k]
                    v = y[i, k]
                    if not (np.isnan(u) or np.isnan(v)):
                        n += 1
                        du, dv = u - x_mean, v - y_mean
                        x_mean += du * inverse[n]
                        y_mean += dv * inverse[n]
                        xx += du * (u - x_mean)
                        xy += du * (v - y_mean)
                        yy += dv * (v - y_mean)
                here = window - 1 - step
                tail[here, 0], tail[here, 1], tail[here, 2] = n, x_mean, y_mean
                tail[here, 3], tail[here, 4], tail[here, 5] = xx, xy, yy
                step += 1
            n, x_mean, y_mean, xx, xy, yy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
            j = boundary
            while j < sessions and j < boundary + window and starts[j] == starts[boundary]:
                u = float(j - boundary) if over_time else x[i, j]
                v = y[i, j]
                if not (np.isnan(u) or np.isnan(v)):
                    n += 1
                    du, dv = u - x_mean, v - y_mean
                    x_mean += du * inverse[n]
                    y_mean += dv * inverse[n]
                    xx += du * (u - x_mean)
                    xy += du * (v - y_mean)
                    yy += dv * (v - y_mean)
                    before = tail[j - boundary]
                    count = n + int(before[0])
                    if count >= 2 and _WHOLE * count >= _PARTS * window:
                        du, dv = before[1] - x_mean, before[2] - y_mean
                        share = before[0] * inverse[count]
                        weight = share * n
                        x_centre, y_centre = x_mean + du * share, y_mean + dv * share
                        x_squares = xx + before[3] + du * du * weight
                        products = xy + before[4] + du * dv * weight
                        y_squares = yy + before[5] + dv * dv * weight
                        deviation = math.sqrt(y_squares / (count - 1))
                        out[0, i, j], out[1, i, j] = y_centre, deviation
                        if x_squares > 0.0:
                            slope = products / x_squares
                            out[2, i, j] = slope
                            out[4, i, j] = v - y_centre - slope * (u - x_centre)
                        if deviation > least and math.sqrt(x_squares / (count - 1)) > least:
                            out[3, i, j] = min(1.0, max(-1.0, products / math.sqrt(x_squares * y_squares)))
                j += 1
            boundary = j
    return out
