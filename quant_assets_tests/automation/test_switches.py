"""Schedules and sensors turned on and off: Dagster's own command sees what ours has done, and ours what that has."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.automation.status import default_status
from quant_assets.automation.switches import shown, turn, without_daemon
from quant_assets.errors import SettingsError
from quant_assets.running.dagster_internals import switch, switch_state
from quant_assets.running.launching import CODE_LOCATION
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


def dagster(*arguments: str) -> str:
    home = os.environ["DAGSTER_HOME"]
    command = [str(Path(sys.executable).parent / "dagster"), *arguments, "-m", "tiny", "-d", home]
    return subprocess.run(
        command, cwd=home, env=os.environ | {"PYTHONPATH": home}, check=True, capture_output=True, text=True
    ).stdout


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


@pytest.mark.slow
def test_dagsters_own_command_says_the_same(
    instance: dg.DagsterInstance, instigators: list[dg.ScheduleDefinition | dg.SensorDefinition]
) -> None:
    schedule, sensor = instigators
    switch(instance, "tiny", schedule, on=False)
    switch(instance, "tiny", sensor, on=True)
    assert "Schedule: after_close [STOPPED]" in dagster("schedule", "list")
    assert "Sensor: retrain [RUNNING]" in dagster("sensor", "list")
    dagster("schedule", "start", "after_close")
    dagster("sensor", "stop", "retrain")
    assert switch_state(instance, "tiny", schedule).on
    assert not switch_state(instance, "tiny", sensor).on
    switch(instance, "tiny", schedule, on=False)
    assert not switch_state(instance, "tiny", schedule).on, "what Dagster has written is written over"


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
