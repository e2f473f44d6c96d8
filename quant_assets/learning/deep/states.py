"""The saved states of one training on the local disk: written whole, verified, the best three kept within a budget.

    state-<epoch>-<first characters of its SHA-256>.pt      weights, optimiser, schedule, history of the losses
    states.json                                             the kept ones, newest first, with their SHA-256

A state is saved only where the validation loss has improved, so the newest is the best. A file gets its name when it is
on the disk and has been read again; the list names it then; and only then an older one is deleted. So whatever is
killed, and whenever, the newest of the list can be read.
"""

import errno
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from quant_assets.errors import CheckpointError
from quant_assets.learning.deep.place import Tell
from quant_assets.learning.model_files import VERSION_LENGTH, sha256_of

#: States that are kept.
KEPT = 3

_LIST, _PART = "states.json", ".part"
_MIB = 1 << 20
#: How a system says that there is no more room: disk, quota, greatest size of a file.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

State = Mapping[str, Any]


@dataclass(frozen=True)
class Kept:
    """A saved state as the list has it."""

    file: str
    sha256: str
    epoch: int
    score: float
    size: int


class States:
    """The states in a folder.

    Args:
        folder: exists; of this training alone.
        budget_mib: disk that all of them may take together, the new one beside the old while it is verified.
        tell: is told where a state cannot be read.

    """

    def __init__(self, folder: Path, budget_mib: int, tell: Tell) -> None:
        self.folder, self._budget, self._tell = folder, budget_mib * _MIB, tell
        for left in folder.glob(f"*{_PART}"):  # of a process that was killed while it wrote
            left.unlink(missing_ok=True)
        if (kept := self._list()) is not None:
            self._sweep(kept)

    def listed(self) -> list[Kept]:
        """The kept states, newest first, as the list says."""
        if (kept := self._list()) is None:
            self._tell(f"{self.folder / _LIST} is no list of states and is not used: the training begins anew")
        return kept or []

    def _list(self) -> list[Kept] | None:
        """What the list says; None where it is none."""
        try:
            return [Kept(**each) for each in json.loads((self.folder / _LIST).read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError):
            return None

    def _sweep(self, kept: Sequence[Kept]) -> None:
        """Remove the states that are not among those."""
        named = {each.file for each in kept}
        for path in self.folder.glob("state-*.pt"):
            if path.name not in named:
                path.unlink(missing_ok=True)

    def refuse_beyond_budget(self, size: int, before: int | None = None) -> None:
        """Stop where a state does not fit beside the one before it.

        Args:
            size: of the state, bytes.
            before: of the one before; None: as much, since the next one has to fit, too.

        Raises:
            CheckpointError: it does not; says what would be enough.

        """
        if size + (size if before is None else before) > self._budget:
            raise CheckpointError(
                f"a state of {size / _MIB:.1f} MiB and the one before it do not fit into checkpoint_mib "
                f"{self._budget // _MIB}: set at least {2 * size // _MIB + 1}"
            )

    def newest(self) -> dict[str, Any] | None:
        """The newest state that is what was written; None where there is none."""
        for each in self.listed():
            path = self.folder / each.file
            try:
                return _read(path, each.sha256)
            except (OSError, CheckpointError) as error:
                self._tell(f"state of epoch {each.epoch} is not used: {error}")
        return None

    def save(self, state: State, epoch: int, score: float) -> None:
        """Keep a state that is better than those before.

        Args:
            state: tensors and plain values.
            epoch: after which it stands.
            score: validation loss.

        Raises:
            CheckpointError: the disk is full, the budget too small, or what was written cannot be read again; those
                before are whole.

        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        content = buffer.getbuffer()
        before, size = self.listed(), len(content)
        self.refuse_beyond_budget(size, before[0].size if before else None)
        digest = hashlib.sha256(content).hexdigest()
        name = f"state-{epoch:05d}-{digest[:VERSION_LENGTH]}.pt"
        part = self.folder / f"{name}{_PART}"
        try:
            _write(part, content)
            _read(part, digest)
            os.replace(part, self.folder / name)
            kept = [Kept(name, digest, epoch, score, size), *(each for each in before if each.file != name)][:KEPT]
            while len(kept) > 1 and sum(each.size for each in kept) + size > self._budget:
                kept.pop()  # so that the next one has room
            text = json.dumps([asdict(each) for each in kept], indent=2).encode()
            _write(self.folder / f"{_LIST}{_PART}", text)
            os.replace(self.folder / f"{_LIST}{_PART}", self.folder / _LIST)
            _sync(self.folder)
        except OSError as error:
            for left in (part, self.folder / f"{_LIST}{_PART}"):
                with suppress(OSError):
                    left.unlink(missing_ok=True)
            with suppress(OSError):
                self._sweep(self._list() or before)  # a state that the list could not name
            if error.errno not in _FULL:
                raise
            whole = f"that of epoch {before[0].epoch} is whole" if before else "there is none before it"
            raise CheckpointError(
                f"no room in {self.folder} for the state of epoch {epoch}, {size / _MIB:.1f} MiB ({error.strerror}); "
                f"{whole}: free some, and run again to go on from there"
            ) from error
        self._sweep(kept)


def _write(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that it is on the disk when this returns."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, expected: str) -> dict[str, Any]:
    """A state, if its bytes are those that were written; nothing in it is executed."""
    if sha256_of(path) != expected:
        raise CheckpointError(f"{path} is not what was written")
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read: {type(error).__name__}") from error
    return found


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
