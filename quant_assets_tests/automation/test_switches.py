"""Schedules and sensors turned on and off: Dagster's own code sees what ours has done, and ours what that has."""

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import in_process_test_workspace
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from quant_assets.automation.status import default_status
from quant_assets.automation.switches import shown, turn, without_daemon
from quant_assets.dagster_records import switch, switch_state
from quant_assets.errors import SettingsError
from quant_assets.running.work import CODE_LOCATION
from quant_assets.settings.loading import load_settings

MODULE = """
import dagster as dg

@dg.op
def nothing(): pass

@dg.job
def idle(): nothing()

@dg.schedule(job=idle, cron_schedule="30 17 * * 1-5", default_status=dg.DefaultScheduleStatus.RUNNING)
def after_close(): return dg.SkipReason("a holiday")

@dg.sensor(job=idle, minimum_interval_seconds=300)
def retrain(): return dg.SkipReason("nothing is due")

defs = dg.Definitions(jobs=[idle], schedules=[after_close], sensors=[retrain])
"""


@pytest.fixture
def instigators() -> list[dg.ScheduleDefinition | dg.SensorDefinition]:
    """An on-by-default schedule and an off-by-default sensor."""
    found: dict[str, object] = {}
    exec(MODULE, found)  # noqa: S102 (the text above)
    return [found["after_close"], found["retrain"]]  # type: ignore[list-item]


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "tiny.py").write_text(MODULE)
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as found:
        yield found


def states(instance: dg.DagsterInstance, of: list[dg.ScheduleDefinition | dg.SensorDefinition]) -> dict[str, bool]:
    return {each.name: each.on for each in shown(instance, of)}


def test_they_are_turned_on_and_off_and_a_second_time_it_is_said(
    instance: dg.DagsterInstance, instigators: list[dg.ScheduleDefinition | dg.SensorDefinition]
) -> None:
    assert states(instance, instigators) == {"after_close": True, "retrain": False}, "as they are by themselves"
    assert list(turn(instance, instigators, [], on=True)) == ["after_close is on already", "retrain is on now"]
    assert list(turn(instance, instigators, ["after_close"], on=False)) == ["after_close is off now"]
    assert states(instance, instigators) == {"after_close": False, "retrain": True}
    assert list(turn(instance, instigators, [], on=False)) == ["after_close is off already", "retrain is off now"]
    assert list(turn(instance, instigators, [], on=True)) == ["after_close is on now", "retrain is on now"]
    with pytest.raises(SettingsError, match="no schedule or sensor 'retrian'; choose one of after_close, retrain"):
        list(turn(instance, instigators, ["retrian"], on=True))
    kinds = [each.kind for each in shown(instance, instigators)]
    assert kinds == ["schedule, 30 17 * * 1-5", "sensor"]
    assert {each.tick for each in shown(instance, instigators)} == {"none yet"}


def test_dagsters_own_code_finds_the_same_state_and_ours_what_that_has_set(
    instance: dg.DagsterInstance, instigators: list[dg.ScheduleDefinition | dg.SensorDefinition], tmp_path: Path
) -> None:
    """As the daemon and the web UI do: by the schedule or sensor of a loaded code location."""
    schedule, sensor = instigators
    module = LoadableTargetOrigin(python_file=str(tmp_path / "tiny.py"))
    with in_process_test_workspace(instance, module) as workspace:
        (location,) = workspace.code_locations
        repository = location.get_repository("__repository__")
        loaded = repository.get_schedule("after_close"), repository.get_sensor("retrain")

        def seen() -> list[bool]:
            found = (instance.get_instigator_state(each.get_remote_origin_id(), each.selector_id) for each in loaded)
            return [
                each.get_current_instigator_state(state).is_running for each, state in zip(loaded, found, strict=True)
            ]

        assert seen() == [True, False]
        switch(instance, location.name, schedule, on=False)
        switch(instance, location.name, sensor, on=True)
        assert seen() == [False, True]
        instance.start_schedule(loaded[0])
        instance.stop_sensor(loaded[1].get_remote_origin_id(), loaded[1].selector_id, loaded[1])
        assert [switch_state(instance, location.name, each).on for each in instigators] == [True, False]
        switch(instance, location.name, schedule, on=False)
        switch(instance, location.name, sensor, on=True)
        assert seen() == [False, True], "what Dagster has written is written over"
        assert len(instance.all_instigator_state()) == 2


def test_without_a_daemon_it_is_said_that_nothing_runs(instance: dg.DagsterInstance) -> None:
    from dagster._daemon.types import DaemonHeartbeat

    assert "make ui (PROFILE=…) starts one" in (without_daemon(instance) or "")
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 500, "SENSOR", "test", []))
    assert without_daemon(instance) is not None
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SCHEDULER", "test", []))
    assert without_daemon(instance) is None


def test_they_are_on_by_themselves_in_the_demo_alone() -> None:
    demo, files = load_settings("demo"), load_settings("files")
    assert default_status(demo, dg.DefaultSensorStatus) == dg.DefaultSensorStatus.RUNNING
    assert default_status(files, dg.DefaultSensorStatus) == dg.DefaultSensorStatus.STOPPED
    assert default_status(files, dg.DefaultScheduleStatus) == dg.DefaultScheduleStatus.STOPPED
    assert CODE_LOCATION == "quant_assets.definitions", "the name that workspace files give the location too"
