"""Evidence in a file's values for its mapping: adjustment of prices, frequency of statements."""

import re
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

import numpy as np
import polars as pl

from quant_assets.settings.sectors import SECTORS

#: Ratios by which a step of closes is recognised as a split, and their tolerance.
_RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0)
_NEAR = 0.04

#: Standard errors by which the move on ex-days must differ from the other possibility, and least number of such days.
_CERTAIN, _EX_DAYS = 3.0, 12
#: Larger moves of a day say nothing about its dividend.
_EXTREME = 0.15

#: Most days between observations of a frequency, and days after the period's end by which nearly all are released.
#: Semi-annual series count as annual, so that they are known late, not early.
_FREQUENCIES = (
    (4.0, ("daily", 8)),
    (10.0, ("weekly", 14)),
    (45.0, ("monthly", 45)),
    (100.0, ("quarterly", 90)),
    (400.0, ("annual", 366)),
)

#: Sector names of GICS, Yahoo, SimFin and others, in lower case without punctuation.
_SECTOR_NAMES = {
    "basicmaterials": "materials",
    "industrial": "industrials",
    "businessservices": "industrials",
    "consumerdiscretionary": "cons_discretionary",
    "consumercyclical": "cons_discretionary",
    "consumerstaples": "cons_staples",
    "consumerdefensive": "cons_staples",
    "consumernoncyclical": "cons_staples",
    "healthcare": "healthcare",
    "financial": "financials",
    "financialservices": "financials",
    "informationtechnology": "it",
    "technology": "it",
    "communicationservices": "telecoms",
    "telecommunicationservices": "telecoms",
    "telecommunicationsservices": "telecoms",
    "telecommunications": "telecoms",
    "utility": "utilities",
    "realestate": "re",
}


class Adjustment(NamedTuple):
    """A proposed value of `PriceFile.adjustment`, with its reason."""

    adjustment: str
    evidence: str


def adjustment_of(bars: pl.DataFrame, adjusted_close: pl.Series | None, file: str) -> Adjustment:
    """The adjustment of a file's prices.

    Args:
        bars: `sources.base.BARS` of one file, read as if as traded, with splits if it has them.
        adjusted_close: its adjusted close of the same rows, if it has one.
        file: its name.

    """
    steps = bars.with_columns(adjusted=adjusted_close if adjusted_close is not None else pl.lit(None, pl.Float64))
    steps = steps.sort("ticker", "date").with_columns(
        step=(pl.col("close") / pl.col("close").shift()).over("ticker"),
        ratio=(pl.col("adjusted") / pl.col("close")).over("ticker"),
    )
    steps = steps.with_columns(change=(pl.col("ratio") / pl.col("ratio").shift()).over("ticker"))
    flagged = steps.filter((pl.col("split_ratio") > 0.0) & (pl.col("split_ratio") != 1.0)).drop_nulls("step")
    flagged = flagged.filter(~pl.col("split_ratio").is_between(0.87, 1.15))
    if len(flagged):
        moved = (pl.col("step") * pl.col("split_ratio")).log().abs() < pl.col("step").log().abs()
        follow = flagged.filter(moved)
        if 2 * len(follow) > len(flagged):
            return Adjustment("as_traded", f"{len(follow)} of {len(flagged)} closes fall with the split of the day")
        still = f"{len(flagged) - len(follow)} of {len(flagged)} closes do not move with the split of the day"
        if adjusted_close is not None:
            return Adjustment("split_adjusted", still)
        adjustment, why = _by_dividends(steps)
        return Adjustment(adjustment, f"{still}; {why}")
    if adjusted_close is not None:
        large = steps.filter((pl.col("change") - 1.0).abs() > 0.15)
        if len(large):
            row = large.row(0, named=True)
            return Adjustment(
                "as_traded",
                f"on {row['date']} the adjusted close of {row['ticker']} steps by {row['change']:.3g} against the "
                "close: a split that is not in the close",
            )
        paid = steps.filter((pl.col("change") - 1.0) > 1e-3)
        return Adjustment(
            "split_adjusted",
            f"the adjusted close differs from the close by {len(paid)} dividends and by no split, as in Yahoo's files",
        )
    if "<TICKER>" in file or ".us." in file:
        return Adjustment("total_return", "Stooq's files are adjusted for splits and dividends")
    jumps = steps.filter(_like_a_split(pl.col("step")))
    if len(jumps):
        row = jumps.row(0, named=True)
        return Adjustment(
            "as_traded",
            f"{len(jumps)} closes step by a ratio of a split: {row['ticker']} by {row['step']:.3g} on {row['date']}",
        )
    adjustment, why = _by_dividends(steps)
    return Adjustment(adjustment, f"no split among {len(steps)} steps between closes; {why}")


def _by_dividends(steps: pl.DataFrame) -> Adjustment:
    """The adjustment of prices without splits in them, by what they do on ex-days.

    The return over those of the other tickers is regressed on the dividend yield, without a constant and with errors
    robust to heteroscedasticity (White 1980): -1 where the close falls by the dividend, 0 where it is taken out.
    """
    step, others = pl.col("step"), pl.col("step").count().over("date") - 1
    market = pl.when(others > 0).then((step.sum().over("date") - step) / others).otherwise(1.0)
    ex_days = steps.with_columns(
        paid=(pl.col("dividend") / pl.col("close").shift()).over("ticker"), excess=step - market
    ).filter(pl.col("paid").is_between(1e-4, 0.2), pl.col("excess").abs() < _EXTREME)
    paid, excess = ex_days["paid"].to_numpy(), ex_days["excess"].to_numpy()
    caution = "if your provider says they are, write adjustment: total_return for this file in the profile"
    if len(ex_days) < _EX_DAYS:
        return Adjustment("split_adjusted", f"prices do not show whether dividends are taken out: {caution}")
    fall = float(paid @ excess / (paid @ paid))
    error = float(np.sqrt((paid**2) @ (excess - fall * paid) ** 2) / (paid @ paid))
    seen = f"on {len(ex_days)} ex-days the close moved by {fall:+.2f} +- {error:.2f} of the dividend"
    if fall + 1.0 > _CERTAIN * error and fall > -0.5:
        return Adjustment("total_return", f"{seen}: dividends are taken out of the prices (-1 where they are not)")
    if fall < -_CERTAIN * error and fall < -0.5:
        return Adjustment("split_adjusted", f"{seen}: dividends are not taken out of the prices")
    return Adjustment("split_adjusted", f"{seen}, which does not show whether dividends are taken out: {caution}")


def frequency_of(statements: pl.DataFrame) -> str:
    """Frequency of statements, by the days between the ends of periods."""
    gaps = (
        statements.select("ticker", "period_end")
        .unique()
        .sort("ticker", "period_end")
        .select(pl.col("period_end").diff().over("ticker").dt.total_days())
        .to_series()
        .drop_nulls()
    )
    middle = gaps.median() if len(gaps) else None
    return "quarterly" if isinstance(middle, float) and middle < 200 else "annual"


def span(days: pl.Series) -> tuple[date, date] | None:
    """First and last day; None without any."""
    first, last = days.min(), days.max()
    return (first, last) if isinstance(first, date) and isinstance(last, date) else None


def _like_a_split(step: pl.Expr) -> pl.Expr:
    larger = pl.max_horizontal(step, 1.0 / step)
    return pl.any_horizontal((larger / ratio - 1.0).abs() < _NEAR for ratio in _RATIOS)


def series_of(observations: pl.DataFrame) -> dict[str, dict[str, str | int]]:
    """Frequency and lag of each macro series, by the days between its observations.

    Args:
        observations: `series_id` and `period`.

    Returns:
        Settings by series, without series whose observations are more than a year apart.

    """
    gaps = (
        observations.drop_nulls()
        .unique()
        .sort("series_id", "period")
        .group_by("series_id", maintain_order=True)
        .agg(gap=pl.col("period").diff().dt.total_days().median())
    )
    settings: dict[str, dict[str, str | int]] = {}
    for name, gap in gaps.iter_rows():
        # A single observation may cover a whole year.
        fits = next((each for most, each in _FREQUENCIES if (400.0 if gap is None else gap) <= most), None)
        if fits is not None:
            settings[name] = {"frequency": fits[0], "lag_days": fits[1]}
    return settings


def slugs_of(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Our sectors by a file's names, and the unknown names."""
    slugs, unknown = {}, []
    for name in sorted(names):
        plain = re.sub(r"[\W_]", "", name).lower()
        slug = plain if plain in SECTORS else _SECTOR_NAMES.get(plain)
        if slug is None:
            unknown.append(name)
        else:
            slugs[name] = slug
    return slugs, unknown
