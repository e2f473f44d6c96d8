"""What a deep model is trained on, as units in batches: the order of an epoch follows from seed and epoch alone.

A unit is what a loss is the mean of: a window, or a session with all its names. A step's units are the same however
many processes train: each takes its share of them.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

Indices = NDArray[np.int64]


class Units(Protocol):
    """Units by their number."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batch(self, indices: Indices) -> Any:
        """Some of them as tensors, alone or in tuples, of which the module's `losses` gives one loss for each."""
        ...


class Share(NamedTuple):
    """A process's share of a step.

    Attributes:
        batch: its units.
        mine: how many of them count; 0 where there are fewer units than processes: one is computed for the company.
        all: units of the step, in all processes.
        places: of its units among those of the step.

    """

    batch: Any
    mine: int
    all: int
    places: slice


def order(count: int, seed: int, epoch: int) -> Indices:
    """The units of an epoch in their order: a function of the arguments alone, so that a rerun resumes in it."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count)


class Shares(IterableDataset[Share]):
    """The steps of an epoch for one of several processes.

    Args:
        units: all of them.
        size: units of a step, over all processes.
        rank: of this process.
        processes: how many there are.
        in_order: gives the order of an epoch's units; None where they stand in their own.

    """

    def __init__(
        self, units: Units, size: int, rank: int, processes: int, in_order: Callable[[], Indices] | None = None
    ) -> None:
        self._units, self._size, self._rank, self._processes = units, size, rank, processes
        self._in_order = in_order

    def __len__(self) -> int:
        return -(-len(self._units) // self._size)

    def __iter__(self) -> Iterator[Share]:
        ordered = np.arange(len(self._units)) if self._in_order is None else self._in_order()
        for at in range(0, len(ordered), self._size):
            step = ordered[at : at + self._size]
            counted = len(range(self._rank, len(step), self._processes))
            places = slice(self._rank, None, self._processes) if counted else slice(1)
            yield Share(self._units.batch(step[places]), counted, len(step), places)
