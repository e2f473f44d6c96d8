"""Compiled loops over a panel (tickers x sessions).

They are called through `windows.windows.Windows`, which documents them.

A value must depend only on its month and its window, bit for bit, and a long window must not be read again at every
session. So a kernel uses an *anchor*: the month's first session (`starts`), and later every session at which the window
no longer contains the last anchor. At an anchor it reads the sessions before it backwards, once: `tail[n]` covers the n
sessions before the anchor. The *head* covers the anchor and later sessions, and grows from session to session. Every
window is a tail and the head. Nothing is subtracted, so no rounding accumulates, and a spike that leaves the window has
no effect afterwards. A session costs about window / 21 + 1 steps.

Arrays are float64 of shape (n_tickers, n_sessions), C-contiguous, NaN where missing, unless stated; `starts` is
`Windows.starts`. A result exists only at a session with a value, and if `MIN_OBSERVED` of the window's sessions have
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
    """The smallest number of observed sessions that satisfies `MIN_OBSERVED`, for kernels of other files."""
    return -(-_PARTS * window // _WHOLE)


@kernel
def sums(values: FloatArray, window: int) -> FloatArray:
    """Sum of the observed values of the last `window` sessions."""
    tickers, sessions = values.shape
    out = np.empty((tickers, sessions))
    # Sums of blocks that end at a session, padded before the first: of one session, `length`, and the next length.
    single, block, longer = np.zeros((3, window + sessions))
    seen = np.zeros(window + sessions, np.int64)
    digits = 0  # binary ones after the first
    while 2 << digits <= window:
        digits += 1
    for i in range(tickers):
        row, result = values[i], out[i]
        for j in range(sessions):
            single[window + j] = block[window + j] = 0.0 if math.isnan(row[j]) else row[j]
        count = 0
        for j in range(sessions):
            count += 0 if math.isnan(row[j]) else 1
            seen[window + j] = count
        length = 1
        for step in range(2 * digits):  # per binary digit: double the length, and add one if the digit is 1
            twice = step % 2 == 0
            if twice or (window >> (digits - 1 - step // 2)) % 2 == 1:
                near = length if twice else 1
                new, newest, older = longer[window:], (block if twice else single)[window:], block[window - near :]
                for j in range(sessions):
                    new[j] = newest[j] + older[j]
                block, longer = longer, block
                length += near
        totals, seen_now, seen_before = block[window:], seen[window:], seen[:sessions]
        for j in range(sessions):
            enough = (_WHOLE * (seen_now[j] - seen_before[j]) >= _PARTS * window) & (row[j] == row[j])
            result[j] = totals[j] if enough else np.nan
    return out


@kernel
def moments(values: FloatArray, window: int, deviations: bool, ddof: int) -> FloatArray:
    """Mean and, optionally, standard deviation of the last `window` sessions: one layer or two.

    The mean of equal values is exactly that value and their deviation exactly 0. Means and squared deviations of two
    blocks are joined by the method of Chan, Golub and LeVeque (1979), which adds only positive terms.
    """
    tickers, sessions = values.shape
    out = np.empty((2 if deviations else 1, tickers, sessions))
    single, block, longer = np.zeros((3, window + sessions))  # as in `sums`, of means
    square, longer_square, nothing = np.zeros((3, window + sessions))
    seen, share, weight = np.zeros(window + sessions, np.int64), np.empty(sessions), np.empty(sessions)
    digits = 0  # binary ones after the first
    while 2 << digits <= window:
        digits += 1
    for i in range(tickers):
        row = values[i]
        square[window:] = 0.0
        for j in range(sessions):
            single[window + j] = block[window + j] = 0.0 if math.isnan(row[j]) else row[j]
        count = 0
        for j in range(sessions):
            count += 0 if math.isnan(row[j]) else 1
            seen[window + j] = count
        first = 0
        while first < sessions and seen[window + first] == 0:
            first += 1
        # From here on all windows are complete and have the same share.
        whole = sessions if seen[-1] < sessions - first else min(sessions, first + window)
        length = 1
        for step in range(2 * digits):  # per binary digit: double the length, and add one if the digit is 1
            twice = step % 2 == 0
            if twice or (window >> (digits - 1 - step // 2)) % 2 == 1:
                near = length if twice else 1
                until, between, back = seen[window:], seen[window - near :], seen[window - near - length :]
                for j in range(whole):
                    recent, old = until[j] - between[j], between[j] - back[j]
                    share[j] = old / (recent + old) if old > 0 else 0.0
                    weight[j] = recent * share[j]
                one_share = length / (near + length)
                one_weight = near * one_share
                newest, older, new = (block if twice else single)[window:], block[window - near :], longer[window:]
                newer, others, rest = newest[whole:], older[whole:], new[whole:]
                if deviations:
                    some, more = (square if twice else nothing)[window:], square[window - near :]
                    both = longer_square[window:]
                    for j in range(whole):
                        apart = older[j] - newest[j]
                        both[j] = some[j] + more[j] + apart * apart * weight[j]
                    some, more, both = some[whole:], more[whole:], both[whole:]
                    for j in range(len(rest)):
                        apart = others[j] - newer[j]
                        both[j] = some[j] + more[j] + apart * apart * one_weight
                    square, longer_square = longer_square, square
                for j in range(whole):
                    new[j] = newest[j] + (older[j] - newest[j]) * share[j]
                for j in range(len(rest)):
                    rest[j] = newer[j] + (others[j] - newer[j]) * one_share
                block, longer = longer, block
                length += near
        results, until, back, result = block[window:], seen[window:], seen[:sessions], out[0, i]
        for j in range(sessions):
            enough = (_WHOLE * (until[j] - back[j]) >= _PARTS * window) & (row[j] == row[j])
            result[j] = results[j] if enough else np.nan
        if deviations:
            results, result = square[window:], out[1, i]
            for j in range(sessions):
                observed = until[j] - back[j]
                enough = (_WHOLE * observed >= _PARTS * window) & (observed > ddof) & (row[j] == row[j])
                deviation = math.sqrt(results[j] / (observed - ddof))
                result[j] = deviation if enough else np.nan
    return out


@kernel
def regressions(values: FloatArray, factor: FloatArray, starts: IntArray, window: int, least: float) -> FloatArray:
    """Least squares of each ticker on a factor over the pairs of the last `window` sessions in which both are observed.

    Args:
        values: the dependent variable.
        factor: one row for all tickers or one per ticker: shape (1, n_sessions) or (n_tickers, n_sessions).
        starts: `Windows.starts`.
        window: sessions; `MIN_OBSERVED` applies to the pairs.
        least: the correlation is NaN if a standard deviation (ddof 1) of the two is not above this.

    Returns:
        Shape (4, n_tickers, n_sessions): slope (NaN if the factor does not vary), correlation (NaN if one of the two
        does not), standard deviation of the residuals (with two degrees of freedom less), and the newest residual.

    """
    tickers, sessions = values.shape
    out = np.full((4, tickers, sessions), np.nan)
    inverse = 1.0 / np.maximum(np.arange(window + 1), 1)
    # For x the factor and y the value: means, sums of squared deviations and of their products.
    tail = np.zeros((window, 5))
    seen = np.zeros(window, np.int64)
    for i in range(tickers):
        f = i if len(factor) > 1 else 0
        anchor, base, count = 0, 0.0, 0
        x_mean, y_mean, xx, yy, xy = 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(sessions):
            if starts[j] == j or j - anchor == window:
                # Relative to the anchor's factor: independent of where the panel starts.
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
def extremes(values: FloatArray, window: int, sign: float) -> FloatArray:
    """Maximum of the last `window` sessions if `sign` is 1, minimum if it is -1."""
    tickers, sessions = values.shape
    out = np.empty((tickers, sessions))
    block, longer = np.full((2, window + sessions), -np.inf)  # as in `sums`
    seen = np.zeros(window + sessions, np.int64)
    for i in range(tickers):
        row, result = values[i], out[i]
        for j in range(sessions):
            block[window + j] = -np.inf if math.isnan(row[j]) else sign * row[j]
        count = 0
        for j in range(sessions):
            count += 0 if math.isnan(row[j]) else 1
            seen[window + j] = count
        length = 1
        while length < window:
            near = min(length, window - length)  # two blocks may overlap
            new, newest, older = longer[window:], block[window:], block[window - near :]
            for j in range(sessions):
                new[j] = max(newest[j], older[j])
            block, longer = longer, block
            length += near
        largest, until, back = block[window:], seen[window:], seen[:sessions]
        for j in range(sessions):
            enough = (_WHOLE * (until[j] - back[j]) >= _PARTS * window) & (row[j] == row[j])
            result[j] = sign * largest[j] if enough else np.nan
    return out


@kernel
def absolute_deviations(values: FloatArray, means: FloatArray, window: int) -> FloatArray:
    """Mean absolute deviation of the last `window` sessions' values from their mean.

    Every window is computed from scratch: for short windows.

    Args:
        values: observed values.
        means: of the same windows, missing if too few are observed; exact if all values are equal.
        window: sessions.

    """
    tickers, sessions = values.shape
    out = np.empty((tickers, sessions))
    single, present, total = np.zeros(window + sessions), np.zeros(window + sessions), np.empty(sessions)
    seen = np.zeros(window + sessions, np.int64)
    for i in range(tickers):
        row, mean, result = values[i], means[i], out[i]
        for j in range(sessions):
            single[window + j] = 0.0 if math.isnan(row[j]) else row[j]
            present[window + j] = 0.0 if math.isnan(row[j]) else 1.0
        count = 0
        for j in range(sessions):
            count += 0 if math.isnan(row[j]) else 1
            seen[window + j] = count
        total[:] = 0.0
        for k in range(0, window - 3, 4):  # four at a time, for fewer memory accesses
            a, b, c, d = (
                single[window - k :],
                single[window - k - 1 :],
                single[window - k - 2 :],
                single[window - k - 3 :],
            )
            e, f, g, h = (
                present[window - k :],
                present[window - k - 1 :],
                present[window - k - 2 :],
                present[window - k - 3 :],
            )
            for j in range(sessions):
                near = e[j] * abs(a[j] - mean[j]) + f[j] * abs(b[j] - mean[j])
                total[j] += near + (g[j] * abs(c[j] - mean[j]) + h[j] * abs(d[j] - mean[j]))
        for k in range(window - window % 4, window):
            a, e = single[window - k :], present[window - k :]
            for j in range(sessions):
                total[j] += e[j] * abs(a[j] - mean[j])
        until, back = seen[window:], seen[:sessions]
        for j in range(sessions):
            result[j] = total[j] / max(1, until[j] - back[j])  # missing where the mean is
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
    """Natural logarithm, element by element: the rounding of NumPy's vector code may depend on the array layout."""
    tickers, sessions = values.shape
    out = np.empty((tickers, sessions))
    for i in range(tickers):
        for j in range(sessions):
            out[i, j] = math.log(values[i, j])
    return out
