"""Runs whose process is gone are told from those that go on: with a code server, with a dead one, and of a command."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster import DagsterRunStatus as Status
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG, MAX_RETRIES_TAG
from dagster._core.test_utils import create_run_for_test

from quant_assets.running import abandoned
from quant_assets.running.abandoned import PROCESS_TAG, end_abandoned, is_abandoned, process_tags
from quant_assets.running.run_launcher import CheckedRunLauncher
from quant_assets_tests.graph import PROJECT


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """With the launcher of our template, and one slot for trainings."""
    (tmp_path / "dagster.yaml").write_bytes((PROJECT / "conf" / "dagster.yaml").read_bytes())
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        made.event_log_storage.set_concurrency_slots("gpu", 1)
        yield made


def run_of(instance: dg.DagsterInstance, tags: dict[str, str]) -> dg.DagsterRun:
    return create_run_for_test(instance, "job", status=Status.STARTED, tags=tags)


#: A command that has begun a run, taken a slot and says so; it waits to be killed.
COMMAND = """
import sys, time, dagster as dg
from dagster._core.test_utils import create_run_for_test
from quant_assets.running import abandoned
from quant_assets.running.abandoned import process_tags
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    run = create_run_for_test(instance, "job", status=dg.DagsterRunStatus.STARTED, tags=process_tags(instance))
    assert instance.event_log_storage.claim_concurrency_slot("gpu", run.run_id, "step").is_claimed
    print(run.run_id, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_command_leaves_runs_that_are_ended_and_slots_that_are_freed(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert command.stdout is not None
        run_id = command.stdout.readline().strip()
        own = run_of(instance, process_tags(instance))
        of_server = run_of(instance, {GRPC_INFO_TAG: "{}"})
        launcher = instance.run_launcher
        assert isinstance(launcher, CheckedRunLauncher)
        health = launcher.check_run_worker_health
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert health(run).status == health(own).status == WorkerStatus.RUNNING
        assert end_abandoned(instance) == [], "it is alive"
    finally:
        command.kill()
        command.communicate()
    assert is_abandoned(instance, run)
    assert health(run).status == WorkerStatus.NOT_FOUND
    assert end_abandoned(instance) == [run_id]
    ended = instance.get_run_by_id(run_id)
    assert ended is not None
    assert ended.status == Status.FAILURE
    assert ended.tags[MAX_RETRIES_TAG] == "0", "the daemon cannot try it again"
    assert ended.tags.get("dagster/will_retry") != "true"
    assert instance.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0
    assert [instance.get_run_by_id(each.run_id).status for each in (own, of_server)] == [Status.STARTED] * 2  # type: ignore[union-attr]
    assert end_abandoned(instance) == []
    # Who comes next clears up after those who have ended, which changes nothing.
    monkeypatch.setattr(abandoned, "_OWN", {})
    following = process_tags(instance)[PROCESS_TAG]
    assert {each.name for each in (tmp_path / "processes").iterdir()} == {own.tags[PROCESS_TAG], following}
    assert (is_abandoned(instance, run), is_abandoned(instance, own)) == (True, False)


def test_a_run_of_which_nothing_is_known_counts_as_running(instance: dg.DagsterInstance) -> None:
    """Any other answer makes the daemon fail it."""
    launcher = instance.run_launcher
    assert launcher.supports_check_run_worker_health
    for tags in ({}, {PROCESS_TAG: "../../etc/passwd"}):
        run = run_of(instance, tags)
        assert not is_abandoned(instance, run)
        assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    assert process_tags(instance) == process_tags(instance)
    with dg.DagsterInstance.ephemeral() as other:
        assert process_tags(other) == {}


def test_a_code_server_that_does_not_answer_three_times_is_gone(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    gone = run_of(instance, {GRPC_INFO_TAG: json.dumps({"host": "localhost", "socket": str(tmp_path / "socket")})})
    said = [instance.run_launcher.check_run_worker_health(gone).status for _ in range(3)]
    assert said == [WorkerStatus.RUNNING, WorkerStatus.RUNNING, WorkerStatus.NOT_FOUND]


def test_the_template_watches_runs_and_tries_only_crashes_again() -> None:
    config = yaml.safe_load((PROJECT / "conf" / "dagster.yaml").read_text(encoding="utf-8"))
    assert config["run_monitoring"]["enabled"]
    assert config["run_monitoring"]["free_slots_after_run_end_seconds"] > 0
    assert config["run_monitoring"]["max_resume_run_attempts"] == 0
    assert config["run_retries"] == {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}
