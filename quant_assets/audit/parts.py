"""What an audit of some sectors consists of: a part for each, with the controls of learning and execution.

Running them is in `parallel`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quant_assets.audit.execution import audit_execution, executed
from quant_assets.audit.findings import AuditResult, Exempt, merged
from quant_assets.audit.inputs import readable_often
from quant_assets.audit.label_prices import labelled
from quant_assets.audit.learning_controls import audit_learning
from quant_assets.audit.learning_stage import learners
from quant_assets.audit.lookahead import Progress, audit_lookahead
from quant_assets.audit.providers import ANSWERED, audit_provider
from quant_assets.audit.question import Question
from quant_assets.graph import build_defs
from quant_assets.partitions import shift_month
from quant_assets.planning.plan import Planner
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings

#: Months of a quick audit, and the sector that it takes where none is named: the one with fewest members.
QUICK_MONTHS = 24
QUICK_SECTOR = "telecoms"

#: Months up to a cut that are computed anew, where the cut does not say.
_REACH = 3

#: Tests that alter no input, by name.
CONTROLS: dict[str, Callable[..., AuditResult]] = {
    "learning": audit_learning,
    "execution": audit_execution,
    "provider": audit_provider,
}


@dataclass(frozen=True)
class Part:
    """Sectors that are audited together.

    Attributes:
        profile: name of the profile.
        sectors: slugs.
        first, last: months whose rows are audited.
        assets: whose rows are compared; None for all.
        every_month: whether all months are computed anew at cuts 13 months apart, or some before a few.
        controls: whether the controls of learning and execution are part of it, where the assets are among those that
            they test.

    """

    profile: str
    sectors: tuple[str, ...]
    first: str
    last: str
    assets: tuple[str, ...] | None = None
    every_month: bool = False
    controls: bool = True

    def question(self) -> Question:
        """What `Lookahead` is asked."""
        return Question(self.sectors, self.first, self.last, self.assets, reach=_REACH, every_month=self.every_month)

    def chosen_controls(self, profile: Profile) -> tuple[tuple[str, ...], list[str]]:
        """Which of `CONTROLS` are part of it, and notes on those that are not because of the assets."""
        if not self.controls or self.assets is None:
            return tuple(CONTROLS) if self.controls else (), []
        planner = Planner(build_defs(profile), profile)
        trainers, forecasters = learners(planner, profile.datasets)
        judged = {
            "learning": {*trainers, *forecasters},
            "execution": {*executed(planner, profile.datasets), *labelled(planner, profile.datasets)},
            "provider": set(ANSWERED),
        }
        there = tuple(name for name in CONTROLS if judged[name] & set(self.assets))
        notes: list[str] = [
            Exempt(f"{name} was not tested: none of what it tests was asked for ({', '.join(sorted(judged[name]))})")
            for name in CONTROLS
            if name not in there
        ]
        return there, notes

    def control(self, name: str, profile: Profile, progress: Progress | None = None) -> AuditResult:
        """Do one of `CONTROLS`."""
        more = {"every_slice": True} if name == "learning" and self.every_month else {}
        control = CONTROLS[name]
        return control(profile, sectors=self.sectors, first=self.first, last=self.last, progress=progress, **more)

    def audit(self, progress: Progress | None = None, profile: Profile | None = None) -> AuditResult:
        """Do all of it, in this process; `profile` where it has a provider of its own."""
        profile = readable_often(profile or Profile(load_settings(self.profile)))
        question, (chosen, notes) = self.question(), self.chosen_controls(profile)
        lookahead = audit_lookahead(
            profile,
            sectors=question.sectors,
            first=question.first,
            last=question.last,
            assets=question.assets,
            reach=question.reach,
            lags=True,
            every_month=question.every_month,
            progress=progress,
        )
        return self.joined([lookahead, *(self.control(name, profile, progress) for name in chosen)], notes)

    def joined(self, results: Sequence[AuditResult], notes: Sequence[str]) -> AuditResult:
        """Results of the audit and its controls as one."""
        said = AuditResult(self.profile, self.sectors, self.first, self.last, 0.0, (), tuple(notes))
        return merged([*results, said])


def quick_audit(profile: Profile, sector: str, last: str) -> AuditResult:
    """Audit every asset of a sector over the months that end with `last`, in this process.

    Raises:
        QuantError: an asset failed on the input as it is.

    """
    first = max(profile.months.start, shift_month(last, 1 - QUICK_MONTHS))
    return Part(profile.settings.profile, (sector,), first, last).audit(profile=profile)


def parts(
    profile: Profile, sectors: Sequence[str], first: str, last: str, assets: Sequence[str] | None, *, every_month: bool
) -> list[Part]:
    """One part for each sector, and one for what spans the market, with two sectors that are neighbours."""
    name, chosen = profile.settings.profile, None if assets is None else tuple(assets)
    found = [Part(name, (sector,), first, last, chosen, every_month) for sector in sectors]
    monthly = tuple(
        each
        for each, dataset in profile.datasets.items()
        if not dataset.grain.by_sector and (chosen is None or each in chosen)
    )
    if len(sectors) > 1 and monthly:
        recent = max(first, shift_month(last, 1 - QUICK_MONTHS))
        found.append(Part(name, tuple(sectors[:2]), recent, last, monthly, controls=False))
    return found
