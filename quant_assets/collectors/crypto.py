"""Daily candles of crypto pairs: the table that all venues fill, and differences between venues."""

from collections.abc import Collection, Mapping
from datetime import date
from itertools import combinations

import polars as pl

from quant_assets.collectors.base import Wanted
from quant_assets.collectors.tables import Table

#: One candle of a pair at a venue and completed UTC day. Prices in the pair's second currency, volume in its first.
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

#: Differences between the candles of two venues.
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
    """The day of each pair's newest candle at the venue."""
    newest = wanted.tables.newest(CANDLES.name)
    return dict(newest.group_by("pair").agg(pl.col("date").max()).iter_rows())


def comparable(pairs: Collection[str], currencies: Mapping[str, str]) -> dict[str, str]:
    """Pairs of a venue that count as another pair: `{BTC-USD: BTC-USDT}`.

    A pair that the venue has itself stays; of several that would count as the same pair the first one counts.

    Args:
        pairs: pairs of one venue.
        currencies: second currencies that count as another.

    """
    same: dict[str, str] = {}
    for pair in sorted(pairs):
        first, second = pair.split("-")
        target = f"{first}-{currencies.get(second, second)}"
        if target not in {*pairs, *same.values()}:
            same[pair] = target
    return same


def apart(candles: pl.DataFrame, same: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Differences of every two venues on each day of a pair from the later of their first candles on.

    Args:
        candles: newest versions of `CANDLES` of several venues.
        same: pairs that count as another: `{BTC-USD: BTC-USDT}`, a dollar for a dollar token, which differ by up to a
            few per mille.

    Returns:
        `APART`, sorted by pair, date and venues: the closes, `close_apart` (the second close over the first, less 1),
        `range_apart` (the larger of the same for high and low, by size) and `volume_ratio` (the second volume over the
        first). On a day that one venue lacks, its figures and the differences are null.

    """
    figures = ("high", "low", "close", "volume")
    candles = candles.with_columns(pl.col("pair").replace(dict(same or {}))).select("pair", "date", "venue", *figures)
    venues = candles["venue"].unique().sort().to_list()
    frames = [APART.to_frame()]
    for first, second in combinations(venues, 2):
        left, right = (candles.filter(venue=name).drop("venue") for name in (first, second))
        begun = pl.max_horizontal(
            *(pl.col("pair").replace_strict(_first_days(venue), default=None) for venue in (left, right))
        )
        ratio = {name: pl.col(f"other_{name}") / pl.col(name) for name in figures}
        high, low = ratio["high"] - 1.0, ratio["low"] - 1.0
        both = set(left["pair"]) & set(right["pair"])
        frames.append(
            left.join(
                right.rename({name: f"other_{name}" for name in figures}),
                on=["pair", "date"],
                how="full",
                coalesce=True,
            )
            .filter(pl.col("pair").is_in(sorted(both)))
            .filter(pl.col("date") >= begun)
            .with_columns(
                venue=pl.lit(first),
                other_venue=pl.lit(second),
                close_apart=ratio["close"] - 1.0,
                range_apart=pl.when(high.abs() >= low.abs()).then(high).otherwise(low),
                volume_ratio=pl.when(pl.col("volume") > 0.0).then(ratio["volume"]),
            )
            .select(list(APART))
        )
    return pl.concat(frames).sort("pair", "date", "venue", "other_venue")


def _first_days(candles: pl.DataFrame) -> dict[str, date]:
    return dict(candles.group_by("pair").agg(pl.col("date").min()).iter_rows())
