"""Where the trainings of a block save their states and send their progress messages. No torch here.

The caller of a training sets both with `training_at`; kinds of model do not know them.
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
class TrainingContext:
    """Folder of states and receiver of messages.

    Attributes:
        folder: parent of the state folders, which are named by a digest of the training's inputs; None: no states.
        tell: receives progress messages.

    """

    folder: Path | None = None
    tell: Tell = _LOG.info


_DEFAULT = TrainingContext()
_CURRENT: ContextVar[TrainingContext] = ContextVar("training_context", default=_DEFAULT)


def current_training() -> TrainingContext:
    """The context of the innermost open `training_at` block."""
    return _CURRENT.get()


@contextmanager
def training_at(folder: Path | None, tell: Tell = _LOG.info) -> Iterator[None]:
    """Save the states of the trainings of the block below a folder; None: temporarily.

    A training of the same inputs resumes from the states of a killed process. Call `remove_states` after storing the
    results of all trainings.
    """
    token = _CURRENT.set(TrainingContext(folder, tell))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def remove_states(folder: Path) -> None:
    """Remove the states of finished trainings."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def state_folder(digest: str) -> Iterator[Path]:
    """The state folder of a training, created if necessary; a temporary one without a folder in the context.

    Args:
        digest: of the training's inputs.

    Raises:
        DatasetError: several processes train without a common folder.

    """
    parent, processes = current_training().folder, int(os.environ.get("WORLD_SIZE", "1"))
    if parent is None and processes > 1:
        raise DatasetError(
            f"{processes} processes (WORLD_SIZE) train one network without a common folder for its states: train "
            "inside quant_assets.learning.deep.training_context.training_at(FOLDER), with the same FOLDER in all of "
            "them, or set launch.kind to torchrun (QUANT__LAUNCH__KIND), which does so"
        )
    if parent is not None:
        folder = parent / digest
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="quant-training-") as temporary:
        yield Path(temporary)
