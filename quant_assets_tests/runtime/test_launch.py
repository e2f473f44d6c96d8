"""A step's heavy part in another process: the same results, its output in the run's log, and no process survives."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from quant_assets.runtime.lease import Devices
from quant_assets_tests.graph import PROJECT
from quant_assets_tests.runtime.units import launched

pytestmark = pytest.mark.slow

SECONDS = 60  # that something may take on a busy machine before it counts as hanging


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Keeps its events in memory. Children find this code, from whatever folder pytest was started."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The message of the step's own error."""
    (event,) = (item for item in result.all_events if item.is_step_failure)
    error = event.step_failure_data.error
    return (error.cause or error).message.strip()


def logged(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(entry.to_json() for entry in instance.all_logs(result.run_id))


@pytest.mark.parametrize("kind", ["in_process", "subprocess"])
def test_a_unit_finds_its_folders_arguments_and_environment_wherever_it_runs(
    kind: str, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_PASSWORD", "hunter2")
    result, output = launched(kind, "double", {"times": 2, "note": "grüße"}, instance)
    assert result.success
    assert result.output_for_node("heavy") == 42, "the asset returns its rows itself, whatever Pipes would have"
    seen = json.loads(output["seen.json"])
    assert seen["number"] == 42
    assert (seen["pid"] == os.getpid()) == (kind == "in_process")
    # PYTHONPATH as it is now reaches a child; this process has read its own when it began.
    assert str(PROJECT) in seen["path"] or kind == "in_process"
    assert seen["secret"] == "hunter2"
    log = logged(instance, result)
    assert "hunter2" not in log
    if kind == "subprocess":
        assert "to the output: gr\\u00fc\\u00dfe\\nto the error" in log or "to the error" in log
        assert "to the output" in log


def test_what_a_unit_refuses_is_the_steps_error_word_by_word(instance: dg.DagsterInstance) -> None:
    result, _ = launched("subprocess", "refuse", {}, instance)
    message = "labels of T01 on 2024-06-28 repeat; materialise labels again"
    assert failure(result) == f"quant_assets.errors.DatasetError: {message}"


def test_a_bug_in_a_unit_is_one_line_and_its_traceback_is_in_the_log(instance: dg.DagsterInstance) -> None:
    result, _ = launched("subprocess", "crash", {}, instance)
    assert failure(result) == (
        "quant_assets.errors.LaunchError: quant_assets_tests.runtime.units:crash failed in its process: "
        "KeyError: 'what nobody thought of' (traceback in the run's log)"
    )
    assert "Traceback (most recent call last)" in logged(instance, result)


@pytest.mark.parametrize(
    ("number", "ending"),
    [
        (signal.SIGKILL, "was killed by SIGKILL, perhaps out of memory; no results were kept"),
        (signal.SIGSEGV, "was killed by SIGSEGV; no results were kept"),
    ],
)
def test_a_child_that_is_killed_fails_its_step_with_one_line(
    number: int, ending: str, instance: dg.DagsterInstance
) -> None:
    result, _ = launched("subprocess", "die", {"number": int(number)}, instance)
    message = failure(result)
    assert f"LaunchError: the process of quant_assets_tests.runtime.units:die {ending}" in message
    assert "\n" not in message


def test_a_child_that_leaves_without_a_word_fails_its_step_with_its_last_words(instance: dg.DagsterInstance) -> None:
    result, _ = launched("subprocess", "leave", {}, instance)
    assert failure(result).endswith(":leave ended with status 3: cannot load libcuda.so")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("subprocess", signal.SIGKILL),
        ("subprocess", signal.SIGINT),
        ("subprocess", signal.SIGTERM),
        ("torchrun", signal.SIGKILL),
        ("torchrun", signal.SIGINT),
    ],
)
def test_a_child_and_its_own_children_end_with_the_step(
    kind: str, number: int, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """A killed parent cannot clean up; an interrupted one does, although the child ignores signals."""
    if kind == "torchrun":
        pytest.importorskip("torch", reason="the extra deep is not installed")
    pids = tmp_path / "pids"
    log = (tmp_path / "log").open("wb")
    command = [sys.executable, "-m", "quant_assets_tests.runtime.units", kind, str(pids)]
    parent = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + SECONDS
        while not pids.exists():
            assert parent.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.1)
        processes = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
        if kind == "torchrun":
            processes.append(processes[0].parent())
        child = processes[-1] if kind == "torchrun" else processes[0]
        assert child.ppid() == parent.pid
        assert child.cmdline()[1:4] == ["-m", "quant_assets.runtime.worker", str(parent.pid)]
        parent.send_signal(number)
        _, alive = psutil.wait_procs(processes, timeout=SECONDS)
        assert not alive
        assert parent.wait(SECONDS) != 0
    finally:
        parent.kill()
        log.close()


def test_an_interrupted_step_ends_its_child_although_its_own_process_lives_on(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    pids, processes = tmp_path / "pids", []

    def interrupt() -> None:
        deadline = time.monotonic() + SECONDS
        while not pids.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        processes.extend(psutil.Process(int(pid)) for pid in pids.read_text().split())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    result, _ = launched("subprocess", "wait", {"pids": str(pids)}, instance)
    thread.join()
    assert "DagsterExecutionInterruptedError" in failure(result)
    assert len(processes) == 2
    assert not psutil.wait_procs(processes, timeout=SECONDS)[1]


@pytest.mark.slow
def test_torchrun_starts_processes_that_find_each_other(instance: dg.DagsterInstance) -> None:
    pytest.importorskip("torch", reason="the extra deep is not installed")
    result, output = launched("torchrun", "ranks", {"fails": -1}, instance, processes=2)
    assert result.success, logged(instance, result)[-3000:]
    assert output == {"0": "3", "1": "3"}


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_fails_fails_the_step(rank: int, instance: dg.DagsterInstance) -> None:
    pytest.importorskip("torch", reason="the extra deep is not installed")
    result, _ = launched("torchrun", "ranks", {"fails": rank}, instance, processes=2)
    message = failure(result)
    if rank == 0:
        assert message == "quant_assets.errors.DatasetError: rank 0 has no rows"
    else:
        assert "quant_assets.errors.LaunchError: the process of quant_assets_tests.runtime.units:ranks ended" in message
    assert f"rank {rank} has no rows" in logged(instance, result)


def test_torchrun_without_pytorch_says_what_to_install(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result, _ = launched("torchrun", "ranks", {"fails": -1}, instance)
    assert "launch.kind torchrun needs PyTorch, which is not installed; pip install 'quant-assets[deep]'" in failure(
        result
    )


@pytest.mark.parametrize(("kind", "count"), [("subprocess", 2), ("in_process", 1)])
def test_a_unit_on_devices_sees_what_it_leased_from_a_process_of_its_own(
    kind: str, count: int, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_GPUS", "4,6,7")
    locks = tmp_path / "locks"
    with Devices(locks, ["4", "6", "7"]).lease(1, {"run": "another"}):
        result, output = launched(kind, "double", {"times": 2, "note": ""}, instance, devices=count, locks=locks)
    assert result.success
    seen = json.loads(output["seen.json"])
    assert seen["devices"] == ("6,7" if count == 2 else "6")
    assert seen["locks"] == [f"device-{device}" for device in seen["devices"].split(",")], (
        "it holds them beside its step"
    )
    assert seen["pid"] != os.getpid(), "a process stays with the devices that it was first given"
    assert f"computes on device {seen['devices'].replace(',', ', ')} ({count} of 3 devices)" in logged(instance, result)
    until = time.monotonic() + SECONDS  # what the trainer had started ends a moment after it
    while any(device.about for device in Devices(locks, ["4", "6", "7"]).held()) and time.monotonic() < until:
        time.sleep(0.05)
    assert [device.about for device in Devices(locks, ["4", "6", "7"]).held()] == [None] * 3


def test_without_devices_a_unit_that_wants_some_computes_on_the_cpu_and_says_so(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_GPUS", "none")
    message = "no device here: QUANT_GPUS names no device; computes on the CPU"
    for kind in ("in_process", "subprocess"):
        result, output = launched(kind, "double", {"times": 2, "note": ""}, instance, devices=8)
        assert result.success
        seen = json.loads(output["seen.json"])
        assert (seen["pid"] == os.getpid()) == (kind == "in_process")
        assert message in logged(instance, result)
    assert seen["devices"] == "", "although the machine may have some"


def test_a_unit_of_the_cpu_sees_no_device_and_waits_for_none(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_GPUS", "1")
    with Devices(tmp_path, ["0"]).lease(1, {}):
        result, output = launched("subprocess", "double", {"times": 2, "note": ""}, instance, locks=tmp_path)
    assert result.success
    assert json.loads(output["seen.json"])["devices"] == ""


def test_more_devices_than_there_are_fail_the_step_with_one_line(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_GPUS", "2")
    result, _ = launched("subprocess", "double", {}, instance, devices=3, locks=tmp_path)
    assert failure(result).startswith(
        "quant_assets.errors.LaunchError: heavy needs 3 devices, and there are 2 (0, 1): ask for fewer"
    )
