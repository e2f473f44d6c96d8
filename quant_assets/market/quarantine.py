"""Which bars are refused, and why.

Each rule of `judge` looks at one bar (or the provider's repeats of it) and at nothing around it. What a bar says about
its neighbours, such as an unlikely return, is not judged: the real ones cannot be told from the faulty ones without
looking ahead. The exceptions are a close that repeats the one before while another provider's moved (`refuse_stale`),
and extreme moves that cannot be real (`market.misprints`).
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.settings.domain import BarSettings, EventSettings

PRICES = ("open", "high", "low", "close")

#: Relative tolerance of the comparison of open, high, low and close: prices stored in 32 bits are exact to 6e-8.
OHLC_TOLERANCE = 1e-6


#: Times by which high may lie above open and close, and low below them: a decimal point out of place is ten times. The
#: crash of May 2010 was three times, and the most of 5.6 million bars of index members is seven.
FARTHEST = 9.9


def _without_open(bars: pl.DataFrame, settings: BarSettings) -> pl.Series | None:
    """Whether each bar may be used without its open, which is no price of the day; None where none may."""
    open_, high, low, wide = pl.col("open"), pl.col("high"), pl.col("low"), 1.0 + settings.events.jump
    outside = (open_ >= wide * high) | (wide * open_ <= low)
    # Nearly always there is none, and the whole history need not be looked at more closely.
    if settings.missing_open == "refuse" or not bars.select((outside.fill_null(True) | open_.is_nan()).any()).item():
        return None
    absent = open_.is_null() | open_.is_nan() | (open_ == 0.0)
    wrong = (open_ > 0.0) & outside & pl.col("close").is_between("low", "high")
    return bars.select((absent | wrong).fill_null(False).alias("without")).to_series()


def judge(bars: pl.DataFrame, sessions: NDArray[np.datetime64], settings: BarSettings | None = None) -> pl.DataFrame:
    """Number the repeats of each bar and say why it is refused.

    The first rule that a bar breaks is its reason, in the order of the code below. Repeats are judged among the bars
    that break no other rule: the first of several equal ones is kept; where they differ all are refused, since none can
    be told to be the right one. A zero-volume bar is stale where its four prices are equal.

    Args:
        bars: rows of `sources.base.BARS` in any order; repeats of a bar keep theirs.
        sessions: datetime64[D] of shape (n_sessions,) that cover the dates of the bars.
        settings: whether bars without an open are used (`missing_open`), and the defaults where None.

    Returns:
        The bars sorted by ticker, date and precedence, with `row` (Int32, number among the provider's rows of the
        ticker and date, from 0) and `reason` (String, null where the bar is clean); `open` is null where a clean bar's
        open is no price of the day.

    """
    key = ["ticker", "date", "precedence"]
    bars = bars.sort(key, maintain_order=True)
    without = _without_open(bars, settings or BarSettings())
    given = bars["open"]
    if without is not None:
        bars = bars.with_columns(open=pl.when(~without).then("open"))
    high, low = pl.col("high"), pl.col("low")
    highest, lowest = pl.max_horizontal(PRICES), pl.min_horizontal(PRICES)
    top, bottom = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close")
    broken_range = (
        (high * (1.0 + OHLC_TOLERANCE) < top)
        | (low * (1.0 - OHLC_TOLERANCE) > bottom)
        | (high * (1.0 + OHLC_TOLERANCE) < low)
    )
    there = pl.all_horizontal(pl.col(PRICES).is_finite().fill_null(False))
    if without is not None:
        there |= without & pl.all_horizontal(pl.col("high", "low", "close").is_finite().fill_null(False))
    rules = (
        ("not_a_session", ~pl.col("date").is_in(pl.Series(sessions, dtype=pl.Date).implode())),
        ("missing_price", ~there),
        ("missing_volume", ~pl.col("volume").is_finite().fill_null(False)),
        ("non_positive_price", lowest <= 0.0),
        ("negative_volume", pl.col("volume") < 0.0),
        ("ohlc_violation", broken_range),
        ("decimal_point", (high >= FARTHEST * top) | (low * FARTHEST <= bottom)),
        ("stale_zero_volume", (pl.col("volume") == 0.0) & (highest == lowest)),
    )
    first_broken = pl.coalesce(pl.when(broken).then(pl.lit(name)) for name, broken in rules)
    position = pl.int_range(pl.len(), dtype=pl.Int32)
    new = pl.any_horizontal(pl.col(key) != pl.col(key).shift()).fill_null(True)
    judged = bars.with_columns(row=position - pl.when(new).then(position).forward_fill(), reason=first_broken)
    if without is not None:  # what is refused is listed as it was given
        judged = judged.with_columns(open=pl.when(pl.col("reason").is_null()).then("open").otherwise(given))
    # Few, if any: the whole history need not be looked through.
    repeats = judged.filter(pl.col("row") > 0).select(key).unique()
    if repeats.is_empty():
        return judged
    repeated = judged.filter(pl.col("reason").is_null()).join(repeats, on=key, how="semi", maintain_order="left")
    repeated = repeated.filter(pl.struct(key).is_duplicated())
    if repeated.is_empty():
        return judged
    differs = pl.struct(pl.exclude(*key, "row")).n_unique().over(key) > 1
    refused = repeated.filter(differs | ~pl.struct(key).is_first_distinct()).select(
        *key, "row", duplicate=pl.lit("duplicate")
    )
    return (
        judged.join(refused, on=[*key, "row"], how="left", maintain_order="left")
        .with_columns(reason=pl.coalesce("reason", "duplicate"))
        .drop("duplicate")
    )


def refuse_stale(judged: pl.DataFrame, stepped: pl.DataFrame, settings: EventSettings) -> pl.DataFrame:
    """Refuse the bars whose close repeats the provider's close before, where another provider's return differs.

    The returns are over the same step. Another provider counts only where its own bar at the start of the step is not
    refused here: its step from a stale close is wrong as well. One that agrees, also with a repeated close, upholds the
    bar. All of it is known at the close.

    Args:
        judged: of `judge`.
        stepped: the same bars, of `steps.with_steps`.
        settings: `disagreement`.

    Returns:
        The bars with the reason `disputed_stale_close` where it applies.

    """
    start = pl.col("previous").clip(0)
    steps = stepped.select(
        "ticker",
        "date",
        "precedence",
        "growth",
        "previous",
        row=pl.int_range(pl.len()),
        since=pl.col("date").gather(start),
        repeats=(pl.col("close") == pl.col("close").gather(start))
        & (pl.col("shares") == 1.0)
        & (pl.col("cash") == 0.0),
    ).filter(pl.col("previous") >= 0)
    pairs = (
        steps.filter("repeats")
        .join(steps, on=["ticker", "date", "since"], suffix="_other")
        .filter(pl.col("precedence") != pl.col("precedence_other"))
        .with_columns(disputes=(pl.col("growth") - pl.col("growth_other")).abs() > settings.disagreement)
    )
    pairs = pairs.filter(pl.col("disputes").any().over("row")).sort("date", "row")  # some dozens
    refused: set[int] = set()
    for (row,), others in pairs.group_by("row", maintain_order=True):
        valid = others.filter(~pl.col("previous_other").is_in(list(refused)))
        if len(valid) and valid["disputes"].all():
            refused.add(int(row))
    if not refused:
        return judged
    places = sorted(refused)
    return judged.with_columns(reason=judged["reason"].clone().scatter(places, "disputed_stale_close"))
