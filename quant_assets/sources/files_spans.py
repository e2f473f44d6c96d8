"""The first and the last bar of each ticker in a price file; what is wrong with a file as a whole is refused here."""

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.providers import PriceFile
from quant_assets.sources.files_adjusted import refuse_contradiction
from quant_assets.sources.files_columns import MAPPING
from quant_assets.sources.files_reading import collect

#: Of so many tickers, spread over all, the closes are looked at.
_LOOKED_AT = 60


def spans(file: PriceFile, bars: pl.LazyFrame, *, strict: bool) -> pl.DataFrame:
    """`ticker`, `first` and `last` (Date of its first and last bar) of all bars of a file.

    Args:
        file: whose bars they are.
        bars: all of it.
        strict: whether a file without a bar, or whose closes contradict its lows and highs, is an error.

    Raises:
        SourceError: a row has no ticker or no date, or what `strict` says; names the file.

    """
    days = pl.col("date")
    each = bars.group_by("ticker").agg(first=days.min(), last=days.max(), lost=days.null_count())
    ends = collect(each, file.file)
    lost = ends.filter(pl.col("ticker").is_null() | (pl.col("lost") > 0))
    if len(lost):
        raise SourceError(f"{file.file}: a row of ticker {lost['ticker'][0]} has no ticker or no date; remove it")
    if strict and ends.is_empty():
        raise SourceError(
            f"{file.file} has no bars{f' where {file.where}' if file.where else ''}; mend the file or {MAPPING}"
        )
    if strict:
        # Of the file and not of the tickers that happen to be asked for: the bars of a few bad ones are refused singly.
        tickers = ends["ticker"].sort().gather_every(max(1, len(ends) // _LOOKED_AT))
        looked_at = bars.filter(pl.col("ticker").is_in(tickers.to_list())).select(
            "ticker", "date", "low", "high", "close"
        )
        refuse_contradiction(file, collect(looked_at, file.file))
    return ends.select("ticker", "first", "last")
