"""What becomes of the rows of an input: cut off, replaced by other valid values, shuffled, or without a ticker.

Reading is not here.

An alteration is told of each row when it became known (`KNOWN`) and of which day it speaks (`EVENT`). It is a function
of the row and the seed alone, so any part of an input is altered as the whole is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from quant_assets.market.delistings import TRADES_AGAIN
from quant_assets.sources.altered import EVENT, KEPT, KNOWN, Kind

_FIGURES = (
    "revenue",
    "gross_profit",
    "operating_income",
    "net_income",
    "total_assets",
    "total_equity",
    "total_debt",
    "shares",
)


@dataclass(frozen=True)
class Truncated:
    """Everything that became known after the cut is removed."""

    cut: date
    removes = True

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Rows known by the cut; an end of a membership after it is not known."""
        if KEPT in rows.collect_schema():
            # What a row keeps says something together with the row's other columns: with other values of these too.
            return Perturbed(self.cut).rows(kind, rows.filter(~_after(self.cut) | pl.col(KEPT)))
        known = rows.filter(~_after(self.cut))
        return (
            known.with_columns(end_date=pl.when(pl.col("end_date") <= self.cut).then("end_date"))
            if kind == "membership"
            else known
        )


@dataclass(frozen=True)
class Perturbed:
    """Everything that became known after the cut is replaced by random values that a market could have.

    Prices keep their order (high >= open, close >= low > 0); some bars are missing, some tickers stop trading, some
    split or pay a dividend; figures and observations are scaled; tickers change their sector, join the index or leave
    it.

    Attributes:
        cut: last day that stays as it is.
        seed: of the values.
        published_later: only values of days and periods up to the cut, which had been there but were not published.

    """

    cut: date
    seed: int = 1
    published_later: bool = False
    removes = False

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Rows with the same columns; those known by the cut as they were."""
        later = _after(self.cut)
        if self.published_later:
            later &= pl.col(EVENT) <= self.cut
            if kind not in ("delistings", "statements", "macro", "rates"):
                return rows
        if kind in ("bars", "held"):
            return self._bars(rows, later)
        if kind == "membership":
            return self._membership(rows, later)
        if kind == "snapshots":
            return self._snapshots(rows.collect(), later).lazy()
        if kind == "delistings":
            return self._delistings(rows, later)
        figures = (*_FIGURES, "value", "rate")
        scaled = tuple(name for name in figures if name in rows.collect_schema())
        # Not by version: a restated share count keeps its ratio to the one before, which tells the splits in between.
        row = {"macro": ("series_id", "period"), "rates": ("from", "to", "date")}.get(kind, ("ticker", "period_end"))
        factors = {name: 0.5 + self._uniform(40 + place, *row) for place, name in enumerate(scaled)}
        if "shares" in factors:  # halved or doubled, so that the ratio keeps its last bit
            factors["shares"] = pl.when(factors["shares"] < 1.0).then(0.5).otherwise(2.0)
            if KEPT in rows.collect_schema():
                factors["shares"] = pl.when(KEPT).then(1.0).otherwise(factors["shares"])
        return rows.with_columns(
            pl.when(later).then(pl.col(name) * factor).otherwise(name).alias(name) for name, factor in factors.items()
        )

    def _delistings(self, rows: pl.LazyFrame, later: pl.Expr) -> pl.LazyFrame:
        """Other reasons, but for renames; of those that are taken back, half stand."""
        names = rows.collect_schema().names()
        if "reason" not in names:
            return rows
        taken_back = pl.col("reason").eq_missing(pl.lit(TRADES_AGAIN))
        other = pl.when(self._uniform(30, "ticker") < 0.5).then(pl.lit("failure")).otherwise(pl.lit("takeover"))
        changes = later & ~taken_back
        if "successor" in names:
            changes &= pl.col("successor").is_null()
        stands = later & taken_back & (self._uniform(31, "ticker", "last_session") < 0.5)
        return rows.filter(~stands).with_columns(reason=pl.when(changes).then(other).otherwise("reason"))

    def stops(self) -> pl.Expr:
        """The day after which a ticker has no bars any more; null for most."""
        days = pl.duration(days=(5.0 + 40.0 * self._uniform(21, "ticker")).cast(pl.Int64))
        return pl.when(self._uniform(20, "ticker") < 0.15).then(pl.lit(self.cut) + days)

    def _bars(self, rows: pl.LazyFrame, later: pl.Expr) -> pl.LazyFrame:
        def draw(number: int) -> pl.Expr:
            return self._uniform(number, "ticker", "date")

        stopped = (pl.col("date") > self.stops()).fill_null(False)
        rows = rows.filter(~(later & (stopped | (draw(0) < 0.02))))
        names = rows.collect_schema().names()
        if "close" not in names:
            return rows
        level = 0.8 + 0.5 * draw(1)
        values = {
            "open": pl.col("open") * level,
            "high": pl.col("high") * level * (1.0 + 0.03 * draw(2)),
            "low": pl.col("low") * level * (1.0 - 0.03 * draw(3)),
            "close": pl.col("close") * level,
            "volume": pl.col("volume") * (0.5 + 1.5 * draw(4)),
            "dividend": pl.when(draw(5) < 0.02).then(0.01 * pl.col("close") * level).otherwise("dividend"),
            "split_ratio": pl.when(draw(6) < 0.005).then(2.0).otherwise("split_ratio"),
        }
        changed = {name: value for name, value in values.items() if name in names}
        return rows.with_columns(
            pl.when(later & pl.col(name).is_not_null()).then(value).otherwise(name).alias(name)
            for name, value in changed.items()
        )

    def _membership(self, rows: pl.LazyFrame, later: pl.Expr) -> pl.LazyFrame:
        ends = (pl.col("end_date").is_null() | (pl.col("end_date") > self.cut)) & (
            self._uniform(50, "ticker", "start_date") < 0.3
        )
        days = pl.duration(days=(3.0 + 60.0 * self._uniform(51, "ticker")).cast(pl.Int64))
        end = pl.max_horizontal(pl.lit(self.cut) + days, pl.col("start_date") + pl.duration(days=20))
        last = pl.col("start_date") == pl.col("start_date").max().over("ticker")
        stays = last & (pl.col("end_date") > self.cut) & (self._uniform(52, "ticker") < 0.5)
        return rows.filter(~(later & (self._uniform(53, "ticker", "start_date") < 0.5))).with_columns(
            end_date=pl.when(ends).then(end).when(~stays.fill_null(False)).then("end_date")
        )

    def _snapshots(self, rows: pl.DataFrame, later: pl.Expr) -> pl.DataFrame:
        names = rows["sector"].drop_nulls().unique().sort()
        if len(names) < 2:
            return rows
        step = 1 + (self._uniform(60, "ticker") * (len(names) - 1)).cast(pl.Int64)
        index = (
            pl.col("sector").replace_strict(names, pl.Series(range(len(names)), dtype=pl.Int64), default=0) + step
        ) % len(names)
        elsewhere = index.map_batches(names.gather, return_dtype=pl.String)
        moved = rows.with_columns(sector=pl.when(later).then(elsewhere).otherwise("sector"))
        # Some move that did not, some weeks after the cut.
        day = pl.lit(self.cut) + pl.duration(days=(7.0 + 40.0 * self._uniform(61, "ticker")).cast(pl.Int64))
        fits = ~later & (self._uniform(62, "ticker") < 0.3) & (pl.col("known_at") <= self.cut)
        if "since" in rows.columns:
            fits &= pl.col("since").is_null()
        newest = rows.filter(fits).sort("ticker", "known_at").unique("ticker", keep="last", maintain_order=True)
        new = newest.with_columns(sector=elsewhere, known_at=day)
        taken = rows.select("ticker", "known_at")
        return pl.concat([moved, new.join(taken, on=["ticker", "known_at"], how="anti")]).sort(
            "ticker", "known_at", maintain_order=True
        )

    def _uniform(self, number: int, *names: str) -> pl.Expr:
        """A number in [0, 1) for each row, by these columns alone."""
        return _uniform(self.seed, number, names)


@dataclass(frozen=True)
class Shuffled:
    """The same rows in another order; rows of one key keep theirs, which may say which of them came first."""

    seed: int = 1
    cut, removes = None, False

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Rows in the order of random numbers."""
        keys = {
            "bars": ("ticker", "date"),
            "held": ("ticker", "date"),
            "snapshots": ("ticker", "known_at"),
            "membership": ("ticker", "start_date"),
            "delistings": ("ticker", "last_session"),
            "statements": ("ticker", "period_end"),
            "macro": ("series_id", "period"),
            "rates": ("from", "to", "date"),
        }
        return rows.sort(_uniform(self.seed, 70, keys[kind]), maintain_order=True)


@dataclass(frozen=True)
class Without:
    """One ticker is left out everywhere."""

    ticker: str
    cut, removes = None, False

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Rows of the other tickers, and of the market."""
        return rows if kind in ("macro", "rates") else rows.filter(pl.col("ticker").ne_missing(self.ticker))


@dataclass(frozen=True)
class StartsLater:
    """There are no bars before a day."""

    start: date
    cut, removes = None, False

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Bars from the day on; everything else as it is."""
        return rows.filter(pl.col("date") >= self.start) if kind in ("bars", "held") else rows


def _after(cut: date) -> pl.Expr:
    return (pl.col(KNOWN) > cut).fill_null(False)


def _uniform(seed: int, number: int, names: Sequence[str]) -> pl.Expr:
    return (pl.struct(names).hash(1_000 * seed + number) % 2**53).cast(pl.Float64) / 2.0**53
