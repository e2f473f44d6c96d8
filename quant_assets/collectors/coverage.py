"""Share of the expected data that was collected: prices by ticker and session, answers of any provider."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from quant_assets.collectors.collection import Collection
from quant_assets.collectors.yahoo import Yahoo
from quant_assets.collectors.yahoo_chart import BARS
from quant_assets.market.calendar import last_session_to

#: Without a bar in this many days before a session, a ticker is not expected to have one: it is halted or delisted.
_SILENT_DAYS = 10


@dataclass(frozen=True)
class Coverage:
    """Tickers with a bar on a session, of those that had one shortly before.

    Attributes:
        session: the session.
        there: tickers with a bar.
        lacking: tickers without one, sorted.

    """

    session: date
    there: int
    lacking: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the expected tickers; 0 where there are none."""
        expected = self.there + len(self.lacking)
        return self.there / expected if expected else 0.0

    def __str__(self) -> str:
        shown = f", without {', '.join(self.lacking[:5])}" if self.lacking else ""
        more = f" and {len(self.lacking) - 5} more" if len(self.lacking) > 5 else ""
        return f"{self.there} of {self.there + len(self.lacking)} tickers have a bar of {self.session}{shown}{more}"


def coverage(collection: Collection, session: date) -> Coverage:
    """Coverage of the universe's prices."""
    bars = collection.tables(Yahoo.name).newest(BARS.name).filter(pl.col("ticker").is_in(collection.settings.tickers))
    priced = set(bars.filter(pl.col("date") == session)["ticker"])
    before = pl.col("date").is_between(session - timedelta(days=_SILENT_DAYS), session, closed="left")
    lacking = set(bars.filter(before)["ticker"]) - priced
    return Coverage(session, len(priced), tuple(sorted(lacking)))


def newest_answer(collection: Collection, provider: str) -> datetime | None:
    """Time of a provider's last answer with rows or nothing; None where there is none within a year."""
    newest = None
    for entry in collection.raw(provider).entries(since=collection.closed.date() - timedelta(days=366)):
        if entry.outcome in ("rows", "nothing"):
            newest = entry.at
    return newest


def sessions_late(collection: Collection, provider: str) -> int | None:
    """Closed sessions since a provider's last answer with rows or nothing; None without one."""
    newest = newest_answer(collection, provider)
    if newest is None:
        return None
    late, closed = 0, collection.closed
    while newest < closed:
        late += 1
        before = last_session_to(closed.date() - timedelta(days=1))
        closed = closed.replace(year=before.year, month=before.month, day=before.day)
    return late
