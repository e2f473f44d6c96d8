"""Jumps that are taken back some days later: what was repaired at the first is undone at the second.

An error of a price that lasts for some days is a jump away and another one back. Each is judged alone at its own close,
so one of them may have been taken for a split and the other not, and the level would stay wrong for ever. With L the
level by the provider's prices and events as reported (`steps.with_steps`), a step that jumps is a *reversal* where it
brings L back to its value before a jump of the last `reversal_days`: within `reversal_tolerance`, and within a quarter
of the step. The newest such jump counts.

The splits and dividends that were used instead of the reported ones at the jumps between the two are taken back with
the reversal's own, so that from there on the series stands to its level before as the reported prices do. The bars
between them stay as they were written: the reversal is known at its own close. Where nothing was repaired before,
nothing is repaired now: what looks like a split (`split_unflagged`), or a reported split that the price did not follow
on its day (`split_not_taken`), is the way back. A reversal where something is undone or kept from being repaired, or
where both jumps go beyond twice `jump`, is listed; of the index members since 2000 five, all real, against 146 of all
sizes. Where another provider agrees with what is used of all of them, nothing is touched.
"""

import math

import numpy as np
import polars as pl

from quant_assets.settings.domain import EventSettings


def undone(rows: pl.DataFrame, settings: EventSettings) -> pl.DataFrame:
    """Judge the steps that reverse an earlier one again.

    Args:
        rows: of `events`, the steps on remarkable days: `company`, `precedence`, `date`, `growth`, `level`,
            `level_before`, `close`, `split` and `paid` as reported, `kind`, `split_used`, `dividend_used` and
            `used_growth`, and `agreed`, whether another provider's return is what is used.
        settings: `jump`, `reversal_days`, `reversal_tolerance`.

    Returns:
        The rows in their order, those that reverse with the kind `reversal`, and what is used and `used_growth` as said
        above.

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
    found = []
    for i in range(len(jumps)):  # the jumps alone, and of them the few that lie close together
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
        if dividend < 0.0:  # no dividend takes so much back
            shares, dividend = total, paid[i]
        elif math.isclose(shares, total):
            dividend = paid[i]
        split_used[i], dividend_used[i], used_growth[i] = split[i] / shares, dividend, growth[i] / total
        found.append(i)
    places = jumps["place"][found]
    return rows.with_columns(
        rows["kind"].scatter(places, "reversal"),
        *(
            rows[name].scatter(places, [values[i] for i in found])
            for name, values in (
                ("split_used", split_used),
                ("dividend_used", dividend_used),
                ("used_growth", used_growth),
            )
        ),
    )
