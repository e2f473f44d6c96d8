"""Compiled averages that are recursions over bars: exponential, Wilder's, ADX, MACD.

They are called through `windows.windows.Windows`, which says what each computes. A recursion has no window, so each
begins anew before every month: at a month's first session it reads the `memory` sessions up to that one, and from there
on goes from bar to bar. A session without a bar is stepped over, as TA-Lib does that is given the bars alone.

Where the values are *linked*, each belongs to a bar and the bar before, however long ago that was. Of the memory, with
one session more, the first bar then serves as a base only: what lies before it is not looked at.

A month is a twentieth of the memory. One average is a weighted sum of it; of those on top of each other each step waits
for the one before, so `LANES` tickers go side by side, in arrays whose last axis they are, and a step is vector code:
no branch depends on a ticker, and where there is no bar a sum is kept by the factor 1 and the summand 0. Months come
from the newest to the oldest. Where each of the tickers has a bar at every session of the memory or at none, which is
the rule, they are `even`: once the seeds are behind all count the same, and the same numbers come out with less work.

Arrays are float64 of shape (n_tickers, n_sessions), C-contiguous, NaN where missing; `starts` is `Windows.starts`. A
value exists at a session with a bar only, and where `enough` of the last `span` sessions have one.
"""

import math

import numpy as np

from quant_assets.market.panel import FloatArray, IntArray
from quant_assets.windows.compiled import kernel

#: Tickers side by side, and sessions that are carried into their arrays and out of them at a time.
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
        sides: the values are changes, and rises and falls (positive) are averaged each by themselves, as 0 where the
            change went the other way.

    """
    tickers, sessions = values.shape
    out = np.full((2 if sides else 1, tickers, sessions), np.nan)
    weights, fading = np.empty(memory), np.empty(memory)  # of the newest value last, and of the seed after k values
    fading[0] = 1.0
    for k in range(1, memory):
        fading[k] = fading[k - 1] * decay
    for k in range(memory):
        weights[memory - 1 - k] = (1.0 - decay) * fading[k]
    # The bars' values, and how many before a session.
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

    One loop smooths the movements and their index: two averages on top of each other would each have to look back by
    itself. Seeds are TA-Lib's: sums of the first span - 1 movements, the mean of the first `span` indices; an index
    that is not defined counts 0 in the seed and leaves the average as it is afterwards. The values are linked; a bar is
    where all three prices are.

    Args:
        high: highest price of each session.
        low: lowest one.
        close: last one.
        starts: as of `smoothed`, and so are the others.
        span: Wilder's 14.
        enough: as there.
        memory: as there.
        width: `LANES`; as a constant it would have the loops over lanes unrolled, which are then no vector code.

    """
    tickers, sessions = close.shape
    out = np.empty((3, tickers, sessions))
    # By session: whether there is a bar, its movements and range; bars up to it. By lane: bars so far, the three sums,
    # the index; prices of the bar before.
    read, found, state = np.full((sessions, 4, LANES), np.nan), np.empty((sessions, 3, LANES)), np.empty((5, LANES))
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
                there = not math.isnan(top + bottom + end_of_day)
                rise, fall = top - last[0, m], last[1, m] - bottom
                reach = max(top, last[2, m]) - min(bottom, last[2, m])
                read[j, 0, m] = 1.0 if there else 0.0
                seen[j + 1, m] = seen[j, m] + (1.0 if there else 0.0)
                read[j, 1, m] = rise if there and rise > 0.0 and rise > fall else 0.0
                read[j, 2, m] = fall if there and fall > 0.0 and fall > rise else 0.0
                read[j, 3, m] = reach if there and seen[j, m] > 0.0 else 0.0
                last[0, m] = top if there else last[0, m]
                last[1, m] = bottom if there else last[1, m]
                last[2, m] = end_of_day if there else last[2, m]
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
                    moving = 1.0 if number > 0.0 else 0.0  # a base has none
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
                        given = read[j, 0, m] > 0.0 and seen[j + 1, m] - seen[early, m] >= enough
                        scale = 100.0 / state[3, m]
                        defined = given and state[0, m] >= span - 1 and state[3, m] > 0.0
                        found[j, 0, m] = state[1, m] * scale if defined else np.nan
                        found[j, 1, m] = state[2, m] * scale if defined else np.nan
                        # Weights of 1 may come to 1 and a rounding error.
                        index = min(state[4, m], 100.0)
                        found[j, 2, m] = index if given and state[0, m] >= 2 * span - 1 else np.nan
            end = month
        for early in range(0, sessions, _TILE):
            part = found[early : early + _TILE]
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
        width: as of `directional`.

    """
    tickers, sessions = close.shape
    out = np.empty((2, tickers, sessions))
    # By session: whether there is a bar, its close; bars up to it. By lane: bars so far, the averages of the close,
    # that of the line.
    read, found, state = np.full((sessions, 2, LANES), np.nan), np.empty((sessions, 2, LANES)), np.empty((4, LANES))
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
                    # Up to the slow span the seeds, which are means; then the recursions.
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
                        given = read[j, 0, m] > 0.0 and seen[j + 1, m] - seen[near_from, m] >= enough_fast
                        given = given and seen[j + 1, m] - seen[far_from, m] >= enough_slow
                        enough = seen[j + 1, m] - seen[from_, m] >= enough_signal
                        found[j, 0, m] = state[1, m] - state[2, m] if given and state[0, m] >= slow else np.nan
                        late = state[0, m] >= slow + signal - 1
                        found[j, 1, m] = state[3, m] if given and enough and late else np.nan
            end = month
        for early in range(0, sessions, _TILE):
            part = found[early : early + _TILE]
            for k in range(2):
                for m in range(lanes):
                    row = out[k, group + m, early:]
                    for j in range(len(part)):
                        row[j] = part[j, k, m]
    return out
