"""Private names of Dagster, like `dagster_internals`, for an instance's records other than runs.

Backfills, events, pools, and the states of schedules and sensors.
"""

import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import yaml
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)
from dagster._core.remote_origin import RemoteInstigatorOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
)
from dagster._serdes import create_snapshot_id

from quant_assets.dagster_internals import DefaultPartitionsSubset, sql_records
from quant_assets.dagster_origins import repository_origin

if TYPE_CHECKING:
    from sqlalchemy import Engine

#: Dimension of the partitions by which a backfill is divided into runs, and what the dialog says of that.
_SECTOR = "sector"
_ONE_RUN, _BY_SECTOR = "Backfills all partitions in a single run", "Backfills each sector in a run of its own"

Instigator = dg.ScheduleDefinition | dg.SensorDefinition


@cache
def without_events() -> dg.DagsterInstance:
    """The process's instance that stores no events, for runs whose events are not needed.

    An audit makes hundreds of runs: storing events takes a tenth of it, making an instance for each another twentieth.
    """
    # The folder stays empty: our runs keep neither outputs nor logs there.
    instance = dg.DagsterInstance.ephemeral(tempfile.gettempdir())
    storage: Any = instance.event_log_storage
    nothing = dg.EventRecordsResult([], cursor="", has_more=False)
    storage.store_event = lambda event: None
    # Without a query: every step asks for the newest records of what it reads.
    storage.get_asset_records = lambda asset_keys=None: []
    storage.fetch_materializations = storage.fetch_observations = lambda *_, **__: nothing
    return instance


def request_backfill(
    instance: dg.DagsterInstance,
    defs: dg.Definitions,
    backfill_id: str,
    partitions: Mapping[str, Iterable[str]],
    **attributes: Any,
) -> bool:
    """Request a backfill of exactly these partitions from the daemon; False if the instance has one of this id.

    Dagster has no public API for different partitions of several assets (#13852, #27759).

    Args:
        instance: of the daemon.
        defs: with the assets, as in the daemon's code location.
        backfill_id: at most 32 characters.
        partitions: keys by asset.
        attributes: `title` (at most 100 characters), `description` and `tags`, which its runs get too.

    """
    if instance.get_backfill(backfill_id) is not None:
        return False
    graph = defs.resolve_asset_graph()
    wanted = {AssetKeyPartitionKey(dg.AssetKey(name), key) for name, keys in partitions.items() for key in keys}
    instance.add_backfill(
        PartitionBackfill.from_asset_graph_subset(
            backfill_id=backfill_id,
            backfill_timestamp=time.time(),
            dynamic_partitions_store=instance,
            asset_graph_subset=AssetGraphSubset.from_asset_partition_set(wanted, graph),
            run_config=None,
            **attributes,
        )
    )
    return True


def unfinished_backfills(instance: dg.DagsterInstance) -> dict[str, str]:
    """Titles of the backfills that have not ended, by identifier."""
    open_ones = [each for each in BulkActionStatus if each not in BULK_ACTION_TERMINAL_STATUSES]
    backfills = instance.get_backfills(filters=BulkActionsFilter(statuses=open_ones))
    return {each.backfill_id: each.title or "" for each in backfills}


def event_databases(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> "list[tuple[list[str], Engine]]":
    """The databases with the events of runs, and their runs; with SQLite, Dagster has one file per run.

    With SQLite, events of assets are also stored in another file, which is not returned.
    """
    import sqlalchemy as sa

    storage = sql_records(instance)
    if not hasattr(storage, "path_for_shard"):
        return [(list(run_ids), storage._engine)] if run_ids else []  # type: ignore[attr-defined]
    paths = ((run_id, Path(storage.path_for_shard(run_id))) for run_id in run_ids)
    return [([run_id], sa.create_engine(f"sqlite:///{path}")) for run_id, path in paths if path.exists()]


def upgrade_tables(instance: dg.DagsterInstance) -> bool:
    """Migrate the tables of an instance's records to this version of Dagster; returns whether they were older.

    Nothing is done if they are current, because with SQLite the file of every run would be opened.
    """
    schema = yaml.safe_load(instance.schema_str())["schema"]
    if all(each is None or each["current"] == each["latest"] for each in schema.values()):
        return False
    instance.upgrade()
    return True


def limited_pools(instance: dg.DagsterInstance) -> dict[str, int]:
    """Limits of the pools that have one: most steps at a time."""
    return {each.name: each.limit for each in instance.event_log_storage.get_pool_limits() if not each.from_default}


def limit_pool(instance: dg.DagsterInstance, pool: str, limit: int) -> None:
    """Limit the steps of a pool that run at a time, like `dagster instance concurrency set`."""
    instance.event_log_storage.set_concurrency_slots(pool, limit)


@dataclass(frozen=True)
class Tick:
    """Newest tick of a schedule or sensor: Unix time; `SUCCESS`, `SKIPPED`, `FAILURE` or `STARTED`; its reason."""

    at: float
    status: str
    reason: str


@dataclass(frozen=True)
class SwitchState:
    """Whether a schedule or sensor is on, whether the user has switched it, and its newest tick."""

    on: bool
    switched: bool
    tick: Tick | None


def switch_state(instance: dg.DagsterInstance, location: str, instigator: Instigator) -> SwitchState:
    """State of a schedule or sensor, as the web UI shows it.

    Args:
        instance: whose records are read.
        location: name of the code location.
        instigator: as the code location defines it.

    """
    origin = _origin(location, instigator)
    ids = origin.get_id(), create_snapshot_id(origin.get_selector())
    state = instance.get_instigator_state(*ids)
    running = "RUNNING" in instigator.default_status.value
    switched = state is not None and state.status != InstigatorStatus.DECLARED_IN_CODE
    ticks = instance.get_ticks(*ids, limit=1)
    tick = None
    if ticks:
        data = ticks[0].tick_data
        reason = data.error.message if data.error is not None else data.skip_reason or ""
        tick = Tick(ticks[0].timestamp, ticks[0].status.value, " ".join(reason.split()))
    on = state.status == InstigatorStatus.RUNNING if switched and state is not None else running
    return SwitchState(on, switched, tick)


def switch(instance: dg.DagsterInstance, location: str, instigator: Instigator, *, on: bool) -> None:
    """Turn a schedule or sensor on or off in an instance, as `dagster schedule start` does.

    Dagster's command starts a code server for every call. The daemon finds the state by the names of location,
    repository and instigator, so no server is needed.
    """
    origin = _origin(location, instigator)
    stored = instance.get_instigator_state(origin.get_id(), create_snapshot_id(origin.get_selector()))
    status = InstigatorStatus.RUNNING if on else InstigatorStatus.STOPPED
    if isinstance(instigator, dg.SensorDefinition):
        kind = InstigatorType.SENSOR
        before = stored.instigator_data if stored is not None else None
        data: ScheduleInstigatorData | SensorInstigatorData = (
            before
            if isinstance(before, SensorInstigatorData)
            else SensorInstigatorData(
                min_interval=instigator.minimum_interval_seconds, sensor_type=instigator.sensor_type
            )
        )
        if on and isinstance(data, SensorInstigatorData):
            data = data.with_sensor_start_timestamp(time.time())
    else:
        kind = InstigatorType.SCHEDULE
        data = ScheduleInstigatorData(instigator.cron_schedule, time.time() if on else None)
    if stored is None:
        instance.add_instigator_state(InstigatorState(origin, kind, status, data))
    else:
        instance.update_instigator_state(stored.with_status(status).with_data(data))


def sensor_cursor(instance: dg.DagsterInstance, name: str) -> str | None:
    """The cursor of a sensor; None if it never ran or has none."""
    for state in instance.all_instigator_state():
        if state.name == name and isinstance(state.instigator_data, SensorInstigatorData):
            return state.instigator_data.cursor
    return None


def heartbeats(instance: dg.DagsterInstance) -> Mapping[str, float]:
    """When each part of the daemon was last alive, in seconds of Unix time: `SCHEDULER`, `SENSOR` and others."""
    return {name: heartbeat.timestamp for name, heartbeat in instance.get_daemon_heartbeats().items()}


@cache
def backfill_by_sector() -> None:
    """Let a backfill that this process's daemon starts be one run for each sector, and the web UI's dialog say so.

    Dagster groups the partitions of a backfill by the dimension with fewer keys: three months of eleven sectors would
    be a run for each month. Its dialog says "in a single run" of every asset whose runs take ranges.
    """
    theirs = DefaultPartitionsSubset.get_partition_key_ranges

    def ranges(
        self: DefaultPartitionsSubset, partitions_def: dg.PartitionsDefinition
    ) -> Sequence[dg.PartitionKeyRange]:
        dimensions = partitions_def.partitions_defs if isinstance(partitions_def, dg.MultiPartitionsDefinition) else ()
        apart = next((each.partitions_def for each in dimensions if each.name == _SECTOR), None)
        if not isinstance(partitions_def, dg.MultiPartitionsDefinition) or apart is None:
            return theirs(self, partitions_def)
        found: list[dg.PartitionKeyRange] = []
        for sector in apart.get_partition_keys():
            keys = partitions_def.get_multipartition_keys_with_dimension_value(_SECTOR, sector)
            found += self.get_ranges_for_keys(keys)
        return found

    DefaultPartitionsSubset.get_partition_key_ranges = ranges  # type: ignore[method-assign]
    if "dagster_graphql" in sys.modules:  # of a web server alone: it takes a second to load
        policy: Any = import_module("dagster_graphql.schema.backfill").GrapheneBackfillPolicy
        said = policy.resolve_description
        policy.resolve_description = lambda self, info: said(self, info).replace(_ONE_RUN, _BY_SECTOR)


def queue_heartbeat(instance: dg.DagsterInstance) -> float | None:
    """When the daemon that serves an instance's queue was last alive, in seconds of Unix time; None for never."""
    return heartbeats(instance).get("QUEUED_RUN_COORDINATOR")


def _origin(location: str, instigator: Instigator) -> RemoteInstigatorOrigin:
    return repository_origin(location).get_instigator_origin(instigator.name)
