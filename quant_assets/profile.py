"""What every run works with: the profile's settings, months, last closed session, source and store."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from quant_assets.errors import SettingsError
from quant_assets.io import DatasetStore
from quant_assets.market.calendar import last_session_to, sessions
from quant_assets.partitions import Months, RunPartitions, month_of, month_start, shift_month
from quant_assets.settings import Settings
from quant_assets.sources.base import Source

#: A session counts as closed half an hour after the bell, when closing prices have been published.
_PUBLISHED = time(16, 30)


@dataclass(frozen=True)
class Profile:
    """The profile that this process serves."""

    settings: Settings

    @cached_property
    def months(self) -> Months:
        """Months that exist as partitions."""
        return Months.of(self.settings.partitions, self.settings.as_of)

    @cached_property
    def store(self) -> DatasetStore:
        """Where the partitions are."""
        return DatasetStore(self.settings.storage_url)

    @cached_property
    def source(self) -> Source:
        """The provider of market data."""
        start = month_start(self.settings.partitions.start)
        if self.settings.source == "demo":
            from quant_assets.sources.demo import DemoSource

            return DemoSource(self.settings.demo, start)
        from quant_assets.sources.files import FilesSource

        return FilesSource(self.settings.files, self.settings.data_dir, start)

    def last_session(self) -> date:
        """The last closed session: up to the pinned `as_of`, else by the clock of New York."""
        if self.settings.as_of is not None:
            return last_session_to(self.settings.as_of)
        now = datetime.now(ZoneInfo("America/New_York"))
        return last_session_to(now.date() if now.time() >= _PUBLISHED else now.date() - timedelta(days=1))

    def last_month(self) -> str:
        """The newest month that holds a closed session."""
        return month_of(self.last_session())

    def through(self, run: RunPartitions) -> date:
        """Last closed session of a run's months."""
        return min(last_session_to(run.last_day), self.last_session())

    def decision_sessions(self, run: RunPartitions) -> list[date]:
        """`as_of` of each month of a run: its last session, in the running month the latest closed one."""
        found: dict[str, date] = {}
        for session in sessions(run.first_day, self.through(run)).tolist():
            found[month_of(session)] = session
        return list(found.values())

    def check_months(self, first: str, last: str) -> None:
        """Raise a SettingsError unless both months exist and are in order."""
        newest = self.months.end or self.last_month()
        if first > last:
            raise SettingsError(f"--from {first} is later than --to {last}")
        for month in (first, last):
            if not self.months.start <= month <= newest:
                raise SettingsError(
                    f"month {month} is outside the range of profile '{self.settings.profile}', {self.months.start} to {newest}; "
                    f"choose a month inside it or set partitions.start and partitions.end in conf/profiles/{self.settings.profile}.yaml"
                )

    def month_before(self, month: str) -> str | None:
        """The month before, or None at the start of the profile."""
        earlier = shift_month(month, -1)
        return earlier if earlier >= self.months.start else None
