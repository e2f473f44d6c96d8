"""Compiled loops over the cross-sections of one factor. `factors.session_figures` defines the figures."""

import numpy as np

from quant_assets.market.panel import BoolArray, FloatArray, IntArray
from quant_assets.windows.compiled import kernel


@kernel
def compare(
    values: FloatArray,
    returns: FloatArray,
    by_return: IntArray,
    starts: IntArray,
    wanted: BoolArray,
    shares: FloatArray,
    least: int,
    out: FloatArray,
) -> tuple[IntArray, IntArray]:
    """Write names, IC and quantile returns of each session and horizon into the first rows of `out`.

    All figures of a session are computed before the next one, so that it stays in the processor's cache: twice as fast
    as one figure of all sessions after the other.

    Returns:
        For each row, over all names of its session with a value: twice the rank (a whole number even where ties share a
        rank), and the quantile from 1; 0 where missing. No quantile where fewer than `least` names have a value, or
        where two edges are equal. Edges are linear, as in NumPy and pandas.

    """
    horizons, quantiles, longest = len(returns), len(shares) - 1, 0
    for j in range(len(starts) - 1):
        longest = max(longest, starts[j + 1] - starts[j])
    ranks, quantile = np.zeros(len(values), dtype=np.int64), np.zeros(len(values), dtype=np.int64)
    by_value, kept = np.empty(longest, dtype=np.int64), np.empty(longest, dtype=np.int64)
    doubled, within = np.empty((2, longest), dtype=np.int64), np.empty(longest, dtype=np.int64)
    edges, total, number = (
        np.empty(quantiles + 1),
        np.empty(quantiles + 1),
        np.empty(quantiles + 1),
    )  # place 0: names without a quantile
    for j in range(len(starts) - 1):
        start, names = starts[j], 0
        if starts[j + 1] - start > 64:
            order = np.argsort(values[start : starts[j + 1]])  # NaN last
            while names < len(order) and not np.isnan(values[start + order[names]]):
                by_value[names] = start + order[names]
                names += 1
        else:  # few names: the branch above spends half of its time allocating arrays
            for i in range(start, starts[j + 1]):
                if not np.isnan(values[i]):
                    k = names
                    while k > 0 and values[by_value[k - 1]] > values[i]:
                        by_value[k] = by_value[k - 1]
                        k -= 1
                    by_value[k] = i
                    names += 1
        ranked = False
        for h in range(-1, horizons):  # the first one is over all names with a value, whatever their returns
            if h >= 0 and not wanted[h, j]:
                continue
            count = 0
            for side in range(1 if h < 0 else 2):
                count = 0
                for k in range(names if side == 0 else starts[j + 1] - start):
                    i = by_value[k] if side == 0 else by_return[h, start + k]
                    if h < 0 or not (np.isnan(values[i]) or np.isnan(returns[h, i])):
                        kept[count] = i
                        count += 1
                if side == 0:
                    if ranked and count == names:
                        continue  # nearly always all names have a return
                    ranked = count == names
                first = 0
                while first < count:
                    last, tied = first, values[kept[first]] if side == 0 else returns[h, kept[first]]
                    while (
                        last + 1 < count
                        and (values[kept[last + 1]] if side == 0 else returns[h, kept[last + 1]]) == tied
                    ):
                        last += 1
                    for k in range(first, last + 1):
                        doubled[side, kept[k] - start] = first + last + 2
                    first = last + 1
                if side == 1:
                    continue
                distinct = count >= least
                for q in range(len(shares) if distinct else 0):
                    at = shares[q] * (count - 1)
                    low = int(np.floor(at))
                    part = at - low
                    below, above = values[kept[low]], values[kept[min(low + 1, count - 1)]]
                    edges[q] = above - (above - below) * (1.0 - part) if part >= 0.5 else below + (above - below) * part
                    if q > 0 and edges[q] <= edges[q - 1]:
                        distinct = False
                q = 1
                for k in range(count):
                    while q < quantiles and values[kept[k]] > edges[q]:
                        q += 1
                    within[kept[k] - start] = q if distinct else 0
            if h < 0:
                for k in range(count):
                    ranks[kept[k]], quantile[kept[k]] = doubled[0, kept[k] - start], within[kept[k] - start]
                continue
            if count < least or count < 2:
                continue
            every, cross, left, right = 0.0, 0.0, 0.0, 0.0
            total[:], number[:] = 0.0, 0.0
            for i in range(start, starts[j + 1]):  # in the order of the rows
                if not (np.isnan(values[i]) or np.isnan(returns[h, i])):
                    # Whole numbers: sums are exact in any order.
                    x, y = doubled[0, i - start] - (count + 1.0), doubled[1, i - start] - (count + 1.0)
                    cross += x * y
                    left += x * x
                    right += y * y
                    every += returns[h, i]
                    total[within[i - start]] += returns[h, i]
                    number[within[i - start]] += 1.0
            if left > 0.0 and right > 0.0:
                out[h, 0, j] = count
                out[h, 1, j] = min(1.0, max(-1.0, cross / np.sqrt(left * right)))
            if number[0] == 0.0 and number[1:].min() > 0.0:
                for q in range(1, quantiles + 1):
                    out[h, 1 + q, j] = total[q] / number[q] - every / count
    return ranks, quantile


@kernel
def persist(
    ranks: IntArray,
    quantile: IntArray,
    later: IntArray,
    horizon: int,
    starts: IntArray,
    wanted: BoolArray,
    least: int,
    quantiles: int,
    out: FloatArray,
) -> None:
    """Turnover and rank autocorrelation from each session to the one `horizon` later, into the last rows of `out`."""
    for j in range(len(starts) - 1):
        if not wanted[j] or j + horizon >= len(starts) - 1:
            continue
        stay_top, stay_bottom, top, bottom, before = 0, 0, 0, 0, 0
        for i in range(starts[j + horizon], starts[j + horizon + 1]):
            top += 1 if quantile[i] == quantiles else 0
            bottom += 1 if quantile[i] == 1 else 0
        count, sx, sy, sxx, syy, sxy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(starts[j], starts[j + 1]):
            before += 1 if quantile[i] > 0 else 0
            k = later[i]
            if k < 0:
                continue
            stay_top += 1 if quantile[i] == quantiles and quantile[k] == quantiles else 0
            stay_bottom += 1 if quantile[i] == 1 and quantile[k] == 1 else 0
            if ranks[i] > 0 and ranks[k] > 0:
                x, y = float(ranks[i]), float(ranks[k])
                count += 1
                sx += x
                sy += y
                sxx += x * x
                syy += y * y
                sxy += x * y
        if before > 0 and top > 0 and bottom > 0:
            out[quantiles + 2, j] = (top - stay_top) / top
            out[quantiles + 3, j] = (bottom - stay_bottom) / bottom
        left, right = count * sxx - sx * sx, count * syy - sy * sy  # whole numbers below 2^53: exact
        if count >= least and left > 0.0 and right > 0.0:
            out[quantiles + 4, j] = min(1.0, max(-1.0, (count * sxy - sx * sy) / np.sqrt(left * right)))
