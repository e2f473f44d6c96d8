"""Alterations of input rows: truncated, shuffled, or without a ticker; `perturbation` replaces values. No reading.

Every row comes with the day it became known (`KNOWN`) and the day it describes (`EVENT`). An alteration depends on the
row and the seed alone, so a part of an input is altered exactly as the whole is.
"""

from dataclasses import dataclass
from datetime import date

import polars as pl

from quant_assets.audit.perturbation import Perturbed, uniform
from quant_assets.sources.altered import KEPT, KNOWN, Kind

__all__ = ["Perturbed", "Shuffled", "StartsLater", "Truncated", "Without"]


@dataclass(frozen=True)
class Truncated:
    """Everything that became known after the cut is removed."""

    cut: date
    removes = True

    @property
    def last_day(self) -> pl.Expr:
        """The cut."""
        return pl.lit(self.cut)

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Rows known by the cut; a membership's end after the cut is null."""
        if KEPT in rows.collect_schema():
            # The kept share count has a meaning only with the row's other columns, so the row stays with other values.
            return Perturbed(self.cut).rows(kind, rows.filter(~_after(self.cut) | pl.col(KEPT)))
        known = rows.filter(~_after(self.cut))
        return (
            known.with_columns(end_date=pl.when(pl.col("end_date") <= self.cut).then("end_date"))
            if kind == "membership"
            else known
        )


@dataclass(frozen=True)
class Shuffled:
    """The same rows in another order; rows of one key keep their order, which may say which came first."""

    seed: int = 1
    last_day, removes = None, False

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Rows sorted by random numbers."""
        keys = {
            "bars": ("ticker", "date"),
            "held": ("ticker", "date"),
            "snapshots": ("ticker", "known_at"),
            "membership": ("ticker", "start_date"),
            "delistings": ("ticker", "last_session"),
            "statements": ("ticker", "period_end"),
            "macro": ("series_id", "period"),
            "rates": ("from", "to", "date"),
            "news": ("item", "ticker"),
            "crypto": ("ticker", "date"),
            "indices": ("ticker", "date"),
        }
        return rows.sort(uniform(self.seed, 70, keys[kind]), maintain_order=True)


@dataclass(frozen=True)
class Without:
    """One ticker is removed from all inputs."""

    ticker: str
    last_day, removes = None, False

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Rows of the other tickers and of the market."""
        return rows if kind in ("macro", "rates", "indices") else rows.filter(pl.col("ticker").ne_missing(self.ticker))


@dataclass(frozen=True)
class StartsLater:
    """Bars before a day are removed."""

    start: date
    last_day, removes = None, False

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Bars from the day on; other rows unchanged."""
        return rows.filter(pl.col("date") >= self.start) if kind in ("bars", "held") else rows


def _after(cut: date) -> pl.Expr:
    return (pl.col(KNOWN) > cut).fill_null(False)
