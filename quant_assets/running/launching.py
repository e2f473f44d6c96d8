"""Executors of a plan: processes of this command, or the queue and launcher of the instance."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import dagster as dg

from quant_assets.dagster_internals import enqueue, has_queue, job_of_all_assets, submit_assets
from quant_assets.dagster_records import queue_heartbeat
from quant_assets.errors import SettingsError
from quant_assets.planning.plan import Phase
from quant_assets.running.bookkeeping import prepare_bulk_runs
from quant_assets.running.conflicts import refuse_in_flight
from quant_assets.running.execute import Progress, RunFailedError, execute, failure
from quant_assets.running.instance import initialise_instance
from quant_assets.running.queue import SectorQueue
from quant_assets.running.tally import Tally
from quant_assets.running.work import CODE_LOCATION
from quant_assets.settings.loading import Settings

#: Run tag that identifies unfinished runs of the same phase.
PHASE_TAG = "quant/phase"

#: Seconds between two checks of the runs, and of the daemon, which writes a heartbeat every 30 seconds.
_PERIOD = 1.0
_DAEMON_PERIOD = 30.0
_DAEMON_TOLERANCE = 120.0

_UNFINISHED = [status for status in dg.DagsterRunStatus if status.name not in ("SUCCESS", "FAILURE", "CANCELED")]
_TOLD = {
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
}
_COUNTED = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_CHECK_EVALUATION}


class Executor(Protocol):
    """Executes chains of phases: a chain in order, several chains in parallel."""

    #: Message after an interruption by the user.
    after_interruption: str

    def execute(self, plan: Sequence[Sequence[Phase]], progress: Progress, tally: Tally | None = None) -> None:
        """Execute a plan to its end.

        Args:
            plan: chains of phases; the longest first.
            progress: called in this process for every dataset written.
            tally: counts the written data, also of failed runs.

        Raises:
            RunFailedError: a run failed. It ends its chain; the other chains are finished first, and what was written
                stays.

        """
        ...


@dataclass(frozen=True)
class Here:
    """Processes of this command.

    Attributes:
        settings: of the profile.
        workers: parallel processes; with 1 everything runs in this process.
        apart: as of `execute`.
        tags: of the runs, in addition to those of their ranges.

    """

    settings: Settings
    workers: int
    apart: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    after_interruption = "interrupted; written partitions stay, and the same command continues from there"

    def execute(self, plan: Sequence[Sequence[Phase]], progress: Progress, tally: Tally | None = None) -> None:
        """Execute a plan to its end; see `Executor`."""
        execute(plan, self.settings, self.workers, progress, apart=self.apart, tags=self.tags, tally=tally)


class Submitted:
    """The queue of the instance, whose daemon starts the runs within its limits.

    A phase is submitted after the previous one of its chain has succeeded. If the queue has an unfinished run of the
    same phase, from an interrupted command, that run is followed instead of a new one.

    Args:
        defs: of the code location.

    Raises:
        SettingsError: the instance has no queue, or no daemon serves it.

    """

    after_interruption = (
        "no longer followed: runs that were submitted go on, in the queue of the instance (make ui shows and cancels "
        "them); the same command follows them again and submits what is left"
    )

    def __init__(self, defs: dg.Definitions) -> None:
        self._job = job_of_all_assets(defs)
        initialise_instance()
        with dg.DagsterInstance.get() as instance:
            if not has_queue(instance):
                raise SettingsError(
                    f"the instance in {instance.root_directory} has no queue of runs; remove run_coordinator from its "
                    "dagster.yaml, or run without --submit"
                )
            if not _served(instance):
                raise SettingsError(f"{_no_daemon(instance)}, or run without --submit")

    def execute(self, plan: Sequence[Sequence[Phase]], progress: Progress, tally: Tally | None = None) -> None:
        """Submit and follow a plan to its end; see `Executor`."""
        prepare_bulk_runs()
        reasons, counted = list[str](), set[str]()
        with dg.DagsterInstance.get() as instance:
            following = [self._begun(instance, tuple(chain)) for chain in plan if chain]
            looked = time.monotonic()
            while following:
                time.sleep(_PERIOD)
                if time.monotonic() - looked > _DAEMON_PERIOD:
                    looked = time.monotonic()
                    if not _served(instance):
                        raise RunFailedError(
                            f"{_no_daemon(instance)}; the runs stay in the queue, and the same command follows them"
                        )
                ids = [each.run_id for each in following]
                runs = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=ids))}
                for run_id, run in runs.items():
                    if tally is not None and run.is_finished and run_id not in counted:
                        counted.add(run_id)
                        tally.add_run(_events(instance, run_id, _COUNTED))
                following = [
                    each
                    for before in following
                    for each in self._looked_at(instance, before, runs.get(before.run_id), progress, reasons)
                ]
        if reasons:
            raise RunFailedError("\n".join(reasons))

    def _begun(self, instance: dg.DagsterInstance, chain: tuple[Phase, ...]) -> "_Followed":
        phase = chain[0]
        name = hashlib.sha256(repr(phase).encode()).hexdigest()[:16]
        unfinished = instance.get_runs(dg.RunsFilter(tags={PHASE_TAG: name}, statuses=_UNFINISHED), limit=1)
        if unfinished:
            if unfinished[0].status == dg.DagsterRunStatus.NOT_STARTED:  # its command was killed before the submission
                enqueue(instance, unfinished[0].run_id)
            return _Followed(chain, unfinished[0].run_id)
        if not isinstance(instance.run_coordinator, SectorQueue):  # a home of an earlier version: it does not wait
            refuse_in_flight(instance, [phase], "take the queue that waits for it (quant instance update)")
        tags = {**phase.range_tags, PHASE_TAG: name}
        return _Followed(chain, submit_assets(instance, self._job, phase.assets, CODE_LOCATION, tags))

    def _looked_at(
        self,
        instance: dg.DagsterInstance,
        followed: "_Followed",
        run: dg.DagsterRun | None,
        progress: Progress,
        reasons: list[str],
    ) -> "Iterator[_Followed]":
        """Runs to follow after a check of a run; `reasons` collects why chains ended early."""
        phase, *rest = followed.chain
        if run is not None:
            followed = _reported(instance, followed, progress)
        if run is not None and not run.is_finished:
            yield followed
        elif run is not None and run.is_success:
            if rest:
                yield self._begun(instance, tuple(rest))
        elif run is not None and run.tags.get("dagster/will_retry") == "true":
            again = run.tags.get("dagster/auto_retry_run_id")
            yield followed if again is None else _Followed(followed.chain, again)
        else:
            if run is not None and run.status == dg.DagsterRunStatus.FAILURE:
                reason = failure(self._job, _events(instance, followed.run_id, _TOLD), followed.run_id, phase)
            else:
                what = "deleted" if run is None else "cancelled"
                where = ", ".join([*phase.sectors, f"{phase.first} to {phase.last}"])
                reason = f"{', '.join(phase.assets)} ({where}): run {followed.run_id} was {what} in the web UI"
            if run is not None and run.status == dg.DagsterRunStatus.FAILURE and len(phase.sectors) > 1:
                # A failure does not stop other sectors: from here on they run separately.
                for alone in zip(*(each.alone() for each in followed.chain), strict=True):
                    yield self._begun(instance, alone)
            else:
                reasons.append(reason)


@dataclass(frozen=True)
class _Followed:
    """A run that has been submitted.

    Attributes:
        chain: its phase and those after it.
        run_id: of the run.
        cursor: of its reported events.

    """

    chain: tuple[Phase, ...]
    run_id: str
    cursor: str | None = None


def _events(instance: dg.DagsterInstance, run_id: str, kinds: set[dg.DagsterEventType]) -> list[dg.DagsterEvent]:
    entries = instance.all_logs(run_id, of_type=kinds)
    return [entry.dagster_event for entry in entries if entry.dagster_event is not None]


def _reported(instance: dg.DagsterInstance, followed: _Followed, progress: Progress) -> _Followed:
    """Report the partitions written since the last check."""
    written: Counter[str] = Counter()
    more = True
    while more:
        records = instance.get_records_for_run(
            followed.run_id, followed.cursor, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        written.update(record.asset_key.path[-1] for record in records.records if record.asset_key is not None)
        followed, more = replace(followed, cursor=records.cursor), records.has_more
    for dataset, partitions in written.items():
        progress(dataset, partitions)
    return followed


def _served(instance: dg.DagsterInstance) -> bool:
    last = queue_heartbeat(instance)
    return last is not None and time.time() - last < _DAEMON_TOLERANCE


def _no_daemon(instance: dg.DagsterInstance) -> str:
    last = queue_heartbeat(instance)
    ago = "has run yet" if last is None else f"has been alive for {time.time() - last:.0f} seconds"
    return (
        f"no daemon of the instance in {instance.root_directory} {ago}, so submitted runs are not executed; "
        "start one with 'make ui' (PROFILE=… for a profile other than demo)"
    )
