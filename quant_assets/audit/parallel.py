"""Execution of an audit's parts: one after the other in this process, or their runs in several processes.

A part's unaltered input comes first. Its altered runs go to free processes as soon as the unaltered input has been
computed for their months.
"""

import asyncio
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from quant_assets.audit.altered_runs import ALTERING, AlteredRun, Stretch, windows
from quant_assets.audit.findings import AuditResult, Comparison, merged
from quant_assets.audit.inputs import readable_often
from quant_assets.audit.kept import Kept
from quant_assets.audit.lookahead import Keys, Lookahead, Progress
from quant_assets.audit.parts import Part
from quant_assets.audit.question import last_months
from quant_assets.audit.remaining import Remaining
from quant_assets.profile import Profile
from quant_assets.running.bookkeeping import prepare_bulk_runs
from quant_assets.running.execute import RunFailedError
from quant_assets.running.processes import shared_cores, worker_pool
from quant_assets.settings.loading import load_settings

#: Most processes per part: while the unaltered input is computed, more of them would wait.
_OF_A_PART = 4


def audit_parts(chosen: Sequence[Part], workers: int, progress: Progress, kept: Kept | None = None) -> AuditResult:
    """Audit all parts, with one result.

    Args:
        chosen: parts.
        workers: processes at a time; with 1 everything runs in this process.
        progress: called at every step, with the remaining time once it can be estimated.
        kept: storage of finished parts.

    Raises:
        QuantError: an asset failed on the unaltered input.

    """
    began = time.monotonic()
    results = {} if kept is None else {part: found for part in chosen if (found := kept.result(part)) is not None}
    left = [part for part in chosen if part not in results]

    def keep(part: Part, result: AuditResult) -> None:
        results[part] = result
        if kept is not None:
            kept.keep(part, result)

    if workers > 1 and left:
        asyncio.run(_in_processes(left, min(workers, _OF_A_PART * len(left)), progress, keep))
    else:
        for part in left:
            keep(part, part.audit(progress))
    merging = [results[part] for part in chosen]
    return replace(merged(merging), seconds=round(time.monotonic() - began, 1))


async def _in_processes(
    chosen: Sequence[Part], workers: int, progress: Progress, keep: Callable[[Part, AuditResult], None]
) -> None:
    scratch = tempfile.TemporaryDirectory(prefix="quant-audit-", ignore_cleanup_errors=True)
    pool = worker_pool(workers, multiprocessing.get_context("spawn"))
    with scratch as folder, shared_cores(workers), pool:
        steps, begun = _Steps(pool, workers, progress, Remaining(len(chosen))), asyncio.Semaphore(workers)

        async def audited(number: int, part: Part) -> None:
            async with begun:  # limits the parts at a time: their rows are on disk
                keep(part, await _audited(part, Path(folder, str(number)), steps))

        try:
            await asyncio.gather(*(audited(number, part) for number, part in enumerate(chosen)))
        except BrokenProcessPool:
            raise RunFailedError(
                "a process was killed, perhaps for lack of memory; audit again with fewer --workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
        progress("done", steps.done, steps.asked)


class _Steps:
    """Steps that run in processes as these become free, in the order of their requests."""

    def __init__(self, pool: Executor, workers: int, progress: Progress, remaining: Remaining) -> None:
        self._pool, self._free, self._progress = pool, asyncio.Semaphore(workers), progress
        self.remaining = remaining
        self.asked = self.done = 0

    async def do(self, what: str, work: int, function: Callable[..., Any], *arguments: Any) -> Any:
        self.asked += 1
        async with self._free:
            time_left = str(self.remaining)
            self._progress(f"{what} ({time_left})" if time_left else what, self.done, self.asked)
            result = await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
            self.remaining.ends(work)
            self.done += 1
            return result


async def _audited(part: Part, folder: Path, steps: _Steps) -> AuditResult:
    """Audit a part; its processes share the folder."""
    began = time.monotonic()
    plan: _PartPlan = await steps.do("planning", 0, _plan, part, folder)
    runs, stretches = plan.runs, plan.stretches
    control = max(plan.of_stretches)  # a control computes the inputs of a training again
    steps.remaining.begins([*plan.of_runs, *plan.of_stretches, *(control for _ in plan.controls)])
    work = dict(zip([*map(id, runs), *map(id, stretches)], [*plan.of_runs, *plan.of_stretches], strict=True))

    def step(
        what: str, of: AlteredRun | Stretch | None, do: Callable[..., Any], keys: Keys, *arguments: Any
    ) -> "Coroutine[Any, Any, Any]":
        return steps.do(what, work[id(of)] if of else 0, _do, part, folder, do, keys, *arguments)

    again = last_months(part.question(), runs)

    async def compute(window: Stretch, before: "Sequence[asyncio.Task[Keys]]") -> Keys:
        keys: Keys = await before[-1] if before else {}
        keys = await step(f"unaltered input, {window.first}", window, Lookahead.compute, keys, window)
        return keys

    computed: list[asyncio.Task[Keys]] = []
    for window in stretches:
        computed.append(asyncio.create_task(compute(window, computed[-1:])))

    async def compare(run: AlteredRun) -> list[Comparison]:
        if run.fresh:  # it needs the unaltered input only for the comparison
            altered = await step(run.label, run, Lookahead.alter, {}, run)
            found: list[Comparison] = await step(run.label, None, Lookahead.judge, await computed[-1], run, altered)
            return found
        place = next(place for place, stretch in enumerate(stretches) if stretch.serves(run))
        found = await step(run.label, run, Lookahead.compared, await computed[place], run)
        return found

    async def repeat() -> tuple[list[Comparison], list[str]]:
        found: tuple[list[Comparison], list[str]] = await step(
            "other surroundings", None, Lookahead.elsewhere, await computed[-1], *again
        )
        return found

    compared, (repeated, untested), controlled = await asyncio.gather(
        asyncio.gather(*map(compare, runs)),
        repeat(),
        asyncio.gather(
            *(steps.do(f"{name}: {', '.join(part.sectors)}", control, _control, part, name) for name in plan.controls)
        ),
    )
    comparisons, notes = [each for of_run in (*compared, repeated) for each in of_run], [*plan.notes, *untested]
    if computed:
        lag_comparisons, lag_notes = await step("scores by entry lag", None, Lookahead.entry_lags, await computed[-1])
        comparisons, notes = [*comparisons, *lag_comparisons], [*notes, *lag_notes]
    shutil.rmtree(folder, ignore_errors=True)
    lookahead = part.question().result(part.profile, comparisons, notes, time.monotonic() - began)
    return part.joined([lookahead, *controlled], plan.more)


# --- In a process of the pool ----------------------------------------------------------------------------------------


@cache
def _profile(name: str) -> Profile:
    prepare_bulk_runs()
    return readable_often(Profile(load_settings(name)))


@cache
def _lookahead(part: Part, folder: Path) -> Lookahead:
    return Lookahead(_profile(part.profile), part.question(), folder)


@dataclass(frozen=True)
class _PartPlan:
    """The runs and controls of a part.

    Attributes:
        runs: altered ones.
        stretches: over which the unaltered input is computed.
        notes: on what the runs do not test.
        controls: names.
        more: notes on controls that are left out.
        of_runs, of_stretches: number of partitions that they compute.

    """

    runs: list[AlteredRun]
    stretches: list[Stretch]
    notes: list[str]
    controls: tuple[str, ...]
    more: list[str]
    of_runs: list[int]
    of_stretches: list[int]


def _plan(part: Part, folder: Path) -> _PartPlan:
    profile = _profile(part.profile)
    part.question().check(profile, ALTERING)
    audit = _lookahead(part, folder)
    runs, notes = audit.altered_runs(ALTERING)
    stretches = windows(runs) or [Stretch(*last_months(part.question(), runs))]
    work = list(map(audit.work, runs)), list(map(audit.work, stretches))
    return _PartPlan(runs, stretches, notes, *part.chosen_controls(profile), *work)


def _control(part: Part, name: str) -> AuditResult:
    return part.control(name, _profile(part.profile))


def _do(part: Part, folder: Path, do: Callable[..., Any], keys: Keys, *arguments: Any) -> Any:
    """Call a method of the audit, with the partitions of the unaltered input that any process has computed."""
    audit = _lookahead(part, folder)
    audit.base.keys = keys
    return do(audit, *arguments)
