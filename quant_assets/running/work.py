"""Work on partitions by an instance's run records: unfinished runs, and results of requested runs.

Runs of any origin count: the command, the web UI, backfills, schedules and sensors. There is no state other than the
records.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import dagster as dg

from quant_assets import training_orders
from quant_assets.errors import SettingsError
from quant_assets.partitions import parse_key
from quant_assets.settings.sectors import SECTORS

#: Tags on the cause of a run: its origin, its reasons in words, the state that triggered it, and the attempt number.
ORIGIN, REASONS, TRIGGER, ATTEMPT = "quant/origin", training_orders.REASONS, "quant/trigger", "quant/attempt"

#: Tag with the `quant run` that started a run: it resumes all of it, of which the run may be one phase.
RESUMED_BY = "quant/command"

#: Module and name of the code location that runs belong to.
CODE_LOCATION = "quant_assets.definitions"

#: Statuses of a run that has not ended.
UNFINISHED = [status for status in dg.DagsterRunStatus if status.name not in ("SUCCESS", "FAILURE", "CANCELED")]
_START, _END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_ROOT, _WILL_RETRY, _RETRIED_BY = "dagster/root_run_id", "dagster/will_retry", "dagster/auto_retry_run_id"


@dataclass(frozen=True)
class Work:
    """A run and the partitions that it writes.

    Attributes:
        run_id: of the run.
        assets: names; None for all assets.
        sectors: slugs in GICS order; empty where it spans sectors.
        first, last: periods, months or days.
        tags: of the run.

    """

    run_id: str
    assets: frozenset[str] | None
    sectors: tuple[str, ...]
    first: str
    last: str
    tags: Mapping[str, str]

    def touches(self, assets: Collection[str], sector: str | None, first: str, last: str) -> bool:
        """Whether it writes any of these partitions.

        Args:
            assets: names.
            sector: slug; None for assets that span sectors.
            first: period, in the grain of the assets: month or day.
            last: the same.

        """
        wanted = self.sectors == () if sector is None else sector in self.sectors
        same_grain = len(first) == len(self.first)
        named = self.assets is None or not self.assets.isdisjoint(assets)
        return wanted and same_grain and named and self.first <= last and first <= self.last

    @property
    def where(self) -> str:
        """Sectors and periods, for a message."""
        every = "all sectors" if len(self.sectors) == len(SECTORS) else ", ".join(self.sectors)
        span = self.first if self.first == self.last else f"{self.first} to {self.last}"
        return f"{every}, {span}" if every else span


def in_flight(instance: dg.DagsterInstance) -> list[Work]:
    """Unfinished runs on partitions, oldest first; runs without partitions are left out."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    works = (work_of(run) for run in reversed(runs))
    return [work for work in works if work is not None]


def work_of(run: dg.DagsterRun) -> Work | None:
    """The partitions of a run; None if its tags name none of ours."""
    start, end = run.tags.get(_START), run.tags.get(_END)
    one = run.tags.get("dagster/partition")
    keys = [start, end] if start and end else [one, one] if one else []
    try:
        placed = [parse_key(each) for each in keys if each]
    except SettingsError:  # of a foreign job in the same instance
        return None
    if not placed:
        return None
    (before, first), (after, last) = placed
    order = list(SECTORS)
    sectors = tuple(order[order.index(before) : order.index(after) + 1]) if before and after else ()
    selected = run.asset_selection
    assets = None if selected is None else frozenset(each.path[-1] for each in selected)
    return Work(run.run_id, assets, sectors, first, last, run.tags)


@dataclass(frozen=True)
class Attempt:
    """A requested run with Dagster's retries after crashes.

    Attributes:
        run_id: of the last of them.
        state: `unfinished` also before a due retry begins.
        ended: Unix time at which the last of them ended; None where unfinished.
        tags: of the last of them.

    """

    run_id: str
    state: Literal["unfinished", "succeeded", "failed", "cancelled"]
    ended: float | None
    tags: Mapping[str, str]


def attempts(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> list[Attempt]:
    """Attempts with these tags, oldest first; a run and Dagster's retries of it are one attempt.

    Args:
        instance: its records are read.
        tags: for example the trigger.

    """
    grouped: dict[str, list[dg.RunRecord]] = {}
    for record in instance.get_run_records(dg.RunsFilter(tags=dict(tags)), ascending=True):
        run = record.dagster_run
        grouped.setdefault(run.tags.get(_ROOT, run.run_id), []).append(record)
    return [_attempt(records) for records in grouped.values()]


def _attempt(records: Iterable[dg.RunRecord]) -> Attempt:
    *_, record = records
    run = record.dagster_run
    due = run.tags.get(_WILL_RETRY) == "true" and _RETRIED_BY not in run.tags
    if run.status.name == "SUCCESS":
        return Attempt(run.run_id, "succeeded", record.end_time, run.tags)
    if run.status in UNFINISHED or (run.status.name == "FAILURE" and due):
        return Attempt(run.run_id, "unfinished", None, run.tags)
    return Attempt(run.run_id, "failed" if run.status.name == "FAILURE" else "cancelled", record.end_time, run.tags)
