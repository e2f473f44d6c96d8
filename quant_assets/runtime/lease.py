"""The lease of devices among all processes of a machine, without Dagster.

Each device has a lock file (`flock`), which the kernel releases however its holder ends. A holder passes the lock's
descriptor to the process that computes: the device is free again when both have ended. A process that needs devices
first draws a number, and only the lowest number collects devices, as they become free (the turnstile). So the order is
fair, a training on all devices is not starved by those on one, and there is no deadlock, because only one process
collects at a time. Holders never wait for the turnstile.

The folder must be on a local file system of the machine, shared by its containers. Only numbers are ever deleted from
it.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from quant_assets.errors import LaunchError

#: Seconds between two attempts of a waiting process.
_PERIOD = 0.2


@dataclass(frozen=True)
class Lease:
    """Devices that are held until every process with the descriptors has ended or closed them.

    Attributes:
        devices: in the form of `CUDA_VISIBLE_DEVICES`; empty for the CPU.
        descriptors: of the locks, one per device, for the child process (`pass_fds`).
        waited: seconds until they were free.

    """

    devices: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()
    waited: float = 0.0
    _about: dict[str, object] = field(default_factory=dict)

    def tell(self, **facts: object) -> None:
        """Add facts about the holder, such as the process that computes, for `Devices.held`."""
        self._about.update(facts)
        for descriptor in self.descriptors:
            _write(descriptor, self._about)


@dataclass(frozen=True)
class Held:
    """A device and its holder, or a process that waits for devices.

    Attributes:
        device: its name; for a waiting process, the number of devices it needs.
        about: facts about the holder: `run`, `asset`, `subject`, `since` (seconds of Unix time), `pid`; None if the
            device is free.
        known: whether the device is one of this machine's current devices.

    """

    device: str
    about: Mapping[str, object] | None
    known: bool = True


class Devices:
    """The devices of a machine and their locks.

    Args:
        folder: of the locks; it need not exist.
        ids: of the devices.

    """

    def __init__(self, folder: Path, ids: Sequence[str]) -> None:
        self.folder, self.ids = folder, tuple(ids)
        self._waiting = folder / "waiting"

    @contextmanager
    def lease(
        self, count: int, about: Mapping[str, object], waits: Callable[[], None] = lambda: None
    ) -> Iterator[Lease]:
        """Hold devices; waits until they are free and earlier processes have theirs.

        Args:
            count: number of devices.
            about: facts about the holder for people, JSON-able.
            waits: called once if the devices are not free immediately.

        Raises:
            LaunchError: the machine has fewer devices.

        """
        if count > len(self.ids):
            raise LaunchError(
                f"{about.get('asset', 'a training')} needs {count} devices, and there are {len(self.ids)} "
                f"({', '.join(self.ids)}): ask for fewer (launch.processes), or name more (QUANT_GPUS)"
            )
        begun = time.monotonic()
        with ExitStack() as held:
            locks: dict[str, int] = {}
            with self._turnstile({**about, "devices": count, "since": time.time(), "pid": os.getpid()}, waits) as wait:
                while True:
                    for device in self.ids:
                        if len(locks) < count and device not in locks:
                            lock = take(self._lock(device))
                            if lock is not None:
                                locks[device] = lock
                                held.callback(os.close, lock)
                    if len(locks) == count:
                        break
                    wait()
            facts = {**about, "since": time.time(), "pid": os.getpid()}
            lease = Lease(tuple(locks), tuple(locks.values()), time.monotonic() - begun, facts)
            lease.tell()
            yield lease

    @contextmanager
    def _turnstile(self, about: Mapping[str, object], waits: Callable[[], None]) -> Iterator[Callable[[], None]]:
        """Wait until all processes with lower numbers have collected or ended; yields a function for further waits."""
        reported: list[bool] = []

        def wait() -> None:
            if not reported:
                reported.append(True)
                waits()
            time.sleep(_PERIOD)

        number, ticket = self._drawn(about)
        try:
            while any(is_held(other) for other in self._numbers() if int(other.name) < number):
                wait()
            yield wait
        finally:
            self._ticket(number).unlink(missing_ok=True)
            os.close(ticket)

    def _drawn(self, about: Mapping[str, object]) -> tuple[int, int]:
        """The next number, and the descriptor of its file, locked before another process can draw a higher one.

        The last number is recorded and never used again, so that a number always means the same process.
        """
        self._waiting.mkdir(parents=True, exist_ok=True)
        door = _open(self.folder / "door")
        try:
            fcntl.flock(door, fcntl.LOCK_EX)
            last = os.pread(door, 32, 0)
            used = [int(last) if last.strip().isdigit() else 0, *(int(path.name) for path in self._numbers())]
            number = max(used) + 1
            os.pwrite(door, f"{number:>20}\n".encode(), 0)
            for path in self._numbers():  # of processes that were killed while they waited
                if not is_held(path):
                    path.unlink(missing_ok=True)
            ticket = _open(self._ticket(number))
            fcntl.flock(ticket, fcntl.LOCK_EX)
            _write(ticket, about)
        finally:
            os.close(door)
        return number, ticket

    def held(self) -> list[Held]:
        """Every device and its holder; blocks nobody, because a lock is only tried for an instant."""
        others = [
            path
            for path in sorted(self.folder.glob("device-*"))
            if unquote(path.name.removeprefix("device-")) not in self.ids and is_held(path)
        ]
        known = [Held(device, _about(self._lock(device))) for device in self.ids]
        return known + [Held(unquote(path.name.removeprefix("device-")), _about(path), known=False) for path in others]

    def waiting(self) -> list[Held]:
        """The waiting processes, in the order in which they get devices."""
        queue = [(path, _about(path)) for path in sorted(self._numbers(), key=lambda path: int(path.name))]
        return [Held(str(about.get("devices", "")), about) for _, about in queue if about is not None]

    def _lock(self, device: str) -> Path:
        return self.folder / f"device-{quote(device, safe='')}"

    def _ticket(self, number: int) -> Path:
        return self._waiting / f"{number:09d}"

    def _numbers(self) -> list[Path]:
        return [path for path in self._waiting.glob("*") if path.name.isdigit()]


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def take(path: Path) -> int | None:
    """Lock a file while the returned descriptor is open in any process; None if another process has the lock."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(path: Path) -> bool:
    """Whether a process has the lock of a file; one that tries to lock it at this instant must try again."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _about(path: Path) -> Mapping[str, object] | None:
    """Facts about the holder of a file's lock; empty if it has just taken it, None if the file is not locked."""
    if not is_held(path):
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # being written at this moment
        return {}
    return facts if isinstance(facts, dict) else {}


def _write(descriptor: int, about: Mapping[str, object]) -> None:
    text = json.dumps(dict(about)).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text, 0)
