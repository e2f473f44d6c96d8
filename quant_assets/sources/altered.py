"""Support of providers for audits: a provider with altered raw rows. No reading here.

Without this support, the audit alters a provider's answers. Providers that derive answers from raw rows (snapshots,
delistings, renames) are supported here and not in their class, so that no asset depends on the audit's code.
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

#: Date columns of a row: when it became known (null counts as known), and the day or period that it describes.
KNOWN, EVENT = "__known", "__event"

#: Whether the share count of a statement is kept; the row is not removed, but its other figures are altered.
KEPT = "__kept"


class Alteration(Protocol):
    """A change of the inputs."""

    @property
    def last_day(self) -> pl.Expr | None:
        """Last day of unaltered rows; null for rows that stay unaltered whatever their day.

        None if rows change regardless of when they became known.
        """

    @property
    def removes(self) -> bool:
        """Whether rows that became known after the cut are removed; else they get other values."""

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The altered rows.

        Args:
            kind: of the rows.
            rows: columns of `sources.base` or of files under the same names (some may be missing), `KNOWN`, `EVENT`,
                and `KEPT` if share counts are kept.

        """


class Alterable(Protocol):
    """A provider whose raw rows can be altered."""

    def read_once(self) -> Source:
        """The provider, with its decoded rows cached in memory."""

    def altered(self, alteration: Alteration | None, lags: FundamentalSettings, start: date) -> Source:
        """The provider with altered rows.

        Args:
            alteration: of the rows; None for none.
            lags: when a statement counts as known.
            start: first day of the profile.

        """

    def untested(self, cuts: Collection[date], tickers: Collection[str], lags: FundamentalSettings) -> list[str]:
        """Later data of these tickers that alterations at the cuts do not change, one sentence per item."""

    def renamed(self) -> set[str]:
        """Tickers whose rows are also used for another one, so that they cannot be left out alone."""


@runtime_checkable
class Ending(Protocol):
    """A provider that derives its answers from a simulation, which can end earlier."""

    def ending(self, end: date) -> Source:
        """The provider of a simulation that ends on a day."""


def alterable(source: Source) -> Alterable | None:
    """The support of a provider with raw rows; None if only its answers can be altered."""
    from quant_assets.sources.files import FilesSource
    from quant_assets.sources.files_altered import AlterableFiles

    return AlterableFiles(source) if isinstance(source, FilesSource) else None
