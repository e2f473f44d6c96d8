"""The splits that price files of the `files` provider tell: by them share counts are taken back to publication."""

from collections.abc import Callable, Sequence

import polars as pl

from quant_assets.settings.providers import PriceFile
from quant_assets.sources.files_reading import collect

SPLITS = pl.Schema({"ticker": pl.String, "day": pl.Date, "ratio": pl.Float64, "so_far": pl.Float64})


def splits_of(prices: Sequence[PriceFile], bars: Callable[[PriceFile], pl.LazyFrame]) -> pl.DataFrame:
    """The splits of each day, from the best file with a bar of it.

    Best by precedence, not the longest: what a file goes on to say later must not change what is known of an earlier
    day, and files of adjusted prices give spin-offs as splits, which share counts do not reflect. An altered source
    takes those of the files as they are: a snapshot's counts contain the splits up to it, whatever is to be read of the
    prices.

    Args:
        prices: the files, the best first.
        bars: gives the bars of a file.

    Returns:
        Columns `ticker`, `day` of a split, its `ratio` and `so_far` (product of its splits).

    """
    files = {place: file for place, file in enumerate(prices) if "split_ratio" in file.columns}
    if not files:
        return SPLITS.to_frame()
    events = pl.concat(
        collect(
            bars(file).filter((pl.col("split_ratio") != file.no_split) & (pl.col("split_ratio") > 0.0)), file.file
        ).select("ticker", "date", "split_ratio", place=pl.lit(place))
        for place, file in files.items()
    )
    days = events.lazy().select("ticker", "date").unique()
    there = pl.concat(
        collect(bars(file).join(days, on=["ticker", "date"]).select("ticker", "date", place=pl.lit(place)), file.file)
        for place, file in files.items()
    )
    best = there.group_by("ticker", "date").agg(pl.col("place").min())
    return (
        events.join(best, on=["ticker", "date", "place"], how="semi")
        .sort("ticker", "date")
        .select("ticker", day="date", ratio="split_ratio", so_far=pl.col("split_ratio").cum_prod().over("ticker"))
    )
