"""`quant devices`: who computes on what, and who waits, while a training holds one; without any it says why."""

import os
import threading
import time
from pathlib import Path

import pytest

from quant_assets.runtime.lease import Devices
from quant_assets_tests.command import Quant


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QUANT__STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("QUANT_GPUS", "3")
    return tmp_path / "home"


def test_devices_holders_and_who_waits_are_shown_and_nothing_is_made(
    command: Quant, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, printed, _ = command("devices")
    assert status == 0
    assert printed.count("free") == 3
    assert not home.exists()
    devices = Devices(home / "devices", ["0", "1", "2"])
    about = {"run": "4f0c8a12-7d", "asset": "lightgbm_checkpoint", "subject": "healthcare"}

    def want() -> None:
        with devices.lease(3, {"run": "waits-for-3", "asset": "all", "subject": "it"}):
            pass

    with devices.lease(1, about) as lease:
        lease.tell(pid=4242)
        thread = threading.Thread(target=want)
        thread.start()
        while not devices.waiting():
            time.sleep(0.05)
        status, printed, _ = command("devices")
        assert status == 0
        lines = [" ".join(line.replace("│", " ").split()) for line in printed.splitlines()]
        (first,) = [line for line in lines if "4f0c8a12-7d" in line]
        assert first.startswith("0 4f0c8a12-7d lightgbm_checkpoint healthcare 20")
        assert first.endswith(" 4242")
        (waits,) = [line for line in lines if "waits-for-3 all it" in line]
        assert waits.startswith("3 waits-for-3 all it")
        assert waits.endswith(f" {os.getpid()}")
        assert lines.index("waiting, the next one first:") < lines.index(waits)
        monkeypatch.setenv("QUANT_GPUS", "2,")
        assert "0 (not named here)" in command("devices")[1], "held under another list of devices"
    thread.join(60)
    assert [each.about for each in devices.held()] == [None] * 3


def test_without_devices_it_says_why(command: Quant, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_GPUS", "none")
    status, printed, _ = command("devices")
    assert (status, printed.strip()) == (
        0,
        "no device on this machine: QUANT_GPUS names no device; trainings run on the CPU",
    )
    monkeypatch.setenv("QUANT_GPUS", "many")
    status, _, said = command("devices")
    assert status == 1
    assert said.startswith("error: QUANT_GPUS=many: 'many' is not a device; write how many there are (8)")
