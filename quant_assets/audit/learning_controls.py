"""Controls of learning with the real assets: the training that they examine, and the list of controls.

The controls are in modules of their own: rows that a training used (`training_rows`), dependence on later rows
(`later_slices`), permuted labels and the label as a feature (`learning_relations`).
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from quant_assets.audit.datasets import compute
from quant_assets.audit.findings import AuditResult, Comparison
from quant_assets.audit.later_slices import later_slices
from quant_assets.audit.learning_relations import oracle, permuted_labels
from quant_assets.audit.learning_stage import READ, Stage
from quant_assets.audit.runs import Recomputed
from quant_assets.audit.training_rows import rows_were_known
from quant_assets.features.labels import forward_sessions
from quant_assets.learning.checkpoints import is_training_month
from quant_assets.partitions import month_start, months_covering, shift_month
from quant_assets.profile import Profile
from quant_assets.settings.domain import ENSEMBLE
from quant_assets.settings.loading import Settings

Progress = Callable[[str, int, int], None]


def audit_learning(
    of: Profile | Settings,
    *,
    sectors: Sequence[str],
    first: str,
    last: str,
    every_slice: bool = False,
    progress: Progress | None = None,
) -> AuditResult:
    """Train the newest checkpoint whose forecasts are due; then again on altered labels and features.

    The user's storage and Dagster instance are neither read nor written.

    Args:
        of: profile, or its settings.
        sectors: slugs.
        first: first month that may be the training month.
        last: last such month.
        every_slice: also test a slice before the last one.
        progress: called at every step.

    Returns:
        Comparisons of the test `learning`; a note if there was no training to test.

    Raises:
        QuantError: an asset failed on the unaltered input.

    """
    began, profile = time.perf_counter(), of if isinstance(of, Profile) else Profile(of)
    found, notes = list[Comparison](), list[str]()
    month = training_month(profile, first, last)
    for number, sector in enumerate(sectors):
        if progress is not None:
            progress(f"learning: {sector}", number, len(sectors))
        if month is None:
            notes.append(
                f"learning was not tested: no month from {first} to {last} trains a checkpoint "
                "whose forecasts have come due"
            )
            break
        with tempfile.TemporaryDirectory(prefix="quant-audit-") as folder:
            base = Recomputed.at(Path(folder) / "base", _trained_again(profile), profile.provider)
            begin = max(shift_month(month, -profile.settings.training.window_months), profile.months.start)
            compute(base, list(READ), sector, begin, shift_month(month, 1))
            comparisons, said = controls(base, sector, month, Path(folder), every_slice=every_slice)
        found += comparisons
        notes += said
    return AuditResult(
        profile.settings.profile, tuple(sectors), first, last, time.perf_counter() - began, tuple(found), tuple(notes)
    )


def _trained_again(profile: Profile) -> Settings:
    """The settings without models that are never trained again, unless there are no others."""
    settings, learners = profile.settings, profile.models.learners
    again = [name for name, each in learners.items() if profile.datasets[each.checkpoints].reproducibility == "exact"]
    if len(again) in (0, len(learners)):
        return settings
    followed = settings.weights.model
    if followed not in again and not (followed == ENSEMBLE and len(again) > 1):
        followed = again[0]
    weights = settings.weights.model_copy(update={"model": followed})
    return settings.model_copy(update={"models": {name: settings.models[name] for name in again}, "weights": weights})


def training_month(profile: Profile, first: str, last: str) -> str | None:
    """The newest training month whose forecasts for the next month all have labels by now; None without one."""
    due = 1 + months_covering(forward_sessions(profile.settings.labels))
    month = min(last, shift_month(profile.last_month(), -due))
    while month >= first:
        if is_training_month(month_start(month), profile.settings.training.cadence_months):
            return month
        month = shift_month(month, -1)
    return None


def controls(
    base: Recomputed, sector: str, month: str, folder: Path, *, every_slice: bool = False
) -> tuple[list[Comparison], list[str]]:
    """The controls for one training.

    Args:
        base: holds `features` and `labels` of the training window and of the month after `month`.
        sector: slug.
        month: of the training.
        folder: where the altered copies go.
        every_slice: also test a slice before the last one.

    Returns:
        Comparisons, and notes on what could not be tested.

    """
    stage = Stage.of(base, sector, month, folder)
    actual = stage.run("actual", {})
    comparisons, notes = list[Comparison](), list[str]()
    for trainer in stage.trainers:
        fits = actual.fits[trainer]
        if not actual.trained(trainer):
            notes.append(f"learning was not tested: {trainer} of {sector} and {month} has too little history")
        elif not fits:
            notes.append(
                f"learning was not tested: {trainer} of {sector} fits no model in this process, so neither the rows "
                "that it used nor its dependence on later rows was recorded"
            )
        else:
            compared, said = rows_were_known(stage, trainer, fits)
            comparisons, notes = [*comparisons, *compared], [*notes, *said]
    if any(actual.trained(trainer) for trainer in stage.trainers):
        recorded = {trainer: fits for trainer, fits in actual.fits.items() if fits}
        kept = replace(actual, fits=recorded)
        for compared, said in (
            *(later_slices(stage, kept, earlier=earlier) for earlier in ((False, True) if every_slice else (False,))),
            permuted_labels(stage),
            oracle(stage),
        ):
            comparisons, notes = [*comparisons, *compared], [*notes, *said]
    return comparisons, notes
