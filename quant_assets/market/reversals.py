"""Jumps that reverse an earlier one: repairs made at the first jump are undone at the second.

A price error that lasts some days is a jump away and a jump back. Each is judged at its own close, so one of them may
have been treated as a split and the other not, and the level would stay wrong for ever. With L the level by the
provider's prices and events as reported (`steps.with_steps`), a step that jumps is a *reversal* if it returns L to its
value before a jump of the last `reversal_days`: within `reversal_tolerance`, and within a quarter of the step. The
newest such jump counts.

The repairs of splits and dividends from the first jump to the reversal are undone at the reversal, so that afterwards
the series has the same ratio to its level before as the reported prices. The bars in between stay as written: the
reversal is known only at its own close. If nothing was repaired before, nothing is repaired now: an apparent split
(`split_unflagged`), or a reported split that the price did not follow on its day (`split_not_taken`), is the way back.
A reversal is listed if it undoes or prevents a repair, or if both jumps exceed twice `jump`; of the index members since
2000 these are five, all real, of 146 of all sizes. If another provider agrees with all the values used, nothing
changes.
"""

import math

import numpy as np
import polars as pl

from quant_assets.settings.domain import EventSettings


def undone(rows: pl.DataFrame, settings: EventSettings) -> pl.DataFrame:
    """Judge the steps that reverse an earlier one again.

    Args:
        rows: from `events`, the steps on remarkable days: `company`, `precedence`, `date`, `growth`, `level`,
            `level_before`, `close`, `split` and `paid` as reported, `kind`, `split_used`, `dividend_used` and
            `used_growth`, and `agreed`: whether another provider's return is equal to the one used.
        settings: `jump`, `reversal_days`, `reversal_tolerance`.

    Returns:
        The rows in their order; reversals have the kind `reversal` and their own `split_used`, `dividend_used` and
        `used_growth`.

    """
    jumps = rows.with_columns(place=pl.int_range(pl.len())).filter(
        pl.col("growth").log().abs() >= math.log1p(settings.jump)
    )
    jumps = jumps.sort("company", "precedence", "date")
    series = jumps.select(pl.struct("company", "precedence").rle_id()).to_series().to_list()
    day = jumps["date"].to_physical().to_list()
    size, level, before = (np.log(jumps[name].to_numpy()).tolist() for name in ("growth", "level", "level_before"))
    split, paid, close = (jumps[name].to_list() for name in ("split", "paid", "close"))
    split_used, dividend_used, used_growth, growth = (
        jumps[name].to_list() for name in ("split_used", "dividend_used", "used_growth", "growth")
    )
    agreed = jumps["agreed"].to_list()
    nearest, large = math.log1p(settings.reversal_tolerance), math.log1p(2.0 * settings.jump)
    reversals = []
    for i in range(len(jumps)):
        j = i - 1
        while j >= 0 and series[j] == series[i] and day[i] - day[j] <= settings.reversal_days:
            if abs(level[i] - before[j]) <= min(nearest, 0.25 * abs(size[i])):
                break
            j -= 1
        else:
            continue
        shares = math.prod(split_used[k] / split[k] for k in range(j, i))
        total = math.prod(used_growth[k] / growth[k] for k in range(j, i))
        changed = total != 1.0 or used_growth[i] != growth[i]
        if all(agreed[j : i + 1]) or not (changed or min(abs(size[i]), abs(size[j])) >= large):
            continue
        dividend = close[i] * ((1.0 + paid[i] / close[i]) * shares / total - 1.0)
        if dividend < 0.0:  # no dividend explains it
            shares, dividend = total, paid[i]
        elif math.isclose(shares, total):
            dividend = paid[i]
        split_used[i], dividend_used[i], used_growth[i] = split[i] / shares, dividend, growth[i] / total
        reversals.append(i)
    places = jumps["place"][reversals]
    return rows.with_columns(
        rows["kind"].scatter(places, "reversal"),
        *(
            rows[name].scatter(places, [values[i] for i in reversals])
            for name, values in (
                ("split_used", split_used),
                ("dividend_used", dividend_used),
                ("used_growth", used_growth),
            )
        ),
    )
