"""Collections of a profile: their providers, first day and folder."""

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime

from quant_assets.collectors.base import Collector, Wanted
from quant_assets.collectors.collect import Progress, Summary, Tell, collect, newest_answers, read_up, replay, sent
from quant_assets.collectors.http import Clock, SystemClock
from quant_assets.collectors.raw_store import RawStore
from quant_assets.collectors.registry import COLLECTORS, Registered
from quant_assets.collectors.tables import Change, Tables
from quant_assets.errors import SettingsError, SourceError, UsageError
from quant_assets.settings.collecting import CollectingSettings


@dataclass(frozen=True)
class Collection:
    """Collections of a profile.

    Attributes:
        settings: requested data, by provider.
        since: first day of histories.
        closed: when the last session's prices were published.
        clock: clock of pace, retries and times of collection.
        registered: providers by name.

    """

    settings: CollectingSettings
    since: date
    closed: datetime
    clock: Clock = field(default_factory=SystemClock)
    registered: Mapping[str, Registered] = field(default_factory=lambda: COLLECTORS)

    def named(self, asked: Sequence[str] = ()) -> list[str]:
        """The named providers, in order; without names those from which the settings request anything.

        Raises:
            UsageError: there is no such provider.
            SettingsError: the settings request nothing from any.

        """
        unknown = [name for name in asked if name not in self.registered]
        if unknown:
            raise UsageError(f"'{unknown[0]}' is not a provider; choose from {', '.join(self.registered)}")
        idle = [name for name in asked if not self.registered[name].wanted(self.settings)]
        wanted = [name for name, entry in self.registered.items() if entry.wanted(self.settings)]
        if idle or not wanted:
            raise SettingsError(
                f"nothing is to be collected{f' from {idle[0]}' if idle else ''}: list tickers by sector in "
                "collecting.universe of the profile, and what else is wanted in the provider's group (docs/live.md)"
            )
        return [name for name in wanted if not asked or name in asked]

    def collect(self, name: str, progress: Progress = lambda *_: None) -> Summary:
        """Ask a provider for everything in the settings.

        Raises:
            SettingsError: a key is missing.
            SourceError: the stores cannot be read or written, or another collection from it is running.

        """
        raw, tables = self.raw(name), self.tables(name)
        with self._alone(name):
            a_day = self.requests_a_day(name)
            return collect(self._collector(name), raw, tables, self.since, self.closed, self.clock, progress, a_day)

    def requests_a_day(self, name: str) -> int | None:
        """Limit of the plan for a provider; None where the settings name none."""
        most: int | None = getattr(getattr(self.settings, name, None), "requests_a_day", None)
        return most

    def sent(self, name: str) -> int:
        """Number of a provider's answers in the last 24 hours."""
        return sent(self.raw(name), self.clock)

    def replay(self, name: str, tell: Tell = lambda _: None) -> list[Change]:
        """Make a provider's tables again from all stored answers, without network access.

        Args:
            name: name of the provider.
            tell: called with a line about answers that can no longer be read.

        Raises:
            SourceError: the stores cannot be read or written, or a collection from it is running.

        """
        with self._alone(name):
            return replay(self._collector(name), self.raw(name), self.tables(name), tell)

    def planned(self, name: str) -> int:
        """Expected number of questions of a collection, as far as it is known beforehand; without network access.

        Raises:
            SourceError: the stores cannot be read.

        """
        raw, tables = self.raw(name), self.tables(name)
        answered = newest_answers(raw.entries(since=self.closed.date()))
        wanted = Wanted(self.since, self.clock.now(), tables, answered, self.closed, lambda day: raw.entries(since=day))
        return self._collector(name).planned(wanted)

    def read_up(self, name: str) -> list[Change]:
        """Read the stored answers of an interrupted collection into the tables."""
        with self._alone(name):
            return read_up(self._collector(name), self.raw(name), self.tables(name))

    def raw(self, name: str) -> RawStore:
        """A provider's answers."""
        return RawStore(self.settings.path / "raw", name)

    def tables(self, name: str) -> Tables:
        """A provider's tables."""
        return Tables(self.settings.path / "tables", name, self._collector(name).tables)

    def _collector(self, name: str) -> Collector:
        return self.registered[name].made(self.settings)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Lock a provider's stores; the lock ends with the process."""
        folder = self.settings.path / "raw" / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / ".collecting").open("a")
        except OSError as error:
            raise SourceError(f"{error.filename or folder}: {error.strerror}; set collecting.folder") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SourceError(
                    f"another process collects from {name} into {folder}; wait for it, its answers are not lost"
                ) from None
            yield
