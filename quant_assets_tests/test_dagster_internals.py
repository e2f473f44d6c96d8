"""Dagster's private names stand in three modules, and an upgrade makes somebody look at them."""

import gc
import re
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import pytest
from dagster._core.execution.plan.active import ActiveExecution

from quant_assets import dagster_internals as internals
from quant_assets.dagster_records import queue_heartbeat, without_events

PACKAGE = Path(internals.__file__).parent

#: What only that module may say: private modules, and attributes that are no part of Dagster's documented interface.
PRIVATE = re.compile(
    r"dagster\._\w+|\.step_context\b|\.compute_fn\b|\.node_def\b|\.asset_layer\b|\.event_log_storage\b"
    r"|\.optimize_for_webserver\b|\.get_step_execution_context\b|\.get_daemon_heartbeats\b|\.create_run_for_job\b"
    r"|_requires_typed_event_stream\b|\.resolve_implicit_global_asset_job_def\b|\bDAGSTER_\w+_CLASS\b"
)


def test_the_version_is_the_one_in_which_the_private_names_were_looked_up() -> None:
    assert dg.__version__ == internals.LOOKED_UP_IN, (
        "Dagster was upgraded: look at each name in quant_assets/dagster_internals.py again, run the whole suite, "
        "then change LOOKED_UP_IN"
    )


def test_no_other_module_uses_a_private_name() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}: {match}"
        for path in PACKAGE.rglob("*.py")
        if path.name not in ("dagster_internals.py", "dagster_origins.py", "dagster_records.py")
        for match in PRIVATE.findall(path.read_text(encoding="utf-8"))
    }
    assert not found


def test_what_the_wrappers_take_from_dagster_is_there() -> None:
    @dg.asset(metadata={}, ins={"upstream": dg.AssetIn(metadata={"absent": "skip"})})
    def downstream(upstream: int) -> int:
        return upstream

    @dg.asset
    def upstream() -> int:
        return 1

    assert internals.asset_function(downstream)(3) == 3
    assert internals.input_metadata(downstream) == {"upstream": {"absent": "skip"}}
    job = internals.job_of_all_assets(dg.Definitions([upstream, downstream]))
    instance = without_events()
    for _ in range(2):  # the second run finds nothing of the first
        result = job.execute_in_process(instance=instance)
        assert result.success
        assert not instance.all_logs(result.run_id)
        assert not instance.get_asset_records()
    steps = {event.step_key: internals.assets_of_step(job, event) for event in result.all_events if event.is_step_start}
    assert steps == {"upstream": ["upstream"], "downstream": ["downstream"]}


def test_a_run_here_keeps_nothing_of_what_its_steps_returned() -> None:
    class Rows:
        """Something that a weak reference can lead to."""

    alive: list[bool] = []
    kept: list[weakref.ref[Rows]] = []

    class Forgets(dg.IOManager):
        def handle_output(self, context: dg.OutputContext, obj: Rows) -> None:
            kept.append(weakref.ref(obj))

        def load_input(self, context: dg.InputContext) -> None:
            gc.collect()  # what only a circle of references held is gone
            alive.append(kept[0]() is not None)

    @dg.asset
    def upstream() -> Rows:
        return Rows()

    @dg.asset
    def downstream(upstream: Any) -> Rows:
        return Rows()

    @dg.asset
    def last(downstream: Any) -> Rows:
        return Rows()

    defs = dg.Definitions([upstream, downstream, last], resources={"io_manager": Forgets()})
    with dg.DagsterInstance.ephemeral() as instance:
        result = internals.execute_here(internals.job_of_all_assets(defs), instance, {"ours": "told"}, {})
        run = instance.get_run_by_id(result.run_id)
    assert result.success
    assert run is not None
    assert run.tags["ours"] == "told"
    assert len(kept) == 3
    assert alive[-1] is False, "two steps later nobody holds what the first one returned"


def test_an_interruption_is_told_by_its_name() -> None:
    from dagster._core.errors import DagsterExecutionInterruptedError

    found = f"{DagsterExecutionInterruptedError.__module__}.{DagsterExecutionInterruptedError.__qualname__}"
    assert found == internals.INTERRUPTED


@pytest.mark.parametrize("mapping", [dg.MultiPartitionMapping, dg.MultiToSingleDimensionPartitionMapping])
def test_a_mapping_can_be_known_as_dagsters_own(mapping: type[dg.PartitionMapping]) -> None:
    @internals.known_as(mapping)
    class Own(mapping):  # type: ignore[misc, valid-type]
        pass

    assert Own.__name__ == mapping.__name__


def test_what_is_submitted_names_the_code_location_as_its_server_does() -> None:
    """The daemon looks the location up by name, and its server the job; launchers of containers load the pointer."""

    @dg.asset
    def one() -> int:
        return 1

    from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT
    from dagster._core.workspace.autodiscovery import loadable_targets_from_python_module

    defs = dg.Definitions([one])
    module = "quant_assets.definitions"
    job = internals.job_of_all_assets(defs)
    with dg.instance_for_test() as instance:
        assert internals.has_queue(instance)
        assert queue_heartbeat(instance) is None
        run = instance.get_run_by_id(internals.submit_assets(instance, job, ["one"], module, {"a": "b"}))
    assert run is not None
    assert run.status == dg.DagsterRunStatus.QUEUED
    assert run.asset_selection == {dg.AssetKey("one")}
    assert run.tags["a"] == "b"
    assert run.remote_job_origin.location_name == module
    assert run.remote_job_origin.repository_origin.repository_name == defs.get_repository_def().name
    assert run.remote_job_origin.job_name == run.job_code_origin.job_name == job.name == run.job_name
    pointer = run.job_code_origin.repository_origin
    (target,) = loadable_targets_from_python_module(module, None)
    assert pointer.code_pointer.fn_name == target.attribute == "defs"
    assert list(pointer.entry_point) == DEFAULT_DAGSTER_ENTRY_POINT


def test_a_backfill_is_divided_by_sector_and_the_dialog_says_so() -> None:
    """In a process of its own, since both of Dagster's classes are changed for good."""
    code = """
import dagster as dg, dagster_graphql.schema.backfill as shown
from dagster._core.definitions.automation_tick_evaluation_context import build_run_requests_with_backfill_policies
from dagster._core.definitions.events import AssetKeyPartitionKey
from quant_assets.dagster_records import backfill_by_sector
from quant_assets.partitions import Months, key
months, one_run = Months("2018-01", "2024-12"), dg.BackfillPolicy.single_run()

@dg.asset(partitions_def=months.by_sector, backfill_policy=one_run)
def one() -> None: ...

@dg.asset(partitions_def=months.monthly, backfill_policy=one_run)
def whole() -> None: ...

backfill_by_sector()
graph = dg.Definitions([one, whole]).resolve_asset_graph()
wanted = [("one", key(s, m)) for s in ("it", "energy", "re") for m in ("2024-01", "2024-02")]
wanted += [("one", key("re", "2023-06")), ("whole", "2024-01"), ("whole", "2024-02")]
asked = [AssetKeyPartitionKey(dg.AssetKey(name), label) for name, label in wanted]
for request in build_run_requests_with_backfill_policies(asked, graph, dynamic_partitions_store=None):
    print(*(request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end")))
print(shown.GrapheneBackfillPolicy(one_run).resolve_description(None))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "2024-01|energy 2024-02|energy",
        "2024-01|it 2024-02|it",
        "2023-06|re 2023-06|re",
        "2024-01|re 2024-02|re",
        "2024-01 2024-02",
        "Backfills each sector in a run of its own",
    ]


def test_a_run_here_belongs_to_the_code_location_whose_timeline_shows_it() -> None:
    @dg.asset
    def one() -> int:
        return 1

    @dg.asset
    def other() -> int:
        return 1

    all_of_them = internals.job_of_all_assets(dg.Definitions([one, other]))
    job = all_of_them.get_subset(asset_selection={dg.AssetKey("one")})
    with dg.DagsterInstance.ephemeral() as instance:
        runs = [
            instance.get_run_by_id(internals.execute_here(job, instance, {}, {}, module).run_id)
            for module in ("quant_assets.definitions", None)
        ]
    located, lost = (run.remote_job_origin for run in runs if run is not None)
    assert located is not None
    assert (located.location_name, located.job_name) == ("quant_assets.definitions", job.name)
    assert lost is None
    assert runs[0] is not None
    assert runs[0].asset_selection == {dg.AssetKey("one")}, "what the list of runs shows as its target"


def test_metadata_of_a_partition_is_added_as_dagster_adds_it() -> None:
    months = dg.StaticPartitionsDefinition(["a", "b"])

    @dg.asset(partitions_def=months, backfill_policy=dg.BackfillPolicy.single_run())
    def told(context: dg.AssetExecutionContext) -> None:
        for number, key in enumerate(("a", "b")):
            internals.show_beside(context, None, key, {"ours": number})
            context.add_asset_metadata({"theirs": number}, partition_key=key)

    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    with dg.DagsterInstance.ephemeral() as instance:
        job = internals.job_of_all_assets(dg.Definitions([told]))
        result = job.execute_in_process(instance=instance, tags=tags)
        events = {each.partition: each for each in result.get_asset_materialization_events()}
    assert set(events) == {"a", "b"}
    for number, key in enumerate(("a", "b")):
        shown = events[key].step_materialization_data.materialization.metadata
        assert {name: value.value for name, value in shown.items() if name in ("ours", "theirs")} == {
            "ours": number,
            "theirs": number,
        }


def test_a_step_that_waits_for_a_slot_of_a_pool_sleeps_and_is_freed_of_an_ended_run(tmp_path: Path) -> None:
    """In process and without our sleep it asks itself 30,000 times a second whether it is time to ask."""

    @dg.asset(pool="gpu")
    def one() -> int:
        return 1

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.event_log_storage.set_concurrency_slots("gpu", 1)
        job = internals.job_of_all_assets(dg.Definitions([one]))
        other = instance.create_run_for_job(job)
        assert instance.event_log_storage.claim_concurrency_slot("gpu", other.run_id, "one").is_claimed
        freed = threading.Timer(3, lambda: internals.free_slots(instance, other.run_id))
        freed.start()
        turns = []
        ask = ActiveExecution.get_next_step

        def counted(self: ActiveExecution) -> object:
            turns.append(time.monotonic())
            return ask(self)

        with patch.object(ActiveExecution, "get_next_step", counted):
            result = internals.execute_here(job, instance, {}, {})
        freed.join()
        assert result.success
        assert turns[-1] - turns[0] > 1.5, "it waited"
        assert len(turns) < 20
        assert not instance.event_log_storage.get_concurrency_info("gpu").active_slot_count
