"""What a provider offers an audit: its answers as they would be if the rows that it reads were others. No reading here.

Of a provider that offers nothing, the audit alters the answers. One that works its answers out of raw rows (snapshots,
delistings, renames) is told apart here, and not in its own class: no row of an asset follows from what an audit asks.
"""

from collections.abc import Collection
from datetime import date
from typing import Literal, Protocol, runtime_checkable

import polars as pl

from quant_assets.settings.domain import FundamentalSettings
from quant_assets.sources.base import Source

Kind = Literal[
    "bars", "held", "snapshots", "membership", "delistings", "statements", "macro", "rates", "news", "crypto", "indices"
]

#: Dates that a row comes with: when it became known (null counts as known), and of which day or period it speaks.
KNOWN, EVENT = "__known", "__event"

#: Whether the share count of a statement stays; such a row is not removed, while its other figures are altered.
KEPT = "__kept"


class Alteration(Protocol):
    """A change of the inputs."""

    @property
    def last_day(self) -> pl.Expr | None:
        """Last day of a row that stays as it is, null where it stays whatever its day.

        None where rows change whenever they became known.
        """

    @property
    def removes(self) -> bool:
        """Whether what became known after the cut is removed; else it has other values."""

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The altered rows.

        Args:
            kind: what they are.
            rows: columns as in `sources.base` or as files have them under the same names (some may be missing),
                `KNOWN`, `EVENT`, and `KEPT` where something stays.

        """


class Alterable(Protocol):
    """A provider whose raw rows can be altered."""

    def read_once(self) -> Source:
        """The provider, which keeps what it has read in memory for many questions."""

    def altered(self, alteration: Alteration | None, lags: FundamentalSettings, start: date) -> Source:
        """The provider with altered rows.

        Args:
            alteration: what is changed; None for nothing.
            lags: when a statement counts as known.
            start: first day of the profile.

        """

    def untested(self, cuts: Collection[date], tickers: Collection[str], lags: FundamentalSettings) -> list[str]:
        """What alterations at the cuts leave as it is of these tickers, although it came later, one sentence each."""

    def renamed(self) -> set[str]:
        """Tickers whose rows answer for another one too, so that nothing can be told of leaving them out."""


@runtime_checkable
class Ending(Protocol):
    """A provider that works its answers out of a simulation, which can end earlier."""

    def ending(self, end: date) -> Source:
        """The provider of what had been simulated by a day."""


def alterable(source: Source) -> Alterable | None:
    """How the rows that a provider reads are altered; None where only its answers can be."""
    from quant_assets.sources.files import FilesSource
    from quant_assets.sources.files_altered import AlterableFiles

    return AlterableFiles(source) if isinstance(source, FilesSource) else None
