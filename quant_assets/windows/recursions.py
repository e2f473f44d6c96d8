"""Compiled averages that are recursions over bars: exponential, Wilder's, ADX, MACD.

They are called through `windows.windows.Windows`, which says what each computes. A recursion has no window, so each
begins anew before every month: at a month's first session it reads the `memory` sessions up to that one, and from there
on goes from bar to bar. A session without a bar is stepped over, as TA-Lib does that is given the bars alone.

Where the values are *linked*, each belongs to a bar and the bar before, however long ago that was. Of the memory, with
one session more, the first bar then serves as a base only: what lies before it is not looked at.

Arrays are float64 of shape (n_tickers, n_sessions), C-contiguous, NaN where missing; `starts` is `Windows.starts`. A
value exists at a session with a bar only, and where `enough` of the last `span` sessions have one.
"""

import math

import numpy as np

from quant_assets.market.panel import FloatArray, IntArray
from quant_assets.windows.compiled import kernel


@kernel
def smoothed(
    values: FloatArray,
    bars: FloatArray,
    linked: bool,
    starts: IntArray,
    span: int,
    enough: int,
    decay: float,
    memory: int,
    first: int,
    seeds: int,
) -> FloatArray:
    """Exponential average.

    At a month's first session it is a weighted sum (its terms in eight running sums, which do not wait for each other);
    from there on a recursion.

    Args:
        values: what is averaged.
        bars: NaN where there is no bar; `values` where each of these is one.
        linked: see the module's text.
        starts: `Windows.starts`.
        span: sessions of which `enough` must have a bar.
        enough: see there.
        decay: weight of the average so far at each new value.
        memory: sessions before the month's second one whose values are read.
        first: values up to and including the seed.
        seeds: how many of them, the newest, make the seed: their sum over `span`.

    """
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    weights, fading = np.empty(memory), np.empty(memory)  # of the newest value last, and of the seed after k values
    fading[0] = 1.0
    for k in range(1, memory):
        fading[k] = fading[k - 1] * decay
    for k in range(memory):
        weights[memory - 1 - k] = (1.0 - decay) * fading[k]
    # The bars' values, and how many before a session.
    seen, before = np.empty(sessions), np.empty(sessions + 1, np.int64)
    base = 1 if linked else 0
    for i in range(tickers):
        before[0] = 0
        for j in range(sessions):
            before[j + 1] = before[j]
            if not math.isnan(bars[i, j]):
                seen[before[j]] = values[i, j]
                before[j + 1] += 1
        average, begin = np.nan, 0
        for j in range(sessions):
            end = before[j + 1]
            new_month = starts[j] == j
            if new_month:
                average, begin = np.nan, before[max(0, j - memory + 1 - base)] + base
            start = begin + first
            if end < start or (end == before[j] and not new_month):
                continue
            if end == start or new_month:
                average = 0.0
                for k in range(start - seeds, start):
                    average += seen[k]
                average = average / span * fading[end - start]
                terms, factors = seen[start:end], weights[memory - (end - start) :]
                a, b, c, d, e, f, g, h = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
                whole = len(terms) - len(terms) % 8
                for k in range(0, whole, 8):
                    a += factors[k] * terms[k]
                    b += factors[k + 1] * terms[k + 1]
                    c += factors[k + 2] * terms[k + 2]
                    d += factors[k + 3] * terms[k + 3]
                    e += factors[k + 4] * terms[k + 4]
                    f += factors[k + 5] * terms[k + 5]
                    g += factors[k + 6] * terms[k + 6]
                    h += factors[k + 7] * terms[k + 7]
                for k in range(whole, len(terms)):
                    a += factors[k] * terms[k]
                average += ((a + b) + (c + d)) + ((e + f) + (g + h))
            else:
                average = decay * average + (1.0 - decay) * values[i, j]
            if end > before[j] and end - before[max(0, j - span + 1)] >= enough:
                out[i, j] = average
    return out


@kernel
def directional(
    plus: FloatArray,
    minus: FloatArray,
    reach: FloatArray,
    bars: FloatArray,
    linked: bool,
    starts: IntArray,
    span: int,
    enough: int,
    memory: int,
) -> FloatArray:
    """Wilder's average directional movement index.

    One loop smooths the movements and their index: two averages on top of each other would each have to look back by
    itself. Seeds are TA-Lib's: sums of the first span - 1 movements, the mean of the first `span` indices; an index
    that is not defined counts 0 in the seed and leaves the average as it is afterwards.

    Args:
        plus: upward movement.
        minus: downward movement.
        reach: true range.
        bars: as of `smoothed`, and so are the others.
        linked: as there.
        starts: as there.
        span: Wilder's 14.
        enough: as there.
        memory: as there.

    """
    tickers, sessions = plus.shape
    out = np.full((tickers, sessions), np.nan)
    decay, weight = 1.0 - 1.0 / span, 1.0 / span
    seen, before = np.empty((sessions, 3)), np.empty(sessions + 1, np.int64)  # as in `smoothed`
    base = 1 if linked else 0
    for i in range(tickers):
        before[0] = 0
        for j in range(sessions):
            before[j + 1] = before[j]
            if not math.isnan(bars[i, j]):
                seen[before[j], 0], seen[before[j], 1], seen[before[j], 2] = plus[i, j], minus[i, j], reach[i, j]
                before[j + 1] += 1
        up, down, ranges, average, begin, done = 0.0, 0.0, 0.0, 0.0, base, base
        for j in range(sessions):
            if starts[j] == j:
                up, down, ranges, average = 0.0, 0.0, 0.0, 0.0
                begin = done = before[max(0, j - memory + 1 - base)] + base
            for k in range(done, before[j + 1]):
                count = k - begin + 1
                keep = decay if count >= span else 1.0
                up = keep * up + seen[k, 0]
                down = keep * down + seen[k, 1]
                ranges = keep * ranges + seen[k, 2]
                if count < span:
                    continue
                moved = up + down
                defined = ranges > 0.0 and moved > 0.0
                if count < 2 * span:  # the seed: a mean
                    average += weight * (100.0 * abs(up - down) / moved if defined else 0.0)
                elif defined:
                    average = decay * average + weight * (100.0 * abs(up - down) / moved)
            done = max(done, before[j + 1])
            if done - begin < 2 * span - 1 or before[j + 1] == before[j]:
                continue
            if before[j + 1] - before[max(0, j - span + 1)] >= enough:
                out[i, j] = min(average, 100.0)  # weights of 1 may come to 1 and a rounding error
    return out


@kernel
def convergence(
    close: FloatArray,
    starts: IntArray,
    fast: int,
    slow: int,
    signal: int,
    enough_fast: int,
    enough_slow: int,
    enough_signal: int,
    memory: int,
) -> FloatArray:
    """The MACD line and its signal: two layers.

    One loop has the three averages, so that the signal goes on over sessions at which the line is not given. Seeds are
    TA-Lib's: both averages of the close begin where the slow one has its seed.

    Args:
        close: what is averaged.
        starts: `Windows.starts`.
        fast: span of the fast average.
        slow: span of the slow one.
        signal: span of the line's average.
        enough_fast: as of `smoothed`, of the fast span.
        enough_slow: of the slow one.
        enough_signal: of the signal's.
        memory: as of `smoothed`.

    """
    tickers, sessions = close.shape
    out = np.full((2, tickers, sessions), np.nan)
    quick, steady, lasting = 2.0 / (fast + 1.0), 2.0 / (slow + 1.0), 2.0 / (signal + 1.0)
    seen, before = np.empty(sessions), np.empty(sessions + 1, np.int64)  # as in `smoothed`
    for i in range(tickers):
        before[0] = 0
        for j in range(sessions):
            before[j + 1] = before[j]
            if not math.isnan(close[i, j]):
                seen[before[j]] = close[i, j]
                before[j + 1] += 1
        near, far, average, begin, done = 0.0, 0.0, 0.0, 0, 0
        for j in range(sessions):
            if starts[j] == j:
                near, far, average = 0.0, 0.0, 0.0
                begin = done = before[max(0, j - memory + 1)]
            for k in range(done, before[j + 1]):
                count = k - begin + 1
                if count <= slow:  # the seeds: means
                    far += seen[k] / slow
                    if count > slow - fast:
                        near += seen[k] / fast
                else:
                    near += quick * (seen[k] - near)
                    far += steady * (seen[k] - far)
                if count >= slow + signal:
                    average += lasting * (near - far - average)
                elif count >= slow:
                    average += (near - far) / signal
            done = before[j + 1]
            if done == before[j]:
                continue
            count = done - begin
            given = done - before[max(0, j - fast + 1)] >= enough_fast
            if count >= slow and given and done - before[max(0, j - slow + 1)] >= enough_slow:
                out[0, i, j] = near - far
                if count >= slow + signal - 1 and done - before[max(0, j - signal + 1)] >= enough_signal:
                    out[1, i, j] = average
    return out
