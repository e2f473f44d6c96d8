"""The lease of devices: who computes on which, among all processes of a machine, whoever started them. No Dagster here.

Each device has a lock file (`flock`), which the kernel gives back however its holder ends. A holder hands the lock's
descriptor to the process that computes: the device is free again when both are gone. Whoever wants devices draws a
number first, and only the lowest number collects them, one or all of them as they come free: a turnstile. So nobody
passes anybody, a training over all devices is not starved by those over one, and no two collect at a time, which alone
could make them wait for each other. Holders never wait for the turnstile.

The folder must be on a local file system of the machine, shared by its containers. Nothing in it is ever deleted but
numbers.
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

#: Seconds between two looks of one that waits.
_PERIOD = 0.2


@dataclass(frozen=True)
class Lease:
    """Devices that are held until every process with the descriptors has ended or closed them.

    Attributes:
        devices: as `CUDA_VISIBLE_DEVICES` names them; empty where there are none, for the CPU.
        descriptors: of the locks, one for each device, to be handed on (`pass_fds`).
        waited: seconds until they were free.

    """

    devices: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()
    waited: float = 0.0
    _about: dict[str, object] = field(default_factory=dict)

    def tell(self, **facts: object) -> None:
        """Note more of the holder, such as the process that computes, for `Devices.held`."""
        self._about.update(facts)
        for descriptor in self.descriptors:
            _write(descriptor, self._about)


@dataclass(frozen=True)
class Held:
    """A device and its holder, or somebody who waits for devices.

    Attributes:
        device: its name; how many are wanted, of one who waits.
        about: what the holder said: `run`, `asset`, `subject`, `since` (seconds of Unix time), `pid`; None where the
            device is free.
        known: whether the device is one of this machine's now.

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
        """Hold as many devices; waits until they are free and those who came before have theirs.

        Args:
            count: how many.
            about: who holds them, JSON-able, for people.
            waits: called once where they are not free at once.

        Raises:
            LaunchError: there are fewer.

        """
        if count > len(self.ids):
            raise LaunchError(
                f"{about.get('asset', 'a training')} needs {count} devices, and there are {len(self.ids)} "
                f"({', '.join(self.ids)}): ask for fewer (launch.processes), or name more (QUANT_GPUS)"
            )
        begun = time.monotonic()
        with ExitStack() as held:
            taken: dict[str, int] = {}
            with self._turnstile({**about, "devices": count, "since": time.time(), "pid": os.getpid()}, waits) as wait:
                while True:
                    for device in self.ids:
                        if len(taken) < count and device not in taken:
                            lock = take(self._lock(device))
                            if lock is not None:
                                taken[device] = lock
                                held.callback(os.close, lock)
                    if len(taken) == count:
                        break
                    wait()
            said = {**about, "since": time.time(), "pid": os.getpid()}
            lease = Lease(tuple(taken), tuple(taken.values()), time.monotonic() - begun, said)
            lease.tell()
            yield lease

    @contextmanager
    def _turnstile(self, about: Mapping[str, object], waits: Callable[[], None]) -> Iterator[Callable[[], None]]:
        """Be the one who collects, when everybody who came earlier is through or gone; gives how to wait on."""
        said: list[bool] = []

        def wait() -> None:
            if not said:
                said.append(True)
                waits()
            time.sleep(_PERIOD)

        number, ticket = self._drawn(about)
        try:
            while any(is_held(each) for each in self._numbers() if int(each.name) < number):
                wait()
            yield wait
        finally:
            self._ticket(number).unlink(missing_ok=True)
            os.close(ticket)

    def _drawn(self, about: Mapping[str, object]) -> tuple[int, int]:
        """The next number, and the descriptor of its file, locked before anybody may draw a higher one.

        The last one is kept, and never given anew: who looks at a number must not take another holder for its own.
        """
        self._waiting.mkdir(parents=True, exist_ok=True)
        door = _open(self.folder / "door")
        try:
            fcntl.flock(door, fcntl.LOCK_EX)
            last = os.pread(door, 32, 0)
            given = [int(last) if last.strip().isdigit() else 0, *(int(each.name) for each in self._numbers())]
            number = max(given) + 1
            os.pwrite(door, f"{number:>20}\n".encode(), 0)
            for each in self._numbers():  # of those who were killed while they waited
                if not is_held(each):
                    each.unlink(missing_ok=True)
            ticket = _open(self._ticket(number))
            fcntl.flock(ticket, fcntl.LOCK_EX)
            _write(ticket, about)
        finally:
            os.close(door)
        return number, ticket

    def held(self) -> list[Held]:
        """Every device, and who holds it. Nobody is kept waiting: a lock is tried for an instant and given back."""
        others = [
            each
            for each in sorted(self.folder.glob("device-*"))
            if unquote(each.name.removeprefix("device-")) not in self.ids and is_held(each)
        ]
        known = [Held(device, _about(self._lock(device))) for device in self.ids]
        return known + [Held(unquote(each.name.removeprefix("device-")), _about(each), known=False) for each in others]

    def waiting(self) -> list[Held]:
        """Who waits, in the order in which they get devices."""
        found = [(each, _about(each)) for each in sorted(self._numbers(), key=lambda each: int(each.name))]
        return [Held(str(about.get("devices", "")), about) for _, about in found if about is not None]

    def _lock(self, device: str) -> Path:
        return self.folder / f"device-{quote(device, safe='')}"

    def _ticket(self, number: int) -> Path:
        return self._waiting / f"{number:09d}"

    def _numbers(self) -> list[Path]:
        return [each for each in self._waiting.glob("*") if each.name.isdigit()]


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def take(path: Path) -> int | None:
    """Lock a file, for as long as the descriptor that is returned is open anywhere; None where somebody else has it."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(path: Path) -> bool:
    """Whether somebody has the lock of a file; one who wants it in this instant tries again a moment later."""
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
    """What the holder of a file's lock said; nothing where it has just taken it, None where nobody has."""
    if not is_held(path):
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # just being written
        return {}
    return found if isinstance(found, dict) else {}


def _write(descriptor: int, about: Mapping[str, object]) -> None:
    text = json.dumps(dict(about)).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text, 0)
