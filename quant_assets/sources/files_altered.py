"""Altered files of the `files` provider for an audit, by the day on which a row became known.

The provider derives snapshots, delistings and renames itself, so altering its answers would be too late.
"""

from collections.abc import Collection, Sequence
from datetime import date

import polars as pl

from quant_assets.settings.domain import FundamentalSettings
from quant_assets.settings.economy import CryptoFile, IndexFile, MacroFile, RatesFile
from quant_assets.settings.providers import FundamentalFile, MembershipFile, NewsFile, PriceFile, SecuritiesFile
from quant_assets.settings.symbols import DelistingsFile
from quant_assets.sources.altered import EVENT, KEPT, KNOWN, Alteration, Kind
from quant_assets.sources.files import FilesSource
from quant_assets.sources.files_columns import File
from quant_assets.sources.files_kept_counts import tells_splits, with_kept_counts
from quant_assets.sources.files_macro import last_day_of


class AlterableFiles:
    """`sources.altered.Alterable` of files."""

    def __init__(self, source: FilesSource) -> None:
        self._source = source

    def read_once(self) -> FilesSource:
        """The files, decoded once."""
        return self._source.keeping()

    def altered(self, alteration: Alteration | None, lags: FundamentalSettings, start: date) -> FilesSource:
        """The files with altered rows."""
        if alteration is None:
            return self._source.altered(None, start)

        def rows(file: File | NewsFile, given: pl.LazyFrame) -> pl.LazyFrame:
            kind, known, event = _dated(file, given, lags)
            dated = given.with_columns(known.cast(pl.Date).alias(KNOWN), event.alias(EVENT))
            if isinstance(file, FundamentalFile) and alteration.last_day is not None and tells_splits(file, given):
                dated = with_kept_counts(
                    dated, self._source.spin_offs(), alteration.last_day, removed=alteration.removes
                )
            return alteration.rows(kind, dated).drop(KNOWN, EVENT, KEPT, strict=False)

        return self._source.altered(rows, start)

    def untested(self, cuts: Collection[date], tickers: Collection[str], lags: FundamentalSettings) -> list[str]:
        """Later share counts that are not altered, a sentence per file; see `files_kept_counts`."""
        found: dict[str, set[str]] = {}

        def look(file: File | NewsFile, rows: pl.LazyFrame) -> pl.LazyFrame:
            if isinstance(file, FundamentalFile) and tells_splits(file, rows):
                dated = rows.with_columns(_statement_known(lags, rows).alias(KNOWN))
                for cut in cuts:
                    kept = with_kept_counts(dated, self._source.spin_offs(), cut, removed=True)
                    found.setdefault(file.file, set()).update(kept.filter(KEPT).select("ticker").collect()["ticker"])
            return rows

        self._source.altered(look, date.min).statements([], date.min)
        asked = set(tickers)
        while missing := {name for both in self._source.renames() if both & asked for name in both - asked}:
            asked |= missing
        return [
            f"fundamentals.shares of {', '.join(sorted(kept & asked))} was not tested against all later counts of "
            f"{file}: some of them are needed to find the splits and spin-offs in the counts known by a cut "
            "(shares_as_of: snapshot)"
            for file, kept in found.items()
            if kept & asked
        ]

    def renamed(self) -> set[str]:
        """Symbols of companies that had several."""
        return {name for both in self._source.renames() for name in both}


def _dated(file: File | NewsFile, rows: pl.LazyFrame, lags: FundamentalSettings) -> tuple[Kind, pl.Expr, pl.Expr]:
    """Kind of a file's rows, when they became known, and the day or period that they describe."""
    if isinstance(file, NewsFile):
        return "news", pl.col("known_at").dt.date(), pl.col("published").dt.date()
    if isinstance(file, PriceFile):
        return "bars", pl.col("date"), pl.col("date")
    if isinstance(file, MembershipFile):
        return "membership", pl.col("start_date"), pl.col("start_date")
    if isinstance(file, SecuritiesFile):
        # A ticker's first snapshot is assumed for the time before it: the universe says so in `sector_assumed`.
        first = pl.col("known_at") == pl.col("known_at").min().over("ticker")
        return "snapshots", pl.when(~first).then("known_at"), pl.col("known_at")
    if isinstance(file, DelistingsFile):
        after = pl.col("last_session") + pl.duration(days=1)
        known = pl.coalesce("known_at", after) if "known_at" in rows.collect_schema() else after
        return "delistings", known, pl.col("last_session")
    if isinstance(file, FundamentalFile):
        return "statements", _statement_known(lags, rows), pl.col("period_end")
    if isinstance(file, RatesFile):
        known = pl.col("date").dt.month_end() if file.frequency == "monthly" else pl.col("date")
        return "rates", known, pl.col("date")
    if isinstance(file, CryptoFile):
        return "crypto", pl.col("date") + pl.duration(days=1), pl.col("date")
    if isinstance(file, IndexFile):
        return "indices", pl.col("date"), pl.col("date")
    return "macro", _macro_known(file, rows), pl.col("period")


def _statement_known(lags: FundamentalSettings, rows: pl.LazyFrame) -> pl.Expr:
    """A period's first vintage became known with its publication, a later one with its snapshot."""
    columns: Sequence[str] = rows.collect_schema().names()
    published = pl.when(pl.col("published") > pl.col("period_end")).then("published")
    assumed = pl.col("period_end") + pl.duration(days=lags.default_publication_lag_days)
    known = pl.coalesce(published + pl.duration(days=lags.min_lag_days), assumed)
    if "snapshot" not in columns:
        return known
    # The first vintage counts whatever the company.
    period = [name for name in ("ticker", "period_end", "form") if name in columns]
    return pl.when(pl.col("snapshot") == pl.col("snapshot").min().over(period)).then(known).otherwise("snapshot")


def _macro_known(file: MacroFile, rows: pl.LazyFrame) -> pl.Expr:
    """Day on which an observation of a file counts as released."""
    frequency = pl.col("series_id").replace_strict(
        {name: each.frequency for name, each in file.series.items()}, default="daily"
    )
    lag = pl.col("series_id").replace_strict({name: each.lag_days for name, each in file.series.items()}, default=0)
    assumed = last_day_of("period", frequency) + pl.duration(days=lag)
    if "released" not in rows.collect_schema():
        return assumed
    return pl.coalesce(last_day_of("released", pl.lit(file.vintage)), assumed)
