"""The smallest provider: three companies in memory, with a universe and bars and nothing else."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from quant_assets.market.calendar import sessions
from quant_assets.sources.base import BARS, DELISTINGS, HELD, MEMBERSHIP, SECTOR_SNAPSHOTS
from quant_assets.sources.registry import Terms

FIRST, LAST = date(2024, 4, 1), date(2024, 7, 31)
TICKERS = ("AAA", "BBB", "CCC")


class MemorySource:
    """Prices that rise by one a session, from 10, 20 and 30."""

    name = "memory"

    def __init__(self, start: date) -> None:
        days = pl.Series("date", sessions(max(start, FIRST), LAST), dtype=pl.Date)
        place = pl.int_range(pl.len()).cast(pl.Float64)
        own = [
            pl.DataFrame({"date": days}).select(
                "date",
                ticker=pl.lit(ticker),
                **dict.fromkeys(("open", "high", "low", "close"), 10.0 * number + place),
                volume=pl.lit(1e6),
                dividend=pl.lit(0.0),
                split_ratio=pl.lit(1.0),
                adjustment=pl.lit("as_traded"),
                provider=pl.lit(self.name),
                precedence=pl.lit(0, pl.Int32),
            )
            for number, ticker in enumerate(TICKERS, start=1)
        ]
        self._bars = pl.concat(own).select(list(BARS))

    @classmethod
    def of(cls, settings: None, terms: Terms) -> "MemorySource":
        return cls(terms.start)

    def sector_snapshots(self, through: date) -> pl.DataFrame:
        rows = {"ticker": TICKERS, "sector": "energy", "known_at": FIRST, "since": None}
        return pl.DataFrame(rows, SECTOR_SNAPSHOTS)

    def membership(self, through: date) -> pl.DataFrame:
        rows = pl.DataFrame({"ticker": TICKERS, "start_date": FIRST, "end_date": None}, MEMBERSHIP)
        return rows.filter(pl.col("start_date") <= through)

    def bars(self, tickers: Sequence[str], start: date, through: date) -> pl.DataFrame:
        return self._bars.filter(pl.col("ticker").is_in(list(tickers)), pl.col("date").is_between(start, through))

    def held(self, tickers: Sequence[str], days: Sequence[date]) -> pl.DataFrame:
        asked = pl.col("ticker").is_in(list(tickers)), pl.col("date").is_in(list(days))
        return self._bars.filter(*asked).select(list(HELD))

    def delistings(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        return DELISTINGS.to_frame()
