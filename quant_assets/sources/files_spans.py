"""The first and the last bar of each ticker in a price file; rows that no filter would ever show are refused here."""

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.providers import PriceFile
from quant_assets.sources.files_reading import MAPPING, collect


def spans(file: PriceFile, bars: pl.LazyFrame, *, may_be_empty: bool) -> pl.DataFrame:
    """`ticker`, `first` and `last` (Date of its first and last bar) of all bars of a file.

    Raises:
        SourceError: a row has no ticker or no date, or there is no bar and there may not be none; names the file.

    """
    days = pl.col("date")
    each = bars.group_by("ticker").agg(first=days.min(), last=days.max(), lost=days.null_count())
    ends = collect(each, file.file)
    lost = ends.filter(pl.col("ticker").is_null() | (pl.col("lost") > 0))
    if len(lost):
        raise SourceError(f"{file.file}: a row of ticker {lost['ticker'][0]} has no ticker or no date; remove it")
    if ends.is_empty() and not may_be_empty:
        raise SourceError(
            f"{file.file} has no bars{f' where {file.where}' if file.where else ''}; mend the file or {MAPPING}"
        )
    return ends.select("ticker", "first", "last")
