"""The saved states of one training on the local disk: written atomically, verified, the best three within a budget.

    state-<epoch>-<first characters of its SHA-256>.pt      weights, optimiser, schedule, history of the losses
    states.json                                             the list of states, newest first, with their SHA-256

A state is saved only if the validation loss improved, so the newest is the best. A file gets its name after it was
flushed to disk and read back; then it is added to the list; only then an older one is deleted. So the newest state of
the list is readable, whenever the process is killed.
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
from quant_assets.learning.deep.training_context import Tell
from quant_assets.learning.model_files import VERSION_LENGTH, sha256_of

#: Greatest number of states.
KEPT = 3

_LIST, _PART = "states.json", ".part"
_MIB = 1 << 20
#: Error numbers of a full disk, an exceeded quota and an exceeded file size.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

State = Mapping[str, Any]


@dataclass(frozen=True)
class Kept:
    """Entry of a saved state in the list."""

    file: str
    sha256: str
    epoch: int
    score: float
    size: int


class States:
    """The states in a folder.

    Args:
        folder: an existing folder of this training only.
        budget_mib: disk space of all states together in MiB, including a new one while it is verified.
        tell: receives a message if a state cannot be read.

    """

    def __init__(self, folder: Path, budget_mib: int, tell: Tell) -> None:
        self.folder, self._budget, self._tell = folder, budget_mib * _MIB, tell
        for left in folder.glob(f"*{_PART}"):  # of a process that was killed while it wrote
            left.unlink(missing_ok=True)
        if (kept := self._list()) is not None:
            self._sweep(kept)

    def listed(self) -> list[Kept]:
        """The states of the list, newest first."""
        if (kept := self._list()) is None:
            self._tell(f"{self.folder / _LIST} is not a list of states and is ignored: the training starts again")
        return kept or []

    def _list(self) -> list[Kept] | None:
        """The entries of the list; None if the file is invalid."""
        try:
            return [Kept(**entry) for entry in json.loads((self.folder / _LIST).read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError):
            return None

    def _sweep(self, kept: Sequence[Kept]) -> None:
        """Remove all other states."""
        named = {state.file for state in kept}
        for path in self.folder.glob("state-*.pt"):
            if path.name not in named:
                path.unlink(missing_ok=True)

    def refuse_beyond_budget(self, size: int, before: int | None = None) -> None:
        """Refuse a state that does not fit into the budget together with the previous one.

        Args:
            size: size of the state in bytes.
            before: size of the previous one; None: the same, for the next state.

        Raises:
            CheckpointError: it does not fit; names a sufficient budget.

        """
        if size + (size if before is None else before) > self._budget:
            raise CheckpointError(
                f"a state of {size / _MIB:.1f} MiB and the one before it do not fit into checkpoint_mib "
                f"{self._budget // _MIB}: set at least {2 * size // _MIB + 1}"
            )

    def newest(self) -> dict[str, Any] | None:
        """The newest intact state; None without one."""
        for each in self.listed():
            path = self.folder / each.file
            try:
                return _read(path, each.sha256)
            except (OSError, CheckpointError) as error:
                self._tell(f"state of epoch {each.epoch} is not used: {error}")
        return None

    def save(self, state: State, epoch: int, score: float) -> None:
        """Save a state that is better than the previous ones.

        Args:
            state: tensors and plain values.
            epoch: number of its epoch.
            score: validation loss.

        Raises:
            CheckpointError: the disk is full, the budget is too small, or the file cannot be read back; previous states
                are intact.

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
            kept = [Kept(name, digest, epoch, score, size), *(old for old in before if old.file != name)][:KEPT]
            while len(kept) > 1 and sum(entry.size for entry in kept) + size > self._budget:
                kept.pop()  # so that the next one has room
            text = json.dumps([asdict(entry) for entry in kept], indent=2).encode()
            _write(self.folder / f"{_LIST}{_PART}", text)
            os.replace(self.folder / f"{_LIST}{_PART}", self.folder / _LIST)
            _sync(self.folder)
        except OSError as error:
            for left in (part, self.folder / f"{_LIST}{_PART}"):
                with suppress(OSError):
                    left.unlink(missing_ok=True)
            with suppress(OSError):
                self._sweep(self._list() or before)  # a state that is not on the list
            if error.errno not in _FULL:
                raise
            whole = f"that of epoch {before[0].epoch} is intact" if before else "there is no earlier one"
            raise CheckpointError(
                f"no room in {self.folder} for the state of epoch {epoch}, {size / _MIB:.1f} MiB ({error.strerror}); "
                f"{whole}: free disk space, and run again to resume"
            ) from error
        self._sweep(kept)


def _write(path: Path, content: bytes | memoryview) -> None:
    """Write a file and flush it to disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, expected: str) -> dict[str, Any]:
    """Read a state after verifying its SHA-256; nothing in it is executed."""
    if sha256_of(path) != expected:
        raise CheckpointError(f"{path} has changed since it was written")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read: {type(error).__name__}") from error
    return state


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
