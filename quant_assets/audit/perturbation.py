"""Perturbation: every row that became known after a cut gets random values that a market could have.

The cut is one day for all tickers, or one day per ticker. Events happen at the very next session: tickers stop, halt,
split, pay, are suspended, move, join or leave the index, and statements come a session after the cut.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from quant_assets.market.calendar import first_session_from
from quant_assets.market.delistings import TRADES_AGAIN
from quant_assets.sources.altered import EVENT, KEPT, KNOWN, Kind

#: Figures of a statement, with the number of their draw.
_FIGURES = {
    "revenue": 40,
    "gross_profit": 41,
    "operating_income": 42,
    "net_income": 43,
    "total_assets": 44,
    "total_equity": 45,
    "total_debt": 46,
    "shares": 47,
    "depreciation": 70,
    "operating_cash_flow": 71,
    "capital_expenditure": 72,
    "cash": 73,
}

#: Figures that may have either sign, with the number of the draw of the sign.
_SIGNED = {"gross_profit": 50, "operating_income": 51, "net_income": 52, "total_equity": 53, "operating_cash_flow": 74}

#: Prices of a bar; a provider may lack some.
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class Perturbed:
    """Everything that became known after the cut is replaced by random values that a market could have.

    Prices keep their order (high >= open, close >= low > 0); figures and observations are scaled, some with the other
    sign. At the session after the cut, or some weeks later, tickers stop trading, halt, are suspended (no volume at one
    price), split, pay, change their sector, join the index or leave it; statements come at once, later or never.

    Attributes:
        cut: last unaltered day; with cuts by ticker, the first of them.
        seed: of the values.
        published_later: alter only values that describe days up to the cut and were published after it.
        by_ticker: last unaltered day by ticker and macro series; rows of others stay unaltered. Empty for one cut for
            all.

    """

    cut: date
    seed: int = 1
    published_later: bool = False
    by_ticker: tuple[tuple[str, date], ...] = ()
    removes = False

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Rows with the same columns; those known by the cut are unaltered."""
        if kind in ("rates", "indices") and self.by_ticker:  # without tickers
            return rows
        last_day = self._of("series_id", dict(self.by_ticker)) if kind == "macro" else self.last_day
        later = (pl.col(KNOWN) > last_day).fill_null(False)
        if self.published_later:
            later &= pl.col(EVENT) <= last_day
            if kind not in ("delistings", "statements", "macro", "rates", "news", "crypto"):
                return rows
        changes: dict[Kind, Callable[[pl.LazyFrame, pl.Expr], pl.LazyFrame]] = {
            "bars": self._bars,
            "held": self._bars,
            "membership": self._membership,
            "snapshots": self._snapshots,
            "delistings": self._delistings,
            "statements": self._statements,
            "macro": self._macro,
            "rates": self._rates,
            "news": self._news,
            "crypto": self._closes,
            "indices": self._closes,
        }
        return changes[kind](rows, later)

    @property
    def last_day(self) -> pl.Expr:
        """Last unaltered day of the row's ticker; null if all its days are unaltered."""
        return self._of("ticker", dict(self.by_ticker))

    @property
    def next_session(self) -> pl.Expr:
        """The session after the last unaltered day."""
        return self._of("ticker", {name: _next_session(day) for name, day in self.by_ticker}, _next_session(self.cut))

    def _of(self, column: str, days: dict[str, date], common: date | None = None) -> pl.Expr:
        """The day of the row's ticker or series, null without one; without cuts by ticker, the common day."""
        if not days:
            return pl.lit(common or self.cut)
        values = pl.Series(list(days.values()), dtype=pl.Date)
        return pl.col(column).replace_strict(list(days), values, default=None, return_dtype=pl.Date)

    def stops(self) -> pl.Expr:
        """The day after which a ticker has no bars any more; null for most."""
        draw = self._uniform(20, "ticker")
        some_weeks = self._days(21, 5, 45, "ticker")
        return pl.when(draw < 0.08).then(self.last_day).when(draw < 0.14).then(self.last_day + some_weeks)

    # --- Bars ---------------------------------------------------------------------------------------------------------

    def _bars(self, rows: pl.LazyFrame, later: pl.Expr) -> pl.LazyFrame:
        def draw(number: int) -> pl.Expr:
            return self._uniform(number, "ticker", "date")

        def of_ticker(number: int) -> pl.Expr:
            return self._uniform(number, "ticker")

        def lasts(number: int) -> pl.Expr:  # from the next session on, for a number of days drawn per ticker
            return pl.col("date") < self.next_session + self._days(number, 1, 10, "ticker")

        stopped = (pl.col("date") > self.stops()).fill_null(False)
        halted = (of_ticker(22) < 0.15) & lasts(23)
        rows = rows.filter(~(later & (stopped | halted.fill_null(False) | (draw(0) < 0.02))))
        names = rows.collect_schema().names()
        if "close" not in names:
            return rows
        suspended = ((of_ticker(24) < 0.1) & lasts(25)).fill_null(False)
        at_once = (pl.col("date") == self.next_session).fill_null(False)
        split, paid = at_once & (of_ticker(26) < 0.2), at_once & (of_ticker(27) < 0.25)
        # After a split the price is halved.
        ratio = pl.when(of_ticker(26) < 0.2).then(2.0).otherwise(1.0) if "split_ratio" in names else pl.lit(1.0)
        level = (0.8 + 0.5 * draw(1)) / ratio
        one = pl.lit(1.0)
        spread = {"open": one, "high": 1.0 + 0.03 * draw(2), "low": 1.0 - 0.03 * draw(3), "close": one}
        close = pl.col("close") * level
        values = {
            name: pl.when(suspended).then(close).otherwise(pl.col(name) * level * spread[name]) for name in _PRICES
        }
        values |= {
            "volume": pl.when(suspended).then(0.0).otherwise(pl.col("volume") * (0.5 + 1.5 * draw(4)) * ratio),
            "dividend": pl.when(paid | (draw(5) < 0.02)).then(0.01 * close).otherwise("dividend"),
            "split_ratio": pl.when(split | (draw(6) < 0.005)).then(2.0).otherwise("split_ratio"),
        }
        return rows.with_columns(
            pl.when(later & pl.col(name).is_not_null()).then(value).otherwise(name).alias(name)
            for name, value in values.items()
            if name in names
        )

    def _delistings(self, rows: pl.LazyFrame, later: pl.Expr) -> pl.LazyFrame:
        """Other reasons, except for renames; half of the delistings that were taken back stand."""
        names = rows.collect_schema().names()
        if "reason" not in names:
            return rows
        taken_back = pl.col("reason").eq_missing(pl.lit(TRADES_AGAIN))
        failed = pl.col("reason").eq_missing(pl.lit("failure"))
        other = pl.when(failed).then(pl.lit("takeover")).otherwise(pl.lit("failure"))
        changes = later & ~taken_back
        if "successor" in names:
            changes &= pl.col("successor").is_null()
        stands = later & taken_back & (self._uniform(31, "ticker", "last_session") < 0.5)
        return rows.filter(~stands).with_columns(reason=pl.when(changes).then(other).otherwise("reason"))

    # --- What is reported ---------------------------------------------------------------------------------------------

    def _macro(self, rows: pl.LazyFrame, later: pl.Expr) -> pl.LazyFrame:
        factor = 0.5 + self._uniform(40, "series_id", "period")
        return rows.with_columns(value=pl.when(later).then(pl.col("value") * factor).otherwise("value"))

    def _closes(self, rows: pl.LazyFrame, later: pl.Expr) -> pl.LazyFrame:
        factor = 0.5 + self._uniform(48, "ticker", "date")
        return rows.with_columns(close=pl.when(later).then(pl.col("close") * factor).otherwise("close"))

    def _news(self, rows: pl.LazyFrame, later: pl.Expr) -> pl.LazyFrame:
        """Some news never come, the others have another ending."""
        draw = self._uniform(45, "item")
        rows = rows.filter(~(later & (draw < 0.2)).fill_null(False)) if not self.published_later else rows
        ending = (
            pl.when(draw < 0.6).then(pl.lit(" plunges after loss")).otherwise(pl.lit(" surges after record profit"))
        )
        return rows.with_columns(title=pl.when(later).then(pl.concat_str("title", ending)).otherwise("title"))

    def _rates(self, rows: pl.LazyFrame, later: pl.Expr) -> pl.LazyFrame:
        factor = 0.5 + self._uniform(40, "from", "to", "date")
        return rows.with_columns(rate=pl.when(later).then(pl.col("rate") * factor).otherwise("rate"))

    def _statements(self, rows: pl.LazyFrame, later: pl.Expr) -> pl.LazyFrame:
        names = rows.collect_schema().names()
        # Not by version: a restated share count keeps its ratio to the one before, which tells the splits in between.
        row = ("ticker", "period_end")
        factors = {name: 0.5 + self._uniform(draw, *row) for name, draw in _FIGURES.items() if name in names}
        for name, draw in _SIGNED.items():
            if name in factors:
                factors[name] *= pl.when(self._uniform(draw, *row) < 0.3).then(-1.0).otherwise(1.0)
        if "shares" in factors:  # halved or doubled, so that the ratio keeps its last bit
            factors["shares"] = pl.when(factors["shares"] < 1.0).then(0.5).otherwise(2.0)
            if KEPT in names:
                factors["shares"] = pl.when(KEPT).then(1.0).otherwise(factors["shares"])
        rows = rows.with_columns(
            pl.when(later).then(pl.col(name) * factor).otherwise(name).alias(name) for name, factor in factors.items()
        )
        # A kept share count needs its row; and if only values may change, no row is removed.
        return rows if KEPT in names or self.published_later else self._other_days(rows, later, names)

    def _other_days(self, rows: pl.LazyFrame, later: pl.Expr, names: Sequence[str]) -> pl.LazyFrame:
        """Periods of which nothing was known: some never come, some come at once, some weeks later."""
        period = [name for name in ("ticker", "period_end", "frequency", "form", "provider") if name in names]
        dated = (pl.col("published") > pl.col("period_end")).fill_null(False).all().over(period)
        unknown, alone = later.all().over(period), pl.len().over(period) == 1
        draw = self._uniform(60, "ticker", "period_end")
        sooner = (pl.col(KNOWN).min().over(period) - self.last_day).dt.total_days() - 1
        at_once = draw.is_between(0.15, 0.5) & (
            pl.col("published").min().over(period) - pl.duration(days=sooner) > pl.col("period_end")
        )
        # A later version comes no earlier than the first one, so all versions move together.
        days = (
            pl.when(at_once)
            .then(-sooner)
            .when((draw > 0.7) & alone)
            .then((1.0 + 14.0 * self._uniform(61, "ticker", "period_end")).cast(pl.Int64))
        )
        moved = rows.with_columns(
            pl.when(unknown & dated & days.is_not_null())
            .then(pl.col(name) + pl.duration(days=days))
            .otherwise(name)
            .alias(name)
            for name in ("published", "restated_on")
            if name in names
        )
        return moved.filter(~(unknown & (draw < 0.15)))

    # --- Memberships and sectors --------------------------------------------------------------------------------------

    def _membership(self, rows: pl.LazyFrame, later: pl.Expr) -> pl.LazyFrame:
        row = ("ticker", "start_date")
        draw = self._uniform(50, *row)
        there = (pl.col("end_date").is_null() | (pl.col("end_date") > self.last_day)) & self.last_day.is_not_null()
        # A member of the next session can leave only at the session after it.
        end: pl.Expr = (
            pl.when(draw < 0.15)
            .then(self.next_session)
            .when(draw < 0.3)
            .then(self.last_day + self._days(51, 3, 63, "ticker"))
        )
        end = pl.max_horizontal(end, pl.col("start_date") + pl.duration(days=20))
        last = pl.col("start_date") == pl.col("start_date").max().over("ticker")
        stays = last & (pl.col("end_date") > self.last_day) & (draw >= 0.3)
        # Later joiners do not join, or join another week.
        gone, waits = later & (self._uniform(53, *row) < 0.5), self._days(54, 1, 10, *row)
        altered = rows.filter(~gone).with_columns(
            start_date=pl.when(later & (pl.col("end_date") - pl.col("start_date") > waits).fill_null(True))
            .then(pl.col("start_date") + waits)
            .otherwise("start_date"),
            end_date=pl.when(there & (draw < 0.3)).then(end).when(~(there & stays).fill_null(False)).then("end_date"),
        )
        # Some former members are back at the next session.
        left = (pl.col("end_date").max().over("ticker") < self.last_day) & ~pl.col("end_date").is_null().any().over(
            "ticker"
        )
        back = (
            rows.filter((left & last & (self._uniform(55, "ticker") < 0.2)).fill_null(False))
            .with_columns(start_date=self.next_session, end_date=pl.lit(None, pl.Date))
            .select(rows.collect_schema().names())
        )
        return pl.concat([altered, back])

    def _snapshots(self, lazy: pl.LazyFrame, later: pl.Expr) -> pl.LazyFrame:
        rows = lazy.collect()
        names = rows["sector"].drop_nulls().unique().sort()
        if len(names) < 2:
            return lazy
        step = 1 + (self._uniform(60, "ticker") * (len(names) - 1)).cast(pl.Int64)
        index = (
            pl.col("sector").replace_strict(names, pl.Series(range(len(names)), dtype=pl.Int64), default=0) + step
        ) % len(names)
        elsewhere = index.map_batches(names.gather, return_dtype=pl.String)
        moved = rows.with_columns(sector=pl.when(later).then(elsewhere).otherwise("sector"))
        # Some other tickers move, at the next session or some weeks after the cut.
        draw = self._uniform(62, "ticker")
        day = pl.when(draw < 0.15).then(self.next_session).otherwise(self.last_day + self._days(61, 7, 47, "ticker"))
        fits = ~later & (draw < 0.3) & (pl.col("known_at") <= self.last_day)
        if "since" in rows.columns:
            fits &= pl.col("since").is_null()
        newest = rows.filter(fits).sort("ticker", "known_at").unique("ticker", keep="last", maintain_order=True)
        new = newest.with_columns(sector=elsewhere, known_at=day)
        taken = rows.select("ticker", "known_at")
        found = pl.concat([moved, new.join(taken, on=["ticker", "known_at"], how="anti")])
        return found.sort("ticker", "known_at", maintain_order=True).lazy()

    # --- Draws --------------------------------------------------------------------------------------------------------

    def _uniform(self, number: int, *names: str) -> pl.Expr:
        """A number in [0, 1) per row, by these columns alone."""
        return uniform(self.seed, number, names)

    def _days(self, number: int, least: int, most: int, *names: str) -> pl.Expr:
        """A number of days per row in [least, most), by these columns alone."""
        return pl.duration(days=(least + (most - least) * self._uniform(number, *names)).floor().cast(pl.Int64))


def uniform(seed: int, number: int, names: Sequence[str]) -> pl.Expr:
    """A number in [0, 1) per row, by the seed, the number of the draw and these columns alone."""
    return (pl.struct(names).hash(1_000 * seed + number) % 2**53).cast(pl.Float64) / 2.0**53


def _next_session(day: date) -> date:
    return first_session_from(day + timedelta(days=1))
