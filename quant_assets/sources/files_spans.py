"""Overview of a price file: first and last bar by ticker, tickers by day. Unusable files are errors."""

from collections.abc import Callable, Sequence
from datetime import date

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.providers import PriceFile
from quant_assets.sources.files_adjusted import refuse_contradiction
from quant_assets.sources.files_columns import MAPPING, Columns, named
from quant_assets.sources.files_reading import collect

#: Size of the sample of tickers whose closes are checked.
_LOOKED_AT = 60


def spans(file: PriceFile, bars: pl.LazyFrame, *, strict: bool) -> pl.DataFrame:
    """`ticker`, `first` and `last` (Date of its first and last bar) of all bars of a file.

    Args:
        file: of the bars.
        bars: all bars.
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
            f"{file.file} has no bars{f' where {file.where}' if file.where else ''}; fix the file or {MAPPING}"
        )
    if strict:
        # A sample of all tickers, not the requested ones: bars of a few bad tickers are refused singly.
        tickers = ends["ticker"].sort().gather_every(max(1, len(ends) // _LOOKED_AT))
        looked_at = bars.filter(pl.col("ticker").is_in(tickers.to_list())).select(
            "ticker", "date", "low", "high", "close"
        )
        refuse_contradiction(file, collect(looked_at, file.file))
    return ends.select("ticker", "first", "last")


def told_through(
    files: Sequence[PriceFile],
    spans_of: Callable[[int], pl.DataFrame],
    scan: Callable[[PriceFile, Columns], pl.LazyFrame],
) -> pl.DataFrame:
    """`ticker`, `told_through`: last day with information, for tickers without information at all times.

    Args:
        files: the price files.
        spans_of: returns `spans` of a file by its position.
        scan: returns columns of a file.

    """
    last = pl.col("told_through").max()
    if not any("told_through" in file.columns for file in files):
        return pl.DataFrame(schema={"ticker": pl.String, "told_through": pl.Date})
    found = []
    for place, file in enumerate(files):
        if "told_through" in file.columns:
            columns = named(file.columns, ("ticker", "date", "told_through"))  # an audit alters rows by their date
            rows = scan(file, columns).group_by("ticker").agg(last)
            found.append(collect(rows, file.file).drop_nulls())
        else:
            found.append(spans_of(place).select("ticker", pl.lit(date.max).alias("told_through")))
    return pl.concat(found).group_by("ticker").agg(last)


def tickers_by_day(file: PriceFile, bars: pl.LazyFrame) -> pl.DataFrame:
    """`date` and `tickers`, the number of tickers with a bar; a repeated bar counts once.

    Args:
        file: whose bars they are.
        bars: all of it.

    """
    rows = collect(bars.select("ticker", "date"), file.file)
    same = pl.col("ticker") == pl.col("ticker").shift()
    in_order = rows.select(
        (~same.fill_null(False)).sum() == pl.col("ticker").n_unique(),
        pl.when(same).then(pl.col("date") > pl.col("date").shift()).all(),
    )
    # A file strictly sorted by ticker and date has no repeated bar; removing duplicates takes six times as long.
    if not all(in_order.row(0)):
        rows = rows.unique()
    return rows.group_by("date").agg(tickers=pl.len())
