"""What an asset check tells Dagster: a result of the run, and one of each partition that fails, which names it.

Dagster's own partitioned checks record every partition of every check: with five checks of each dataset, 25 years of a
sector would be half a gigabyte. Here partitions that hold are one record of their run.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.grains import grain_of
from quant_assets.profile import Profile
from quant_assets.schemas import Dataset

#: What a check yields.
Results = Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult]

#: Partitions that are told apart; a description names how many more there are.
_MOST = 50


def check_results(
    spec: dg.AssetCheckSpec,
    failing: Mapping[str, Sequence[str]],
    *,
    others: bool,
    severity: dg.AssetCheckSeverity | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Results:
    """The results of one check in one run.

    A partition that fails is an error of its own, and blocks where the check does. The result of the run, which decides
    how the web UI paints the asset, comes last: a warning as long as other partitions hold.

    Args:
        spec: of the check.
        failing: what is wrong, by partition key.
        others: whether the asset has partitions that hold.
        severity: of a partition that fails; by default an error where the check blocks, else a warning.
        metadata: of the run's result.

    """
    error, warning = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
    severity = severity or (error if spec.blocking else warning)
    lines = [f"{key}: {'; '.join(found)}" for key, found in failing.items()]
    for key, line in list(zip(failing, lines, strict=True))[:_MOST]:
        yield dg.AssetCheckEvaluation(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=False,
            severity=severity,
            description=line,
            partition=key,
            blocking=spec.blocking,
        )
    more = f"; and {len(lines) - _MOST} partitions more" if len(lines) > _MOST else ""
    yield dg.AssetCheckResult(
        passed=not lines,
        asset_key=spec.asset_key,
        check_name=spec.name,
        severity=warning if others else severity,
        description=f"{'; '.join(lines[:_MOST])}{more}" if lines else None,
        metadata=metadata,
    )


def by_partition(
    frame: pl.DataFrame,
    keys: Sequence[str],
    broken: Mapping[str, list[str]],
    found_in: Callable[[pl.DataFrame], Mapping[str, list[str]]],
) -> dict[str, dict[str, Sequence[str]]]:
    """Breaches of each broken check by partition; of all where each is sound alone (a key that repeats across them)."""
    if not broken:
        return {}
    alone = {key: found_in(frame.filter(grain_of(key).holds(key))) for key in keys} if len(keys) > 1 else {}

    def of(name: str) -> Callable[[str], Sequence[str]]:
        return lambda key: alone[key][name]

    return {name: alone_or_all(keys, all_of, of(name)) for name, all_of in broken.items()}


def alone_or_all(
    keys: Sequence[str], together: Sequence[str], alone: Callable[[str], Sequence[str]]
) -> dict[str, Sequence[str]]:
    """What is wrong by partition: of those that fail alone, else of all, if only together they fail.

    Args:
        keys: of the partitions.
        together: what is wrong with all of them; empty if nothing is.
        alone: what is wrong with one; not called where there is one alone.

    """
    if not together:
        return {}
    found = {key: lines for key in keys if (lines := alone(key))} if len(keys) > 1 else {}
    return found or dict.fromkeys(keys, together)


def others_hold(profile: Profile, dataset: Dataset, keys: Sequence[str], failing: Collection[str]) -> bool:
    """Whether a dataset has partitions besides the failing ones of a run; not looked for where none fails."""
    if not failing:
        return True
    return len(failing) < len(keys) or bool(set(profile.store.existing(dataset)) - set(keys))
