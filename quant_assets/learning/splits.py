"""Purged splits by date and `known_at`; nothing here counts rows or knows about a model.

`purged_walk_forward` is that of the trainings, with a slice to stop by. `WalkForward` and `CombinatorialPurged` are
splitters as scikit-learn's, for research over a panel of tickers and dates.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any, Literal, final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import DatasetError, HistoryError, SettingsError
from quant_assets.market.calendar import session_number

BoolArray = NDArray[np.bool_]
Dates = NDArray[np.datetime64]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Fold:
    """One step of a walk-forward split; each mask has shape (n_rows,), no row is in two of them.

    Attributes:
        train: rows to fit on, all known before the validation slice starts (less the embargo).
        validation: rows for early stopping, all known before the test slice starts (less the embargo).
        test: rows to judge on; all False in the final fold, whose model is the one that is kept.

    """

    train: BoolArray
    validation: BoolArray
    test: BoolArray


def purged_walk_forward(dates: Dates, known_at: Dates, folds: int, embargo_sessions: int) -> list[Fold]:
    """Split rows into `folds` expanding folds, the last of which has no test slice.

    The span from the first to the last date is cut into `folds` + 2 slices of equally many XNYS sessions. Fold k (from
    0) is validated on slice k + 2 and tested on slice k + 3; the final fold is validated on the last slice. Whatever
    comes earlier is used for fitting **if it was known in time**: a row serves a later slice that starts at session s
    only where its `known_at` is strictly before s minus the embargo. That comparison is the whole purge; it holds
    across tickers, gaps and halts, which a number of rows does not.

    Args:
        dates: session of each row, datetime64[D] of shape (n_rows,), in any order.
        known_at: session at which each row's label became known, same shape.
        folds: number of folds, the final one included.
        embargo_sessions: sessions left free between the last label used and the slice it is used for.

    Returns:
        The folds in time order; every mask has rows, but for the final fold's `test`.

    Raises:
        DatasetError: a label is known before its own date.
        HistoryError: a slice would be left without rows.

    References:
        López de Prado (2018), Advances in Financial Machine Learning, sections 7.4 (purging, embargo) and 12.2
        (walk-forward).

    """
    if not len(dates):
        raise HistoryError("there are no rows to split; materialise features and labels of more months")
    number, known = session_number(dates), session_number(known_at)
    if (known < number).any():
        bad = int(np.flatnonzero(known < number)[0])
        raise DatasetError(
            f"label of {dates[bad]} has known_at {known_at[bad]}, which is earlier; materialise labels again"
        )
    slices = folds + 2
    first = int(number.min())
    starts = first + (int(number.max()) + 1 - first) * np.arange(slices + 1) // slices

    slice_of = np.searchsorted(starts, number, side="right") - 1

    result = []
    for k in range(folds):
        final = k == folds - 1
        validation = slice_of == k + 2
        fold = Fold(
            train=known < starts[k + 2] - embargo_sessions,
            validation=validation if final else validation & (known < starts[k + 3] - embargo_sessions),
            test=np.zeros(len(dates), dtype=bool) if final else slice_of == k + 3,
        )
        if not (fold.train.any() and fold.validation.any() and (final or fold.test.any())):
            raise HistoryError(
                f"{dates.min()} to {dates.max()} is too short for {folds} purged folds with an embargo of "
                f"{embargo_sessions} sessions; materialise features and labels of more months or lower training.folds"
            )
        result.append(fold)
    return result


def unseen_folds(dates: Dates, known_at: Dates, after: np.datetime64, folds: int, embargo_sessions: int) -> list[Fold]:
    """Folds of a model that was made elsewhere: tests of the sessions after the last one that it may know.

    Args:
        dates: session of each row, as of `purged_walk_forward`.
        known_at: likewise.
        after: the last session that the model may know anything of.
        folds: number of folds, the final one, which has no test, included.
        embargo_sessions: as of `purged_walk_forward`.

    Returns:
        Folds without validation; the dates after `after` are cut into `folds` - 1 tests of as many of them, as nearly
        as can be. What was known before a test begins, less the embargo, is its `train`.

    Raises:
        HistoryError: there are fewer such dates than tests.

    """
    unseen = np.unique(dates[dates > after])
    if len(unseen) < folds - 1:
        raise HistoryError(
            f"there are {len(unseen)} dates after {after} for {folds - 1} tests; wait until more labels are known, or "
            "lower training.folds"
        )
    none = np.zeros(len(dates), dtype=bool)
    slices = np.array_split(unseen, folds - 1)
    known, starts = session_number(known_at), [int(session_number(days[:1])[0]) for days in slices]
    tests = [
        Fold(known < start - embargo_sessions, none, (dates >= days[0]) & (dates <= days[-1]))
        for start, days in zip(starts, slices, strict=True)
    ]
    return [*tests, Fold(~none, none, none)]


# --- Splitters --------------------------------------------------------------------------------------------------------


class PanelSplitter(ABC):
    """A splitter with scikit-learn's interface for rows of many tickers, which are told apart by their dates alone.

    The distinct dates are cut into blocks of as many of them, as nearly as can be. A row's label covers the sessions
    from its date to its `known_at`, a block those from its first date to the latest `known_at` of its rows: what a
    training row shares with neither, it cannot have learned.

    Attributes:
        purge_sessions: sessions left free on either side of a test block.
        embargo_sessions: more of them after it, for what its rows still tell of the rows that follow.

    """

    def __init__(self, purge_sessions: int, embargo_sessions: int) -> None:
        if purge_sessions < 0 or embargo_sessions < 0:
            raise SettingsError(f"purge of {purge_sessions} or embargo of {embargo_sessions} sessions: neither below 0")
        self.purge_sessions, self.embargo_sessions = purge_sessions, embargo_sessions

    @abstractmethod
    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803 (scikit-learn's)
        """How many splits there are; they depend on no row."""

    @final
    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Places, Places]]:  # noqa: N803
        """Train and test places of each split, ascending.

        Args:
            X: the rows in any order; a Polars frame with `date` and `known_at` tells them itself.
            y: has no part in it.
            groups: date and `known_at` of each row, datetime64[D] of shape (n_rows, 2), where `X` does not tell them;
                of shape (n_rows,) where labels are known on their own date.

        Raises:
            DatasetError: the dates are not told, or a label is known before its own date.
            HistoryError: there are fewer dates than blocks, or a split has no training rows left; says the remedy.

        """
        dates, known_at = _told(X, groups)
        number, known = session_number(dates), session_number(known_at)
        if len(early := np.flatnonzero(known < number)):
            raise DatasetError(
                f"label of {dates[early[0]]} has known_at {known_at[early[0]]}, which is earlier; "
                "materialise labels again"
            )
        days, day_of = np.unique(number, return_inverse=True)
        count = self._blocks
        if len(days) < count:
            raise HistoryError(f"{len(days)} dates cannot be cut into {count} blocks; give more dates or ask for fewer")
        # As numpy.array_split: the first blocks take what is left over.
        block_of = np.repeat(np.arange(count), [len(part) for part in np.array_split(days, count)])[day_of]
        for blocks in self._tested():
            train = self._offered(number, block_of, blocks)
            for block in blocks:
                rows = block_of == block
                first = number[rows].min() - self.purge_sessions - self._embargo_before
                last = known[rows].max() + self.purge_sessions + self.embargo_sessions
                train &= (known < first) | (number > last)
            if not train.any():
                raise HistoryError(
                    f"no training row is left beside the test block from {dates[block_of == blocks[0]].min()} on, with "
                    f"a purge of {self.purge_sessions} and an embargo of {self.embargo_sessions} sessions; give more "
                    "dates, or lower the purge, the embargo or the number of blocks"
                )
            yield np.flatnonzero(train), np.flatnonzero(np.isin(block_of, blocks))

    @property
    @abstractmethod
    def _blocks(self) -> int:
        """Into how many blocks the dates are cut."""

    @abstractmethod
    def _tested(self) -> Iterator[tuple[int, ...]]:
        """The blocks that each split tests."""

    @abstractmethod
    def _offered(self, number: NDArray[np.int64], block_of: Places, tested: tuple[int, ...]) -> BoolArray:
        """The rows that may be trained on but for the purge."""

    @property
    def _embargo_before(self) -> int:
        """How much of the embargo is left free before a test block, too."""
        return 0


class WalkForward(PanelSplitter):
    """Each window is tested by a model of the rows before it; the embargo lies between them, beside the purge.

    The dates are cut into `windows` + 1 blocks, of which all but the first are tested, each once.

    References:
        López de Prado (2018), Advances in Financial Machine Learning, section 12.2.

    """

    def __init__(
        self,
        windows: int = 6,
        embargo_sessions: int = 5,
        purge_sessions: int = 2,
        kind: Literal["expanding", "rolling"] = "expanding",
        train_sessions: int | None = None,
    ) -> None:
        """Say what is tested.

        Args:
            windows: that are tested.
            embargo_sessions: left free before each of them, beside the purge.
            purge_sessions: likewise.
            kind: `expanding` trains on all rows before a window, `rolling` on those of the last `train_sessions`.
            train_sessions: see there; as many as the first block has where None.

        """
        super().__init__(purge_sessions, embargo_sessions)
        if windows < 1 or kind not in ("expanding", "rolling") or (train_sessions is not None and train_sessions < 1):
            raise SettingsError(
                f"{windows=}, {kind=}, {train_sessions=}: there is at least one window and one session to train on, "
                "and kind is expanding or rolling"
            )
        if kind == "expanding" and train_sessions is not None:
            raise SettingsError("train_sessions is of rolling windows; an expanding one takes all rows before it")
        self.windows, self.kind, self.train_sessions = windows, kind, train_sessions

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803 (scikit-learn's)
        """As many as there are windows."""
        return self.windows

    @property
    def _blocks(self) -> int:
        return self.windows + 1

    def _tested(self) -> Iterator[tuple[int, ...]]:
        return ((block,) for block in range(1, self.windows + 1))

    def _offered(self, number: NDArray[np.int64], block_of: Places, tested: tuple[int, ...]) -> BoolArray:
        start = number[block_of == tested[0]].min()
        if self.kind == "expanding":
            return np.asarray(number < start)
        # The first block begins at the first row and ends where the second begins.
        reach = self.train_sessions or number[block_of == 1].min() - number.min()
        return np.asarray((number < start) & (number >= start - reach))

    @property
    def _embargo_before(self) -> int:
        return self.embargo_sessions


def create_walk_forward_splits(
    windows: int = 6,
    embargo_days: int = 5,
    purge_days: int = 2,
    kind: Literal["expanding", "rolling"] = "expanding",
    train_days: int | None = None,
) -> WalkForward:
    """A `WalkForward` by the names that its users know; days are sessions of the exchange, as everywhere here."""
    return WalkForward(windows, embargo_days, purge_days, kind, train_days)


class CombinatorialPurged(PanelSplitter):
    """Every choice of `test_folds` among `folds` blocks is tested by a model of the others, before and after them.

    References:
        López de Prado (2018), Advances in Financial Machine Learning, sections 7.4 and 12.3 to 12.4.

    """

    def __init__(
        self, folds: int = 10, test_folds: int = 2, purge_sessions: int = 2, embargo_sessions: int = 5
    ) -> None:
        super().__init__(purge_sessions, embargo_sessions)
        if not 1 <= test_folds < folds:
            raise SettingsError(f"{folds=}, {test_folds=}: at least one fold is tested, and one is left to train on")
        self.folds, self.test_folds = folds, test_folds

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803 (scikit-learn's)
        """As many as there are choices."""
        return comb(self.folds, self.test_folds)

    @property
    def paths(self) -> list[dict[int, int]]:
        """Back-tests over the whole span: of each, the split that tests a block, by the block's number."""
        tested = list(self._tested())
        splits = {block: [n for n, blocks in enumerate(tested) if block in blocks] for block in range(self.folds)}
        return [{block: of[path] for block, of in splits.items()} for path in range(len(splits[0]))]

    @property
    def _blocks(self) -> int:
        return self.folds

    def _tested(self) -> Iterator[tuple[int, ...]]:
        return combinations(range(self.folds), self.test_folds)

    def _offered(self, number: NDArray[np.int64], block_of: Places, tested: tuple[int, ...]) -> BoolArray:
        return ~np.isin(block_of, tested)


def _told(rows: Any, groups: Any) -> tuple[Dates, Dates]:
    """Date and `known_at` of each row."""
    if groups is not None:
        told = np.asarray(groups)
        if not np.issubdtype(told.dtype, np.datetime64) or told.shape not in ((len(told),), (len(told), 2)):
            raise DatasetError(
                f"groups of shape {told.shape} and type {told.dtype}; they are dates, or dates and known_at"
            )
        told = told.astype("datetime64[D]")
        return (told, told) if told.ndim == 1 else (told[:, 0], told[:, 1])
    if isinstance(rows, pl.DataFrame) and {"date", "known_at"} <= set(rows.columns):
        return rows["date"].to_numpy(), rows["known_at"].to_numpy()
    raise DatasetError("the dates of the rows are not told: give a frame with date and known_at, or groups")
