"""The set `cross_section`: features compared with other members' on the same session, in the sector and the market.

Comparisons within the sector are columns of dataset `features`; those within the market are dataset `market_features`,
because they need every sector. `market_breadth` counts members of the market. All are computed from rows of `features`
by session.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from quant_assets.market.panel import BoolArray, FloatArray
from quant_assets.signals.cross_section import rank, zscore
from quant_assets.windows.declarations import Declared

Within = Literal["sector", "market"]
How = Literal["rank", "zscore"]
Compare = Callable[[FloatArray, BoolArray], FloatArray]


@dataclass(frozen=True, eq=False)
class CrossSection(Declared[Compare]):
    """A feature compared with the other members' on the same session; `inputs` is that feature.

    Attributes:
        within: the group with which a member is compared.

    """

    within: Within = "sector"


@dataclass(frozen=True, eq=False)
class Breadth(Declared[pl.Expr]):
    """Share of the members with a value of `inputs` that meet the condition `compute`."""


def compared(feature: str, within: Within, how: How) -> CrossSection:
    """Declare a feature's rank (0 lowest, 1 highest) or z-score among a session's members.

    Its name is `<feature>_<within>_<how>`.
    """
    members = "the sector's members" if within == "sector" else "all members"
    if how == "rank":
        meaning = f"rank of {feature} among {members} on the session, 0 lowest and 1 highest"
        return CrossSection(f"{feature}_{within}_rank", (feature,), 0, rank, meaning, ge=0, le=1, within=within)
    meaning = f"{feature} less its mean over {members} on the session, in standard deviations"
    return CrossSection(
        f"{feature}_{within}_zscore", (feature,), 0, zscore, meaning, "standard deviations", within=within
    )


#: Features whose levels differ between sectors and years, so that a comparison is more informative.
COMPARED = (
    "momentum_12_1",
    "return_20",
    "realised_volatility_60",
    "high_52w_distance",
    "amihud_20",
    "volume_ratio_5_60",
    "earnings_yield",
    "book_to_market",
    "return_on_equity",
)

FEATURES: tuple[CrossSection, ...] = tuple(
    compared(feature, within, how)
    for within in ("sector", "market")
    for feature in COMPARED
    for how in ("rank", "zscore")
)

#: Relative difference of prices that are equal as traded: adjusted, their last bits follow from the ticker's first bar.
#: A cent of the dearest share is 15 times as much.
_EQUAL = 1e-9

BREADTH: tuple[Breadth, ...] = tuple(
    Breadth(name, (feature,), 0, condition, f"share of members {what}", ge=0, le=1)
    for name, feature, condition, what in (
        (
            "above_sma_50",
            "sma_distance_50",
            pl.col("sma_distance_50") > _EQUAL,
            "whose close is above its mean of 50 sessions",
        ),
        (
            "above_sma_200",
            "sma_distance_200",
            pl.col("sma_distance_200") > _EQUAL,
            "whose close is above its mean of 200 sessions",
        ),
        ("advancing", "return_1", pl.col("return_1") > _EQUAL, "that rose on the session"),
        (
            "at_high_52w",
            "high_52w_distance",
            pl.col("high_52w_distance").abs() <= _EQUAL,
            "that closed at their highest of 252 sessions",
        ),
        (
            "at_low_52w",
            "low_52w_distance",
            pl.col("low_52w_distance").abs() <= _EQUAL,
            "that closed at their lowest of 252 sessions",
        ),
    )
)


def cross_sections(rows: pl.DataFrame, declared: Sequence[CrossSection]) -> pl.DataFrame:
    """Values of the declared features, compared with the other rows of the same session.

    Args:
        rows: `ticker`, `date` and the features compared, null where missing; one row per ticker and date. All rows of a
            session are compared, so pass one sector's rows or the whole market's.
        declared: the features to compute.

    Returns:
        `ticker`, `date` and the declared features in the order of `rows`; null if the value is missing or there is no
        other value.

    """
    names, days = rows["ticker"].unique().sort(), rows["date"].unique().sort()
    place = (names.search_sorted(rows["ticker"]).to_numpy(), days.search_sorted(rows["date"]).to_numpy())
    among = np.zeros((len(names), len(days)), dtype=np.bool_)
    among[place] = True
    values = {}
    for feature in declared:
        panel = np.full(among.shape, np.nan)
        panel[place] = rows[feature.inputs[0]].fill_null(np.nan).to_numpy()
        values[feature.name] = pl.Series(feature.compute(panel, among)[place], nan_to_null=True, dtype=pl.Float64)
    return rows.select("ticker", "date").with_columns(**values)


def market_features(features: pl.DataFrame, declared: Sequence[CrossSection]) -> pl.DataFrame:
    """Dataset `market_features`: features compared with those of all members of the market.

    Args:
        features: dataset features of every sector, with `sector`.
        declared: the features to compute.

    Returns:
        `sector`, `ticker`, `date` and the declared features, sorted by these three.

    """
    rows = features.sort("ticker", "date")
    return (
        rows.select("sector", "ticker", "date")
        .with_columns(cross_sections(rows, declared).drop("ticker", "date"))
        .sort("sector", "ticker", "date")
    )


def market_breadth(features: pl.DataFrame, declared: Sequence[Breadth]) -> pl.DataFrame:
    """Dataset `market_breadth`: number of members, and the shares that meet the conditions, of those with a value.

    Args:
        features: dataset features of every sector.
        declared: the shares to compute.

    Returns:
        `date`, `members` and the declared shares, null if no member has a value; sorted by date.

    """
    shares = {share.name: share.compute.sum().cast(pl.Float64) / pl.col(share.inputs[0]).count() for share in declared}
    counted = features.group_by("date").agg(members=pl.len().cast(pl.Int32), **shares)
    return counted.with_columns(pl.selectors.float().fill_nan(None)).sort("date")
