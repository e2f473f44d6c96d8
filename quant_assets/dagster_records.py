"""Private names of Dagster like those of `dagster_internals`: what an instance keeps of backfills and events."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)

from quant_assets.dagster_internals import sql_records

if TYPE_CHECKING:
    from sqlalchemy import Engine


def request_backfill(
    instance: dg.DagsterInstance,
    defs: dg.Definitions,
    backfill_id: str,
    partitions: Mapping[str, Iterable[str]],
    **told: Any,
) -> bool:
    """Ask the daemon for a backfill of exactly these partitions; False where the instance has one of the name.

    Dagster has no public way to ask for one of several assets' own partitions. (#13852, #27759.)

    Args:
        instance: whose daemon it is.
        defs: that have the assets, as the daemon's code location does.
        backfill_id: at most 32 characters.
        partitions: keys by asset.
        told: `title` (at most 100 characters), `description` and `tags`, which its runs carry too.

    """
    if instance.get_backfill(backfill_id) is not None:
        return False
    graph = defs.resolve_asset_graph()
    wanted = {AssetKeyPartitionKey(dg.AssetKey(name), each) for name, keys in partitions.items() for each in keys}
    instance.add_backfill(
        PartitionBackfill.from_asset_graph_subset(
            backfill_id=backfill_id,
            backfill_timestamp=time.time(),
            dynamic_partitions_store=instance,
            asset_graph_subset=AssetGraphSubset.from_asset_partition_set(wanted, graph),
            run_config=None,
            **told,
        )
    )
    return True


def unfinished_backfills(instance: dg.DagsterInstance) -> dict[str, str]:
    """Title of each backfill that has not ended, by its identifier."""
    open_ones = [each for each in BulkActionStatus if each not in BULK_ACTION_TERMINAL_STATUSES]
    found = instance.get_backfills(filters=BulkActionsFilter(statuses=open_ones))
    return {each.backfill_id: each.title or "" for each in found}


def event_databases(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> "list[tuple[list[str], Engine]]":
    """The databases in which the events of runs are, with the runs in each; Dagster's SQLite files are one for each.

    With these files, what concerns assets is kept in a further one as well, which is not among them.
    """
    import sqlalchemy as sa

    storage = sql_records(instance)
    if not hasattr(storage, "path_for_shard"):
        return [(list(run_ids), storage._engine)] if run_ids else []  # type: ignore[attr-defined]
    paths = ((run_id, Path(storage.path_for_shard(run_id))) for run_id in run_ids)
    return [([run_id], sa.create_engine(f"sqlite:///{path}")) for run_id, path in paths if path.exists()]
