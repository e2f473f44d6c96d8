"""Settings of what became of ticker symbols: companies that changed theirs, and delistings."""

from datetime import date
from typing import Literal

from quant_assets.settings.formats import GivenFile
from quant_assets.settings.group import SettingsGroup


class Rename(SettingsGroup):
    """A company that changed its symbol: from the day `since` it trades as `new`.

    Files name a whole series by the symbol of the day on which they were collected. With the rename declared, bars
    before it under either symbol are `old`'s, and `new` brings them along from then on. `old` ends there (a delisting
    `renamed`, without a loss).

    Attributes:
        old: symbol before the change.
        new: symbol from then on.
        since: first day under the new symbol.

    """

    old: str
    new: str
    since: date


class ListedDelisting(SettingsGroup):
    """A delisting that is known from elsewhere: afterwards the symbol is free for another company.

    Attributes:
        ticker: the symbol.
        last_session: last session on which it traded.
        known_at: session at which the delisting was known; null takes the session after `last_session`, when the
            exchange has announced it. Where it is later than the silence tells, or than the symbol trades again, that
            day counts, and no reason.
        reason: `takeover` or `failure`; without one the price tells (`delistings`).

    """

    ticker: str
    last_session: date
    known_at: date | None = None
    reason: Literal["takeover", "failure"] | None = None


class DelistingsFile(GivenFile):
    """A file of such delistings, one row each, with the columns `ticker` and `last_session`.

    Attributes:
        columns: our name to the file's, where they differ; `known_at` and `reason` are read only if they are named.
        reasons: the file's reasons to ours; it must know every one in the file, null for those that say nothing.

    """

    columns: dict[str, str] = {}
    reasons: dict[str, Literal["takeover", "failure"] | None] = {"takeover": "takeover", "failure": "failure"}
