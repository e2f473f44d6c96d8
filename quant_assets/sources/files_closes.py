"""Daily closes of crypto-currencies, indices and funds of the `files` provider."""

from collections.abc import Callable

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.economy import CryptoFile, IndexFile
from quant_assets.sources.files_columns import KINDS, MAPPING, Columns, File, named
from quant_assets.sources.files_reading import collect


def closes_of(
    file: CryptoFile | IndexFile | None,
    schema: pl.Schema,
    scan: Callable[[File, Columns], pl.LazyFrame],
    *,
    strict: bool,
) -> pl.DataFrame:
    """The closes of a file, sorted by ticker and date; empty without a file.

    Args:
        file: its entry in the settings.
        schema: `ticker, date, close` of the Protocol.
        scan: reads its columns.
        strict: whether impossible closes are an error.

    Raises:
        SourceError: a close is impossible; names the file, the symbol and the day.

    """
    if file is None:
        return schema.to_frame()
    scanned = scan(file, named(file.columns, tuple(schema)))
    if file.not_read:
        scanned = scanned.filter(~pl.col("ticker").is_in(list(file.not_read)))
    # A row without a close is no bar.
    rows = collect(scanned, file.file).select(list(schema)).cast(schema).drop_nulls().sort("ticker", "date")
    if strict:
        _refuse(file, rows)
    return rows


def _refuse(file: CryptoFile | IndexFile, rows: pl.DataFrame) -> None:
    remedy = f"correct the file, or name the symbol in files.{KINDS[type(file)]}.not_read of {MAPPING}"
    twice = rows.filter(pl.struct("ticker", "date").is_duplicated())
    if len(twice):
        ticker, day = twice.select("ticker", "date").row(0)
        raise SourceError(f"{file.file}: {ticker} has two bars of {day}; {remedy}")
    wrong = rows.filter(~((pl.col("close") > 0.0) & pl.col("close").is_finite()))
    if len(wrong):
        ticker, day, close = wrong.row(0)
        raise SourceError(f"{file.file}: {ticker} has a close of {close} on {day}; {remedy}")
