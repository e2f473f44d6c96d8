"""A step's heavy part as a unit of work that runs in this process, in its own, or in several under torchrun.

A unit is a function named `module:function`, JSON-able arguments, a folder of inputs (Parquet or Arrow files) and a
folder for outputs. It does not depend on the process in which it runs. A launcher is one class here and one line in
`LAUNCHERS`; `docs/running-elsewhere.md` describes how to add Kubernetes or Ray.

The processes communicate by Dagster's Pipes: the unit is passed in a file of the session, the worker's messages come
back, and its output appears in the run's log. The child and its own children end with the step (`runtime.worker`). A
unit that computes on devices holds them while it runs (`runtime.lease`); others see no devices.
"""

import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import dagster as dg

from quant_assets import errors
from quant_assets.dagster_internals import instance_home, pipes_session
from quant_assets.errors import LaunchError, QuantError
from quant_assets.runtime.devices import device_ids, without_devices
from quant_assets.runtime.lease import Devices, Lease
from quant_assets.settings.loading import LaunchSettings

_WORKER = "quant_assets.runtime.worker"

#: Seconds for a child to end by itself when its step is over.
_GRACE = 5.0
#: Seconds between two entries of the child's output in the run's log, and largest number of characters of an entry.
_PERIOD = 1.0
_SHOWN = 20_000
#: Number of last lines of the output in which to look for the error of a child that reported none.
_REMEMBERED = 20


class Folders(NamedTuple):
    """The folders of a unit's inputs and outputs."""

    inputs: Path
    outputs: Path


@dataclass(frozen=True)
class Unit:
    """One piece of work.

    Attributes:
        function: `module:function`, called with the two folders and the arguments by name; it returns nothing.
        arguments: JSON-able.
        folders: of its inputs and outputs.
        devices: number of devices it computes on if the machine has any; 0 for the CPU.
        subject: the sector, for people.

    """

    function: str
    arguments: Mapping[str, Any]
    folders: Folders
    devices: int = 0
    subject: str = ""

    @classmethod
    def of(
        cls,
        function: Callable[..., None],
        arguments: Mapping[str, Any],
        folders: Folders,
        devices: int = 0,
        subject: str = "",
    ) -> "Unit":
        """The unit of a module-level function; passing the function itself makes its code part of the provenance."""
        return cls(f"{function.__module__}:{function.__qualname__}", arguments, folders, devices, subject)

    def carry_out(self) -> None:
        """Call the function in this process, with the arguments as another process would get them."""
        module, _, name = self.function.partition(":")
        function: Callable[..., None] = getattr(importlib.import_module(module), name)
        function(*self.folders, **json.loads(json.dumps(self.arguments)))


class Launcher(Protocol):
    """Runs units."""

    #: Whether units run in this process, so that inputs need no files.
    here: bool
    #: Number of processes that call a unit's function at once, all with the same folders.
    processes: int

    def on(self, devices: int) -> "Launcher":
        """The launcher for a unit on this number of devices (0 for none): this one, or one that can provide them."""
        ...

    def launch(self, unit: Unit) -> None:
        """Run a unit to its end.

        Raises:
            QuantError: the unit raised it, with the same class.
            LaunchError: the unit failed otherwise, or its process died.

        """
        ...


class InProcess:
    """Runs units in the step's own process.

    A unit that computes on devices gets a process of its own if there are any: a process cannot change its devices, and
    releases their memory only when it ends.

    Args:
        context: of the step.
        settings: of the launcher.

    """

    here, processes = True, 1

    def __init__(self, context: dg.AssetExecutionContext, settings: LaunchSettings) -> None:
        self._context, self._settings = context, settings

    def on(self, devices: int) -> Launcher:
        """This launcher, or one with another process if the unit computes on devices and there are any."""
        if devices and device_ids():
            return Subprocess(self._context, self._settings)
        if devices:
            _tell_of_none(self._context)
        return self

    def launch(self, unit: Unit) -> None:
        """Run a unit to its end; its errors are raised unchanged."""
        unit.carry_out()


class Subprocess:
    """Runs units in a process of their own, which releases its memory and whose death is only an error of the step.

    Args:
        context: of the step.
        settings: of the launcher.

    """

    here, processes = False, 1

    def __init__(self, context: dg.AssetExecutionContext, settings: LaunchSettings) -> None:
        self._context, self._settings = context, settings

    def on(self, devices: int) -> Launcher:
        """This launcher, which provides devices."""
        return self

    def command(self) -> list[str]:
        """Command line of the worker, without the unit, so that a process list shows no arguments."""
        return [sys.executable, "-m", _WORKER, str(os.getpid())]

    def launch(self, unit: Unit) -> None:
        """Run a unit to its end; errors as for `Launcher`."""
        extras = {
            "function": unit.function,
            "arguments": dict(unit.arguments),
            "inputs": str(unit.folders.inputs),
            "outputs": str(unit.folders.outputs),
        }
        with self._leased(unit) as lease, pipes_session(self._context, {"unit": extras}) as session:
            visible = {"CUDA_VISIBLE_DEVICES": ",".join(lease.devices)}  # only the leased devices
            process = subprocess.Popen(
                self.command(),
                # The whole environment: PYTHONPATH, credentials of the storage. It is written nowhere.
                env={**os.environ, **session.get_bootstrap_env_vars(), **visible},
                pass_fds=lease.descriptors,  # so that the devices are held until the child is gone too
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            lease.tell(pid=process.pid)
            last = self._follow(process)
        errors_reported = [message["error"] for message in session.get_custom_messages() if "error" in message]
        if process.returncode:
            raise _error(unit.function, process.returncode, errors_reported, last)

    @contextmanager
    def _leased(self, unit: Unit) -> Iterator[Lease]:
        """The unit's devices, held for the block; none if it needs none or there are none."""
        ids = device_ids() if unit.devices else ()
        if not ids:
            if unit.devices:
                _tell_of_none(self._context)
            yield Lease()
            return
        log, wanted = self._context.log, f"{unit.devices} of {len(ids)} devices"
        about = {"run": self._context.run.run_id, "asset": _asset(self._context), "subject": unit.subject}
        devices = Devices(device_locks(self._settings, instance_home(self._context)), ids)
        with devices.lease(unit.devices, about, lambda: log.info(f"waits for {wanted}")) as lease:
            log.info(f"computes on device {', '.join(lease.devices)} ({wanted}), waited {lease.waited:.1f} s")
            yield lease

    def _follow(self, process: "subprocess.Popen[str]") -> list[str]:
        """Wait for the child and show its output in the run's log; returns its last lines."""
        output: deque[str] = deque()
        reader = threading.Thread(target=_read, args=(process.stdout, output), daemon=True)
        reader.start()
        last: deque[str] = deque(maxlen=_REMEMBERED)
        try:
            while True:
                try:
                    process.wait(_PERIOD)
                    break
                except subprocess.TimeoutExpired:
                    self._show(output, last)
        finally:  # also after an interruption
            end(process)
            reader.join(_GRACE)
            self._show(output, last)
        return list(last)

    def _show(self, output: deque[str], last: deque[str]) -> None:
        lines = [output.popleft() for _ in range(len(output))]
        last.extend(line for line in lines if line)
        text = "\n".join(lines)
        if len(text) > _SHOWN:
            text = f"{len(text) - _SHOWN} characters left out …\n{text[-_SHOWN:]}"
        if text:
            self._context.log.info(text)


class Torchrun(Subprocess):
    """`launch.processes` processes, started and watched by PyTorch's torchrun.

    All of them call the function; `torch.distributed` finds its peers in the environment. Only rank 0 reports errors.
    All see all devices of the unit; a process uses number `LOCAL_RANK`.
    """

    def __init__(self, context: dg.AssetExecutionContext, settings: LaunchSettings) -> None:
        super().__init__(context, settings)
        self.processes = settings.processes

    def command(self) -> list[str]:
        """Command line of the worker, which becomes torchrun.

        Raises:
            LaunchError: PyTorch is not installed.

        """
        if importlib.util.find_spec("torch") is None:
            raise LaunchError(
                "launch.kind torchrun needs PyTorch, which is not installed; "
                "pip install 'quant-assets[deep]', or set launch.kind to subprocess (QUANT__LAUNCH__KIND)"
            )
        return [*super().command(), "torchrun", str(self.processes)]


LAUNCHERS: Mapping[str, Callable[[dg.AssetExecutionContext, LaunchSettings], Launcher]] = {
    "in_process": InProcess,
    "subprocess": Subprocess,
    "torchrun": Torchrun,
}


def launcher(context: dg.AssetExecutionContext, settings: LaunchSettings) -> Launcher:
    """The launcher of `launch.kind` for one step."""
    return LAUNCHERS[settings.kind](context, settings)


def device_locks(settings: LaunchSettings, home: Path | None) -> Path:
    """Folder of the devices' locks: `launch.device_locks`, else `devices` in the instance's folder.

    Args:
        settings: of the launcher.
        home: folder of the instance; None for an instance without one: a temporary folder of the user replaces it.

    """
    if settings.device_locks is not None:
        return settings.device_locks
    return (home or Path(tempfile.gettempdir()) / f"quant-assets-{os.getuid()}") / "devices"


@contextmanager
def unit_folders() -> Iterator[Folders]:
    """Two empty folders on the local disk (`TMPDIR`) that are removed after the block."""
    with tempfile.TemporaryDirectory(prefix="quant-unit-") as parent:
        folders = Folders(Path(parent, "inputs"), Path(parent, "outputs"))
        for folder in folders:
            folder.mkdir()
        yield folders


def end(process: "subprocess.Popen[str]") -> None:
    """End a child and its group if it still runs: with SIGTERM, then with SIGKILL."""
    for number, seconds in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


def _tell_of_none(context: dg.AssetExecutionContext) -> None:
    context.log.info(f"no device here: {without_devices()}; computes on the CPU")


def _asset(context: dg.AssetExecutionContext) -> str:
    return ", ".join(sorted(key.to_user_string() for key in context.selected_asset_keys))


def _read(stream: IO[str], output: deque[str]) -> None:
    with stream:
        for line in stream:
            output.append(line.rstrip("\n"))


def _error(function: str, status: int, reported: list[Mapping[str, str]], last: list[str]) -> QuantError:
    """The error of a failed child: the one it reported, else one from its exit status."""
    if reported:
        kind, text = reported[0]["kind"], reported[0]["text"]
        ours = getattr(errors, kind, None)
        if isinstance(ours, type) and issubclass(ours, QuantError):
            return ours(text)
        return LaunchError(f"{function} failed in its process: {kind}: {text} (traceback in the run's log)")
    if status < 0:
        name = signal.Signals(-status).name
        why = ", perhaps out of memory" if -status == signal.SIGKILL else ""
        return LaunchError(
            f"the process of {function} was killed by {name}{why}; no results were kept: materialise again"
        )
    words = [line for line in last if any(character.isalnum() for character in line)]
    reason = f": {words[-1].strip()}" if words else ""
    return LaunchError(f"the process of {function} ended with status {status}{reason}")
