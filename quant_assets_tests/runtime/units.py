"""Units of work for the tests of launching, and an asset that launches one. No tests."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import psutil

from quant_assets.errors import DatasetError
from quant_assets.runtime.launch import Unit, launcher, unit_folders
from quant_assets.settings.loading import LaunchSettings


def double(inputs: Path, outputs: Path, *, times: int, note: str) -> None:
    """Writes its arguments and its environment, and prints to both streams."""
    sys.stdout.write(f"to the output: {note}\n")
    sys.stderr.write("to the error\n")
    seen = {"number": int((inputs / "number").read_text()) * times, "pid": os.getpid(), "path": sys.path}
    seen["secret"] = os.environ.get("A_PASSWORD")
    seen["devices"] = os.environ.get("CUDA_VISIBLE_DEVICES")
    open_files = [item.path for item in psutil.Process().open_files()]
    seen["locks"] = sorted(Path(item).name for item in open_files if "device-" in item)
    (outputs / "seen.json").write_text(json.dumps(seen))


def refuse(inputs: Path, outputs: Path) -> None:
    raise DatasetError("labels of T01 on 2024-06-28 repeat;\nmaterialise labels again")


def crash(inputs: Path, outputs: Path) -> None:
    raise KeyError("what nobody thought of")


def die(inputs: Path, outputs: Path, *, number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def leave(inputs: Path, outputs: Path) -> None:
    sys.stderr.write("cannot load libcuda.so\n----\n")
    sys.stderr.flush()
    os._exit(3)


def wait(inputs: Path, outputs: Path, *, pids: str) -> None:
    """Writes the numbers of itself and of a child to a file and waits in C, which no Python handler interrupts."""
    loader = subprocess.Popen(["sleep", "300"])
    Path(pids).with_suffix(".tmp").write_text(f"{os.getpid()} {loader.pid}")
    Path(pids).with_suffix(".tmp").rename(pids)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    time.sleep(300)


def ranks(inputs: Path, outputs: Path, *, fails: int) -> None:
    """Adds up the ranks over gloo; rank `fails` raises."""
    import torch
    import torch.distributed

    torch.distributed.init_process_group("gloo")
    total = torch.tensor([torch.distributed.get_rank() + 1])
    torch.distributed.all_reduce(total)
    rank = torch.distributed.get_rank()
    torch.distributed.destroy_process_group()
    if rank == fails:
        raise DatasetError(f"rank {rank} has no rows")
    (outputs / str(rank)).write_text(str(total.item()))


def launched(
    kind: str,
    function: str,
    arguments: dict[str, Any],
    instance: dg.DagsterInstance,
    processes: int = 1,
    devices: int = 0,
    locks: Path | None = None,
) -> tuple[dg.ExecuteInProcessResult, dict[str, str]]:
    """A run with one asset that launches a unit of this module: its result, and the files that the unit made."""
    outputs: dict[str, str] = {}

    @dg.asset
    def heavy(context: dg.AssetExecutionContext) -> int:
        with unit_folders() as folders:
            (folders.inputs / "number").write_text("21")
            place = launcher(context, LaunchSettings(kind=kind, processes=processes, device_locks=locks)).on(devices)
            place.launch(Unit(f"quant_assets_tests.runtime.units:{function}", arguments, folders, devices, "it"))
            outputs.update({path.name: path.read_text() for path in folders.outputs.iterdir()})
        return 42

    job = dg.Definitions([heavy]).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, raise_on_error=False), outputs


if __name__ == "__main__":  # a step in a process that a test can kill
    with dg.DagsterInstance.ephemeral() as ephemeral:
        result, _ = launched(sys.argv[1], "wait", {"pids": sys.argv[2]}, ephemeral)
    sys.exit(not result.success)
