"""Every part of the audit for the sectors asked for: in this process, or one process for each sector."""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.managers import SyncManager
from queue import Empty, Queue
from typing import Any

from quant_assets.audit.execution import audit_execution, executed
from quant_assets.audit.findings import AuditResult, TestName, merged
from quant_assets.audit.learning_controls import audit_learning, learners
from quant_assets.audit.lookahead import ALTERING, audit_lookahead, default_cuts
from quant_assets.definitions import build_defs
from quant_assets.partitions import month_range, shift_month
from quant_assets.profile import Profile
from quant_assets.running.bookkeeping import relax
from quant_assets.running.execute import share_cores, worker_pool
from quant_assets.running.plan import Planner
from quant_assets.settings.loading import load_settings

#: Months of a quick audit, and the sector that it takes where none is named: the one with fewest members.
QUICK_MONTHS = 24
QUICK_SECTOR = "telecoms"

#: Of a whole audit: months between two cuts, all of which are computed anew.
_CADENCE = 12

#: (what is being done, steps done, steps in all)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Part:
    """What one process audits.

    Attributes:
        profile: name of the profile.
        sectors: slugs.
        first, last: months.
        assets: whose rows are compared; None for all.
        every_month: whether all months are computed anew at cuts a year apart, or some months before two cuts.
        controls: whether the controls of learning and execution are part of it, where the assets are among those that they test.
        tests: of `audit_lookahead`; None for all.

    """

    profile: str
    sectors: tuple[str, ...]
    first: str
    last: str
    assets: tuple[str, ...] | None = None
    every_month: bool = False
    controls: bool = True
    tests: tuple[TestName, ...] | None = None

    def audit(self, progress: Progress | None = None) -> AuditResult:
        """Do it, in this process."""
        profile = Profile(load_settings(self.profile))
        count = max(2, len(month_range(self.first, self.last)) // _CADENCE) if self.every_month else 2
        results = [
            audit_lookahead(
                profile,
                sectors=self.sectors,
                first=self.first,
                last=self.last,
                assets=self.assets,
                tests=self.tests,
                cuts=default_cuts(profile, self.first, self.last, count),
                reach=_CADENCE + 1 if self.every_month else 3,
                progress=progress,
            )
        ]
        if self.controls:
            planner = Planner(build_defs(profile), profile)
            trainers, forecasters = learners(planner, profile.datasets)
            for name, control, judged in (
                ("learning", audit_learning, {*trainers, *forecasters}),
                ("execution", audit_execution, set(executed(planner, profile.datasets))),
            ):
                if self.assets is None or judged & set(self.assets):
                    results.append(control(profile, sectors=self.sectors, first=self.first, last=self.last, progress=progress))
                else:
                    note = f"{name} was not tested: it is a test of {', '.join(sorted(judged))}, none of which was asked for"
                    results.append(AuditResult(self.profile, self.sectors, self.first, self.last, 0.0, (), (note,)))
        return merged(results)


def parts(
    profile: Profile, sectors: Sequence[str], first: str, last: str, assets: Sequence[str] | None, *, every_month: bool
) -> list[Part]:
    """One part for each sector, and one for what spans the market, with two sectors that are neighbours."""
    name, chosen = profile.settings.profile, None if assets is None else tuple(assets)
    found = [Part(name, (sector,), first, last, chosen, every_month) for sector in sectors]
    monthly = tuple(each for each, dataset in profile.datasets.items() if dataset.grain == "month" and (chosen is None or each in chosen))
    if len(sectors) > 1 and monthly:
        recent = max(first, shift_month(last, 1 - QUICK_MONTHS))
        found.append(Part(name, tuple(sectors[:2]), recent, last, monthly, controls=False))
    return found


def audit_parts(chosen: Sequence[Part], workers: int, progress: Progress) -> AuditResult:
    """All parts, as one result; several at a time where there is more than one worker.

    Raises:
        QuantError: an asset failed on the input as it is.

    """
    began = time.monotonic()
    if workers > 1:
        chosen = [half for part in chosen for half in _halves(part)] if len(chosen) == 1 else chosen
        results = _beside(chosen, workers, progress)
    else:
        results = [part.audit(progress) for part in chosen]
    return replace(merged(results), seconds=round(time.monotonic() - began, 1))


def _halves(part: Part) -> list[Part]:
    """A part as two that take about the same time; each computes the input as it is for its own months."""
    if part.tests is not None:
        return [part]
    return [replace(part, tests=ALTERING[:2], controls=False), replace(part, tests=ALTERING[2:])]


def _beside(chosen: Sequence[Part], workers: int, progress: Progress) -> list[AuditResult]:
    context = multiprocessing.get_context("spawn")
    share_cores(min(workers, len(chosen)))
    manager = SyncManager(ctx=context)
    manager.start()
    steps: dict[int, tuple[int, int]] = {}

    def drain() -> None:
        with contextlib.suppress(Empty):
            while True:
                number, what, done, total = told.get(timeout=0.2)
                # A part's later audits begin to count anew: what it has done is not taken back.
                steps[number] = max(steps.get(number, (0, 0)), (done, total))
                progress(what, sum(each[0] for each in steps.values()), sum(each[1] for each in steps.values()))

    with manager, worker_pool(min(workers, len(chosen)), context) as pool:
        told: Any = manager.Queue()
        futures = [pool.submit(_audit, part, number, told) for number, part in enumerate(chosen)]
        while not all(future.done() for future in futures):
            drain()
        drain()
        return [future.result() for future in futures]


def _audit(part: Part, number: int, told: "Queue[tuple[int, str, int, int]]") -> AuditResult:
    relax()  # a process of its own
    return part.audit(lambda what, done, total: told.put((number, what, done, total)))
