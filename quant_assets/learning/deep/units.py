"""Training data of deep models in batches of units; the order in an epoch depends only on seed and epoch.

A loss is a mean over units: windows, or sessions with all their names. The units of a step do not depend on the number
of processes: each process takes its share of them.
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
        """Number of units."""
        ...

    def batch(self, indices: Indices) -> Any:
        """The batch of some units, a tensor or tuple of tensors, as input of the module's `losses`."""
        ...


class Share(NamedTuple):
    """A process's share of a step.

    Attributes:
        batch: its units.
        mine: number of them that count; 0 with fewer units than processes: then one is computed without effect.
        all: number of units of the step in all processes.
        places: slice of its units among those of the step.

    """

    batch: Any
    mine: int
    all: int
    places: slice


def order(count: int, seed: int, epoch: int) -> Indices:
    """The order of the units in an epoch; it depends only on the arguments, so that a training can be resumed."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count)


class Shares(IterableDataset[Share]):
    """The steps of an epoch for one of several processes.

    Args:
        units: all units.
        size: units of a step, over all processes.
        rank: rank of this process.
        processes: number of processes.
        in_order: returns the order of an epoch's units; None for their own order.

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
