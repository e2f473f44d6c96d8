"""Running the real assets into a folder of their own, without an instance that keeps records: for recomputation and comparison."""

from collections.abc import Iterable

import dagster as dg

from quant_assets.running.execute import Progress, RunFailedError, executed
from quant_assets.running.plan import Phase
from quant_assets.settings import Settings


def run_apart(settings: Settings, phases: Iterable[Phase], progress: Progress = lambda *_: None) -> None:
    """Execute phases in this process on an instance in memory.

    Args:
        settings: of a profile; its storage is where the partitions go.
        phases: in order.
        progress: called for each dataset written.

    Raises:
        RunFailedError: a run failed; names asset, sector and months.

    """
    from quant_assets.definitions import build_defs

    job = build_defs(settings, progress).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        reason = executed(list(phases), job, instance)
    if reason:
        raise RunFailedError(reason)
