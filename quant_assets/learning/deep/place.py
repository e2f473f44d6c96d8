"""Where a training keeps what it resumes from, and whom it tells how it goes. No torch here, and nothing is written.

A kind of model is fitted without knowing either: whoever starts the training says both for the time that it takes.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from quant_assets.errors import DatasetError

_LOG = logging.getLogger(__name__)

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where trainings keep their states, and who is told of them.

    Attributes:
        folder: takes a folder for each training, by the digest of what decides it; None keeps nothing.
        tell: is given a line now and then.

    """

    folder: Path | None = None
    tell: Tell = _LOG.info


_NOWHERE = Place()
_PLACE: ContextVar[Place] = ContextVar("place", default=_NOWHERE)


def place() -> Place:
    """That of the training that goes on."""
    return _PLACE.get()


@contextmanager
def training_at(folder: Path | None, tell: Tell = _LOG.info) -> Iterator[None]:
    """Let the trainings of the block keep their states below a folder.

    What a killed process left there is gone on with by whoever trains the same again; whoever has what came of all of
    them removes it (`forget`).
    """
    before = _PLACE.set(Place(folder, tell))
    try:
        yield
    finally:
        _PLACE.reset(before)


def forget(folder: Path) -> None:
    """Remove the states of trainings that are done."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def states_of(digest: str) -> Iterator[Path]:
    """The folder of the training of a digest, made if need be; a temporary one where none is kept.

    Raises:
        DatasetError: several processes train, and each would have a temporary folder of its own.

    """
    kept, processes = place().folder, int(os.environ.get("WORLD_SIZE", "1"))
    if kept is None and processes > 1:
        raise DatasetError(
            f"{processes} processes (WORLD_SIZE) train one network, and no folder is said in which the first one "
            "leaves its state for the others: train inside quant_assets.learning.deep.place.training_at(FOLDER), with "
            "the same FOLDER in each, or set launch.kind to torchrun (QUANT__LAUNCH__KIND), which does so"
        )
    if kept is not None:
        folder = kept / digest
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="quant-training-") as made:
        yield Path(made)
