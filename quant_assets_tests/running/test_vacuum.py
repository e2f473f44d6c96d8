"""Events of real runs are removed, in SQLite and in the embedded PostgreSQL, and no partition changes its state."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from quant_assets.running.instance import dagster_home, initialise_instance
from quant_assets.running.postgres import _HELD, _is_free, serve
from quant_assets.running.vacuum import _OF_THE_LOG, vacuum

pytestmark = pytest.mark.slow

MONTHS = dg.StaticPartitionsDefinition([f"2024-{month:02d}" for month in range(1, 7)])
DAY = 86_400


@dg.asset(partitions_def=MONTHS)
def bars(context: dg.AssetExecutionContext) -> int:
    for line in range(50):
        context.log.info(f"line {line} of a log that nobody reads again")
    context.log_event(dg.AssetObservation("bars", metadata={"seen": 1}, partition=context.partition_key))
    if context.partition_key == "2024-05":
        raise ValueError("the file of May is missing")
    return 1


@dg.asset(partitions_def=MONTHS, deps=[bars])
def prices() -> int:
    return 2


@dg.asset_check(asset=prices)
def positive() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="two of them are not")


DEFS = dg.Definitions(assets=[bars, prices], asset_checks=[positive], jobs=[dg.define_asset_job("everything")])


@pytest.fixture(params=["sqlite", "postgres"])
def instance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """In a folder that root's server may enter, which pytest's own folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="quant-"))
    folder.chmod(0o711)
    for name, value in {
        "QUANT__STORAGE": str(folder / "storage"),
        "QUANT__DAGSTER__STORAGE": request.param,
        "QUANT_PROFILE": "demo",
        "DAGSTER_HOME": str(folder / "home"),
    }.items():
        monkeypatch.setenv(name, value)
    dagster_home("demo")
    initialise_instance()
    with dg.DagsterInstance.get() as found:
        yield found
    if request.param == "postgres":  # this process lets go of the server, which then ends
        serve.cache_clear()
        _HELD.pop().close()
        deadline = time.monotonic() + 60
        while not _is_free(folder / "home" / "postgres" / "keeper.lock"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    shutil.rmtree(folder)


def run(instance: dg.DagsterInstance, month: str) -> dg.ExecuteInProcessResult:
    return DEFS.resolve_job_def("everything").execute_in_process(
        instance=instance, partition_key=month, raise_on_error=False
    )


def shown(instance: dg.DagsterInstance, runs: list[str]) -> dict[str, Any]:
    """What the pages of the web UI ask for."""
    found: dict[str, Any] = {}
    for asset in (bars, prices):
        key = asset.key
        statuses = instance.get_status_by_partition(key, MONTHS.get_partition_keys(), MONTHS) or {}
        found[f"{key} partitions"] = {month: str(status) for month, status in sorted(statuses.items())}
        found[f"{key} materialised"] = sorted(instance.get_materialized_partitions(key))
        for name, ask in (
            ("materialisations", instance.fetch_materializations),
            ("observations", instance.fetch_observations),
        ):
            records = ask(key, limit=100).records
            found[f"{key} {name}"] = [(each.storage_id, each.run_id, each.partition_key) for each in records]
        found[f"{key} newest"] = str(instance.get_latest_materialization_event(key))
    checks = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(prices.key, "positive"), limit=100
    )
    found["checks"] = [(each.run_id, each.status.value, str(each.event)) for each in checks]
    ended = {dg.DagsterEventType.RUN_START, dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE}
    for run_id in runs:
        record = instance.get_run_record_by_id(run_id)
        assert record is not None
        found[f"{run_id} run"] = (record.dagster_run.status.value, record.start_time, record.end_time)
        why = instance.all_logs(run_id, of_type=ended | {dg.DagsterEventType.STEP_FAILURE})
        found[f"{run_id} ends"] = [str(each.dagster_event) for each in why]
        found[f"{run_id} stats"] = instance.get_run_stats(run_id)
        steps = instance.get_run_step_stats(run_id)
        found[f"{run_id} steps"] = [(each.step_key, each.status, each.start_time, each.end_time) for each in steps]
    return found


def test_old_runs_lose_their_log_and_nothing_else(instance: dg.DagsterInstance) -> None:
    results = [run(instance, month) for month in ("2024-01", "2024-02", "2024-05", "2024-02")]
    assert [each.success for each in results] == [True, True, False, True]
    old = [each.run_id for each in results]
    unfinished = instance.create_run_for_job(
        DEFS.resolve_job_def("everything"), status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": "2024-03"}
    )
    instance.report_engine_event("still at work", unfinished)
    at_work = [str(each) for each in instance.all_logs(unfinished.run_id)]
    until = time.time() + 3 * DAY
    later = 2 * DAY  # as if the old runs had ended three days ago
    before, rows = shown(instance, old), {run_id: len(instance.all_logs(run_id)) for run_id in old}

    assert vacuum(instance, 4, remove=True, now=until).rows == 0, "they ended less than four days ago"
    told: list[int] = []
    counted = vacuum(instance, later / DAY, remove=False, now=until, progress=told.append)
    assert (counted.runs, told) == (4, [4])
    assert counted.rows > 4 * 50
    assert counted.bytes > 100 * counted.rows
    assert {run_id: len(instance.all_logs(run_id)) for run_id in old} == rows, "counting removes nothing"

    removed = vacuum(instance, 2, remove=True, now=until)
    assert (removed.runs, removed.rows, removed.bytes) == (counted.runs, counted.rows, counted.bytes)
    assert sum(rows.values()) - sum(len(instance.all_logs(run_id)) for run_id in old) == removed.rows
    instance.wipe_asset_cached_status([bars.key, prices.key])  # by which the web UI draws partitions: made anew
    assert shown(instance, old) == before
    assert [str(each) for each in instance.all_logs(unfinished.run_id)] == at_work
    assert vacuum(instance, 2, remove=True, now=until).rows == 0
    if os.environ["QUANT__DAGSTER__STORAGE"] == "sqlite":
        assert removed.freed > counted.bytes / 2
    assert run(instance, "2024-06").success, "and it goes on"


def test_kinds_of_events_are_dagsters_and_none_tells_of_assets() -> None:
    kinds = {each.value for each in dg.DagsterEventType}
    assert set(_OF_THE_LOG) <= kinds
    assert not [each for each in _OF_THE_LOG if "ASSET" in each and each != "ASSET_STORE_OPERATION"]
    assert not [each for each in _OF_THE_LOG if "CHECK" in each or "PIPELINE" in each or "FAILURE" in each[:12]]
