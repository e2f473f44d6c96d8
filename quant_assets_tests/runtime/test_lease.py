"""The lease of devices with many processes that start, end and are killed: no device is shared or lost."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from quant_assets.errors import LaunchError
from quant_assets.runtime.lease import Devices, is_held
from quant_assets_tests.graph import PROJECT

IDS = [str(number) for number in range(8)]
SECONDS = 90  # for what takes a fraction of it on a machine that is not busy

#: A step that leases `count` devices and its trainer that computes for so many seconds, each in a process of its own.
STEP = """
import os, subprocess, sys
from pathlib import Path
from quant_assets.runtime.lease import Devices
folder, name, count, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
with Devices(folder / "locks", [str(each) for each in range(8)]).lease(count, {"run": name, "asset": "it"}) as lease:
    trainer = subprocess.Popen(
        [sys.executable, "-S", "-c", TRAINER, str(folder), name, " ".join(lease.devices), seconds],
        stdin=subprocess.PIPE,
        pass_fds=lease.descriptors,
    )
    lease.tell(pid=trainer.pid)
    sys.exit(trainer.wait())
"""
#: It writes down what it computes on, first and last; it ends late after its step, as one in a kernel of CUDA does.
TRAINER = """
import select, sys, time
folder, name, devices, seconds = sys.argv[1:]
log = open(folder + "/log", "a")
def note(what):
    log.write(" ".join([str(time.monotonic()), what, name, devices]) + chr(10))
    log.flush()
note("begins")
if select.select([sys.stdin], [], [], float(seconds))[0]:
    time.sleep(0.3)
note("ends")
"""


class Steps:
    """Processes of steps over eight pretended devices."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, dict[str, subprocess.Popen[bytes]]()

    def start(self, name: str, count: int, seconds: float) -> "subprocess.Popen[bytes]":
        code = STEP.replace("TRAINER", repr(TRAINER))
        command = [sys.executable, "-c", code, str(self.folder), name, str(count), str(seconds)]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        self.made[name] = subprocess.Popen(command, env=environment, cwd=self.folder)
        return self.made[name]

    @property
    def devices(self) -> Devices:
        return Devices(self.folder / "locks", IDS)

    def spans(self) -> list[tuple[float, float, str, set[str]]]:
        """Start and end of each trainer, with its devices."""
        begun: dict[str, tuple[float, set[str]]] = {}
        spans = []
        for line in (self.folder / "log").read_text().splitlines():
            moment, what, name, *devices = line.split()
            if what == "begins":
                begun[name] = float(moment), set(devices)
            else:
                first, held = begun.pop(name)
                spans.append((first, float(moment), name, held))
        assert not begun
        return sorted(spans)


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    started = Steps(tmp_path)
    yield started
    for process in started.made.values():
        process.kill()
        process.wait()


def wait_until(reached: object) -> None:
    assert callable(reached)
    deadline = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < deadline, f"waited {SECONDS} seconds"
        time.sleep(0.02)


@pytest.mark.slow
def test_many_over_one_and_some_over_all_share_nothing_and_nobody_waits_for_ever(steps: Steps) -> None:
    """26 single trainings, one over two and two over all eight, in any order, four of them killed."""
    rng = random.Random(1)
    wanted = [1] * 25 + [2, 8]
    rng.shuffle(wanted)
    wanted[3:3] = [8, 1]
    names = [f"t{number:02d}x{count}" for number, count in enumerate(wanted)]
    for name, count in zip(names, wanted, strict=True):
        steps.start(name, count, rng.uniform(0.05, 0.6))
        if name == "t03x8":  # killed where it waits, or has just got some
            wait_until(lambda: steps.devices.waiting() or steps.made["t03x8"].poll() is not None)
            steps.made[name].kill()
    killed = rng.sample([item for item in names if item.endswith("x1")], 3)
    for name in killed:
        time.sleep(0.4)
        steps.made[name].kill()
    for item in steps.made.values():
        item.wait(SECONDS)
    wait_until(lambda: not any(item.about for item in steps.devices.held()))
    spans = steps.spans()
    for place, (first, last, name, held) in enumerate(spans):
        assert len(held) == int(name.split("x")[1])
        for other_first, other_last, other, others in spans[:place]:
            if other_first < last and first < other_last:
                assert not held & others, f"{name} and {other} share {held & others}"
    moments = sorted([(first, len(held)) for first, _, _, held in spans] + [(last, -len(h)) for _, last, _, h in spans])
    most = held = 0
    for _, change in moments:
        held += change
        most = max(most, held)
    assert most <= 8
    alive = [name for name in names if steps.made[name].returncode == 0]
    assert {name for _, _, name, _ in spans} >= set(alive)
    assert len(alive) >= len(names) - 4
    assert any(name.endswith("x8") for name in alive)
    assert not steps.devices.waiting()


@pytest.mark.slow
def test_a_device_is_free_when_step_and_trainer_are_gone(steps: Steps) -> None:
    step = steps.start("killed", 1, 60)
    wait_until(lambda: (steps.folder / "log").exists() and "begins" in (steps.folder / "log").read_text())

    def holder() -> dict[str, object]:
        (first, *_) = steps.devices.held()
        return dict(first.about or {})

    wait_until(lambda: holder().get("pid") not in (None, step.pid))  # the trainer's, once it runs
    assert (holder()["run"], holder()["asset"]) == ("killed", "it")
    step.kill()
    step.wait()
    assert is_held(steps.folder / "locks" / "device-0"), "the trainer still computes"
    steps.start("next", 1, 0)
    steps.made["next"].wait(SECONDS)
    wait_until(lambda: "ends killed" in (steps.folder / "log").read_text())  # as late as one in a kernel of CUDA does
    assert [(name, held) for _, _, name, held in steps.spans()] == [("killed", {"0"}), ("next", {"1"})]


def test_nobody_passes_one_who_waits_for_all(tmp_path: Path) -> None:
    """Order of arrival, although those after it could have been served at once."""
    devices, order = Devices(tmp_path, IDS), list[str]()

    def want(name: str, count: int) -> None:
        with Devices(tmp_path, IDS).lease(count, {"run": name}):
            order.append(name)

    threads = []
    with devices.lease(1, {"run": "first"}):
        for name, count in (("all", 8), ("second", 1), ("pair", 2), ("third", 1)):
            threads.append(threading.Thread(target=want, args=(name, count)))
            threads[-1].start()
            wait_until(lambda: len(devices.waiting()) == len(threads))
        assert [item.about["run"] for item in devices.waiting()] == ["all", "second", "pair", "third"]
        assert [item.device for item in devices.waiting()] == ["8", "1", "2", "1"]
        time.sleep(0.5)
        assert order == [], "seven devices are free, and the first one in the queue needs the eighth"
    for item in threads:
        item.join(SECONDS)
    assert order[0] == "all"
    assert sorted(order) == ["all", "pair", "second", "third"]


def test_a_number_is_never_given_anew(tmp_path: Path) -> None:
    devices = Devices(tmp_path, ["0"])
    drawn = []
    for _ in range(3):
        number, ticket = devices._drawn({})
        devices._ticket(number).unlink()
        os.close(ticket)
        drawn.append(number)
    assert all(later > earlier for earlier, later in pairwise(drawn))
    (tmp_path / "door").write_bytes(b"12")  # killed while it wrote
    assert devices._drawn({})[0] == 13


def test_one_who_was_killed_in_the_queue_holds_nobody_up(tmp_path: Path) -> None:
    devices = Devices(tmp_path, ["0"])
    devices.folder.joinpath("waiting").mkdir(parents=True)
    devices._ticket(1).write_text(json.dumps({"run": "killed"}))
    assert devices.waiting() == []
    with devices.lease(1, {}) as lease:
        assert lease.devices == ("0",)
    assert list(devices.folder.joinpath("waiting").iterdir()) == []


def test_more_than_there_are_is_refused_and_an_error_gives_all_back(tmp_path: Path) -> None:
    devices = Devices(tmp_path, ["MIG-GPU-b8ea/7/0", "1"])
    with (
        pytest.raises(LaunchError, match=r"^checkpoint needs 3 devices, and there are 2 \(MIG-GPU-b8ea/7/0, 1\): ask"),
        devices.lease(3, {"asset": "checkpoint"}),
    ):
        pass
    with devices.lease(2, {"run": "a"}) as lease:
        assert lease.devices == ("MIG-GPU-b8ea/7/0", "1")
        assert [held.about["run"] for held in devices.held()] == ["a", "a"]
        others = Devices(tmp_path, ["1"]).held()
        assert [(held.device, held.known) for held in others] == [("1", True), ("MIG-GPU-b8ea/7/0", False)]
    with pytest.raises(ZeroDivisionError), devices.lease(2, {"run": "b"}):
        raise ZeroDivisionError
    assert [held.about for held in devices.held()] == [None, None]


def test_waiting_is_told_once(tmp_path: Path) -> None:
    devices, messages = Devices(tmp_path, ["0"]), list[str]()

    def want() -> None:
        with Devices(tmp_path, ["0"]).lease(1, {}, lambda: messages.append("waits")):
            pass

    with devices.lease(1, {}):
        thread = threading.Thread(target=want)
        thread.start()
        wait_until(lambda: messages)
        time.sleep(0.5)
    thread.join(SECONDS)
    assert messages == ["waits"]
