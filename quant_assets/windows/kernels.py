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
def sums(values: FloatArray, window: int) -> FloatArray:
    """Sum of the observed values of the last `window` sessions."""
    tickers, sessions = values.shape
    out = np.empty((tickers, sessions))
    # Sums of the sessions that end at each one, before the first one too: of one, of `length`, of the next length.
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
        for step in range(2 * digits):  # for each digit twice as long, and one longer where it is 1
            twice = step % 2 == 0
            if twice or (window >> (digits - 1 - step // 2)) % 2 == 1:
                near = length if twice else 1
                new, newest, older = longer[window:], (block if twice else single)[window:], block[window - near :]
                for j in range(sessions):
                    new[j] = newest[j] + older[j]
                block, longer = longer, block
                length += near
        found, until, back = block[window:], seen[window:], seen[:sessions]
        for j in range(sessions):
            enough = (_WHOLE * (until[j] - back[j]) >= _PARTS * window) & (row[j] == row[j])
            result[j] = found[j] if enough else np.nan
    return out


@kernel
def moments(values: FloatArray, window: int, deviations: bool, ddof: int) -> FloatArray:
    """Mean and, if asked for, standard deviation of the last `window` sessions: one layer or two.

    The mean of equal values is exactly that value and their deviation exactly 0. Means and squared deviations of two
    blocks are joined by the method of Chan, Golub and LeVeque (1979), which adds what is positive only.
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
        # From here on no window has a hole: all have one and the same share.
        whole = sessions if seen[-1] < sessions - first else min(sessions, first + window)
        length = 1
        for step in range(2 * digits):  # for each digit twice as long, and one longer where it is 1
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
        found, until, back, result = block[window:], seen[window:], seen[:sessions], out[0, i]
        for j in range(sessions):
            enough = (_WHOLE * (until[j] - back[j]) >= _PARTS * window) & (row[j] == row[j])
            result[j] = found[j] if enough else np.nan
        if deviations:
            found, result = square[window:], out[1, i]
            for j in range(sessions):
                observed = until[j] - back[j]
                enough = (_WHOLE * observed >= _PARTS * window) & (observed > ddof) & (row[j] == row[j])
                deviation = math.sqrt(found[j] / (observed - ddof))
                result[j] = deviation if enough else np.nan
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
def extremes(values: FloatArray, window: int, sign: float) -> FloatArray:
    """Maximum of the last `window` sessions where `sign` is 1, minimum where it is -1."""
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
        found, until, back = block[window:], seen[window:], seen[:sessions]
        for j in range(sessions):
            enough = (_WHOLE * (until[j] - back[j]) >= _PARTS * window) & (row[j] == row[j])
            result[j] = sign * found[j] if enough else np.nan
    return out


@kernel
def absolute_deviations(values: FloatArray, means: FloatArray, window: int) -> FloatArray:
    """Mean distance of the last `window` sessions' values from their mean.

    Each window is computed by itself: meant for short ones.

    Args:
        values: what is observed.
        means: of the same windows, missing where too few are observed; exact where all values are equal.
        window: sessions.

    """
    tickers, sessions = values.shape
    out = np.empty((tickers, sessions))
    single, there, total = np.zeros(window + sessions), np.zeros(window + sessions), np.empty(sessions)
    seen = np.zeros(window + sessions, np.int64)
    for i in range(tickers):
        row, mean, result = values[i], means[i], out[i]
        for j in range(sessions):
            single[window + j] = 0.0 if math.isnan(row[j]) else row[j]
            there[window + j] = 0.0 if math.isnan(row[j]) else 1.0
        count = 0
        for j in range(sessions):
            count += 0 if math.isnan(row[j]) else 1
            seen[window + j] = count
        total[:] = 0.0
        for k in range(0, window - 3, 4):  # four at a time: what is summed is fetched and stored less often
            a, b, c, d = (
                single[window - k :],
                single[window - k - 1 :],
                single[window - k - 2 :],
                single[window - k - 3 :],
            )
            e, f, g, h = there[window - k :], there[window - k - 1 :], there[window - k - 2 :], there[window - k - 3 :]
            for j in range(sessions):
                near = e[j] * abs(a[j] - mean[j]) + f[j] * abs(b[j] - mean[j])
                total[j] += near + (g[j] * abs(c[j] - mean[j]) + h[j] * abs(d[j] - mean[j]))
        for k in range(window - window % 4, window):
            a, e = single[window - k :], there[window - k :]
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
    """Natural logarithm, one element after the other: NumPy's vector code may round differently by array layout."""
    tickers, sessions = values.shape
    out = np.empty((tickers, sessions))
    for i in range(tickers):
        for j in range(sessions):
            out[i, j] = math.log(values[i, j])
    return out
