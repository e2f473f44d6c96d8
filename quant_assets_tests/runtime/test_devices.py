"""The devices of a machine: from the environment, and from the output of the driver's program on real machines."""

from pathlib import Path

import pytest

from quant_assets.errors import SettingsError
from quant_assets.runtime.devices import device_ids, listed_devices, named_devices, visible_devices, without_devices

WHOLE = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-8c4b1e2f-3b4a-0d5e-9f1a-6e2b7c8d9e0f)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-1f2e3d4c-5b6a-7988-a0b1-c2d3e4f50617)
"""
#: Of drivers since R470: one device split into two, one whole, one split into one.
SPLIT = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1c.3g.20gb  Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-6e6cb1e7-e44e-3c3d-635e-af4e9e3c9b88)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-7f7dc2f8-f55f-4d4e-746f-b05faf4dac99)
  MIG 7g.40gb     Device  0: (UUID: MIG-0a1b2c3d-4e5f-5061-8273-8495a6b7c8d9)
"""
#: Of drivers before: an instance is named by its device and two numbers.
SPLIT_OF_OLD = """\
GPU 0: A100-SXM4-40GB (UUID: GPU-b8ea3855-276c-c9cb-b366-c6fa655957c5)
  MIG 1g.5gb Device 0: (UUID: MIG-GPU-b8ea3855-276c-c9cb-b366-c6fa655957c5/7/0)
  MIG 1g.5gb Device 1: (UUID: MIG-GPU-b8ea3855-276c-c9cb-b366-c6fa655957c5/8/0)
"""
ODD = """\
Unable to determine the device handle for gpu 0000:3B:00.0: Unknown Error
GPU 1: Tesla V100-PCIE-16GB (UUID: GPU-ae7d2b1c-0011-2233-4455-66778899aabb)
"""


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        (WHOLE, ("GPU-8c4b1e2f-3b4a-0d5e-9f1a-6e2b7c8d9e0f", "GPU-1f2e3d4c-5b6a-7988-a0b1-c2d3e4f50617")),
        (
            SPLIT,
            (
                "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
                "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb",
                "GPU-6e6cb1e7-e44e-3c3d-635e-af4e9e3c9b88",
                "MIG-0a1b2c3d-4e5f-5061-8273-8495a6b7c8d9",
            ),
        ),
        (
            SPLIT_OF_OLD,
            (
                "MIG-GPU-b8ea3855-276c-c9cb-b366-c6fa655957c5/7/0",
                "MIG-GPU-b8ea3855-276c-c9cb-b366-c6fa655957c5/8/0",
            ),
        ),
        (ODD, ("GPU-ae7d2b1c-0011-2233-4455-66778899aabb",)),
        ("No devices found.\n", ()),
        ("", ()),
    ],
    ids=["whole", "split", "split of old drivers", "one is broken", "none", "silent"],
)
def test_the_drivers_list_is_read(text: str, devices: tuple[str, ...]) -> None:
    assert listed_devices(text) == devices


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("8", tuple("01234567")),
        ("0", ()),
        ("none", ()),
        ("None", ()),
        ("3,", ("3",)),
        ("0, 2,5", ("0", "2", "5")),
        ("MIG-GPU-b8ea3855/7/0,GPU-5d5ba0d6", ("MIG-GPU-b8ea3855/7/0", "GPU-5d5ba0d6")),
    ],
)
def test_a_number_a_list_or_none(text: str, devices: tuple[str, ...]) -> None:
    assert named_devices(text) == devices


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("0,1", ("0", "1")),
        ("", ()),
        ("-1", ()),
        ("0,1,-1,2", ("0", "1")),
        ("NoDevFiles", ()),
        ("GPU-8c4b", ("GPU-8c4b",)),
    ],
)
def test_what_cuda_sees(text: str, devices: tuple[str, ...]) -> None:
    assert visible_devices(text) == devices


@pytest.mark.parametrize("text", ["all", "-2", "0,two", "../..", "1,1", "0,,1", "1.5"])
def test_what_names_no_devices_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_GPUS", text)
    with pytest.raises(SettingsError, match=r"^QUANT_GPUS=.*; write how many there are \(8\)"):
        device_ids()


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A replacement of the driver's program that prints recorded output."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\n[ "$1" = -L ] && cat <<"END"\n{SPLIT}END\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("QUANT_GPUS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return program


def test_the_first_that_names_devices_counts(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_ids() == listed_devices(SPLIT)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert device_ids() == ("4", "5")
    monkeypatch.setenv("QUANT_GPUS", "1")
    assert device_ids() == ("0",)
    monkeypatch.setenv("QUANT_GPUS", "none")
    assert (device_ids(), without_devices()) == ((), "QUANT_GPUS names no device")
    monkeypatch.setenv("QUANT_GPUS", "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert (device_ids(), without_devices()) == ((), "CUDA_VISIBLE_DEVICES names no device")


def test_without_a_driver_or_with_one_that_fails_there_are_none(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.write_text(f"#!/bin/sh\ncat <<'END'\n{WHOLE}END\nexit 9\n")
    assert (device_ids(), without_devices()) == ((), "nvidia-smi lists no device")
    driver.unlink()
    monkeypatch.setenv("PATH", str(driver.parent))
    assert device_ids() == ()
