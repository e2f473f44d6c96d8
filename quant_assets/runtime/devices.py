"""The devices of this machine, from the environment or from NVIDIA's driver. `runtime.lease` has their holders."""

import os
import re
import subprocess
from collections.abc import Sequence

from quant_assets.errors import SettingsError

#: Dagster's pool of the steps that train. It keeps the queue short; the lease assigns the devices.
POOL = "gpu"

#: Environment variable with the devices; it has priority over all else.
VARIABLE = "QUANT_GPUS"
_CUDA = "CUDA_VISIBLE_DEVICES"

#: Seconds until the driver must answer; it is slow without its persistence daemon.
_ANSWERS = 30.0

_WHOLE = re.compile(r"GPU +\d+:.*\(UUID: +(GPU-[^)\s]+)\)")
_SPLIT = re.compile(r"\s+MIG .*\(UUID: +(MIG-[^)\s]+)\)")


def device_ids() -> tuple[str, ...]:
    """The devices of this machine that trainings may use, in the form of `CUDA_VISIBLE_DEVICES`; may be empty.

    They come from `QUANT_GPUS` (a number, a list, or `none`), else from `CUDA_VISIBLE_DEVICES`, else from
    `nvidia-smi -L`: by UUID, because CUDA and the driver may number them differently.

    Raises:
        SettingsError: `QUANT_GPUS` or `CUDA_VISIBLE_DEVICES` is not a list of devices; names it.

    """
    if named := os.environ.get(VARIABLE, "").strip():
        return named_devices(named)
    visible = os.environ.get(_CUDA)
    if visible is not None:
        return visible_devices(visible)
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_ANSWERS, check=False)
    except (OSError, subprocess.TimeoutExpired):  # no driver, or it hangs
        return ()
    return listed_devices(listed.stdout) if listed.returncode == 0 else ()


def without_devices() -> str:
    """Why there are no devices, in words, for the log of a step that computes on the CPU."""
    if os.environ.get(VARIABLE, "").strip():
        return f"{VARIABLE} names no device"
    return f"{_CUDA} names no device" if _CUDA in os.environ else "nvidia-smi lists no device"


def named_devices(text: str) -> tuple[str, ...]:
    """The devices in `QUANT_GPUS`: `8` is a number, `0,2` or UUIDs a list (`3,` has one device), `none` none.

    Raises:
        SettingsError: it is none of these.

    """
    if text.lower() == "none":
        return ()
    if text.isdecimal():
        return tuple(str(number) for number in range(int(text)))
    return _checked([name.strip() for name in text.removesuffix(",").split(",")], f"{VARIABLE}={text}")


def visible_devices(text: str) -> tuple[str, ...]:
    """The devices that `CUDA_VISIBLE_DEVICES` leaves visible; as in CUDA, a negative number ends the list.

    Raises:
        SettingsError: it is not a list of devices, or names one twice.

    """
    names: list[str] = []
    for name in (part.strip() for part in text.split(",")):
        if name in ("", "NoDevFiles", "void", "none") or name.startswith("-"):
            break
        names.append(name)
    return _checked(names, f"{_CUDA}={text}")


def listed_devices(text: str) -> tuple[str, ...]:
    """The devices in the output of `nvidia-smi -L`; if a device is split into MIG instances, these instead.

    A process computes on one MIG instance only, even if more are visible to it.
    """
    devices: list[list[str]] = []
    for line in text.splitlines():
        if whole := _WHOLE.match(line):
            devices.append([whole[1]])
        elif (part := _SPLIT.match(line)) and devices:
            devices[-1].append(part[1])
    return tuple(name for device in devices for name in (device[1:] or device))


def _checked(names: Sequence[str], setting: str) -> tuple[str, ...]:
    wrong = [name for name in names if not re.fullmatch(r"\d+|GPU-[\w-]+|MIG-[\w/-]+", name)]
    twice = [name for name in names if names.count(name) > 1]
    if wrong or twice:
        reason = f"'{wrong[0]}' is not a device" if wrong else f"device {twice[0]} is named twice"
        raise SettingsError(
            f"{setting}: {reason}; "
            "write how many there are (8), a list of numbers or UUIDs of nvidia-smi -L (0,2), or none"
        )
    return tuple(names)
