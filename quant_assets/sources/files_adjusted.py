"""Adjusted closes beside unadjusted prices: derived dividends, and a check that the close is not an adjusted one.

With closes c (split-adjusted or not), splits s and adjusted closes a, the total return a_t / a_{t-1} is
s_t (c_t + d_t) / c_{t-1} as in `market.steps`, so that d_t = c_t (q_t / s_t - 1) with q_t = (a_t / c_t) / (a_{t-1} /
c_{t-1}). q_t depends on two sessions only: later dividends cancel. If q_t differs from s_t by no more than the rounding
of the closes, there was no dividend. For bars as traded without splits in the file, q_t also contains the splits:
`market.events` recognises such a dividend as a split, and a q_t below 1 is a split.
"""

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.providers import PriceFile

#: Most decimals that are tested; a price with more has the precision of 32 bits.
_DECIMALS = 6
_SINGLE = 1.2e-7
#: Smallest relative decrease of shares by a reverse split.
_FEWER = 0.05
#: Distance of a close from the bar's range, and share of such bars, above which its column must be wrong.
_APART, _NEARLY_ALL = 1e-3, 0.5
#: Size of the sample of bars for that check.
_LOOKED_AT = 20_000


def with_dividends(rows: pl.LazyFrame, file: PriceFile) -> pl.LazyFrame:
    """The bars with `dividend` in place of `adjusted_close`; 0 without dividend, null at a ticker's first bar.

    Args:
        rows: of the file, with `adjusted_close`.
        file: with the adjustment of the bars.

    """

    def before(name: str) -> pl.Expr:
        return pl.col(name).forward_fill().shift().over("ticker", order_by="date")

    def rounded(name: str) -> pl.Expr:
        decimals = pl.col(f"__decimals_{name}").cum_max().over("ticker", order_by="date")
        return 0.5 * pl.lit(10.0).pow(-decimals) / pl.col(name) + _SINGLE

    split = pl.lit(1.0)
    if file.adjustment == "as_traded" and "split_ratio" in file.columns:
        ratio = pl.col("split_ratio")
        split = pl.when((ratio != file.no_split) & (ratio > 0.0)).then(ratio).otherwise(1.0)
    priced = (pl.col("close") > 0.0) & (pl.col("adjusted_close") > 0.0)
    rows = rows.with_columns(__decimals_close=_decimals("close"), __decimals_adjusted_close=_decimals("adjusted_close"))
    rows = rows.with_columns(
        __ratio=pl.when(priced).then(pl.col("adjusted_close") / pl.col("close")),
        __error=pl.when(priced).then(rounded("close") + rounded("adjusted_close")),
    )
    rows = rows.with_columns(
        __step=pl.col("__ratio") / before("__ratio") / split, __error=pl.col("__error") + before("__error")
    )
    step = pl.col("__step")
    paid = pl.when(step > 1.0 + pl.col("__error")).then(pl.col("close") * (step - 1.0)).otherwise(0.0)
    events = {"dividend": paid}
    if file.adjustment == "as_traded" and "split_ratio" not in file.columns:
        events["split_ratio"] = (
            pl.when(step < 1.0 - pl.max_horizontal("__error", pl.lit(_FEWER))).then(step).otherwise(1.0)
        )
    known = [pl.when(step.is_not_null()).then(values).alias(name) for name, values in events.items()]
    return rows.with_columns(known).drop("adjusted_close", pl.selectors.starts_with("__"))


def _decimals(name: str) -> pl.Expr:
    """Number of decimals of a price."""
    values = pl.col(name)
    found = pl.lit(0)
    for decimals in range(_DECIMALS):
        scaled = values * 10.0**decimals
        off = (scaled - scaled.round()).abs() > pl.max_horizontal(pl.lit(1e-6), scaled.abs() * _SINGLE)
        found = found + off.fill_null(False).cast(pl.Int32)
    return found


def refuse_contradiction(file: PriceFile, bars: pl.DataFrame) -> None:
    """Raise an error if most closes of a file are outside the day's low and high: they are of another column.

    Raises:
        SourceError: names the file, a bar and the right mapping.

    """
    low, high, close = pl.col("low"), pl.col("high"), pl.col("close")
    outside = (close > high * (1.0 + _APART)) | (close < low * (1.0 - _APART))
    looked_at = bars.gather_every(max(1, len(bars) // _LOOKED_AT)).drop_nulls(["low", "high", "close"])
    broken = looked_at.filter(outside)
    if len(broken) <= _NEARLY_ALL * len(looked_at):
        return
    row = broken.row(0, named=True)
    theirs = file.columns.get("close", "close")
    adjusted = "adj" in theirs.lower() or file.adjustment == "total_return"
    remedy = (
        f"'{theirs}' is adjusted for dividends, open, high and low are not: map close to the close beside them and "
        f"adjusted_close to '{theirs}', with adjustment: split_adjusted (Yahoo) or as_traded"
        if adjusted
        else f"'{theirs}' is not of the same prices as open, high and low; fix the columns"
    )
    raise SourceError(
        f"{file.file}: {len(broken)} of {len(looked_at)} bars have a close outside their low and high "
        f"(ohlc_violation): {row['ticker']} on {row['date']} has close {row['close']:g}, low {row['low']:g}, "
        f"high {row['high']:g}; {remedy}"
    )
