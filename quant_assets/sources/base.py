"""Protocols of providers: one small Protocol per kind of data, and the schemas of its frames. No parsing here.

A provider is one class in this package. It is registered by name in `settings.providers.PROVIDERS`, and created by
`sources.registry` when a profile first needs data. `Universe` and `Bars` are required; without the other kinds of data
their datasets stay empty, which the run reports (`WITHOUT`).

Network providers have two parts. A collector (`collectors/`) queries the network and appends the answers, with the day
of collection, to a raw store that is never overwritten. The provider in this package reads only that store, and only
what had been collected by `through`. So assets depend neither on the network nor on the day of computation, and data
that was not collected in time was not known in time.
"""

from collections.abc import Sequence
from datetime import date
from typing import Protocol, runtime_checkable

import polars as pl

#: Daily bars as given. `adjustment` names the provider's adjustments; `dividend` and `split_ratio` are null if it has
#: none.
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
#: that a company got by a rename begins on that day (`since`, else null), and also has the company's earlier snapshots.
SECTOR_SNAPSHOTS = pl.Schema({"ticker": pl.String, "sector": pl.String, "known_at": pl.Date, "since": pl.Date})

#: Index membership intervals, both ends included; `end_date` null while a member.
MEMBERSHIP = pl.Schema({"ticker": pl.String, "start_date": pl.Date, "end_date": pl.Date})

#: The last bar of tickers that stopped trading, and the session at which that was known. `reason` is takeover, failure,
#: renamed, or null if the provider does not say. A ticker that trades again after `last_session` is another company,
#: unless a second row of that `last_session` with the reason trades_again withdraws the (presumed) delisting: the same
#: company trades again at `known_at`. `successor` is the new symbol of a renamed company, else null.
DELISTINGS = pl.Schema(
    {"ticker": pl.String, "last_session": pl.Date, "known_at": pl.Date, "reason": pl.String, "successor": pl.String}
)

#: Existence of bars by provider, company and day, under all of its symbols, whatever the quality of the bar.
HELD = pl.Schema({"ticker": pl.String, "date": pl.Date, "provider": pl.String})

#: Statements as given. `version` counts the versions of one period without a gap (0 is the first publication), each
#: published no earlier than the one before. `shares` are counted as at publication: splits after it are not applied.
#: `capital_expenditure` has the sign of the cash flow statement, negative where cash was spent.
#: `restated_on` is the day on which the provider last changed these figures, null if unknown or not after the
#: publication.
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

#: Macro observations, one row per released value of a period; `released` is null if the provider does not know it, then
#: `lag_days` after `period` (its start) is assumed. A withdrawn value is null from its release on.
MACRO = pl.Schema(
    {"series_id": pl.String, "period": pl.Date, "released": pl.Date, "lag_days": pl.Int32, "value": pl.Float64}
)

#: News items, one row per company (`ticker`, null for an item without company) and item (`item`, the provider's id).
#: `published` is the publisher's date, `known_at` the time when it could be read: the collection, else the provider's
#: documentation; never before `published`.
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

#: Closes of crypto-currencies, one row per symbol and UTC day, weekends included. A day's bar ends at midnight, and is
#: known from the next day on.
CRYPTO = pl.Schema({"ticker": pl.String, "date": pl.Date, "close": pl.Float64})

#: Closes of indices and funds, one row per symbol and session, known at that session's close.
INDICES = pl.Schema({"ticker": pl.String, "date": pl.Date, "close": pl.Float64})


class _Named(Protocol):
    """Every answer has only rows known by `through`, and a later `through` changes no earlier row.

    So the answer for an early date is the answer for a late date, cut at the early one.
    """

    name: str


@runtime_checkable
class Universe(_Named, Protocol):
    """The companies: their sectors, and their membership of the index."""

    def sector_snapshots(self, through: date) -> pl.DataFrame:
        """Sector snapshots (`SECTOR_SNAPSHOTS`).

        A ticker's first one is included whatever `through`, as it is assumed for the time before.
        """

    def membership(self, through: date) -> pl.DataFrame:
        """Index membership (`MEMBERSHIP`); an end later than `through` is null."""


@runtime_checkable
class Bars(_Named, Protocol):
    """Daily bars, and when they end."""

    def bars(self, tickers: Sequence[str], start: date, through: date) -> pl.DataFrame:
        """Daily bars (`BARS`) sorted by ticker, date, precedence.

        Providers may overlap; the lowest precedence wins downstream.
        """

    def held(self, tickers: Sequence[str], days: Sequence[date]) -> pl.DataFrame:
        """Existing bars of the tickers on these days (`HELD`), sorted."""

    def delistings(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Delistings (`DELISTINGS`) known by `through`."""


@runtime_checkable
class Statements(_Named, Protocol):
    """Statements of companies."""

    def statements(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Statements (`STATEMENTS`) published by `through`; if `published` is null, with period_end by `through`."""


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
    """Indices and funds, as benchmarks of backtests."""

    def indices(self, through: date) -> pl.DataFrame:
        """Closes (`INDICES`) of days up to `through`, sorted by ticker and date."""


class Told(Protocol):
    """A provider's report on a file that it read."""

    @property
    def kind(self) -> str:
        """Kind of the file."""

    @property
    def file(self) -> str:
        """Its name."""

    @property
    def shown(self) -> str:
        """Format, number of rows, and refused rows by reason; one sentence."""


@runtime_checkable
class Reads(Protocol):
    """A provider that reads files whose format it detects."""

    def told(self) -> Sequence[Told]:
        """The files that it has read so far."""


@runtime_checkable
class Reporting(Protocol):
    """A provider that leaves some rows unused."""

    def left_out(self, *kinds: str) -> list[str]:
        """A sentence per kind of unused rows: file, number and reason.

        Args:
            kinds: of files, as `Told.kind` [default: all]. Replacements of missing files count as `membership`.
                No file of another kind is read.

        """


@runtime_checkable
class Provider(Universe, Bars, Protocol):
    """The minimum that a profile needs."""


@runtime_checkable
class Source(Provider, Statements, Macro, News, Crypto, Indices, Protocol):
    """All kinds of data that the assets need: a provider completed by `sources.registry`."""


#: Optional kinds of data, and the consequence if a provider lacks them.
WITHOUT: dict[type, str] = {
    Statements: "fundamentals stay empty",
    Macro: "macro stays empty",
    News: "sentiment stays empty",
    Crypto: "crypto stays empty, and sleeve_allocation has only equities and cash",
    Indices: "backtest.benchmark cannot name a series",
}
