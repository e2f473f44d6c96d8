"""The queue of an instance's runs (conf/dagster.yaml): Dagster's own, with a limit for each sector.

Dagster's limits use tags, and a range of partitions has no tag by sector: every submitted run, whatever its origin,
gets one tag per sector that it writes.
"""

from collections.abc import Collection, Mapping
from typing import Any, Self

import dagster as dg

from quant_assets.dagster_internals import ConfigurableClassData, UserConfigSchema
from quant_assets.dagster_records import backfill_by_sector
from quant_assets.running.work import work_of
from quant_assets.schemas import TRAINED
from quant_assets.settings.sectors import SECTORS

#: Run tags: sectors that a run writes, or `across_sectors`. Trainings have their own: they take long, and write other
#: partitions.
_WRITES, _TRAINS = "quant/writes/", "quant/trains/"
_PLACES = (*SECTORS, "across_sectors")
_TRAINED = {each.name for each in TRAINED}
#: Run tags for people: assets, sectors and months.
_TARGET, _SECTORS, _MONTHS = "quant/target", "quant/sectors", "quant/months"
#: Most assets to name in the tag; the rest are counted.
_NAMED = 3


def place_tags(assets: Collection[str] | None, sectors: Collection[str]) -> dict[str, str]:
    """Tags of a run for the limits of the queue.

    Args:
        assets: names; None for all assets.
        sectors: slugs; empty where it spans sectors.

    """
    kinds = {_WRITES, _TRAINS}
    if assets is not None:
        kinds = {_TRAINS if name in _TRAINED else _WRITES for name in assets}
    return {f"{kind}{place}": "true" for kind in sorted(kinds) for place in sectors or _PLACES[-1:]}


def told_tags(assets: Collection[str] | None, sectors: Collection[str], first: str, last: str) -> dict[str, str]:
    """Tags of a run for people: assets, sectors and months (or days).

    Args:
        assets: names; None for all assets.
        sectors: slugs; empty where it spans sectors.
        first: period.
        last: the same.

    """
    names = [] if assets is None else list(assets)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    every = "all" if len(sectors) == len(SECTORS) else ", ".join(sectors)
    return {
        _TARGET: ", ".join(names[:_NAMED]) + more if names else "every asset",
        **({_SECTORS: every} if every else {}),
        _MONTHS: first if first == last else f"{first} to {last}",
    }


class SectorQueue(dg.QueuedRunCoordinator):
    """Dagster's queue, which starts at most `runs_per_sector` parallel runs of a sector.

    A run of several sectors waits until all of them are free. Runs that `quant run` executes count as well. A run
    without partitions has only Dagster's limits.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Dagster's own, and `runs_per_sector`."""
        own: Any = super().config_type()
        return {**own, "runs_per_sector": dg.Field(dg.IntSource, is_required=False)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """Dagster's own, with a limit for the tag of each sector; backfills of this process are by sector too."""
        backfill_by_sector()
        config = dict(config_value)
        limit = config.pop("runs_per_sector", None)
        tags = [] if limit is None else [f"{kind}{place}" for kind in (_WRITES, _TRAINS) for place in _PLACES]
        limits = [*(config.get("tag_concurrency_limits") or []), *({"key": tag, "limit": limit} for tag in tags)]
        return super().from_config_value(inst_data, {**config, "tag_concurrency_limits": limits})

    def submit_run(self, context: Any) -> dg.DagsterRun:
        """Put a run into the queue, with the tags of its assets and sectors."""
        work = work_of(context.dagster_run)
        if work is not None:
            told = told_tags(sorted(work.assets or ()), work.sectors, work.first, work.last)
            self._instance.add_run_tags(work.run_id, place_tags(work.assets, work.sectors) | told)
        return super().submit_run(context)
