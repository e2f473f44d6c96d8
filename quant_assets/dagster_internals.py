"""The private names of Dagster that we use: imported or wrapped here and nowhere else.

`quant_assets_tests/test_dagster_internals.py` fails after an upgrade until they have been reviewed.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._config.config_schema import UserConfigSchema
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.definitions.partitions.mapping.partition_mapping import UpstreamPartitionsResult
from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset, PartitionsSubset
from dagster._core.events import AssetWipedData, DagsterEvent, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.execute_in_process import core_execute_in_process
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._core.storage.tags import GRPC_INFO_TAG, MAX_RETRIES_TAG, MULTIDIMENSIONAL_PARTITION_PREFIX
from dagster._serdes import ConfigurableClassData, deserialize_value
from dagster._utils.interrupts import capture_interrupts, check_captured_interrupt

from quant_assets.dagster_origins import job_origins
from quant_assets.errors import SettingsError

if TYPE_CHECKING:
    from dagster._core.storage.event_log import SqlEventLogStorage

#: The version of Dagster that this was reviewed with.
LOOKED_UP_IN = "1.13.27"

#: Start of the message of a run that the user interrupted.
INTERRUPTED = "dagster._core.errors.DagsterExecutionInterruptedError"

__all__ = [
    "DATA_VERSION_TAG",
    "INTERRUPTED",
    "LOOKED_UP_IN",
    "MAX_RETRIES_TAG",
    "MULTIDIMENSIONAL_PARTITION_PREFIX",
    "CheckRunHealthResult",
    "ConfigurableClassData",
    "DefaultPartitionsSubset",
    "DefaultRunLauncher",
    "PartitionsSubset",
    "UpstreamPartitionsResult",
    "UserConfigSchema",
    "WorkerStatus",
    "asset_function",
    "assets_of_step",
    "enqueue",
    "execute_here",
    "forget_partitions",
    "free_slots",
    "has_code_server",
    "has_queue",
    "input_metadata",
    "instance_home",
    "job_of_all_assets",
    "keep_connections",
    "known_as",
    "latest_data_versions",
    "partition_loading_context",
    "pipes_session",
    "report_materialisations",
    "run_and_step",
    "run_range",
    "runs_of_server",
    "set_data_version",
    "show_beside",
    "sleep_while_pools_are_full",
    "sql_records",
    "submit_assets",
]


def asset_function(definition: dg.AssetsDefinition) -> Callable[..., Any]:
    """The Python function that an asset was made from."""
    function: Callable[..., Any] = definition.op.compute_fn.decorated_fn  # type: ignore[union-attr]
    return function


def input_metadata(definition: dg.AssetsDefinition) -> dict[str, Mapping[str, Any]]:
    """Metadata of an asset's inputs, by input name."""
    inputs = definition.node_def.input_dict if definition.is_executable else {}
    return {name: each.metadata or {} for name, each in inputs.items()}


def known_as(mapping: type[dg.PartitionMapping]) -> Callable[[type], type]:
    """Decorator: gives a mapping the class name of Dagster's own, which Dagster's serialisation uses."""

    def named(own: type) -> type:
        own.__name__ = mapping.__name__
        return own

    return named


def job_of_all_assets(defs: dg.Definitions) -> dg.JobDefinition:
    """One job over every asset and check."""
    return defs.resolve_implicit_global_asset_job_def()


def execute_here(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    tags: Mapping[str, str],
    run_config: Mapping[str, object],
    module: str | None = None,
) -> dg.ExecuteInProcessResult:
    """Like `job.execute_in_process`, but without keeping the outputs of all steps until the run is over.

    Of a run of a sector's history these are all of its datasets.

    Args:
        job: what is executed.
        instance: where the run is recorded.
        tags: of the run.
        run_config: of its ops.
        module: of the code location that the run belongs to; the web UI's timeline leaves out runs of none.

    """
    sleep_while_pools_are_full()
    with ExitStack() as restored:
        if module is not None:
            remote, code = job_origins(job.name, module)
            make: Any = partial(instance.create_run_for_job, remote_job_origin=remote, job_code_origin=code)
            restored.callback(delattr, instance, "create_run_for_job")
            instance.create_run_for_job = make  # type: ignore[method-assign]
        return core_execute_in_process(
            run_config=run_config,
            job=InMemoryJob(job.as_ephemeral_job({}, {})),
            instance=instance,
            output_capturing_enabled=False,
            raise_on_error=False,
            run_tags={**job.run_tags, **tags},
            asset_selection=frozenset(job.asset_selection or ()) or None,
        )


def assets_of_step(job: dg.JobDefinition, event: dg.DagsterEvent) -> list[str]:
    """Names of the assets that the step of an event computes."""
    if event.node_handle is None:
        return []
    keys = job.asset_layer.get_selected_entity_keys_for_node(event.node_handle)
    return sorted(each.path[-1] for each in keys if isinstance(each, dg.AssetKey))


def run_and_step(context: dg.InputContext | dg.OutputContext) -> tuple[str, str]:
    """Run and step for which an IO manager is called."""
    return context.step_context.run_id, context.step_context.step.key


def run_range(context: dg.InputContext) -> tuple[str, str]:
    """First and last partition key of the run that an input is loaded for."""
    key_range = context.step_context.partition_key_range
    return key_range.start, key_range.end


def show_beside(
    context: dg.AssetExecutionContext, asset: str | None, partition_key: str, figures: Mapping[str, Any]
) -> None:
    """Add metadata to one partition of a run, like `context.add_asset_metadata`.

    Dagster's method lists all partition keys of the run at every call, to check that the partition is one of them: 3 ms
    for a range of 25 years. Our caller has checked that.
    """
    step = context.get_step_execution_context()
    step._metadata_accumulator = step._metadata_accumulator.with_additional_asset_metadata(
        asset_key=dg.AssetKey(asset) if asset else context.assets_def.key,
        metadata=figures,
        partition_key=partition_key,
    )


def set_data_version(context: dg.OutputContext, version: dg.DataVersion) -> None:
    """Record the data version of an output's partitions."""
    context.step_context.set_data_version(context.asset_key, version)


def latest_data_versions(context: dg.OutputContext, partition_keys: Iterable[str]) -> set[str | None]:
    """Data versions of an output's partitions in the instance."""
    keys = list(partition_keys)
    tags = context.step_context.instance.event_log_storage.get_latest_tags_by_partition(
        context.asset_key, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG], asset_partitions=keys
    )
    return {tags.get(key, {}).get(DATA_VERSION_TAG) for key in keys}


def keep_connections(instance: dg.DagsterInstance) -> None:
    """Keep connections to PostgreSQL open: connecting for each of a run's 200 queries takes longer than the queries."""
    instance.optimize_for_webserver(statement_timeout=0, pool_recycle=-1, max_overflow=10)


def instance_home(context: dg.InputContext | dg.OutputContext | dg.AssetExecutionContext) -> Path | None:
    """Folder of the instance of a step or its IO manager; None for an in-process instance."""
    instance = context.instance if isinstance(context, dg.AssetExecutionContext) else context.step_context.instance
    return Path(instance.root_directory) if instance.is_persistent else None


#: Rows per statement. SQLite allows 32,766 values, and a row has 7.
_AT_ONCE = 2_000


def report_materialisations(instance: dg.DagsterInstance, made: Sequence[dg.AssetMaterialization], at: float) -> None:
    """Record materialisations of one asset's partitions without a run, many at a time.

    `instance.report_runless_asset_event` records one at a time, and takes tens of times as long.

    Args:
        instance: with records in a database.
        made: of different partitions of one asset.
        at: their time, seconds since 1970.

    """
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable  # loads SQLAlchemy and more

    storage = sql_records(instance)
    for first in range(0, len(made), _AT_ONCE):
        events = {
            each.partition: EventLogEntry(  # type: ignore[no-untyped-call]
                user_message="",
                level=20,
                job_name=RUNLESS_JOB_NAME,
                run_id=RUNLESS_RUN_ID,
                error_info=None,
                timestamp=at,
                dagster_event=DagsterEvent(
                    event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
                    event_specific_data=StepMaterializationData(each),
                    job_name=RUNLESS_JOB_NAME,
                ),
            )
            for each in made[first : first + _AT_ONCE]
        }
        columns = SqlEventLogStorageTable.c
        with storage.index_transaction() as connection:
            rows = [storage._event_to_row(event) for event in events.values()]
            inserted = SqlEventLogStorageTable.insert().returning(columns.id, columns.partition)
            ids = {partition: number for number, partition in connection.execute(inserted, rows)}
            stored = [events[partition] for partition in ids]
            storage._store_asset_event_tags(connection, stored, list(ids.values()))
            storage._store_asset_event(connection, stored[-1], [*ids.values()][-1])  # the asset's newest


def forget_partitions(instance: dg.DagsterInstance, asset: dg.AssetKey, partition_keys: Sequence[str]) -> None:
    """Make an instance list partitions of an asset as never materialised; the logs of their runs stay as they are.

    No open-source storage of Dagster implements `instance.wipe_asset_partitions`.
    """
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable

    storage, columns = sql_records(instance), SqlEventLogStorageTable.c
    with storage.index_transaction() as connection:
        for first in range(0, len(partition_keys), _AT_ONCE):
            forgotten = columns.partition.in_(partition_keys[first : first + _AT_ONCE])
            connection.execute(
                SqlEventLogStorageTable.update()
                .where(columns.asset_key == asset.to_string(), forgotten)
                .values(partition=None)
            )
    instance.wipe_asset_cached_status([asset])  # the web UI's cache
    wiped = AssetWipedData(asset_key=asset, partition_keys=list(partition_keys))
    event = DagsterEvent(dg.DagsterEventType.ASSET_WIPED.value, job_name=RUNLESS_JOB_NAME, event_specific_data=wiped)
    instance.report_dagster_event(event, run_id=RUNLESS_RUN_ID)


def sql_records(instance: dg.DagsterInstance) -> "SqlEventLogStorage":
    """The event storage of an instance; an error if it is not a database."""
    from dagster._core.storage.event_log import SqlEventLogStorage

    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise SettingsError(f"an instance with records in {type(storage).__name__} cannot be repaired; use a database")
    return storage


@contextmanager
def pipes_session(context: dg.AssetExecutionContext, extras: Mapping[str, Any]) -> Iterator[dg.PipesSession]:
    """A Pipes session through temporary files, for an asset that returns its rows itself.

    A session makes Dagster require that the asset yields the session's results. Ours reports none, so that is undone.
    """
    step = context.get_step_execution_context()
    before = step.requires_typed_event_stream
    with ExitStack() as stack:
        with warnings.catch_warnings():
            # Dagster's own code uses its deprecated and beta names.
            warnings.simplefilter("ignore")
            session = stack.enter_context(
                dg.open_pipes_session(
                    context, dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader(), dict(extras)
                )
            )
        step._requires_typed_event_stream = before
        yield session


def has_queue(instance: dg.DagsterInstance) -> bool:
    """Whether submitted runs wait in a queue for the instance's daemon."""
    return isinstance(instance.run_coordinator, QueuedRunCoordinator)


def submit_assets(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    assets: Iterable[str] | None,
    module: str,
    tags: Mapping[str, str],
    run_config: Mapping[str, object] | None = None,
) -> str:
    """Put a run into an instance's queue; returns its identifier.

    Args:
        instance: with a queue.
        job: of all assets, or another one of the code location.
        assets: names of the assets to materialise; None for a job of ops.
        module: of the code location, with `defs`.
        tags: of the run.
        run_config: of its ops.

    """
    remote, code = job_origins(job.name, module)
    with capture_interrupts():  # a run that was made and not put into the queue would wait for ever
        run = instance.create_run_for_job(
            job,
            run_config=run_config,
            asset_selection=None if assets is None else {dg.AssetKey(name) for name in assets},
            tags=tags,
            remote_job_origin=remote,
            job_code_origin=code,
        )
        enqueue(instance, run.run_id)
        interrupted = check_captured_interrupt()
    if interrupted:
        raise KeyboardInterrupt
    return run.run_id


def enqueue(instance: dg.DagsterInstance, run_id: str) -> None:
    """Put a created run into the queue. Only the signature needs a workspace."""
    instance.submit_run(run_id, workspace=None)  # type: ignore[arg-type]


def has_code_server(run: dg.DagsterRun) -> bool:
    """Whether a run was launched through a code server."""
    return GRPC_INFO_TAG in run.tags


def runs_of_server(launcher: DefaultRunLauncher, run: dg.DagsterRun) -> set[str] | None:
    """Identifiers of the runs that a run's code server executes now; None if it does not answer."""
    from dagster._core.errors import DagsterUserCodeUnreachableError
    from dagster._grpc.types import GetCurrentRunsResult

    client = launcher._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
    if client is None:  # the run has ended meanwhile
        return {run.run_id}
    try:
        return set(deserialize_value(client.get_current_runs(), GetCurrentRunsResult).current_runs)
    except DagsterUserCodeUnreachableError:
        return None


def free_slots(instance: dg.DagsterInstance, run_id: str) -> None:
    """Free the pool slots that an ended run still occupies."""
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def sleep_while_pools_are_full() -> None:
    """Make steps of this process that wait for a pool slot sleep between two checks, a second at most.

    Dagster intends this, but takes the minimum of 0 and the waiting time: 30,000 checks a second, a whole core.
    Cancellation is also checked then.
    """

    def interval(self: InstanceConcurrencyContext) -> float:
        ready = min(self._pending_timeouts.values(), default=0.0) - time.time()
        return min(max(ready, 0.0), 1.0)

    InstanceConcurrencyContext.interval_to_next_pending_claim_check = interval  # type: ignore[method-assign]
