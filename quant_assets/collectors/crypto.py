"""Daily candles of crypto pairs: the table that every venue fills, and how far two venues differ."""

from collections.abc import Collection, Mapping
from datetime import date
from itertools import combinations

import polars as pl

from quant_assets.collectors.base import Wanted
from quant_assets.collectors.tables import Table

#: One candle of a pair at a venue and UTC day that is over. Prices in the pair's second currency, volume in its first.
CANDLES = Table(
    "candles",
    pl.Schema(
        {
            "pair": pl.String,
            "venue": pl.String,
            "date": pl.Date,
            "open": pl.Float64,
            "high": pl.Float64,
            "low": pl.Float64,
            "close": pl.Float64,
            "volume": pl.Float64,
        }
    ),
    ("pair", "venue", "date"),
)

#: How far the candles of two venues differ.
APART = pl.Schema(
    {
        "pair": pl.String,
        "date": pl.Date,
        "venue": pl.String,
        "other_venue": pl.String,
        "close": pl.Float64,
        "other_close": pl.Float64,
        "close_apart": pl.Float64,
        "range_apart": pl.Float64,
        "volume_ratio": pl.Float64,
    }
)


def newest_days(wanted: Wanted) -> dict[str, date]:
    """The day of each pair's newest candle at the venue that is collected."""
    found = wanted.tables.newest(CANDLES.name)
    return dict(found.group_by("pair").agg(pl.col("date").max()).iter_rows())


def comparable(pairs: Collection[str], currencies: Mapping[str, str]) -> dict[str, str]:
    """Which pairs of a venue count as another one: `{BTC-USD: BTC-USDT}`.

    A pair that the venue has itself stays, and of several that would count as the same one the first counts.

    Args:
        pairs: of one venue.
        currencies: second currencies that count as another.

    """
    found: dict[str, str] = {}
    for pair in sorted(pairs):
        first, second = pair.split("-")
        other = f"{first}-{currencies.get(second, second)}"
        if other not in {*pairs, *found.values()}:
            found[pair] = other
    return found


def apart(candles: pl.DataFrame, same: Mapping[str, str] | None = None) -> pl.DataFrame:
    """How far every two venues of a pair differ on each day from the later of their first candles on.

    Args:
        candles: newest versions of `CANDLES` of several venues.
        same: pairs that count as another: `{BTC-USD: BTC-USDT}`, a dollar for a dollar's token, which are themselves up
            to some per mille apart.

    Returns:
        `APART`, sorted by pair, date and venues: the closes, `close_apart` (the other close over this one, less 1),
        `range_apart` (the larger of the same for high and low, by size) and `volume_ratio` (the other volume over this
        one). On a day that one venue lacks, its figures and the differences are null.

    """
    figures = ("high", "low", "close", "volume")
    candles = candles.with_columns(pl.col("pair").replace(dict(same or {}))).select("pair", "date", "venue", *figures)
    venues = candles["venue"].unique().sort().to_list()
    found = [APART.to_frame()]
    for one, other in combinations(venues, 2):
        mine, others = (candles.filter(venue=name).drop("venue") for name in (one, other))
        begun = pl.max_horizontal(
            *(pl.col("pair").replace_strict(_first_days(each), default=None) for each in (mine, others))
        )
        ratio = {each: pl.col(f"other_{each}") / pl.col(each) for each in figures}
        high, low = ratio["high"] - 1.0, ratio["low"] - 1.0
        both = set(mine["pair"]) & set(others["pair"])
        found.append(
            mine.join(
                others.rename({each: f"other_{each}" for each in figures}),
                on=["pair", "date"],
                how="full",
                coalesce=True,
            )
            .filter(pl.col("pair").is_in(sorted(both)))
            .filter(pl.col("date") >= begun)
            .with_columns(
                venue=pl.lit(one),
                other_venue=pl.lit(other),
                close_apart=ratio["close"] - 1.0,
                range_apart=pl.when(high.abs() >= low.abs()).then(high).otherwise(low),
                volume_ratio=pl.when(pl.col("volume") > 0.0).then(ratio["volume"]),
            )
            .select(list(APART))
        )
    return pl.concat(found).sort("pair", "date", "venue", "other_venue")


def _first_days(candles: pl.DataFrame) -> dict[str, date]:
    return dict(candles.group_by("pair").agg(pl.col("date").min()).iter_rows())
