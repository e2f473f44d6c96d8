"""What `quant_assets.dagster_internals` is, for what only the preparation and the automation of an instance need.

The same test fails at an upgrade until these have been looked at again.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._serdes import create_snapshot_id

#: The repository that Dagster makes of a module's definitions.
_REPOSITORY = "__repository__"

Instigator = dg.ScheduleDefinition | dg.SensorDefinition


def upgrade_tables(instance: dg.DagsterInstance) -> bool:
    """Bring the tables of an instance's records to this version of Dagster; whether they were of another one.

    Not where they are of this one: of SQLite the file of each run would be opened.
    """
    schema = yaml.safe_load(instance.schema_str())["schema"]
    if all(each is None or each["current"] == each["latest"] for each in schema.values()):
        return False
    instance.upgrade()
    return True


def pool_limits(instance: dg.DagsterInstance) -> dict[str, int]:
    """Most steps at a time of each pool that has a limit."""
    return {each.name: each.limit for each in instance.event_log_storage.get_pool_limits() if not each.from_default}


def limit_pool(instance: dg.DagsterInstance, pool: str, limit: int) -> None:
    """Let at most so many steps of a pool run at a time: `dagster instance concurrency set`."""
    instance.event_log_storage.set_concurrency_slots(pool, limit)


@dataclass(frozen=True)
class Tick:
    """Newest tick of a schedule or sensor: Unix time; `SUCCESS`, `SKIPPED`, `FAILURE` or `STARTED`; its reason."""

    at: float
    status: str
    reason: str


@dataclass(frozen=True)
class SwitchState:
    """Whether a schedule or sensor is on, whether somebody has switched it, and its newest tick."""

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

    Dagster's command loads the code location in a server for each call. The daemon finds the state by the names of
    location, repository and instigator, so nothing of it is needed.
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


def heartbeats(instance: dg.DagsterInstance) -> Mapping[str, float]:
    """When each part of the daemon was last alive, in seconds of Unix time: `SCHEDULER`, `SENSOR` and others."""
    return {name: found.timestamp for name, found in instance.get_daemon_heartbeats().items()}


def _origin(location: str, instigator: Instigator) -> RemoteInstigatorOrigin:
    module = LoadableTargetOrigin(executable_path=sys.executable, module_name=location)
    repository = RemoteRepositoryOrigin(ManagedGrpcPythonEnvCodeLocationOrigin(module, location), _REPOSITORY)
    return repository.get_instigator_origin(instigator.name)
