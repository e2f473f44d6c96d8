"""Parts of an audit, one after the other in this process, or their runs in several: here is which of them when.

A part's input as it is comes first; its altered runs go to whichever process is free, as soon as that has been computed
for their months.
"""

import asyncio
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from quant_assets.audit.altered_runs import ALTERING, AlteredRun, Stretch, windows
from quant_assets.audit.findings import AuditResult, Comparison, merged
from quant_assets.audit.inputs import readable_often
from quant_assets.audit.lookahead import Keys, Lookahead, Progress
from quant_assets.audit.parts import Part
from quant_assets.profile import Profile
from quant_assets.running.bookkeeping import prepare_bulk_runs
from quant_assets.running.execute import RunFailedError, shared_cores, worker_pool
from quant_assets.settings.loading import load_settings

#: Processes that share a part at most: while the input as it is is computed, more of them would wait.
_OF_A_PART = 4


def audit_parts(chosen: Sequence[Part], workers: int, progress: Progress) -> AuditResult:
    """All parts, as one result.

    Args:
        chosen: parts.
        workers: processes at a time; with 1 everything runs in this process.
        progress: told of each step.

    Raises:
        QuantError: an asset failed on the input as it is.

    """
    began = time.monotonic()
    if workers > 1:
        results = asyncio.run(_in_processes(chosen, min(workers, _OF_A_PART * len(chosen)), progress))
    else:
        results = [part.audit(progress) for part in chosen]
    return replace(merged(results), seconds=round(time.monotonic() - began, 1))


async def _in_processes(chosen: Sequence[Part], workers: int, progress: Progress) -> list[AuditResult]:
    scratch = tempfile.TemporaryDirectory(prefix="quant-audit-", ignore_cleanup_errors=True)
    pool = worker_pool(workers, multiprocessing.get_context("spawn"))
    with scratch as folder, shared_cores(workers), pool:
        steps, begun = _Steps(pool, workers, progress), asyncio.Semaphore(workers)

        async def audited(number: int, part: Part) -> AuditResult:
            async with begun:  # no more parts at a time: each has its rows on disk
                return await _audited(part, Path(folder, str(number)), steps)

        try:
            results = await asyncio.gather(*(audited(number, part) for number, part in enumerate(chosen)))
        except BrokenProcessPool:
            raise RunFailedError(
                "a process was killed, perhaps for want of memory; audit again with fewer --workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
        progress("done", steps.done, steps.asked)
        return results


class _Steps:
    """Steps handed to processes as they become free, in the order in which they were asked for."""

    def __init__(self, pool: Executor, workers: int, progress: Progress) -> None:
        self._pool, self._free, self._progress = pool, asyncio.Semaphore(workers), progress
        self.asked = self.done = 0

    async def do(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        self.asked += 1
        async with self._free:
            self._progress(what, self.done, self.asked)
            found = await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
            self.done += 1
            return found


async def _audited(part: Part, folder: Path, steps: _Steps) -> AuditResult:
    """A part; its processes have the folder in common."""
    began = time.monotonic()
    runs, notes, controls, more = await steps.do("what is to be done", _plan, part, folder)

    def step(what: str, do: Callable[..., Any], keys: Keys, *arguments: Any) -> "Coroutine[Any, Any, Any]":
        return steps.do(what, _do, part, folder, do, keys, *arguments)

    stretches = windows(runs)

    async def compute(window: Stretch, before: "Sequence[asyncio.Task[Keys]]") -> Keys:
        keys: Keys = await before[-1] if before else {}
        keys = await step(f"input as it is, {window.first}", Lookahead.compute, keys, window)
        return keys

    computed: list[asyncio.Task[Keys]] = []
    for window in stretches:
        computed.append(asyncio.create_task(compute(window, computed[-1:])))

    async def compare(run: AlteredRun) -> list[Comparison]:
        if run.fresh:  # it needs nothing of the input as it is, until it is compared with that
            altered = await step(run.label, Lookahead.alter, {}, run)
            found: list[Comparison] = await step(run.label, Lookahead.judge, await computed[-1], run, altered)
            return found
        place = next(place for place, stretch in enumerate(stretches) if stretch.serves(run))
        found = await step(run.label, Lookahead.compared, await computed[place], run)
        return found

    compared, controlled = await asyncio.gather(
        asyncio.gather(*map(compare, runs)),
        asyncio.gather(*(steps.do(f"{name}: {', '.join(part.sectors)}", _control, part, name) for name in controls)),
    )
    shutil.rmtree(folder, ignore_errors=True)
    comparisons = [each for of_run in compared for each in of_run]
    lookahead = part.question().result(part.profile, comparisons, notes, time.monotonic() - began)
    return part.joined([lookahead, *controlled], more)


# --- In a process of the pool ----------------------------------------------------------------------------------------


@cache
def _profile(name: str) -> Profile:
    prepare_bulk_runs()
    return readable_often(Profile(load_settings(name)))


@cache
def _lookahead(part: Part, folder: Path) -> Lookahead:
    return Lookahead(_profile(part.profile), part.question(), folder)


def _plan(part: Part, folder: Path) -> tuple[list[AlteredRun], list[str], tuple[str, ...], list[str]]:
    """The altered runs and what is not tested; the controls, and which of them are left out."""
    profile = _profile(part.profile)
    part.question().check(profile, ALTERING)
    return *_lookahead(part, folder).altered_runs(ALTERING), *part.chosen_controls(profile)


def _control(part: Part, name: str) -> AuditResult:
    return part.control(name, _profile(part.profile))


def _do(part: Part, folder: Path, do: Callable[..., Any], keys: Keys, *arguments: Any) -> Any:
    """A method of the audit, told which partitions of the input as it is there are, of this process or another."""
    audit = _lookahead(part, folder)
    audit.base.keys = keys
    return do(audit, *arguments)
