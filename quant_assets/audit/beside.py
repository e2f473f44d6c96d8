"""Parts of an audit one after the other in this process, or in several: whole parts, or the runs of each part.

Where parts are fewer than processes, a part's altered runs go to whichever process is free, as soon as the input as it
is has been computed for their months.
"""

import contextlib
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import cache
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from quant_assets.audit.findings import AuditResult, Comparison, merged
from quant_assets.audit.inputs import readable_often
from quant_assets.audit.lookahead import Altered, Lookahead, Progress
from quant_assets.audit.parts import Part
from quant_assets.audit.trials import ALTERING, Trial, windows
from quant_assets.profile import Profile
from quant_assets.running.bookkeeping import relax
from quant_assets.running.execute import RunFailedError, shared_cores, worker_pool
from quant_assets.settings.loading import load_settings

#: Starts a function in some process, with what to call it; the function gets these arguments.
Submit = Callable[..., "Future[Any]"]

#: Processes that share a part at most: while the input as it is is computed, more of them would wait.
_OF_A_PART = 4

#: Partitions of the input as it is that have been computed, by dataset.
Keys = dict[str, set[str]]


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
    results = _beside(chosen, workers, progress) if workers > 1 else [part.audit(progress) for part in chosen]
    return replace(merged(results), seconds=round(time.monotonic() - began, 1))


def _beside(chosen: Sequence[Part], workers: int, progress: Progress) -> list[AuditResult]:
    context = multiprocessing.get_context("spawn")
    workers = min(workers, _OF_A_PART * len(chosen))
    manager = SyncManager(ctx=context)
    manager.start()
    folder = Path(tempfile.mkdtemp(prefix="quant-audit-"))
    with manager, shared_cores(workers), worker_pool(workers, context) as pool:
        told: Any = manager.Queue()
        steps: dict[int, tuple[int, int]] = {}
        owners: dict[Future[Any], tuple[int, _Whole | _Divided]] = {}

        def show(what: str) -> None:
            progress(what, sum(each[0] for each in steps.values()), sum(each[1] for each in steps.values()))

        def submit(
            owner: "_Whole | _Divided", function: Callable[..., Any], what: str, *arguments: Any
        ) -> "Future[Any]":
            number = len(owners)
            future = pool.submit(_in_worker, function, what, told, number, *arguments)
            owners[future], steps[number] = (number, owner), (0, 1)
            return future

        whole = len(chosen) >= workers
        works = [_Whole(part) if whole else _Divided(part, folder / str(number)) for number, part in enumerate(chosen)]
        try:
            pending = {
                future for work in works for future in work.begin(lambda *given, work=work: submit(work, *given))
            }
            while pending:
                finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in finished:
                    number, owner = owners[future]
                    future.result()
                    steps[number] = (steps[number][1], steps[number][1])
                    pending |= set(owner.go_on(future, lambda *given, work=owner: submit(work, *given)))
                with contextlib.suppress(Empty):
                    while True:
                        number, what, done, total = told.get_nowait()
                        # A part's later audits begin to count anew: what it has done is not taken back.
                        steps[number] = max(steps[number], (done, total))
                        show(what)
            show("done")
            return [work.result() for work in works]
        except BrokenProcessPool:
            raise RunFailedError(
                "a process was killed, perhaps for want of memory; audit again with fewer --workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
            shutil.rmtree(folder, ignore_errors=True)


class _Whole:
    """A part that one process does."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def begin(self, submit: Submit) -> "list[Future[Any]]":
        self._future = submit(Part.audit, self._part.sectors[0], self._part)
        return [self._future]

    def go_on(self, finished: "Future[Any]", submit: Submit) -> "list[Future[Any]]":
        return []

    def result(self) -> AuditResult:
        found: AuditResult = self._future.result()
        return found


class _Divided:
    """A part whose runs are done by several processes; they have a folder in common."""

    def __init__(self, part: Part, folder: Path) -> None:
        self._part, self._folder = part, folder
        self._controls: dict[str, Future[AuditResult]] = {}
        self._base: Future[Keys] | None = None
        self._windows: list[tuple[str, str]] = []
        #: By their place among the trials.
        self._fresh: dict[int, Future[Altered]] = {}
        self._judged: dict[int, Future[list[Comparison]]] = {}
        self._keys: Keys | None = None

    def begin(self, submit: Submit) -> "list[Future[Any]]":
        self._began = time.monotonic()
        self._plan = submit(_plan, "what is to be done", self._part, self._folder)
        return [self._plan]

    def go_on(self, finished: "Future[Any]", submit: Submit) -> "list[Future[Any]]":
        """What can be started after something has finished; what takes longest and what others wait for comes first."""
        if finished is self._plan:
            self._trials, self._notes, controls = self._plan.result()
            self._windows = windows(self._trials)
            started = self._next_window(submit, {})
            self._fresh = {
                place: self._run(_alter, place, submit) for place, each in enumerate(self._trials) if each.fresh
            }
            self._controls = {
                name: submit(_control, f"{name}: {', '.join(self._part.sectors)}", self._part, name)
                for name in controls
            }
            return [*started, *self._fresh.values(), *self._controls.values()]
        if finished is self._base:
            keys, window = finished.result(), self._windows.pop(0)
            started = self._next_window(submit, keys)
            if not self._windows:
                self._keys = keys
            for place, trial in enumerate(self._trials):
                if not trial.fresh and window[0] <= trial.first <= window[1]:
                    self._judged[place] = self._run(_alter_and_judge, place, submit, keys)
                    started.append(self._judged[place])
            return [*started, *self._judge_fresh(submit)]
        return self._judge_fresh(submit) if finished in self._fresh.values() else []

    def result(self) -> AuditResult:
        found = [each for place in range(len(self._trials)) for each in self._judged[place].result()]
        profile = Profile(load_settings(self._part.profile))
        lookahead = self._part.question().result(profile, found, self._notes, time.monotonic() - self._began)
        return self._part.joined([lookahead, *(future.result() for future in self._controls.values())], ())

    def _next_window(self, submit: Submit, keys: Keys) -> "list[Future[Any]]":
        if not self._windows:
            return []
        self._base = submit(
            _compute, f"input as it is, {self._windows[0][0]}", self._part, self._folder, self._windows[0], keys
        )
        return [self._base]

    def _judge_fresh(self, submit: Submit) -> "list[Future[Any]]":
        """A fresh trial needs nothing of the input as it is, until it is compared with that."""
        if self._keys is None:
            return []
        ready = [place for place, future in self._fresh.items() if future.done() and place not in self._judged]
        self._judged |= {
            place: self._run(_judge, place, submit, self._keys, self._fresh[place].result()) for place in ready
        }
        return [self._judged[place] for place in ready]

    def _run(self, function: Callable[..., Any], place: int, submit: Submit, *arguments: Any) -> "Future[Any]":
        return submit(function, self._trials[place].label, self._part, self._folder, self._trials[place], *arguments)


# --- In a worker ------------------------------------------------------------------------------------------------------


def _in_worker(
    function: Callable[..., Any], what: str, told: "Queue[tuple[int, str, int, int]]", number: int, *arguments: Any
) -> Any:
    relax()  # a process of its own
    whole = function is Part.audit
    told.put((number, what, 0, 1))
    return function(*arguments, *([lambda *step: told.put((number, *step))] if whole else []))


@cache
def _profile(name: str) -> Profile:
    return readable_often(Profile(load_settings(name)))


@cache
def _lookahead(part: Part, folder: Path) -> Lookahead:
    return Lookahead(_profile(part.profile), part.question(), folder)


def _plan(part: Part, folder: Path) -> tuple[list[Trial], list[str], tuple[str, ...]]:
    profile = _profile(part.profile)
    cuts = part.question().checked(profile, ALTERING, part.cuts(profile))
    trials, notes = _lookahead(part, folder).trials(ALTERING, cuts)
    controls, more = part.chosen_controls(profile)
    return trials, [*notes, *more], controls


def _control(part: Part, name: str) -> AuditResult:
    return part.control(name, _profile(part.profile))


def _compute(part: Part, folder: Path, window: tuple[str, str], keys: Keys) -> Keys:
    audit = _at(part, folder, keys)
    audit.compute(*window)
    return audit.base.keys


def _alter(part: Part, folder: Path, trial: Trial) -> Altered:
    return _lookahead(part, folder).alter(trial)


def _judge(part: Part, folder: Path, trial: Trial, keys: Keys, altered: Altered) -> list[Comparison]:
    return _at(part, folder, keys).judge(trial, altered)


def _alter_and_judge(part: Part, folder: Path, trial: Trial, keys: Keys) -> list[Comparison]:
    audit = _at(part, folder, keys)
    return audit.judge(trial, audit.alter(trial))


def _at(part: Part, folder: Path, keys: Keys) -> Lookahead:
    """The audit, told what has been computed, here or in another process."""
    audit = _lookahead(part, folder)
    audit.base.keys = keys
    return audit
