"""The compiled loop of Wilder's average directional movement index. The other windows' loops are in `kernels`."""

import math

import numpy as np

from quant_assets.market.panel import FloatArray, IntArray
from quant_assets.windows.compiled import kernel

#: Months that are computed side by side up to their first session: each value waits for the one before it, and the
#: processor computes eight in the time of one.
_LANES = 8


@kernel
def directional(
    plus: FloatArray,
    minus: FloatArray,
    reach: FloatArray,
    starts: IntArray,
    span: int,
    memory: int,
    parts: int,
    whole: int,
) -> FloatArray:
    """Wilder's average directional movement index, begun anew `memory` - 1 sessions before each month.

    One loop smooths the movements and their index: two averages on top of each other would each have to look back by
    itself. Seeds are TA-Lib's: sums of the first span - 1 movements, the mean of the first `span` indices; an index
    that is not defined counts 0 in the seed and leaves the average as it is afterwards.

    Args:
        plus: upward movement, float64 of shape (n_tickers, n_sessions), NaN where missing, as the next two.
        minus: downward movement.
        reach: true range.
        starts: `Windows.starts`.
        span: Wilder's 14.
        memory: sessions before the month's second one that are read.
        parts: numerator of the share of `span` sessions that need a value.
        whole: denominator.

    """
    tickers, sessions = plus.shape
    out = np.full((tickers, sessions), np.nan)
    decay, weight = 1.0 - 1.0 / span, 1.0 / span
    # Observed values, and how many before a session.
    rises, falls, reaches = np.empty(sessions), np.empty(sessions), np.empty(sessions)
    before = np.empty(sessions + 1, np.int64)
    up, down, ranges, average = np.empty(_LANES), np.empty(_LANES), np.empty(_LANES), np.empty(_LANES)
    begin = np.empty(_LANES, np.int64)
    months = np.flatnonzero(starts == np.arange(sessions))
    for i in range(tickers):
        before[0] = 0
        for j in range(sessions):
            before[j + 1] = before[j]
            if not math.isnan(plus[i, j] + minus[i, j] + reach[i, j]):
                n = before[j]
                rises[n], falls[n], reaches[n] = plus[i, j], minus[i, j], reach[i, j]
                before[j + 1] += 1
        for group in range(0, len(months), _LANES):
            shared = sessions  # values that each month of the group reads before its first session, at least
            for lane in range(_LANES):
                first = months[min(group + lane, len(months) - 1)]
                begin[lane] = before[max(0, first - memory + 1)]
                shared = min(shared, before[first] - begin[lane])
                up[lane] = down[lane] = ranges[lane] = average[lane] = 0.0
            for n in range(shared):
                keep = decay if n + 1 >= span else 1.0
                for lane in range(_LANES):
                    k = begin[lane] + n
                    up[lane] = keep * up[lane] + rises[k]
                    down[lane] = keep * down[lane] + falls[k]
                    ranges[lane] = keep * ranges[lane] + reaches[k]
                if n + 1 < span:
                    continue
                kept = 1.0 if n + 1 < 2 * span else decay  # the seed: a mean
                for lane in range(_LANES):
                    moved = up[lane] + down[lane]
                    index = 100.0 * abs(up[lane] - down[lane]) / moved
                    defined = ranges[lane] > 0.0 and moved > 0.0
                    average[lane] = kept * average[lane] + weight * index if defined else average[lane]
            for lane in range(min(_LANES, len(months) - group)):
                first, done = months[group + lane], begin[lane] + shared
                a, b, c, mean = up[lane], down[lane], ranges[lane], average[lane]
                j = first
                while j < sessions and starts[j] == first:
                    for k in range(done, before[j + 1]):
                        count = k - begin[lane] + 1
                        keep = decay if count >= span else 1.0
                        a, b, c = keep * a + rises[k], keep * b + falls[k], keep * c + reaches[k]
                        if count >= span and c > 0.0 and a + b > 0.0:
                            kept = 1.0 if count < 2 * span else decay
                            mean = kept * mean + weight * (100.0 * abs(a - b) / (a + b))
                    done = before[j + 1]
                    settled = done - begin[lane] >= 2 * span - 1 and done > before[j]
                    if settled and whole * (done - before[max(0, j - span + 1)]) >= parts * span:
                        out[i, j] = min(mean, 100.0)  # weights of 1 may come to 1 and a rounding error
                    j += 1
    return out
