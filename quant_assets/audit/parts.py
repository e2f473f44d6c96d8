"""The parts of an audit, one per sector, with the controls of learning and execution.

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

#: Months of a quick audit, and its default sector: the one with the fewest members.
QUICK_MONTHS = 24
QUICK_SECTOR = "telecoms"

#: Months up to a cut that are computed again, unless the cut sets its own.
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
        every_month: whether all months are computed again at cuts 13 months apart, or only some months before few cuts.
        controls: whether the controls of learning and execution are included, if they test one of the assets.

    """

    profile: str
    sectors: tuple[str, ...]
    first: str
    last: str
    assets: tuple[str, ...] | None = None
    every_month: bool = False
    controls: bool = True

    def question(self) -> Question:
        """The question for `Lookahead`."""
        return Question(self.sectors, self.first, self.last, self.assets, reach=_REACH, every_month=self.every_month)

    def chosen_controls(self, profile: Profile) -> tuple[tuple[str, ...], list[str]]:
        """The `CONTROLS` of the part, and notes on those that test none of its assets."""
        if not self.controls or self.assets is None:
            return tuple(CONTROLS) if self.controls else (), []
        planner = Planner(build_defs(profile), profile)
        trainers, forecasters = learners(planner, profile.datasets)
        judged = {
            "learning": {*trainers, *forecasters},
            "execution": {*executed(planner, profile.datasets), *labelled(planner, profile.datasets)},
            "provider": set(ANSWERED),
        }
        included = tuple(name for name in CONTROLS if judged[name] & set(self.assets))
        notes: list[str] = [
            Exempt(
                f"{name} was not tested: it tests none of the audited assets, only {', '.join(sorted(judged[name]))}"
            )
            for name in CONTROLS
            if name not in included
        ]
        return included, notes

    def control(self, name: str, profile: Profile, progress: Progress | None = None) -> AuditResult:
        """Run one of `CONTROLS`."""
        more = {"every_slice": True} if name == "learning" and self.every_month else {}
        control = CONTROLS[name]
        return control(profile, sectors=self.sectors, first=self.first, last=self.last, progress=progress, **more)

    def audit(self, progress: Progress | None = None, profile: Profile | None = None) -> AuditResult:
        """Run the whole part in this process; pass `profile` if it has its own provider."""
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
        """Merge the results of the audit and its controls."""
        with_notes = AuditResult(self.profile, self.sectors, self.first, self.last, 0.0, (), tuple(notes))
        return merged([*results, with_notes])


def quick_audit(profile: Profile, sector: str, last: str) -> AuditResult:
    """Audit every asset of a sector over the months that end with `last`, in this process.

    Raises:
        QuantError: an asset failed on the unaltered input.

    """
    first = max(profile.months.start, shift_month(last, 1 - QUICK_MONTHS))
    return Part(profile.settings.profile, (sector,), first, last).audit(profile=profile)


def parts(
    profile: Profile, sectors: Sequence[str], first: str, last: str, assets: Sequence[str] | None, *, every_month: bool
) -> list[Part]:
    """One part per sector, and one for assets of the whole market, with two neighbouring sectors."""
    name, chosen = profile.settings.profile, None if assets is None else tuple(assets)
    all_parts = [Part(name, (sector,), first, last, chosen, every_month) for sector in sectors]
    monthly = tuple(
        asset
        for asset, dataset in profile.datasets.items()
        if not dataset.grain.by_sector and (chosen is None or asset in chosen)
    )
    if len(sectors) > 1 and monthly:
        recent = max(first, shift_month(last, 1 - QUICK_MONTHS))
        all_parts.append(Part(name, tuple(sectors[:2]), recent, last, monthly, controls=False))
    return all_parts
