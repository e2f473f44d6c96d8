"""Compiled loops over a panel (tickers x sessions).

They are called through `windows.windows.Windows`, which says what each computes.

A value must be a function of its month and its window alone, bit for bit, and a long window must not be read again for
each session. So a kernel stands on an *anchor*: the month's first session (`starts`), and again each session at which
the window has left the anchor behind. There it reads the sessions before the anchor backwards, once: `tail[n]` covers
the n sessions before it. The *head* covers the anchor and what follows, and grows from session to session. Every window
is a tail and the head. Nothing is ever subtracted, so no rounding is carried along, and a spike that leaves the window
leaves nothing behind. A session costs about window / 21 + 1 steps.

Arrays are float64 of shape (n_tickers, n_sessions), C-contiguous, NaN where missing, unless stated; `starts` is
`Windows.starts`. A value exists at a session with a value only, and where `MIN_OBSERVED` of the window's sessions have
one.
"""

import math

import numpy as np

from quant_assets.market.panel import FloatArray, IntArray
from quant_assets.windows.compiled import kernel

#: Share of a window's sessions that need a bar, as (numerator, denominator): 80 %.
MIN_OBSERVED = (4, 5)
_PARTS, _WHOLE = MIN_OBSERVED


def fewest(window: int) -> int:
    """The fewest observed sessions that satisfy `MIN_OBSERVED`, for kernels of other files."""
    return -(-_PARTS * window // _WHOLE)


@kernel
def sums(values: FloatArray, starts: IntArray, window: int, average: bool) -> FloatArray:
    """Sum, or mean, of the observed values of the last `window` sessions.

    The mean of equal values is exactly that value.
    """
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    tail, seen = np.zeros(window), np.zeros(window, np.int64)
    for i in range(tickers):
        anchor, head, count = 0, 0.0, 0
        last, other = -1, -window  # the newest observed session, and the newest whose value is another one
        for j in range(sessions):
            if starts[j] == j or j - anchor == window:
                anchor, head, count = j, 0.0, 0
                for n in range(1, window):
                    if j >= n and not math.isnan(values[i, j - n]):
                        head += values[i, j - n]
                        count += 1
                    tail[n], seen[n] = head, count
                head, count = 0.0, 0
            if math.isnan(values[i, j]):
                continue
            if last >= 0 and values[i, last] != values[i, j]:
                other = last
            last = j
            head += values[i, j]
            count += 1
            n = window - 1 - (j - anchor)
            observed = seen[n] + count
            if _WHOLE * observed < _PARTS * window:
                continue
            if average:
                out[i, j] = (tail[n] + head) / observed if other > j - window else values[i, j]
            else:
                out[i, j] = tail[n] + head
    return out


@kernel
def deviations(values: FloatArray, starts: IntArray, window: int) -> FloatArray:
    """Standard deviation (ddof 1) of the last `window` sessions; exactly 0 where all values are the same.

    Means and squared deviations are updated by Welford's method and those of tail and head joined by that of Chan,
    Golub and LeVeque (1979), which add what is positive only.
    """
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    inverse = 1.0 / np.maximum(np.arange(window + 1), 1)
    tail_mean, tail_squares, seen = np.zeros(window), np.zeros(window), np.zeros(window, np.int64)
    for i in range(tickers):
        anchor, mean, squares, count = 0, 0.0, 0.0, 0
        for j in range(sessions):
            if starts[j] == j or j - anchor == window:
                anchor, mean, squares, count = j, 0.0, 0.0, 0
                for n in range(1, window):
                    if j >= n and not math.isnan(values[i, j - n]):
                        count += 1
                        apart = values[i, j - n] - mean
                        mean += apart * inverse[count]
                        squares += apart * (values[i, j - n] - mean)
                    tail_mean[n], tail_squares[n], seen[n] = mean, squares, count
                mean, squares, count = 0.0, 0.0, 0
            if math.isnan(values[i, j]):
                continue
            count += 1
            apart = values[i, j] - mean
            mean += apart * inverse[count]
            squares += apart * (values[i, j] - mean)
            n = window - 1 - (j - anchor)
            observed = seen[n] + count
            if observed < 2 or _WHOLE * observed < _PARTS * window:
                continue
            apart = tail_mean[n] - mean
            total = squares + tail_squares[n] + apart * apart * (seen[n] * count * inverse[observed])
            out[i, j] = math.sqrt(total / (observed - 1))
    return out


@kernel
def regressions(values: FloatArray, factor: FloatArray, starts: IntArray, window: int, least: float) -> FloatArray:
    """Least squares of each ticker on a factor over the pairs of the last `window` sessions in which both are observed.

    Args:
        values: the dependent variable.
        factor: one row for all tickers, or one for each: shape (1, n_sessions) or (n_tickers, n_sessions).
        starts: `Windows.starts`.
        window: sessions; `MIN_OBSERVED` is asked of the pairs.
        least: up to this standard deviation (ddof 1) of either of the two there is no correlation.

    Returns:
        Shape (4, n_tickers, n_sessions): slope (NaN where the factor does not vary), correlation (NaN where one of the
        two does not), standard deviation of the residuals, of which two degrees of freedom are taken, and the newest
        residual.

    """
    tickers, sessions = values.shape
    out = np.full((4, tickers, sessions), np.nan)
    inverse = 1.0 / np.maximum(np.arange(window + 1), 1)
    # Of x the factor and y the value: means, sums of squares and of products, as in `deviations`.
    tail = np.zeros((window, 5))
    seen = np.zeros(window, np.int64)
    for i in range(tickers):
        f = i if len(factor) > 1 else 0
        anchor, base, count = 0, 0.0, 0
        x_mean, y_mean, xx, yy, xy = 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(sessions):
            if starts[j] == j or j - anchor == window:
                # Counted from the anchor, a number of sessions is the same wherever the panel starts.
                anchor, base = j, 0.0 if math.isnan(factor[f, j]) else factor[f, j]
                count, x_mean, y_mean, xx, yy, xy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
                for n in range(1, window):
                    if j >= n and not math.isnan(values[i, j - n] + factor[f, j - n]):
                        count += 1
                        x, y = factor[f, j - n] - base, values[i, j - n]
                        x_apart, y_apart = x - x_mean, y - y_mean
                        x_mean += x_apart * inverse[count]
                        y_mean += y_apart * inverse[count]
                        xx += x_apart * (x - x_mean)
                        yy += y_apart * (y - y_mean)
                        xy += x_apart * (y - y_mean)
                    seen[n] = count
                    tail[n, 0], tail[n, 1], tail[n, 2], tail[n, 3], tail[n, 4] = x_mean, y_mean, xx, yy, xy
                count, x_mean, y_mean, xx, yy, xy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
            if math.isnan(values[i, j] + factor[f, j]):
                continue
            count += 1
            x, y = factor[f, j] - base, values[i, j]
            x_apart, y_apart = x - x_mean, y - y_mean
            x_mean += x_apart * inverse[count]
            y_mean += y_apart * inverse[count]
            xx += x_apart * (x - x_mean)
            yy += y_apart * (y - y_mean)
            xy += x_apart * (y - y_mean)
            n = window - 1 - (j - anchor)
            observed = seen[n] + count
            if observed < 2 or _WHOLE * observed < _PARTS * window:
                continue
            x_apart, y_apart = x_mean - tail[n, 0], y_mean - tail[n, 1]
            share = seen[n] * inverse[observed]
            weight = seen[n] * count * inverse[observed]
            xs = xx + (tail[n, 2] + x_apart * x_apart * weight)
            ys = yy + (tail[n, 3] + y_apart * y_apart * weight)
            products = xy + (tail[n, 4] + x_apart * y_apart * weight)
            if xs > 0.0:
                slope = products / xs
                out[0, i, j] = slope
                if observed > 2:
                    out[2, i, j] = math.sqrt(max(0.0, ys - products * slope) / (observed - 2))
                out[3, i, j] = (y - y_mean + y_apart * share) - slope * (x - x_mean + x_apart * share)
                if min(xs, ys) > least * least * (observed - 1):
                    out[1, i, j] = min(1.0, max(-1.0, products / (math.sqrt(xs) * math.sqrt(ys))))
    return out


@kernel
def extremes(values: FloatArray, starts: IntArray, window: int, sign: float) -> FloatArray:
    """Maximum of the last `window` sessions where `sign` is 1, minimum where it is -1."""
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    tail, seen = np.full(window, -np.inf), np.zeros(window, np.int64)
    for i in range(tickers):
        anchor, head, count = 0, -np.inf, 0
        for j in range(sessions):
            if starts[j] == j or j - anchor == window:
                anchor, head, count = j, -np.inf, 0
                for n in range(1, window):
                    if j >= n and not math.isnan(values[i, j - n]):
                        head = max(head, sign * values[i, j - n])
                        count += 1
                    tail[n], seen[n] = head, count
                head, count = -np.inf, 0
            if math.isnan(values[i, j]):
                continue
            head = max(head, sign * values[i, j])
            count += 1
            n = window - 1 - (j - anchor)
            if _WHOLE * (seen[n] + count) >= _PARTS * window:
                out[i, j] = sign * max(tail[n], head)
    return out


@kernel
def absolute_deviations(values: FloatArray, window: int) -> FloatArray:
    """Mean distance of the last `window` sessions' values from their mean.

    Each window is computed by itself: meant for short ones.
    """
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    seen = np.empty(window)  # less the newest value: exactly 0 where all are the same
    for i in range(tickers):
        for j in range(sessions):
            if math.isnan(values[i, j]):
                continue
            n = 0
            for k in range(max(0, j - window + 1), j + 1):
                if not math.isnan(values[i, k]):
                    seen[n] = values[i, k] - values[i, j]
                    n += 1
            if _WHOLE * n < _PARTS * window:
                continue
            # Four sums that do not wait for each other.
            a, b, c, d, whole = 0.0, 0.0, 0.0, 0.0, n - n % 4
            for k in range(0, whole, 4):
                a, b, c, d = a + seen[k], b + seen[k + 1], c + seen[k + 2], d + seen[k + 3]
            for k in range(whole, n):
                a += seen[k]
            mean = ((a + b) + (c + d)) / n
            a, b, c, d = 0.0, 0.0, 0.0, 0.0
            for k in range(0, whole, 4):
                a, b = a + abs(seen[k] - mean), b + abs(seen[k + 1] - mean)
                c, d = c + abs(seen[k + 2] - mean), d + abs(seen[k + 3] - mean)
            for k in range(whole, n):
                a += abs(seen[k] - mean)
            out[i, j] = ((a + b) + (c + d)) / n
    return out


@kernel
def lagged(values: FloatArray, lag: int, stale: int) -> FloatArray:
    """Value `lag` sessions before, or the last one observed in the `stale` sessions before that one."""
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    for i in range(tickers):
        for j in range(sessions):
            for k in range(j - lag, max(-1, j - lag - stale - 1), -1):
                if not math.isnan(values[i, k]):
                    out[i, j] = values[i, k]
                    break
    return out


@kernel
def before(values: FloatArray) -> FloatArray:
    """The last value observed before each session, however old."""
    tickers, sessions = values.shape
    out = np.empty((tickers, sessions))
    for i in range(tickers):
        last = np.nan
        for j in range(sessions):
            out[i, j] = last
            if not math.isnan(values[i, j]):
                last = values[i, j]
    return out


@kernel
def logarithms(values: FloatArray) -> FloatArray:
    """Natural logarithm, one element after the other: NumPy's vector code may round differently by array layout."""
    tickers, sessions = values.shape
    out = np.empty((tickers, sessions))
    for i in range(tickers):
        for j in range(sessions):
            out[i, j] = math.log(values[i, j])
    return out
