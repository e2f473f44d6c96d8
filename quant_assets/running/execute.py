"""Execution of a plan: one process per sector, runs recorded in the profile's Dagster instance, with progress."""

import logging
import multiprocessing
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from quant_assets.dagster_internals import (
    INTERRUPTED,
    assets_of_step,
    execute_here,
    job_of_all_assets,
    keep_connections,
    partition_loading_context,
)
from quant_assets.errors import QuantError, refused_by_the_machine
from quant_assets.graph import build_defs
from quant_assets.planning.plan import Phase
from quant_assets.profile import Profile
from quant_assets.running.abandoned import end_abandoned, process_tags
from quant_assets.running.bookkeeping import prepare_bulk_runs, return_freed_memory
from quant_assets.running.conflicts import InFlightError, command_tags, refuse_in_flight
from quant_assets.running.instance import initialise_instance
from quant_assets.running.processes import Channel, channel, keep_what_is_there, shared_cores, worker_pool
from quant_assets.running.tally import Tally
from quant_assets.running.work import CODE_LOCATION
from quant_assets.running.workers import Workers
from quant_assets.settings.loading import Settings

#: (dataset, partitions written)
Progress = Callable[[str, int], None]

#: Of a chain: why it ended early, or None, and its counts.
Outcome = tuple[str | None, Tally]


#: The message of an OSError in a step, such as a full disk, with its file. A missing file (2) is excluded.
_REFUSED = re.compile(r"\w+: \[Errno (?!2\])\d+\] (?P<what>[^:]+)(?:: '(?P<file>[^']*)'.*)?")


class RunFailedError(QuantError):
    """Runs failed; one line per chain, with its first failing step."""


def execute(
    plan: Sequence[Sequence[Phase]],
    settings: Settings,
    workers: int,
    progress: Progress,
    *,
    apart: bool = False,
    tags: Mapping[str, str] | None = None,
    tally: Tally | None = None,
) -> None:
    """Execute chains of phases, each chain in order, chains in parallel.

    Args:
        plan: one chain per sector, or per block of sectors; the longest first.
        settings: of the profile, in every process: a profile that is edited meanwhile does not matter.
        workers: parallel processes; with 1 everything runs in this process.
        progress: called in this process for every dataset written.
        apart: whether a single worker also gets a separate process, so that this process notices if it is killed.
        tags: of the runs, in addition to those of their ranges.
        tally: counts the written data, also of failed runs.

    Raises:
        RunFailedError: a run failed. It ends its chain; the other chains are finished first, and what was written
            stays.
        InFlightError: another run of the instance is writing some of the partitions; nothing was started.

    """
    chains = [list(chain) for chain in plan if chain]
    if not chains:
        return
    initialise_instance()
    with dg.DagsterInstance.get() as instance:
        end_abandoned(instance)  # they would keep their pool slots
        refuse_in_flight(instance, (phase for chain in chains for phase in chain))
    parallel = apart or (workers > 1 and len(chains) > 1)
    outcomes = (
        _execute_in_parallel(chains, settings, workers, progress, tags or {})
        if parallel
        else [_outcome(chain, settings, progress, tags=tags) for chain in chains]
    )
    for _, written in outcomes:
        if tally is not None:
            tally.add(written)
    reasons = [reason for reason, _ in outcomes if reason]
    if reasons:
        raise RunFailedError("\n".join(reasons))


@dataclass(frozen=True)
class _Pool:
    """Processes that were started together, and their channel."""

    workers: int
    told: Channel
    processes: ProcessPoolExecutor

    @classmethod
    def of(cls, workers: int) -> "_Pool":
        context = multiprocessing.get_context("spawn")
        told = Channel(context)
        return cls(workers, told, worker_pool(workers, context, told))


#: Most processes to keep for the next stage: a process holds half a GiB, which a large stage may need.
_FEW = 2
#: Whether to keep them, and the kept pools.
_STAYING: list[bool] = []
_STAYED: list[_Pool] = []


@contextmanager
def lasting_workers() -> Iterator[None]:
    """Let the next call of `execute` reuse the processes: starting one takes five seconds."""
    _STAYING.append(True)
    try:
        yield
    finally:
        _STAYING.pop()
        while not _STAYING and _STAYED:
            _STAYED.pop().processes.shutdown()


def _execute_in_parallel(
    chains: Sequence[Sequence[Phase]], settings: Settings, workers: int, progress: Progress, tags: Mapping[str, str]
) -> list[Outcome]:
    workers = min(workers, len(chains))
    pool = _STAYED.pop() if _STAYED else _Pool.of(workers)
    if pool.workers < workers:
        pool.processes.shutdown()
        pool = _Pool.of(workers)
    watched, told = Workers(), pool.told
    with shared_cores(workers), ExitStack() as ending:
        ending.enter_context(pool.processes)
        try:
            futures = _submitted(pool.processes, chains, settings, tags)
            while not all(future.done() for future in futures):
                watched.look()
                _drain(told, progress, watched)
            _drain(told, progress, watched)
            outcomes = [future.result() for future in futures]
        except BrokenProcessPool:
            _drain(told, progress, watched)
            killed = watched.killed()
            raise RunFailedError(
                f"a worker process was killed, perhaps for lack of memory; {killed}{'; ' if killed else ''}written "
                "partitions stay: run again with fewer --workers"
            ) from None
        except KeyboardInterrupt:
            told.interrupt()  # cancelling is not enough: the pool prefetches one chain
            pool.processes.shutdown(cancel_futures=True)
            raise
        if _STAYING and pool.workers <= _FEW:
            ending.pop_all()
            _STAYED.append(pool)
        return outcomes


def _submitted(
    pool: ProcessPoolExecutor, chains: Sequence[Sequence[Phase]], settings: Settings, tags: Mapping[str, str]
) -> list[Future[Outcome]]:
    try:
        return [pool.submit(_outcome_in_worker, chain, settings, tags) for chain in chains]
    except OSError as error:  # a worker was killed while the pool still started others
        raise BrokenProcessPool(str(error)) from error


def _drain(told: Channel, progress: Progress, watched: Workers) -> None:
    for kind, what, number in told.told():
        if kind == "written":
            progress(what, number)
        else:
            watched.began(number, what)


def _outcome_in_worker(chain: Sequence[Phase], settings: Settings, tags: Mapping[str, str]) -> Outcome:
    own = channel()
    if own.interrupted:
        return "interrupted", Tally()

    def began(what: str) -> None:
        own.tell("began", what, os.getpid())

    began(f"runs of {', '.join(chain[0].sectors) or 'what spans sectors'}")

    def written(dataset: str, partitions: int) -> None:
        own.tell("written", dataset, partitions)

    return _outcome(chain, settings, written, began, tags, lambda: own.interrupted)


@dataclass
class _Assets:
    """The job of a process, built once: all chains share the data that its source has read."""

    settings: Settings
    job: dg.JobDefinition
    progress: Progress
    began: Callable[[str], None]

    @classmethod
    def of(cls, settings: Settings) -> "_Assets":
        profile = Profile(settings, on_begun=lambda what: made.began(what))
        defs = build_defs(profile, lambda dataset, partitions: made.progress(dataset, partitions))
        made = cls(settings, job_of_all_assets(defs), lambda *_: None, _nobody)
        return made


def _nobody(_: str) -> None:
    """Ignore what begins."""


#: The newest `_Assets` of this process.
_MADE: list[_Assets] = []


def _outcome(
    chain: Sequence[Phase],
    settings: Settings,
    progress: Progress,
    began: Callable[[str], None] = _nobody,
    tags: Mapping[str, str] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Execute a chain up to its first failing run; returns the reason, or None, and the counts."""
    prepare_bulk_runs()
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    if not _MADE or _MADE[0].settings != settings:
        _MADE[:] = [_Assets.of(settings)]
        if multiprocessing.parent_process() is not None:  # a command's own process frees all of it at its end
            keep_what_is_there()
    _MADE[0].progress, _MADE[0].began = progress, began
    with dg.DagsterInstance.get() as instance:
        keep_connections(instance)
        # One effective time, so that Dagster builds the list of partition keys once and not per event.
        with partition_loading_context(effective_dt=datetime.now(UTC)):
            written = Tally()
            reason = execute_chain(
                chain,
                _MADE[0].job,
                instance,
                tags=tags,
                ended=written.add_run,
                interrupted=interrupted,
                beside_others=True,
            )
            return reason, written


def execute_chain(
    chain: Sequence[Phase],
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    *,
    checks: bool = True,
    tags: Mapping[str, str] | None = None,
    seen: Callable[[Sequence[dg.DagsterEvent]], None] | None = None,
    ended: Callable[[Sequence[dg.DagsterEvent]], None] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    beside_others: bool = False,
) -> str | None:
    """Execute a chain in this process up to its first failing run; returns the reason, or None.

    Args:
        chain: phases, upstream first.
        job: of all assets.
        instance: where the runs are recorded.
        checks: whether the asset checks run too.
        tags: of the runs, in addition to those of their ranges.
        seen: receives the events of successful runs.
        ended: receives the events of all runs.
        interrupted: whether the user has interrupted the chain; checked between runs.
        beside_others: whether others use the instance: a phase does not begin while another run writes the same
            partitions.

    """
    for number, phase in enumerate(chain):
        if interrupted():
            raise KeyboardInterrupt
        if beside_others:
            try:
                refuse_in_flight(instance, [phase])
            except InFlightError as error:
                return str(error)
        run = job.get_subset(
            asset_selection={dg.AssetKey(name) for name in phase.assets},
            asset_check_selection=None if checks else set(),
        )
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        of_run = {**command_tags(phase), **(tags or {}), **process_tags(instance)}
        result = execute_here(run, instance, of_run, quiet, CODE_LOCATION if beside_others else None)
        if ended is not None:
            ended(result.all_events)
        if result.success:
            if seen is not None:
                seen(result.all_events)
            return_freed_memory()
            continue
        if interrupted_by_signal(result.all_events):
            raise KeyboardInterrupt
        reason = failure(run, result.all_events, result.run_id, phase)
        if len(phase.sectors) < 2:
            return reason
        # A failure does not stop other sectors: from here on they run separately.
        reasons = [
            execute_chain(
                rest,
                job,
                instance,
                checks=checks,
                tags=tags,
                seen=seen,
                ended=ended,
                interrupted=interrupted,
                beside_others=beside_others,
            )
            for rest in zip(*(later.alone() for later in chain[number:]), strict=True)
        ]
        return "\n".join(later for later in reasons if later) or None
    return None


def failure(job: dg.JobDefinition, events: Sequence[dg.DagsterEvent], run_id: str, phase: Phase) -> str:
    """One line on a failed run: its first failing step or blocking check, with the partitions.

    Args:
        job: of the run, or of all assets.
        events: of the run, in order.
        run_id: of the run.
        phase: to materialise.

    """
    months = phase.first if phase.first == phase.last else f"{phase.first} to {phase.last}"
    where = ", ".join([*phase.sectors, months])
    unexpected = f"unexpected; see run {run_id} in the web UI"
    ended = ""
    for event in events:
        checked = event.asset_check_evaluation_data if event.event_type_value == "ASSET_CHECK_EVALUATION" else None
        if checked is not None and not checked.passed and checked.severity == dg.AssetCheckSeverity.ERROR:
            return (
                f"{checked.asset_key.path[-1]} ({where}): check '{checked.check_name}' failed, so nothing downstream "
                f"was computed; fix the cause and run again: {checked.description}"
            )
        if event.is_step_failure:
            messages = _messages(event)
            ours = [message.partition(": ")[2] for message in messages if message.startswith("quant_assets.errors.")]
            theirs = [message for message in messages if not message.startswith("dagster.")] or messages
            assets = ", ".join(assets_of_step(job, event)) or event.step_key
            refused = _REFUSED.fullmatch(theirs[0])
            if refused is not None and not ours:
                return f"{assets} ({where}): {refused_by_the_machine(refused['file'] or '', refused['what'])}"
            return f"{assets} ({where}): {ours[0] if ours else f'{theirs[0]} ({unexpected})'}"
        if event.event_type == dg.DagsterEventType.RUN_FAILURE and event.message:
            ended = " ".join(event.message.split())  # the run's process died without a failing step
    return f"{', '.join(phase.assets)} ({where}): {f'{ended} ({unexpected})' if ended else unexpected}"


def _messages(event: dg.DagsterEvent) -> list[str]:
    """Messages of a failed step's errors, from the last raised to the first cause."""
    chain = [event.step_failure_data.error]
    while chain[-1] is not None:
        chain.append(chain[-1].cause)
    return [" ".join(error.message.split()) for error in chain if error is not None]


def interrupted_by_signal(events: Iterable[dg.DagsterEvent]) -> bool:
    """Whether a run ended because its process got SIGINT or SIGTERM, which is no failure of the run itself."""
    return any(
        message.startswith(INTERRUPTED) for event in events if event.is_step_failure for message in _messages(event)
    )
