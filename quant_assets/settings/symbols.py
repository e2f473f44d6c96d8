"""Settings of changes of ticker symbols and delistings."""

from datetime import date
from typing import Literal

from quant_assets.settings.formats import GivenFile
from quant_assets.settings.group import SettingsGroup


class Rename(SettingsGroup):
    """A company that changed its symbol: from the day `since` it trades as `new`.

    Files name a whole series by its symbol on the day of collection. With a rename, earlier bars under either symbol
    belong to `old`, and from then on also to the history of `new`. `old` ends there (a delisting with reason `renamed`,
    without a loss).

    Attributes:
        old: symbol before the change.
        new: symbol from then on.
        since: first day under the new symbol.

    """

    old: str
    new: str
    since: date


class ListedDelisting(SettingsGroup):
    """A delisting known from another source; afterwards another company may use the symbol.

    Attributes:
        ticker: the symbol.
        last_session: last session on which it traded.
        known_at: session at which the delisting was known; null takes the session after `last_session`, when the
            exchange has announced it. If the missing bars show the delisting earlier, or the symbol trades again
            earlier, that day counts, without a reason.
        reason: `takeover` or `failure`; without one it follows from the price (`delistings`).

    """

    ticker: str
    last_session: date
    known_at: date | None = None
    reason: Literal["takeover", "failure"] | None = None


class DelistingsFile(GivenFile):
    """A file of delistings, one per row, with the columns `ticker` and `last_session`.

    Attributes:
        columns: our column names to those of the file, where they differ; `known_at` and `reason` are only read if
            named here.
        reasons: the file's reasons to ours; all reasons in the file must be listed, null for unknown.

    """

    columns: dict[str, str] = {}
    reasons: dict[str, Literal["takeover", "failure"] | None] = {"takeover": "takeover", "failure": "failure"}
