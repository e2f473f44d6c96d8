"""Asset checks of trained models: implausibly good ones, and ones that the baseline beats. All warn."""

from collections.abc import Callable, Sequence

import dagster as dg
import polars as pl

from quant_assets.learning.gate import beaten, gated, suspected
from quant_assets.profile import Profile

#: Lines of a check's text; the rest are counted.
_SHOWN = 10


def model_checks(profile: Profile) -> list[dg.AssetChecksDefinition]:
    """`plausible_ic` and `beats_baseline` for each dataset of checkpoints."""
    return [check for name in profile.models.checkpoints for check in _of(profile, name)]


def _of(profile: Profile, dataset: str) -> list[dg.AssetChecksDefinition]:
    settings = profile.settings.promotion
    return [
        _check(
            profile,
            dataset,
            "plausible_ic",
            f"no daily IC over the test folds is above promotion.max_daily_ic, {settings.max_daily_ic:g}: it would "
            "suggest that a label leaks into a feature",
            lambda found: suspected(found, settings),
            "look at the features that the manifests weigh most, and run quant audit lookahead; where the relation is "
            "known to be as strong, raise promotion.max_daily_ic",
        ),
        _check(
            profile,
            dataset,
            "beats_baseline",
            "every model's rank IC over its test folds is above that of the linear baseline",
            beaten,
            "such a model is not promoted: give it more rows or features, or weights the baseline (weights.model)",
        ),
    ]


def _check(
    profile: Profile, own: str, name: str, meaning: str, wrong: Callable[[pl.DataFrame], Sequence[str]], remedy: str
) -> dg.AssetChecksDefinition:
    # The baseline may be among the models of another dataset.
    others = [each for each in profile.models.checkpoints if each != own]

    @dg.asset_check(name=name, asset=own, additional_deps=others, description=meaning)
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        keys = context.op_execution_context.partition_keys
        parts = [profile.store.read(profile.datasets[own], keys).collect()]
        for each in others:
            missing = set(profile.store.missing(profile.datasets[each], keys))
            stored_keys = [key for key in keys if key not in missing]
            parts.append(profile.store.read(profile.datasets[each], stored_keys).collect())
        models = gated(pl.concat(parts), profile.settings.promotion, profile.models.directions)
        models = models.join(parts[0], on=["sector", "as_of", "horizon", "model"], how="semi", maintain_order="left")
        lines = wrong(models)
        more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        return dg.AssetCheckResult(
            passed=not lines,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{'; '.join(lines[:_SHOWN])}{more}. Remedy: {remedy}" if lines else None,
            metadata={"models": len(models), "promoted": int(models["promoted"].sum()), "against": len(lines)},
        )

    return check
