"""Every part of the audit for the sectors asked for: in this process, or one process for each sector."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass

from quant_assets.audit.execution import audit_execution
from quant_assets.audit.findings import AuditResult, merged
from quant_assets.audit.learning_controls import audit_learning
from quant_assets.audit.lookahead import audit_lookahead, default_cuts
from quant_assets.partitions import month_range, shift_month
from quant_assets.profile import Profile
from quant_assets.running.execute import share_cores, worker_pool
from quant_assets.settings import load_settings

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
        controls: whether the controls of learning and execution are part of it.

    """

    profile: str
    sectors: tuple[str, ...]
    first: str
    last: str
    assets: tuple[str, ...] | None = None
    every_month: bool = False
    controls: bool = True

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
                cuts=default_cuts(profile, self.first, self.last, count),
                reach=_CADENCE + 1 if self.every_month else 3,
                progress=progress,
            )
        ]
        if self.controls:
            results += [
                control(profile, sectors=self.sectors, first=self.first, last=self.last, progress=progress)
                for control in (audit_learning, audit_execution)
            ]
        return merged(results)


def parts(
    profile: Profile, sectors: Sequence[str], first: str, last: str, assets: Sequence[str] | None, *, every_month: bool
) -> list[Part]:
    """One part for each sector, and one for what spans the market, with two sectors that are neighbours."""
    name, chosen = profile.settings.profile, None if assets is None else tuple(assets)
    found = [Part(name, (sector,), first, last, chosen, every_month, assets is None) for sector in sectors]
    monthly = tuple(each for each, dataset in profile.datasets.items() if dataset.grain == "month" and (chosen is None or each in chosen))
    if len(sectors) > 1 and monthly:
        recent = max(first, shift_month(last, 1 - QUICK_MONTHS))
        found.append(Part(name, tuple(sectors[:2]), recent, last, monthly, controls=False))
    return found


def audit_parts(chosen: Sequence[Part], workers: int, progress: Progress) -> AuditResult:
    """All parts, as one result; several at a time where there are several and more than one worker.

    Raises:
        QuantError: an asset failed on the input as it is.

    """
    if len(chosen) == 1 or workers == 1:
        return merged([part.audit(progress) for part in chosen])
    context = multiprocessing.get_context("spawn")
    share_cores(min(workers, len(chosen)))
    results: dict[Part, AuditResult] = {}
    with worker_pool(min(workers, len(chosen)), context) as pool:
        futures: dict[Future[AuditResult], Part] = {pool.submit(part.audit): part for part in chosen}
        for future in as_completed(futures):
            part = futures[future]
            results[part] = future.result()
            progress(", ".join(part.sectors), len(results), len(chosen))
    return merged([results[part] for part in chosen])
