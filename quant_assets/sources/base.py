"""What a provider answers: one small Protocol for each kind of data, and the frames that cross it. No parsing here.

A provider is one class in this package. It is registered by its name in `settings.providers.PROVIDERS`, made by
`sources.registry` when a profile first asks for data, and answers as many kinds as it has: `Universe` and `Bars` it
must, without the others their datasets stay empty, which the run says (`WITHOUT`).

Network providers come in two halves. A collector (`collectors/`) asks the network and appends what it got to a raw
store, each answer with the day of its collection; nothing is overwritten there. The provider in this package reads that
store only, and of it what had been collected by `through`: what an asset computes depends neither on the network nor on
the day on which it is computed, and what was not collected in time was not known in time.
"""

from collections.abc import Sequence
from datetime import date
from typing import Protocol, runtime_checkable

import polars as pl

#: As-given daily bars. `adjustment` says what the provider already adjusted for; `dividend` and `split_ratio` are null
#: where it has none.
BARS = pl.Schema(
    {
        "ticker": pl.String,
        "date": pl.Date,
        "open": pl.Float64,
        "high": pl.Float64,
        "low": pl.Float64,
        "close": pl.Float64,
        "volume": pl.Float64,
        "dividend": pl.Float64,
        "split_ratio": pl.Float64,
        "adjustment": pl.String,
        "provider": pl.String,
        "precedence": pl.Int32,
    }
)

#: Sector snapshots: `ticker` belonged to `sector` (slug) according to a snapshot known from `known_at` on. A symbol
#: that its company took over with a rename begins on that day (`since`, else null); the company's earlier snapshots are
#: given with it.
SECTOR_SNAPSHOTS = pl.Schema({"ticker": pl.String, "sector": pl.String, "known_at": pl.Date, "since": pl.Date})

#: Index membership intervals, both ends included; `end_date` null while a member.
MEMBERSHIP = pl.Schema({"ticker": pl.String, "start_date": pl.Date, "end_date": pl.Date})

#: The last bar of tickers that stopped trading, and the session at which that was known. `reason` is takeover, failure,
#: renamed, or null where the provider does not say. A ticker that trades again after its `last_session` is another
#: company, unless a second row of that `last_session` with the reason trades_again takes the delisting back: it was
#: presumed, and the same company trades again at `known_at`. `successor` is the new symbol of a company that was
#: renamed, else null.
DELISTINGS = pl.Schema(
    {"ticker": pl.String, "last_session": pl.Date, "known_at": pl.Date, "reason": pl.String, "successor": pl.String}
)

#: Which provider has a bar of which company on a day, under the symbol it had or got, whatever the bar is worth.
HELD = pl.Schema({"ticker": pl.String, "date": pl.Date, "provider": pl.String})

#: Statements as given. `version` counts the versions of one period without a gap (0 is the first publication), each
#: published no earlier than the one before. `shares` are counted as at publication: splits after it are not applied.
#: `capital_expenditure` has the sign of the cash flow statement, negative where cash was spent.
#: `restated_on` is the day on which the provider last changed these figures, null where it does not tell or where that
#: is not after the publication.
STATEMENTS = pl.Schema(
    {
        "ticker": pl.String,
        "period_end": pl.Date,
        "frequency": pl.String,
        "published": pl.Date,
        "version": pl.Int32,
        "restated_on": pl.Date,
        "provider": pl.String,
        "revenue": pl.Float64,
        "gross_profit": pl.Float64,
        "operating_income": pl.Float64,
        "net_income": pl.Float64,
        "total_assets": pl.Float64,
        "total_equity": pl.Float64,
        "total_debt": pl.Float64,
        "shares": pl.Float64,
        "depreciation": pl.Float64,
        "operating_cash_flow": pl.Float64,
        "capital_expenditure": pl.Float64,
        "cash": pl.Float64,
    }
)

#: Macro observations, one row for each value that a period was given; `released` is null where the provider does not
#: know it and `lag_days` after `period` (its start) is assumed. A value that was withdrawn is null from its release on.
MACRO = pl.Schema(
    {"series_id": pl.String, "period": pl.Date, "released": pl.Date, "lag_days": pl.Int32, "value": pl.Float64}
)

#: News items, one row for each company (`ticker`, null where an item is of none) and item (`item`, the provider's own
#: name of it). `published` is when its publisher dates it, `known_at` when it could be read: the collection, else what
#: the provider documents; never before `published`.
NEWS = pl.Schema(
    {
        "item": pl.String(),
        "ticker": pl.String(),
        "published": pl.Datetime("us", "UTC"),
        "known_at": pl.Datetime("us", "UTC"),
        "title": pl.String(),
        "text": pl.String(),
        "publisher": pl.String(),
        "provider": pl.String(),
    }
)

#: Closes of crypto-currencies, one row for each symbol and UTC day, weekends included. A day's bar ends at the midnight
#: after it, and is known from the next day on.
CRYPTO = pl.Schema({"ticker": pl.String, "date": pl.Date, "close": pl.Float64})

#: Closes of indices and funds, one row for each symbol and session, known at that session's close.
INDICES = pl.Schema({"ticker": pl.String, "date": pl.Date, "close": pl.Float64})


class _Named(Protocol):
    """Every answer holds only what had become known by `through`, and a later `through` changes no earlier row.

    So cutting the answer for a late date at an early one gives the answer for the early one.
    """

    name: str


@runtime_checkable
class Universe(_Named, Protocol):
    """Which companies there are: their sectors, and since when they are members of the index."""

    def sector_snapshots(self, through: date) -> pl.DataFrame:
        """Sector snapshots (`SECTOR_SNAPSHOTS`).

        A ticker's first is given whatever `through` is, being assumed for the time before.
        """

    def membership(self, through: date) -> pl.DataFrame:
        """Index membership (`MEMBERSHIP`); an end later than `through` is null."""


@runtime_checkable
class Bars(_Named, Protocol):
    """Daily bars, and when they end."""

    def bars(self, tickers: Sequence[str], start: date, through: date) -> pl.DataFrame:
        """Daily bars (`BARS`) sorted by ticker, date, precedence.

        Providers overlap, the lowest precedence wins downstream.
        """

    def held(self, tickers: Sequence[str], days: Sequence[date]) -> pl.DataFrame:
        """Which of the tickers have a bar on these days (`HELD`), sorted."""

    def delistings(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Delistings (`DELISTINGS`) known by `through`."""


@runtime_checkable
class Statements(_Named, Protocol):
    """What companies reported."""

    def statements(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Statements (`STATEMENTS`) published by `through`; where `published` is null, with period_end by `through`."""


@runtime_checkable
class Macro(_Named, Protocol):
    """Series of the whole economy."""

    def macro(self, through: date) -> pl.DataFrame:
        """Macro observations (`MACRO`) released (or assumed released) by `through`."""


@runtime_checkable
class News(_Named, Protocol):
    """News of companies."""

    def news(self, tickers: Sequence[str], start: date, through: date) -> pl.DataFrame:
        """News (`NEWS`) with `known_at` from the day `start` to the day `through`, sorted by `known_at` and `item`."""


@runtime_checkable
class Crypto(_Named, Protocol):
    """Crypto-currencies."""

    def crypto(self, through: date) -> pl.DataFrame:
        """Closes (`CRYPTO`) of UTC days before `through`, which had ended by it, sorted by ticker and date."""


@runtime_checkable
class Indices(_Named, Protocol):
    """Indices and funds that a backtest may be held against."""

    def indices(self, through: date) -> pl.DataFrame:
        """Closes (`INDICES`) of days up to `through`, sorted by ticker and date."""


class Told(Protocol):
    """What a provider says of a file that it read."""

    @property
    def kind(self) -> str:
        """What it is a file of."""

    @property
    def file(self) -> str:
        """Its name."""

    @property
    def shown(self) -> str:
        """How it was read, how many rows it has, and how many were refused and why; one sentence."""


@runtime_checkable
class Reads(Protocol):
    """A provider that reads files whose forms it had to find out."""

    def told(self) -> Sequence[Told]:
        """What it read so far."""


@runtime_checkable
class Reporting(Protocol):
    """A provider that is given rows which it does not use."""

    def left_out(self, *kinds: str) -> list[str]:
        """A sentence for each kind of rows that is not used: where they are, how many, and why.

        Args:
            kinds: of files, as `Told.kind`; all where none is named. What stands in for files that it has not is told
                with `membership`. No file of another kind is read for it.

        """


@runtime_checkable
class Provider(Universe, Bars, Protocol):
    """The least that a profile needs."""


@runtime_checkable
class Source(Provider, Statements, Macro, News, Crypto, Indices, Protocol):
    """Everything that the assets ask for: a provider as `sources.registry` completes it."""


#: The kinds of data that a provider may be without, and what is then left of the datasets that are made of them.
WITHOUT: dict[type, str] = {
    Statements: "fundamentals stay empty",
    Macro: "macro stays empty",
    News: "sentiment stays empty",
    Crypto: "crypto stays empty, and sleeve_allocation has equities and cash alone",
    Indices: "no series can be named in backtest.benchmark",
}
