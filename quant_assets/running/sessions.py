"""The sessions since a profile's go-live day, and those with missing ledger entries; reads only the ledger."""

from collections.abc import Sequence
from datetime import date

from quant_assets.assets.live import DAILY_ORDERS, DECISIONS
from quant_assets.errors import SettingsError
from quant_assets.grains import DAY
from quant_assets.market.calendar import sessions
from quant_assets.partitions import key
from quant_assets.profile import Profile
from quant_assets.settings.origin import profile_file

#: Tags of a run: its session, and all sessions of its request.
SESSION, SESSIONS = "quant/session", "quant/sessions"


class Sessions:
    """The sessions of a profile since its go-live day, and their missing entries.

    Args:
        profile: with a go-live day.

    Raises:
        SettingsError: the profile has no go-live day.

    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        go_live = profile.settings.live.go_live
        if go_live is None:
            raise SettingsError(
                f"profile '{profile.settings.profile}' has no go-live day, and so no ledger; set live.go_live to the "
                f"first day of it, for example in {profile_file(profile.settings.profile)}"
            )
        self.go_live = go_live
        self.sectors = profile.settings.live.of_sectors

    @property
    def every(self) -> list[date]:
        """Closed sessions, in order."""
        found: list[date] = sessions(self.go_live, self._profile.last_session()).tolist()
        return found

    def missing(self) -> dict[date, list[str]]:
        """Sectors without an entry or without the orders that follow it, by session; complete sessions are left out."""
        undecided, unordered = self.undecided(), self.unordered()
        lacking = {day: {*undecided.get(day, ()), *unordered.get(day, ())} for day in self.every}
        return {day: [name for name in self.sectors if name in names] for day, names in lacking.items() if names}

    def undecided(self) -> dict[date, list[str]]:
        """Sectors without an entry, by session; sessions with all entries are left out."""
        return self._lacking(DECISIONS, self.every)

    def unordered(self) -> dict[date, list[str]]:
        """Sectors without orders, by session with orders (`has_orders`); sessions with all of them are left out."""
        days = [day for day in self.every if self.has_orders(day)]
        return self._lacking(DAILY_ORDERS, days) if days else {}

    def has_orders(self, day: date) -> bool:
        """Whether orders of a session are written; from a holdings file only those of the last session."""
        live = self._profile.settings.live
        return live.orders and not (live.holdings and day != self._profile.last_session())

    def _lacking(self, name: str, days: Sequence[date]) -> dict[date, list[str]]:
        recorded = self._profile.store.existing(self._profile.every_dataset[name])
        lacking = {day: [each for each in self.sectors if key(each, DAY.of(day)) not in recorded] for day in days}
        return {day: names for day, names in lacking.items() if names}

    def check(self, day: date) -> date:
        """Return a day that is a closed session of the ledger, or raise a SettingsError with the reason."""
        last = self._profile.last_session()
        if day not in sessions(day, day).tolist():
            raise SettingsError(f"{day} ({day:%A}) is not a session of XNYS; the last closed session is {last}")
        if day > last:
            raise SettingsError(f"the session of {day} is not over; the last closed session is {last}")
        if day < self.go_live:
            raise SettingsError(
                f"{day} is before the go-live day {self.go_live} (live.go_live): the ledger has no such day"
            )
        return day
