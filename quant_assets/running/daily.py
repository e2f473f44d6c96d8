"""Processing of sessions: first the unfinished months, then the ledger entries session by session.

The schedule and `quant daily` do the same. The due work follows from the store, not from ticks or runs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial

import dagster as dg

from quant_assets import schemas
from quant_assets.assets.live import DAILY_ORDERS, DAILY_REPORT, DECISIONS
from quant_assets.grains import DAY
from quant_assets.partitions import month_of, month_range, shift_month
from quant_assets.planning.plan import Phase, Plan, Planner
from quant_assets.profile import Profile
from quant_assets.running.execute import Progress, RunFailedError
from quant_assets.running.launching import Here
from quant_assets.running.sessions import SESSION, SESSIONS, Sessions
from quant_assets.running.staging import Staged
from quant_assets.running.work import ORIGIN
from quant_assets.settings.sectors import SECTORS

#: Left to the retraining, which trains a month once its last session has closed.
TRAINED = frozenset(each.name for each in schemas.TRAINED)


@dataclass(frozen=True)
class Unfinished:
    """Months with the same assets to compute.

    Attributes:
        names: of assets, upstream first.
        first, last: months.
        plan: runs that compute them.

    """

    names: tuple[str, ...]
    first: str
    last: str
    plan: Plan


class Daily:
    """Processes sessions of a profile in this process.

    Args:
        profile: with a go-live day.
        defs: its definitions.
        workers: sectors computed in parallel.

    """

    def __init__(self, profile: Profile, defs: dg.Definitions, *, workers: int = 1) -> None:
        self.sessions = Sessions(profile)
        self._profile, self._defs, self._workers = profile, defs, workers

    @cached_property
    def _planner(self) -> Planner:
        return Planner(self._defs, self._profile)

    def unfinished(self, days: Sequence[date]) -> Iterator[Unfinished]:
        """Months to compute before the entries of days, the newest first.

        These are the running month if it lacks the last session; the months of the days; and earlier months that still
        change (labels mature) or waited for a training. Trains only what forecasts of these months need: completed
        months without checkpoints.

        Compute an item before you take the next one.
        """
        newest = self._profile.last_month()
        yield from self._of(newest, newest)
        oldest = min([shift_month(newest, -self._planner.matures), *map(month_of, days)])
        yield from self._of(max(oldest, self._profile.months.start), shift_month(newest, -1))

    def _of(self, first: str, last: str) -> Iterator[Unfinished]:
        """Neighbouring months with the same assets as one item."""
        groups: list[tuple[tuple[str, ...], list[str]]] = []
        for month in month_range(first, last):
            names = self._lacking(month)
            if groups and groups[-1][0] == names:
                groups[-1][1].append(month)
            else:
                groups.append((names, [month]))
        for names, months in groups:
            if names:
                plan = self._planner.plan(names, self.sessions.sectors, months[0], months[-1])
                yield Unfinished(names, months[0], months[-1], plan)

    def _lacking(self, month: str) -> tuple[str, ...]:
        """Assets whose partitions of a month are missing or out of date, without trained ones.

        Assets that read the month's own training are left out until it exists. Before the go-live day only stored
        months count.
        """
        live = month >= month_of(self.sessions.go_live)
        sectors = self.sessions.sectors
        trained = TRAINED.intersection(self._planner.order)
        untrained = [name for name in trained if self._planner.unfinished(name, sectors, month, absent=True)]
        names = self._planner.apart_from(trained, of=untrained)
        return tuple(name for name in names if self._planner.unfinished(name, sectors, month, absent=live))

    def said(self, days: Sequence[date]) -> Iterator[tuple[date, list[list[Phase]], list[list[Phase]]]]:
        """Days with missing entries, in order: the chains that write the entries, and that of the day's page."""
        undecided, unordered = self.sessions.undecided(), self.sessions.unordered()
        page = self._profile.every_dataset[DAILY_REPORT]
        for day in sorted(set(days)):
            label = DAY.of(day)
            unsaid = undecided.get(day, ())
            names = (DECISIONS, DAILY_ORDERS) if self.sessions.has_orders(day) else (DECISIONS,)
            chains = [[Phase(names, label, label, sectors)] for sectors in neighbours(unsaid)]
            later = [sector for sector in unordered.get(day, ()) if sector not in unsaid]
            chains += [[Phase((DAILY_ORDERS,), label, label, sectors)] for sectors in neighbours(later)]
            if chains or self._profile.store.missing(page, [label]):
                yield day, chains, [[Phase((DAILY_REPORT,), label, label)]]

    def carry_out(
        self,
        days: Sequence[date],
        origin: str,
        progress: Progress = lambda *_: None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Compute unfinished months and write missing entries, session by session.

        A failure does not stop other sectors; all failures are raised at the end.

        Args:
            days: closed sessions; without any, only months are computed.
            origin: of the runs, for their tags.
            progress: called for every dataset written.
            tell: receives a line on every step.

        Raises:
            RunFailedError: runs failed; one line per failure.

        """
        failed: list[str] = []
        span = dict.fromkeys(map(DAY.of, (min(days), max(days)))) if days else {}
        tags = {ORIGIN: origin} | ({SESSIONS: " to ".join(span)} if days else {})

        def done(execute: Callable[[], None]) -> None:
            try:
                execute()
            except RunFailedError as error:
                failed.append(str(error))

        for item in self.unfinished(days):
            tell(f"{_months(item.first, item.last)}: {_listed(item.names)}")
            prepared = Staged.of(item.plan, self._profile, self._defs, self._workers, tags=tags)
            done(partial(prepared.execute, progress))
        for day, chains, page in self.said(days):
            tell(f"{day}: {', '.join(sector for (phase,) in chains for sector in phase.sectors) or 'the page alone'}")
            of_day = Here(self._profile.settings, 1, tags=tags | {SESSION: DAY.of(day)})
            for stage in (chains, page):
                done(partial(of_day.execute, stage, progress))
        if failed:
            raise RunFailedError("\n".join(dict.fromkeys(failed)))


def neighbours(sectors: Sequence[str]) -> list[tuple[str, ...]]:
    """Sectors in GICS order, consecutive ones grouped: one range of partitions can hold them."""
    order, groups = list(SECTORS), list[tuple[str, ...]]()
    for sector in sorted(sectors, key=order.index):
        if groups and order.index(groups[-1][-1]) + 1 == order.index(sector):
            groups[-1] = (*groups[-1], sector)
        else:
            groups.append((sector,))
    return groups


def _months(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def _listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more assets"
