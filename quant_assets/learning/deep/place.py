"""Folder of the states of a training, and receiver of its progress messages. No torch here, and nothing is written.

The caller of a training sets both for its duration; kinds of model do not know them.
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
    """Folder and message receiver of trainings.

    Attributes:
        folder: parent of the state folders, which are named by a digest of the training's inputs; None: no states.
        tell: receives progress messages.

    """

    folder: Path | None = None
    tell: Tell = _LOG.info


_NOWHERE = Place()
_PLACE: ContextVar[Place] = ContextVar("place", default=_NOWHERE)


def place() -> Place:
    """The place of the current training."""
    return _PLACE.get()


@contextmanager
def training_at(folder: Path | None, tell: Tell = _LOG.info) -> Iterator[None]:
    """Store the states of the trainings of the block below a folder.

    The same training resumes from the states of a killed process. Remove the folder (`forget`) after storing the
    results of all trainings.
    """
    before = _PLACE.set(Place(folder, tell))
    try:
        yield
    finally:
        _PLACE.reset(before)


def forget(folder: Path) -> None:
    """Remove the states of finished trainings."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def states_of(digest: str) -> Iterator[Path]:
    """The state folder of a training, created if necessary; a temporary one if the place has no folder.

    Raises:
        DatasetError: several processes train without a common folder.

    """
    parent, processes = place().folder, int(os.environ.get("WORLD_SIZE", "1"))
    if parent is None and processes > 1:
        raise DatasetError(
            f"{processes} processes (WORLD_SIZE) train one network without a common folder for its states: train "
            "inside quant_assets.learning.deep.place.training_at(FOLDER), with the same FOLDER in all of them, or set "
            "launch.kind to torchrun (QUANT__LAUNCH__KIND), which does so"
        )
    if parent is not None:
        folder = parent / digest
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="quant-training-") as temporary:
        yield Path(temporary)
