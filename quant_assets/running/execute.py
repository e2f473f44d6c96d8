"""Executing a plan: a process for each sector, runs recorded in the profile's Dagster instance, progress on the way."""

import logging
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from quant_assets.settings.loading import Settings, load_settings

#: (dataset, partitions written)
Progress = Callable[[str, int], None]

#: Of a chain: why it ended early, or None, and what it has written.
Outcome = tuple[str | None, Tally]


#: The message of an OSError in a step: what the machine refuses, such as a full disk, and the file. That a file is not
#: there (2) is no such thing.
_REFUSED = re.compile(r"\w+: \[Errno (?!2\])\d+\] (?P<what>[^:]+)(?:: '(?P<file>[^']*)'.*)?")


class RunFailedError(QuantError):
    """Runs failed; one line for each chain, with its first failing step."""


def execute(
    plan: Sequence[Sequence[Phase]],
    profile: str,
    workers: int,
    progress: Progress,
    *,
    apart: bool = False,
    tags: Mapping[str, str] | None = None,
    tally: Tally | None = None,
) -> None:
    """Execute chains of phases, each chain in order, chains in parallel.

    Args:
        plan: one chain per sector, or per block of sectors; those that take longest come first.
        profile: name of the profile.
        workers: processes at a time; with 1 everything runs in this process.
        progress: called in this process for each dataset written.
        apart: whether a process of its own is worth its start also for one worker: this process can tell when that one
            is killed.
        tags: of the runs, besides those of their ranges: why they exist.
        tally: counts what is written, also where a run failed.

    Raises:
        RunFailedError: a run failed. It ends its chain; the other chains are finished first, and what was written
            stays.
        InFlightError: another run of the instance writes some of the same partitions now; nothing was begun.

    """
    chains = [list(chain) for chain in plan if chain]
    if not chains:
        return
    initialise_instance()
    with dg.DagsterInstance.get() as instance:
        end_abandoned(instance)  # they would keep their slots of pools
        refuse_in_flight(instance, (phase for chain in chains for phase in chain))
    parallel = apart or (workers > 1 and len(chains) > 1)
    failed = (
        _execute_in_parallel(chains, profile, workers, progress, tags or {})
        if parallel
        else [_outcome(each, profile, progress, tags=tags) for each in chains]
    )
    for _, written in failed:
        if tally is not None:
            tally.add(written)
    reasons = [reason for reason, _ in failed if reason]
    if reasons:
        raise RunFailedError("\n".join(reasons))


@dataclass(frozen=True)
class _Pool:
    """Processes that were started together, and what they tell by."""

    workers: int
    told: Channel
    processes: ProcessPoolExecutor

    @classmethod
    def of(cls, workers: int) -> "_Pool":
        context = multiprocessing.get_context("spawn")
        told = Channel(context)
        return cls(workers, told, worker_pool(workers, context, told))


#: Most processes that stay for the next stage: each holds half a GiB, which a stage that is large itself may need.
_FEW = 2
#: Whether they stay, and those that did.
_STAYING: list[bool] = []
_STAYED: list[_Pool] = []


@contextmanager
def lasting_workers() -> Iterator[None]:
    """Let the next call of `execute` have the processes of the one before: to start one takes five seconds."""
    _STAYING.append(True)
    try:
        yield
    finally:
        _STAYING.pop()
        while not _STAYING and _STAYED:
            _STAYED.pop().processes.shutdown()


def _execute_in_parallel(
    chains: Sequence[Sequence[Phase]], profile: str, workers: int, progress: Progress, tags: Mapping[str, str]
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
            futures = _submitted(pool.processes, chains, profile, tags)
            while not all(future.done() for future in futures):
                watched.look()
                _drain(told, progress, watched)
            _drain(told, progress, watched)
            found = [future.result() for future in futures]
        except BrokenProcessPool:
            _drain(told, progress, watched)
            killed = watched.killed()
            raise RunFailedError(
                f"a worker process was killed, perhaps for want of memory; {killed}{'; ' if killed else ''}what was "
                "written stays: run again with fewer --workers"
            ) from None
        except KeyboardInterrupt:
            told.interrupt()  # cancelling is not enough: the pool hands out one chain more than it has workers
            pool.processes.shutdown(cancel_futures=True)
            raise
        if _STAYING and pool.workers <= _FEW:
            ending.pop_all()
            _STAYED.append(pool)
        return found


def _submitted(
    pool: ProcessPoolExecutor, chains: Sequence[Sequence[Phase]], profile: str, tags: Mapping[str, str]
) -> list[Future[Outcome]]:
    try:
        return [pool.submit(_outcome_in_worker, chain, profile, tags) for chain in chains]
    except OSError as error:  # the pool closed its pipes while it still started workers, because one of them was killed
        raise BrokenProcessPool(str(error)) from error


def _drain(told: Channel, progress: Progress, watched: Workers) -> None:
    for kind, what, number in told.told():
        if kind == "written":
            progress(what, number)
        else:
            watched.began(number, what)


def _outcome_in_worker(chain: Sequence[Phase], profile: str, tags: Mapping[str, str]) -> Outcome:
    own = channel()
    if own.interrupted:
        return "interrupted", Tally()

    def began(what: str) -> None:
        own.tell("began", what, os.getpid())

    began(f"runs of {', '.join(chain[0].sectors) or 'what spans sectors'}")

    def written(dataset: str, partitions: int) -> None:
        own.tell("written", dataset, partitions)

    return _outcome(chain, profile, written, began, tags, lambda: own.interrupted)


@dataclass
class _Assets:
    """The job of a process, made once: what its source has read serves every chain."""

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
    """Nobody is told what begins."""


#: The newest one of this process.
_MADE: list[_Assets] = []


def _outcome(
    chain: Sequence[Phase],
    profile: str,
    progress: Progress,
    began: Callable[[str], None] = _nobody,
    tags: Mapping[str, str] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Execute a chain up to its first failing run; the reason of that, or None, and what was written."""
    prepare_bulk_runs()
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    settings = load_settings(profile)
    if not _MADE or _MADE[0].settings != settings:
        _MADE[:] = [_Assets.of(settings)]
        if multiprocessing.parent_process() is not None:  # a command's own process frees all of it at its end
            keep_what_is_there()
    _MADE[0].progress, _MADE[0].began = progress, began
    with dg.DagsterInstance.get() as instance:
        keep_connections(instance)
        # At one time for all of it: Dagster then makes the list of all partition keys once, and not for each event that
        # needs it.
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
    """Execute a chain in this process up to its first failing run; the reason of that, or None.

    Args:
        chain: phases, upstream first.
        job: of all assets.
        instance: where the runs are recorded.
        checks: whether the asset checks run too.
        tags: of the runs, besides those of their ranges.
        seen: told the events of each run that succeeds.
        ended: told those of each run, also of one that fails.
        interrupted: whether the user has interrupted it between two runs.
        beside_others: whether others use the instance: a phase does not begin where a run of theirs, begun meanwhile,
            writes the same partitions.

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
        if any(event.is_step_failure and _interrupted(event) for event in result.all_events):
            raise KeyboardInterrupt
        reason = failure(run, result.all_events, result.run_id, phase)
        if len(phase.sectors) < 2:
            return reason
        # One sector's failure is not another's: each goes on alone from here.
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
            for rest in zip(*(each.alone() for each in chain[number:]), strict=True)
        ]
        return "\n".join(each for each in reasons if each) or None
    return None


def failure(job: dg.JobDefinition, events: Sequence[dg.DagsterEvent], run_id: str, phase: Phase) -> str:
    """One line of a run that failed: what its first failing step said, or the check that blocked, and where.

    Args:
        job: of the run, or of all assets.
        events: of the run, in order.
        run_id: of the run.
        phase: what it was to materialise.

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
                f"was computed; mend the cause and run again: {checked.description}"
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
            ended = " ".join(event.message.split())  # of a run whose process died, which no step could say
    return f"{', '.join(phase.assets)} ({where}): {f'{ended} ({unexpected})' if ended else unexpected}"


def _messages(event: dg.DagsterEvent) -> list[str]:
    """What the errors of a step's failure said, from the last raised to the first cause."""
    chain = [event.step_failure_data.error]
    while chain[-1] is not None:
        chain.append(chain[-1].cause)
    return [" ".join(error.message.split()) for error in chain if error is not None]


def _interrupted(event: dg.DagsterEvent) -> bool:
    return any(message.startswith(INTERRUPTED) for message in _messages(event))
