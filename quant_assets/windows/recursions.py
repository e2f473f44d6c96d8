"""Compiled averages that are recursions over bars: exponential, Wilder's, ADX, MACD.

They are called through `windows.windows.Windows`, which documents them. A recursion has no window, so it restarts
before every month: at a month's first session it reads the `memory` sessions up to that one, and then continues from
bar to bar. A session without a bar is skipped, as in TA-Lib on the bars alone.

*Linked* values belong to a bar and the bar before, however long ago that was. The memory is then one session longer,
and its first bar is only the base of the next.

A month is a twentieth of the memory. A single average is a weighted sum of the memory. In an average of averages every
step depends on the one before, so `LANES` tickers are computed side by side on the last axis of the arrays, and a step
is vector code: no branch depends on a ticker, and without a bar a sum is unchanged by the factor 1 and the summand 0.
Months are computed from the newest to the oldest. Usually every ticker has bars at all sessions of the memory or at
none: then they are `even`, all have the same count after the seeds, and the same numbers need less work.

Arrays are float64 of shape (n_tickers, n_sessions), C-contiguous, NaN where missing; `starts` is `Windows.starts`. A
value exists only at a session with a bar, and if `enough` of the last `span` sessions have one.
"""

import math

import numpy as np

from quant_assets.market.panel import FloatArray, IntArray
from quant_assets.windows.compiled import kernel

#: Tickers side by side, and sessions copied to and from their arrays at a time.
LANES, _TILE = 16, 64


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
    sides: bool,
) -> FloatArray:
    """Exponential average: one layer; or those of rises and of falls, two layers.

    At a month's first session it is a weighted sum (as independent partial sums); after that a recursion.

    Args:
        values: the values averaged.
        bars: NaN without a bar; `values` if every value is a bar.
        linked: see the module's docstring.
        starts: `Windows.starts`.
        span: sessions of which `enough` must have a bar.
        enough: see `span`.
        decay: weight of the previous average at a new value.
        memory: sessions before the month's second one whose values are read.
        first: number of values up to and including the seed.
        seeds: number of values, the newest of these, whose sum over `span` is the seed.
        sides: whether the values are changes, whose rises and falls (positive) are averaged separately, with 0 for a
            change in the other direction.

    """
    tickers, sessions = values.shape
    out = np.full((2 if sides else 1, tickers, sessions), np.nan)
    weights, fading = np.empty(memory), np.empty(memory)  # of the values, newest last; of the seed after k values
    fading[0] = 1.0
    for k in range(1, memory):
        fading[k] = fading[k - 1] * decay
    for k in range(memory):
        weights[memory - 1 - k] = (1.0 - decay) * fading[k]
    # The bars' values, and the number of bars before a session.
    seen, before = np.empty(sessions), np.empty(sessions + 1, np.int64)
    base, sums = 1 if linked else 0, np.empty(64)
    for number in range(len(out) * tickers):
        layer, i = number // tickers, number % tickers
        sign = -1.0 if layer == 1 else 1.0
        before[0] = 0
        for j in range(sessions):
            before[j + 1] = before[j]
            if not math.isnan(bars[i, j]):
                seen[before[j]] = max(sign * values[i, j], 0.0) if sides else values[i, j]
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
                count = len(terms)
                sums[:] = 0.0
                for k in range(0, count - 63, 64):
                    some, shares = terms[k : k + 64], factors[k : k + 64]
                    for m in range(64):
                        sums[m] += shares[m] * some[m]
                some, shares = terms[count - count % 64 :], factors[count - count % 64 :]
                for m in range(len(some)):
                    sums[m] += shares[m] * some[m]
                for m in range(32):
                    sums[m] += sums[m + 32]
                for m in range(16):
                    sums[m] += sums[m + 16]
                for m in range(8):
                    sums[m] += sums[m + 8]
                average += ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
            else:
                average = decay * average + (1.0 - decay) * seen[end - 1]
            if end > before[j] and end - before[max(0, j - span + 1)] >= enough:
                out[layer, i, j] = average
    return out


@kernel
def directional(
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    starts: IntArray,
    span: int,
    enough: int,
    memory: int,
    width: int,
) -> FloatArray:
    """Wilder's directional movement: +DI, -DI and the average directional movement index, three layers.

    One loop smooths the movements and their index, because two separate averages would look back twice. Seeds are
    TA-Lib's: sums of the first span - 1 movements, the mean of the first `span` indices; an undefined index counts as 0
    in the seed and leaves the average unchanged afterwards. The values are linked; a bar needs all three prices.

    Args:
        high: highest price of each session.
        low: lowest price.
        close: last price.
        starts: as for `smoothed`.
        span: Wilder's 14.
        enough: as for `smoothed`.
        memory: as for `smoothed`.
        width: `LANES`; if it were a constant, the loops over lanes would be unrolled and not vectorised.

    """
    tickers, sessions = close.shape
    out = np.empty((3, tickers, sessions))
    # By session: whether there is a bar, its movements and range; number of bars so far. By lane: bars in the memory so
    # far, the three sums, the index; prices of the bar before.
    read, results, state = np.full((sessions, 4, LANES), np.nan), np.empty((sessions, 3, LANES)), np.empty((5, LANES))
    seen, last = np.zeros((sessions + 1, LANES)), np.empty((3, LANES))
    decay, weight = 1.0 - 1.0 / span, 1.0 / span
    for group in range(0, tickers, LANES):
        lanes = min(LANES, tickers - group)
        for early in range(0, sessions, _TILE):
            part = read[early : early + _TILE]
            for m in range(lanes):
                tops, bottoms, closes = high[group + m, early:], low[group + m, early:], close[group + m, early:]
                for j in range(len(part)):
                    part[j, 1, m], part[j, 2, m], part[j, 3, m] = tops[j], bottoms[j], closes[j]
        last[:] = np.nan
        for j in range(sessions):
            for m in range(width):
                top, bottom, end_of_day = read[j, 1, m], read[j, 2, m], read[j, 3, m]
                present = not math.isnan(top + bottom + end_of_day)
                rise, fall = top - last[0, m], last[1, m] - bottom
                reach = max(top, last[2, m]) - min(bottom, last[2, m])
                read[j, 0, m] = 1.0 if present else 0.0
                seen[j + 1, m] = seen[j, m] + (1.0 if present else 0.0)
                read[j, 1, m] = rise if present and rise > 0.0 and rise > fall else 0.0
                read[j, 2, m] = fall if present and fall > 0.0 and fall > rise else 0.0
                read[j, 3, m] = reach if present and seen[j, m] > 0.0 else 0.0
                last[0, m] = top if present else last[0, m]
                last[1, m] = bottom if present else last[1, m]
                last[2, m] = end_of_day if present else last[2, m]
        end = sessions
        while end > 0:
            month = starts[end - 1]
            state[:] = 0.0
            state[0] = -1.0
            begin = max(0, month - memory)
            for j in range(begin, end):
                for m in range(width):
                    number = state[0, m] + read[j, 0, m]
                    keep = decay if read[j, 0, m] > 0.0 and number >= span else 1.0
                    moving = 1.0 if number > 0.0 else 0.0  # the base has no movement
                    rising = keep * state[1, m] + moving * read[j, 1, m]
                    falling = keep * state[2, m] + moving * read[j, 2, m]
                    reached = keep * state[3, m] + moving * read[j, 3, m]
                    moved = rising + falling
                    defined = read[j, 0, m] > 0.0 and number >= span and reached > 0.0 and moved > 0.0
                    share = weight * (100.0 * abs(rising - falling) / moved)
                    fading = decay if defined and number >= 2 * span else 1.0  # the seed is a mean
                    state[4, m] = fading * state[4, m] + (share if defined else 0.0)
                    state[0, m], state[1, m], state[2, m], state[3, m] = number, rising, falling, reached
                if j >= month:
                    early = max(0, j - span + 1)
                    for m in range(width):
                        valid = read[j, 0, m] > 0.0 and seen[j + 1, m] - seen[early, m] >= enough
                        scale = 100.0 / state[3, m]
                        defined = valid and state[0, m] >= span - 1 and state[3, m] > 0.0
                        results[j, 0, m] = state[1, m] * scale if defined else np.nan
                        results[j, 1, m] = state[2, m] * scale if defined else np.nan
                        # The weights may add up to slightly more than 1.
                        index = min(state[4, m], 100.0)
                        results[j, 2, m] = index if valid and state[0, m] >= 2 * span - 1 else np.nan
            end = month
        for early in range(0, sessions, _TILE):
            part = results[early : early + _TILE]
            for k in range(3):
                for m in range(lanes):
                    row = out[k, group + m, early:]
                    for j in range(len(part)):
                        row[j] = part[j, k, m]
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
    width: int,
) -> FloatArray:
    """The MACD line and its signal: two layers.

    One loop computes the three averages, so that the signal continues over sessions without a line value. Seeds are
    TA-Lib's: both averages of the close start at the slow one's seed.

    Args:
        close: the values averaged.
        starts: `Windows.starts`.
        fast: span of the fast average.
        slow: span of the slow average.
        signal: span of the line's average.
        enough_fast: as for `smoothed`, for the fast span.
        enough_slow: the same for the slow span.
        enough_signal: the same for the signal's span.
        memory: as for `smoothed`.
        width: as for `directional`.

    """
    tickers, sessions = close.shape
    out = np.empty((2, tickers, sessions))
    # By session: whether there is a bar, its close; number of bars so far. By lane: bars in the memory so far, the
    # averages of the close and of the line.
    read, results, state = np.full((sessions, 2, LANES), np.nan), np.empty((sessions, 2, LANES)), np.empty((4, LANES))
    seen = np.zeros((sessions + 1, LANES))
    quick, steady, lasting = 2.0 / (fast + 1.0), 2.0 / (slow + 1.0), 2.0 / (signal + 1.0)
    fast_seed, slow_seed, signal_seed = 1.0 / fast, 1.0 / slow, 1.0 / signal
    for group in range(0, tickers, LANES):
        lanes = min(LANES, tickers - group)
        for early in range(0, sessions, _TILE):
            part = read[early : early + _TILE]
            for m in range(lanes):
                closes = close[group + m, early:]
                for j in range(len(part)):
                    part[j, 1, m] = closes[j]
        for j in range(sessions):
            for m in range(width):
                missing = math.isnan(read[j, 1, m])
                read[j, 0, m] = 0.0 if missing else 1.0
                read[j, 1, m] = 0.0 if missing else read[j, 1, m]
                seen[j + 1, m] = seen[j, m] + read[j, 0, m]
        end = sessions
        while end > 0:
            month = starts[end - 1]
            state[:] = 0.0
            begin = max(0, month - memory + 1)
            even = True
            for m in range(width):
                bars = seen[end, m] - seen[begin, m]
                even &= (bars == 0.0) | (bars == end - begin)
            for j in range(begin, end):
                count = j - begin + 1
                if even and count > slow + signal:
                    for m in range(width):
                        price, nearer, farther, slower = read[j, 1, m], state[1, m], state[2, m], state[3, m]
                        nearer += quick * (price - nearer)
                        farther += steady * (price - farther)
                        state[0, m], state[1, m], state[2, m] = count, nearer, farther
                        state[3, m] = slower + lasting * (nearer - farther - slower)
                for m in range(0 if even and count > slow + signal else width):
                    number, price = state[0, m] + read[j, 0, m], read[j, 1, m]
                    # Up to the slow span, seeds (means); then the recursions.
                    seeding = number <= slow
                    near_by = (
                        (fast_seed * price if number > slow - fast else 0.0)
                        if seeding
                        else quick * (price - state[1, m])
                    )
                    far_by = slow_seed * price if seeding else steady * (price - state[2, m])
                    nearer = state[1, m] + (near_by if read[j, 0, m] > 0.0 else 0.0)
                    farther = state[2, m] + (far_by if read[j, 0, m] > 0.0 else 0.0)
                    apart = nearer - farther
                    later = number >= slow + signal
                    slower_by = lasting * (apart - state[3, m]) if later else signal_seed * apart
                    state[3, m] += slower_by if read[j, 0, m] > 0.0 and number >= slow else 0.0
                    state[0, m], state[1, m], state[2, m] = number, nearer, farther
                if j >= month:
                    near_from, far_from, from_ = max(0, j - fast + 1), max(0, j - slow + 1), max(0, j - signal + 1)
                    for m in range(width):
                        valid = read[j, 0, m] > 0.0 and seen[j + 1, m] - seen[near_from, m] >= enough_fast
                        valid = valid and seen[j + 1, m] - seen[far_from, m] >= enough_slow
                        enough = seen[j + 1, m] - seen[from_, m] >= enough_signal
                        results[j, 0, m] = state[1, m] - state[2, m] if valid and state[0, m] >= slow else np.nan
                        late = state[0, m] >= slow + signal - 1
                        results[j, 1, m] = state[3, m] if valid and enough and late else np.nan
            end = month
        for early in range(0, sessions, _TILE):
            part = results[early : early + _TILE]
            for k in range(2):
                for m in range(lanes):
                    row = out[k, group + m, early:]
                    for j in range(len(part)):
                        row[j] = part[j, k, m]
    return out
