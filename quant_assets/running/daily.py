"""Carrying out sessions: the months that are unfinished, then what is said of each session, in order.

The schedule, and `quant daily` by hand, do the same. What is due is read off the store; no tick or run is asked.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial

import dagster as dg

from quant_assets import schemas
from quant_assets.assets.live import DAILY_ORDERS, DAILY_REPORT, DECISIONS
from quant_assets.grains import DAY
from quant_assets.partitions import key, month_of, month_range, shift_month
from quant_assets.planning.plan import Phase, Plan, Planner
from quant_assets.profile import Profile
from quant_assets.running.execute import Progress, RunFailedError
from quant_assets.running.launching import Here
from quant_assets.running.sessions import SESSION, SESSIONS, Sessions
from quant_assets.running.staging import Staged
from quant_assets.running.work import ORIGIN
from quant_assets.settings.sectors import SECTORS

#: What is left to the retraining, which trains a month once its last session has closed.
TRAINED = frozenset(each.name for each in schemas.TRAINED)


@dataclass(frozen=True)
class Unfinished:
    """Months with the same assets to compute.

    Attributes:
        names: of assets, upstream first.
        first, last: months.
        plan: the runs that bring them about.

    """

    names: tuple[str, ...]
    first: str
    last: str
    plan: Plan


class Daily:
    """Sessions of a profile, carried out by this process.

    Args:
        profile: with a go-live day.
        defs: its definitions.
        workers: sectors computed at the same time.

    """

    def __init__(self, profile: Profile, defs: dg.Definitions, *, workers: int = 1) -> None:
        self.sessions = Sessions(profile)
        self._profile, self._defs, self._workers = profile, defs, workers

    @cached_property
    def _planner(self) -> Planner:
        return Planner(self._defs, self._profile)

    def unfinished(self, days: Sequence[date]) -> Iterator[Unfinished]:
        """The months that are to be computed before something is said of days, one after the other, the newest first.

        The running month's, as far as it does not take account of the last session; those of the days; and earlier ones
        that go on changing (labels mature) or were waiting for a training. Nothing is trained but what forecasts of
        these months need and nobody has trained: a month that is over and has no checkpoints.

        Look at the next one when the one before has been computed.
        """
        newest = self._profile.last_month()
        yield from self._of(newest, newest)
        oldest = min([shift_month(newest, -self._planner.matures), *map(month_of, days)])
        yield from self._of(max(oldest, self._profile.months.start), shift_month(newest, -1))

    def _of(self, first: str, last: str) -> Iterator[Unfinished]:
        """Of neighbouring months with the same names one."""
        alike: list[tuple[tuple[str, ...], list[str]]] = []
        for month in month_range(first, last):
            names = self._lacking(month)
            if alike and alike[-1][0] == names:
                alike[-1][1].append(month)
            else:
                alike.append((names, [month]))
        for names, months in alike:
            if names:
                plan = self._planner.plan(names, self.sessions.sectors, months[0], months[-1])
                yield Unfinished(names, months[0], months[-1], plan)

    def _lacking(self, month: str) -> tuple[str, ...]:
        """Assets whose partitions of a month are not as they would be written now; trained ones are left out.

        So is what reads the month's own training, as long as that is not there. Of months before the go-live day only
        those count that are stored.
        """
        live = month >= month_of(self.sessions.go_live)
        sectors = self.sessions.sectors
        trained = TRAINED.intersection(self._planner.order)
        untrained = [name for name in trained if self._planner.unfinished(name, sectors, month, absent=True)]
        names = self._planner.apart_from(trained, of=untrained)
        return tuple(name for name in names if self._planner.unfinished(name, sectors, month, absent=live))

    def said(self, days: Sequence[date]) -> Iterator[tuple[date, list[list[Phase]], list[list[Phase]]]]:
        """Of each day of which something is missing, in order: the chains that say it, and that of the day's page."""
        missing = self.sessions.missing()
        page = self._profile.every_dataset[DAILY_REPORT]
        for day in sorted(set(days)):
            label = DAY.of(day)
            unsaid = missing.get(day, ())
            names, ordered = self._names(day)
            chains = [[Phase(names, label, label, sectors)] for sectors in neighbours(unsaid)]
            later = [sector for sector in ordered if sector not in unsaid]
            chains += [[Phase((DAILY_ORDERS,), label, label, sectors)] for sectors in neighbours(later)]
            if chains or self._profile.store.missing(page, [label]):
                yield day, chains, [[Phase((DAILY_REPORT,), label, label)]]

    def _names(self, day: date) -> tuple[tuple[str, ...], list[str]]:
        """What is said of each sector at a session, and the sectors whose orders are missing.

        From a file of holdings orders are said of the last session alone.
        """
        live = self._profile.settings.live
        if not live.orders or (live.holdings and day != self._profile.last_session()):
            return (DECISIONS,), []
        dataset, label = self._profile.every_dataset[DAILY_ORDERS], DAY.of(day)
        gone = set(self._profile.store.missing(dataset, [key(sector, label) for sector in self.sessions.sectors]))
        return (DECISIONS, DAILY_ORDERS), [each for each in self.sessions.sectors if key(each, label) in gone]

    def carry_out(
        self,
        days: Sequence[date],
        origin: str,
        progress: Progress = lambda *_: None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Compute what is unfinished and say what was not said yet, session by session.

        One sector's failure is not another's: everything that can be done is done, then the failures are raised.

        Args:
            days: sessions that have closed; where there are none only months are finished.
            origin: why the runs exist, for their tags.
            progress: told of each dataset written.
            tell: told in words what begins.

        Raises:
            RunFailedError: something failed; a line for each.

        """
        failed: list[str] = []
        span = dict.fromkeys(map(DAY.of, (min(days), max(days)))) if days else {}
        tags = {ORIGIN: origin} | ({SESSIONS: " to ".join(span)} if days else {})

        def done(execute: Callable[[], None]) -> None:
            try:
                execute()
            except RunFailedError as error:
                failed.append(str(error))

        for each in self.unfinished(days):
            tell(f"{_months(each.first, each.last)}: {_listed(each.names)}")
            prepared = Staged.of(each.plan, self._profile, self._defs, self._workers, tags=tags)
            done(partial(prepared.execute, progress))
        for day, chains, page in self.said(days):
            tell(f"{day}: {', '.join(sector for (phase,) in chains for sector in phase.sectors) or 'the page alone'}")
            of_day = Here(self._profile.settings.profile, 1, tags=tags | {SESSION: DAY.of(day)})
            for stage in (chains, page):
                done(partial(of_day.execute, stage, progress))
        if failed:
            raise RunFailedError("\n".join(dict.fromkeys(failed)))


def neighbours(sectors: Sequence[str]) -> list[tuple[str, ...]]:
    """The sectors in GICS order, those that follow each other together: one range of partitions holds them."""
    order, found = list(SECTORS), list[tuple[str, ...]]()
    for sector in sorted(sectors, key=order.index):
        if found and order.index(found[-1][-1]) + 1 == order.index(sector):
            found[-1] = (*found[-1], sector)
        else:
            found.append((sector,))
    return found


def _months(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def _listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more assets"
