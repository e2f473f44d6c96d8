"""A step's heavy part as a unit of work that runs here, in a process of its own, or in several under torchrun.

A unit is a function named `module:function`, JSON-able arguments, a folder of inputs (Parquet or Arrow files) and one
for what it makes. It knows nothing of the process it runs in. A place to run is one class here and one line in
`LAUNCHERS`; `docs/running-elsewhere.md` says how Kubernetes or Ray would be added.

Between the processes stand Dagster's Pipes: the unit travels in a file of the session's, what the worker says comes
back as messages, and its output is shown in the run's log. The child ends with the step, however the step ends, and
takes its own children with it (`runtime.worker`). A unit that computes on devices holds them while it runs
(`runtime.lease`); one that does not sees none.
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

#: Seconds that a child has to end by itself when its step is over.
_GRACE = 5.0
#: Seconds between two entries of the child's output in the run's log, and most characters of one.
_PERIOD = 1.0
_SHOWN = 20_000
#: Last lines of the output that are looked through for the reason of a child that said none.
_REMEMBERED = 20


class Folders(NamedTuple):
    """Where a unit finds its inputs and leaves what it makes."""

    inputs: Path
    outputs: Path


@dataclass(frozen=True)
class Unit:
    """One piece of work.

    Attributes:
        function: `module:function`, called with the two folders and the arguments by name; it returns nothing.
        arguments: JSON-able.
        folders: of its inputs and outputs.
        devices: how many it computes on, where the machine has any; 0 for the CPU.
        subject: what it is about, for people: the sector.

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
        """The unit of a function at the top of a module; named in code, so that rows are known to follow from it."""
        return cls(f"{function.__module__}:{function.__qualname__}", arguments, folders, devices, subject)

    def carry_out(self) -> None:
        """Call the function in this process, with the arguments as another process would get them."""
        module, _, name = self.function.partition(":")
        function: Callable[..., None] = getattr(importlib.import_module(module), name)
        function(*self.folders, **json.loads(json.dumps(self.arguments)))


class Launcher(Protocol):
    """A place where units run."""

    #: Whether that is this process, so that nothing need travel through files.
    here: bool
    #: How many processes call a unit's function at once, all with the same folders.
    processes: int

    def on(self, devices: int) -> "Launcher":
        """Where a unit runs that computes on so many devices, 0 for none: this place, or one that can give them."""
        ...

    def launch(self, unit: Unit) -> None:
        """Run a unit to its end.

        Raises:
            QuantError: what the unit raised, of the same class.
            LaunchError: it failed otherwise, or its process died.

        """
        ...


class InProcess:
    """The step's own process.

    A unit that computes on devices gets a process of its own where there are any: a process stays with the devices that
    it was first given, and gives their memory back with its end only.

    Args:
        context: of the step.
        settings: of launching.

    """

    here, processes = True, 1

    def __init__(self, context: dg.AssetExecutionContext, settings: LaunchSettings) -> None:
        self._context, self._settings = context, settings

    def on(self, devices: int) -> Launcher:
        """This process, or another one where the unit computes on devices and there are some."""
        if devices and device_ids():
            return Subprocess(self._context, self._settings)
        if devices:
            _tell_of_none(self._context)
        return self

    def launch(self, unit: Unit) -> None:
        """Run a unit to its end; its errors are its own."""
        unit.carry_out()


class Subprocess:
    """A process of its own, which gives its memory back and whose death is an error of the step and not its end.

    Args:
        context: of the step.
        settings: of launching.

    """

    here, processes = False, 1

    def __init__(self, context: dg.AssetExecutionContext, settings: LaunchSettings) -> None:
        self._context, self._settings = context, settings

    def on(self, devices: int) -> Launcher:
        """This place: it gives devices."""
        return self

    def command(self) -> list[str]:
        """Command line of the worker; it says nothing of the unit, so that a list of processes shows no argument."""
        return [sys.executable, "-m", _WORKER, str(os.getpid())]

    def launch(self, unit: Unit) -> None:
        """Run a unit to its end; errors as `Launcher` has them."""
        given = {
            "function": unit.function,
            "arguments": dict(unit.arguments),
            "inputs": str(unit.folders.inputs),
            "outputs": str(unit.folders.outputs),
        }
        with self._leased(unit) as lease, pipes_session(self._context, {"unit": given}) as session:
            visible = {"CUDA_VISIBLE_DEVICES": ",".join(lease.devices)}  # what was leased, and nothing else
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
        said = [each["error"] for each in session.get_custom_messages() if "error" in each]
        if process.returncode:
            raise _error(unit.function, process.returncode, said, last)

    @contextmanager
    def _leased(self, unit: Unit) -> Iterator[Lease]:
        """The devices that a unit computes on, held for the block; none where it wants none or there are none."""
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
        """Wait for the child and show its output in the run's log; the last lines of it."""
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
        finally:  # an interruption ends here too
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
    """As many processes as `launch.processes` says, started and watched by PyTorch's torchrun.

    The function is called in each; `torch.distributed` finds its peers in the environment. Rank 0 speaks for all. Each
    sees all devices of the unit, of which `LOCAL_RANK` is its own.
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
    """The launcher that `launch.kind` names, for one step."""
    return LAUNCHERS[settings.kind](context, settings)


def device_locks(settings: LaunchSettings, home: Path | None) -> Path:
    """Folder of the devices' locks: `launch.device_locks`, else `devices` in the instance's folder.

    Args:
        settings: of launching.
        home: folder of the instance; where it only lives in its process a folder of the user's stands for it.

    """
    if settings.device_locks is not None:
        return settings.device_locks
    return (home or Path(tempfile.gettempdir()) / f"quant-assets-{os.getuid()}") / "devices"


@contextmanager
def unit_folders() -> Iterator[Folders]:
    """Two empty folders on the local disk (`TMPDIR`) that go with the block."""
    with tempfile.TemporaryDirectory(prefix="quant-unit-") as made:
        folders = Folders(Path(made, "inputs"), Path(made, "outputs"))
        for each in folders:
            each.mkdir()
        yield folders


def end(process: "subprocess.Popen[str]") -> None:
    """End a child and its group where it still runs: politely, then not."""
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


def _error(function: str, status: int, said: list[Mapping[str, str]], last: list[str]) -> QuantError:
    """What became of a child that did not end well: what it raised, else how it ended."""
    if said:
        kind, text = said[0]["kind"], said[0]["text"]
        ours = getattr(errors, kind, None)
        if isinstance(ours, type) and issubclass(ours, QuantError):
            return ours(text)
        return LaunchError(f"{function} failed in its process: {kind}: {text} (traceback in the run's log)")
    if status < 0:
        name = signal.Signals(-status).name
        why = ", perhaps for want of memory" if -status == signal.SIGKILL else ""
        return LaunchError(
            f"the process of {function} was killed by {name}{why}; nothing of it was kept: materialise again"
        )
    words = [line for line in last if any(character.isalnum() for character in line)]
    reason = f": {words[-1].strip()}" if words else ""
    return LaunchError(f"the process of {function} ended with status {status}{reason}")
