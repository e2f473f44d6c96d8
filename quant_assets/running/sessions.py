"""The sessions since a profile's go-live day, and of which something is still to be said; reads the ledger alone."""

from datetime import date

from quant_assets.assets.live import DECISIONS
from quant_assets.errors import SettingsError
from quant_assets.grains import DAY
from quant_assets.market.calendar import sessions
from quant_assets.partitions import key
from quant_assets.profile import Profile
from quant_assets.settings.origin import profile_file

#: Tags of a run: the session that it is about, and all those of the request that it belongs to.
SESSION, SESSIONS = "quant/session", "quant/sessions"


class Sessions:
    """The sessions of a profile since its go-live day, and what is missing of them.

    Args:
        profile: with a go-live day.

    Raises:
        SettingsError: the profile has none.

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
        """Those that have closed, in order."""
        found: list[date] = sessions(self.go_live, self._profile.last_session()).tolist()
        return found

    def missing(self) -> dict[date, list[str]]:
        """Sectors of which nothing was said, by session; sessions of which all was said are not among them."""
        spoken = self._profile.store.existing(self._profile.every_dataset[DECISIONS])
        found = {day: [name for name in self.sectors if key(name, DAY.of(day)) not in spoken] for day in self.every}
        return {day: names for day, names in found.items() if names}

    def check(self, day: date) -> date:
        """Return a day that is a session of the ledger and has closed, or raise a SettingsError that says why not."""
        last = self._profile.last_session()
        if day not in sessions(day, day).tolist():
            raise SettingsError(f"{day} ({day:%A}) is no session of XNYS; the last one that has closed is {last}")
        if day > last:
            raise SettingsError(f"the session of {day} is not over; the last one that has closed is {last}")
        if day < self.go_live:
            raise SettingsError(
                f"{day} lies before the go-live day {self.go_live} (live.go_live): nothing is said of it"
            )
        return day
