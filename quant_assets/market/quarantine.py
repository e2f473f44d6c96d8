"""Which bars are refused, and why.

The rules of `judge` look at one bar (and the provider's repeats of it) alone. An unlikely return is no reason: without
looking ahead, real and faulty moves cannot be distinguished. The exceptions are a close that repeats the one before
while another provider's moved (`refuse_stale`), and extreme moves that cannot be real (`market.misprints`).
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.settings.domain import BarSettings, EventSettings

PRICES = ("open", "high", "low", "close")

#: Relative tolerance of the comparison of open, high, low and close: prices stored in 32 bits are exact to 6e-8.
OHLC_TOLERANCE = 1e-6


#: Largest factor of high above open and close, and of low below them; a misplaced decimal point gives ten. The crash of
#: May 2010 gave three, and the largest of 5.6 million bars of index members is seven.
FARTHEST = 9.9


def _without_open(bars: pl.DataFrame, settings: BarSettings) -> pl.Series | None:
    """Whether each bar is used without its open, which is not a price of the day; None if no bar is."""
    open_, high, low, wide = pl.col("open"), pl.col("high"), pl.col("low"), 1.0 + settings.events.jump
    outside = (open_ >= wide * high) | (wide * open_ <= low)
    # Nearly always there is none: a quick check first.
    if settings.missing_open == "refuse" or not bars.select((outside.fill_null(True) | open_.is_nan()).any()).item():
        return None
    absent = open_.is_null() | open_.is_nan() | (open_ == 0.0)
    wrong = (open_ > 0.0) & outside & pl.col("close").is_between("low", "high")
    return bars.select((absent | wrong).fill_null(False).alias("without")).to_series()


def judge(bars: pl.DataFrame, sessions: NDArray[np.datetime64], settings: BarSettings | None = None) -> pl.DataFrame:
    """Number the repeats of each bar and give the reason if it is refused.

    The reason is the first rule that the bar breaks, in the order of the code below. Repeats are compared among the
    bars that break no other rule: the first of equal ones is kept; if they differ, all are refused, since the right one
    is unknown. A zero-volume bar is stale if its four prices are equal.

    Args:
        bars: rows of `sources.base.BARS` in any order; repeats of a bar keep their order.
        sessions: datetime64[D] of shape (n_sessions,) that cover the dates of the bars.
        settings: whether bars without an open are used (`missing_open`); None for the defaults.

    Returns:
        The bars sorted by ticker, date and precedence, with `row` (Int32, number among the provider's rows of the
        ticker and date, from 0) and `reason` (String, null for a clean bar); `open` is null where a clean bar's open is
        not a price of the day.

    """
    key = ["ticker", "date", "precedence"]
    bars = bars.sort(key, maintain_order=True)
    without = _without_open(bars, settings or BarSettings())
    original_open = bars["open"]
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
    complete = pl.all_horizontal(pl.col(PRICES).is_finite().fill_null(False))
    if without is not None:
        complete |= without & pl.all_horizontal(pl.col("high", "low", "close").is_finite().fill_null(False))
    rules = (
        ("not_a_session", ~pl.col("date").is_in(pl.Series(sessions, dtype=pl.Date).implode())),
        ("missing_price", ~complete),
        ("missing_volume", ~pl.col("volume").is_finite().fill_null(False)),
        ("non_positive_price", lowest <= 0.0),
        ("negative_volume", pl.col("volume") < 0.0),
        ("ohlc_violation", broken_range),
        ("decimal_point", (high >= FARTHEST * top) | (low * FARTHEST <= bottom)),
        ("stale_zero_volume", (pl.col("volume") == 0.0) & (highest == lowest)),
    )
    first_broken = pl.coalesce(pl.when(breaks).then(pl.lit(name)) for name, breaks in rules)
    position = pl.int_range(pl.len(), dtype=pl.Int32)
    new = pl.any_horizontal(pl.col(key) != pl.col(key).shift()).fill_null(True)
    judged = bars.with_columns(row=position - pl.when(new).then(position).forward_fill(), reason=first_broken)
    if without is not None:  # refused bars are listed with their original open
        judged = judged.with_columns(open=pl.when(pl.col("reason").is_null()).then("open").otherwise(original_open))
    # Few, if any: do not compare the whole history.
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
    """Refuse bars that repeat the provider's previous close while another provider's return over the step differs.

    Another provider counts only if its own bar at the start of the step is not refused here: its step from a stale
    close is wrong too. One that agrees, even with a repeated close, upholds the bar. All of this is known at the close.

    Args:
        judged: result of `judge`.
        stepped: the same bars, from `steps.with_steps`.
        settings: `disagreement`.

    Returns:
        The bars, the refused ones with the reason `disputed_stale_close`.

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
