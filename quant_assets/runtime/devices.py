"""Which devices there are to compute on: named by the environment, or asked of NVIDIA's driver.

Who holds one is `runtime.lease`.
"""

import os
import re
import subprocess
from collections.abc import Sequence

from quant_assets.errors import SettingsError

#: Dagster's pool of the steps that train. It keeps the queue short; which device a training gets, the lease says.
POOL = "gpu"

#: Names the devices by itself, before anything else is asked.
VARIABLE = "QUANT_GPUS"
_CUDA = "CUDA_VISIBLE_DEVICES"

#: Seconds that the driver has to answer; without its persistence daemon it takes some.
_ANSWERS = 30.0

_WHOLE = re.compile(r"GPU +\d+:.*\(UUID: +(GPU-[^)\s]+)\)")
_SPLIT = re.compile(r"\s+MIG .*\(UUID: +(MIG-[^)\s]+)\)")


def device_ids() -> tuple[str, ...]:
    """The devices of this machine that trainings may use, as `CUDA_VISIBLE_DEVICES` names them; none without any.

    They are those of `QUANT_GPUS` (how many, a list, or `none`), else of `CUDA_VISIBLE_DEVICES`, else those that
    `nvidia-smi -L` lists: by UUID, because CUDA may number them otherwise than the driver.

    Raises:
        SettingsError: `QUANT_GPUS` or `CUDA_VISIBLE_DEVICES` is no list of devices; names it.

    """
    if given := os.environ.get(VARIABLE, "").strip():
        return named_devices(given)
    visible = os.environ.get(_CUDA)
    if visible is not None:
        return visible_devices(visible)
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_ANSWERS, check=False)
    except (OSError, subprocess.TimeoutExpired):  # no driver, or one that hangs
        return ()
    return listed_devices(listed.stdout) if listed.returncode == 0 else ()


def without_devices() -> str:
    """Why there are none, in words, for the log of a step that computes on the CPU."""
    if os.environ.get(VARIABLE, "").strip():
        return f"{VARIABLE} names no device"
    return f"{_CUDA} names no device" if _CUDA in os.environ else "nvidia-smi lists no device"


def named_devices(text: str) -> tuple[str, ...]:
    """The devices that `QUANT_GPUS` names: `8` is that many, `0,2` or UUIDs a list (`3,` of one), `none` none at all.

    Raises:
        SettingsError: it is neither.

    """
    if text.lower() == "none":
        return ()
    if text.isdecimal():
        return tuple(str(number) for number in range(int(text)))
    return _checked([each.strip() for each in text.removesuffix(",").split(",")], f"{VARIABLE}={text}")


def visible_devices(text: str) -> tuple[str, ...]:
    """The devices that `CUDA_VISIBLE_DEVICES` leaves visible: as CUDA does, what follows a negative number is not read.

    Raises:
        SettingsError: it is no list of devices, or names one twice.

    """
    named: list[str] = []
    for each in (part.strip() for part in text.split(",")):
        if each in ("", "NoDevFiles", "void", "none") or each.startswith("-"):
            break
        named.append(each)
    return _checked(named, f"{_CUDA}={text}")


def listed_devices(text: str) -> tuple[str, ...]:
    """The devices in the output of `nvidia-smi -L`; of one that is split into MIG instances these, not the whole.

    A process computes on one MIG instance only, whatever it is given more.
    """
    found: list[list[str]] = []
    for line in text.splitlines():
        if whole := _WHOLE.match(line):
            found.append([whole[1]])
        elif (part := _SPLIT.match(line)) and found:
            found[-1].append(part[1])
    return tuple(each for device in found for each in (device[1:] or device))


def _checked(named: Sequence[str], said: str) -> tuple[str, ...]:
    wrong = [each for each in named if not re.fullmatch(r"\d+|GPU-[\w-]+|MIG-[\w/-]+", each)]
    twice = [each for each in named if named.count(each) > 1]
    if wrong or twice:
        what = f"'{wrong[0]}' is no device" if wrong else f"device {twice[0]} is named twice"
        raise SettingsError(
            f"{said}: {what}; write how many there are (8), a list of numbers or UUIDs of nvidia-smi -L (0,2), or none"
        )
    return tuple(named)
