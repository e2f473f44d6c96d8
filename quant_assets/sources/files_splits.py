"""Splits from price files of the `files` provider, for converting share counts to their publication."""

from collections.abc import Callable, Sequence

import polars as pl

from quant_assets.settings.providers import PriceFile
from quant_assets.sources.files_reading import collect

SPLITS = pl.Schema({"ticker": pl.String, "day": pl.Date, "ratio": pl.Float64, "so_far": pl.Float64})


def splits_of(prices: Sequence[PriceFile], bars: Callable[[PriceFile], pl.LazyFrame]) -> pl.DataFrame:
    """The splits of each day, from the best file with a bar of that day.

    Best by precedence, not by length: later data of a file must not change an earlier day, and files of adjusted prices
    give spin-offs as splits, which share counts do not reflect. An altered source uses the unaltered files, because a
    snapshot's counts contain the splits up to it.

    Args:
        prices: the files, the best first.
        bars: returns the bars of a file.

    Returns:
        Columns `ticker`, `day` of a split, its `ratio` and `so_far` (product of its splits).

    """
    files = {place: file for place, file in enumerate(prices) if "split_ratio" in file.columns}
    if not files:
        return SPLITS.to_frame()
    given = {
        place: collect(
            bars(file)
            .filter((pl.col("split_ratio") != file.no_split) & (pl.col("split_ratio") > 0.0))
            .select("ticker", "date", "split_ratio", place=pl.lit(place)),
            file.file,
        )
        for place, file in files.items()
    }
    events, day = pl.concat(given.values()), ["ticker", "date"]
    # Files with bars of these days: not needed for the worst file, and for others only on days of worse ones.
    there = [events.select(*day, "place")]
    for place, file in list(files.items())[:-1]:
        worse = pl.concat(each for other, each in given.items() if other > place).lazy().select(day).unique()
        found = bars(file).join(worse, on=day, how="semi").select(*day, place=pl.lit(place))
        there.append(collect(found, file.file))
    best = pl.concat(there).group_by(day).agg(pl.col("place").min())
    return (
        events.join(best, on=["ticker", "date", "place"], how="semi")
        .sort("ticker", "date")
        .select("ticker", day="date", ratio="split_ratio", so_far=pl.col("split_ratio").cum_prod().over("ticker"))
    )
