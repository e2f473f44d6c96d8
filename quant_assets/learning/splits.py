"""Purged splits by date and `known_at`, independent of row counts and models.

`purged_walk_forward` is the split of trainings, with a validation slice for early stopping. `WalkForward` and
`CombinatorialPurged` have scikit-learn's splitter interface, for research over a panel of tickers and dates.
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
    """One step of a walk-forward split; the masks are disjoint and have shape (n_rows,).

    Attributes:
        train: rows to fit on, all known before the validation slice starts (less the embargo).
        validation: rows for early stopping, all known before the test slice starts (less the embargo).
        test: rows for evaluation; all False in the final fold, whose model is stored.

    """

    train: BoolArray
    validation: BoolArray
    test: BoolArray


def purged_walk_forward(dates: Dates, known_at: Dates, folds: int, embargo_sessions: int) -> list[Fold]:
    """Split rows into `folds` expanding folds, the last of which has no test slice.

    The span from the first to the last date is cut into `folds` + 2 slices of equally many XNYS sessions. Fold k (from
    0) is validated on slice k + 2 and tested on slice k + 3; the final fold is validated on the last slice. Earlier
    rows are used for fitting **if they were known in time**: a row is used for a later slice that starts at session s
    only if its `known_at` is strictly before s minus the embargo. This comparison is the whole purge; unlike a count of
    rows, it is right across tickers, gaps and halts.

    Args:
        dates: session of each row, datetime64[D] of shape (n_rows,), in any order.
        known_at: session at which each row's label became known, same shape.
        folds: number of folds, including the final one.
        embargo_sessions: sessions between the last label used and the slice it is used for.

    Returns:
        The folds in time order; every mask has rows, except the final fold's `test`.

    Raises:
        DatasetError: a label is known before its own date.
        HistoryError: a slice has no rows.

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
    """Folds of a model that was trained elsewhere: tests of the sessions after the last one that it may know.

    Args:
        dates: as in `purged_walk_forward`.
        known_at: as in `purged_walk_forward`.
        after: the last session of which the model may know anything.
        folds: number of folds, including the final one without a test.
        embargo_sessions: as in `purged_walk_forward`.

    Returns:
        Folds without validation; the dates after `after` are cut into `folds` - 1 tests with nearly equal numbers of
        dates. `train` has the rows known before a test starts, less the embargo.

    Raises:
        HistoryError: there are fewer dates after `after` than tests.

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
    """A splitter with scikit-learn's interface that splits the rows of many tickers by date.

    The distinct dates are cut into blocks with nearly equal numbers of dates. A row's label covers the sessions from
    its date to its `known_at`, a block those from its first date to the latest `known_at` of its rows. Training rows
    share no session with a test block.

    Attributes:
        purge_sessions: sessions left free on both sides of a test block.
        embargo_sessions: additional sessions left free after it, for serial correlation.

    """

    def __init__(self, purge_sessions: int, embargo_sessions: int) -> None:
        if purge_sessions < 0 or embargo_sessions < 0:
            raise SettingsError(
                f"purge of {purge_sessions} or embargo of {embargo_sessions} sessions: both must be at least 0"
            )
        self.purge_sessions, self.embargo_sessions = purge_sessions, embargo_sessions

    @abstractmethod
    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803 (scikit-learn's)
        """Number of splits; it does not depend on the rows."""

    @final
    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Places, Places]]:  # noqa: N803
        """Train and test indices of each split, ascending.

        Args:
            X: the rows in any order, as a Polars frame with `date` and `known_at`; anything else needs `groups`.
            y: ignored.
            groups: date and `known_at` of each row, datetime64[D] of shape (n_rows, 2), or of shape (n_rows,) if labels
                are known on their own date.

        Raises:
            DatasetError: the dates are missing, or a label is known before its own date.
            HistoryError: there are fewer dates than blocks, or a split has no training rows; names the remedy.

        """
        dates, known_at = _dates_of(X, groups)
        number, known = session_number(dates), session_number(known_at)
        if len(early := np.flatnonzero(known < number)):
            raise DatasetError(
                f"label of {dates[early[0]]} has known_at {known_at[early[0]]}, which is earlier; "
                "materialise labels again"
            )
        days, day_of = np.unique(number, return_inverse=True)
        count = self._blocks
        if len(days) < count:
            raise HistoryError(
                f"{len(days)} dates cannot be cut into {count} blocks; give more dates or choose fewer blocks"
            )
        # As numpy.array_split: the first blocks have one date more.
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
        """Number of blocks."""

    @abstractmethod
    def _tested(self) -> Iterator[tuple[int, ...]]:
        """Test blocks of each split."""

    @abstractmethod
    def _offered(self, number: NDArray[np.int64], block_of: Places, tested: tuple[int, ...]) -> BoolArray:
        """Training rows before the purge."""

    @property
    def _embargo_before(self) -> int:
        """Embargo sessions left free before a test block."""
        return 0


class WalkForward(PanelSplitter):
    """Each window is tested by a model of the earlier rows, with purge and embargo between them.

    The dates are cut into `windows` + 1 blocks; every block except the first is tested once.

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
        """Configure the splits.

        Args:
            windows: number of test windows.
            embargo_sessions: sessions left free before a window, in addition to the purge.
            purge_sessions: sessions left free before a window.
            kind: `expanding` trains on all rows before a window, `rolling` on those of the last `train_sessions`.
            train_sessions: of `rolling`; the length of the first block where None.

        """
        super().__init__(purge_sessions, embargo_sessions)
        if windows < 1 or kind not in ("expanding", "rolling") or (train_sessions is not None and train_sessions < 1):
            raise SettingsError(
                f"{windows=}, {kind=}, {train_sessions=}: windows and train_sessions must be at least 1, "
                "and kind expanding or rolling"
            )
        if kind == "expanding" and train_sessions is not None:
            raise SettingsError("train_sessions is only for rolling windows; an expanding one takes all rows before it")
        self.windows, self.kind, self.train_sessions = windows, kind, train_sessions

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803 (scikit-learn's)
        """Number of windows."""
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
    """A `WalkForward` with the common names of its parameters; days are sessions of the exchange."""
    return WalkForward(windows, embargo_days, purge_days, kind, train_days)


class CombinatorialPurged(PanelSplitter):
    """Every combination of `test_folds` of `folds` blocks is tested by a model of the other blocks, before and after.

    References:
        López de Prado (2018), Advances in Financial Machine Learning, sections 7.4 and 12.3 to 12.4.

    """

    def __init__(
        self, folds: int = 10, test_folds: int = 2, purge_sessions: int = 2, embargo_sessions: int = 5
    ) -> None:
        super().__init__(purge_sessions, embargo_sessions)
        if not 1 <= test_folds < folds:
            raise SettingsError(f"{folds=}, {test_folds=}: test_folds must be at least 1 and less than folds")
        self.folds, self.test_folds = folds, test_folds

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803 (scikit-learn's)
        """Number of combinations."""
        return comb(self.folds, self.test_folds)

    @property
    def paths(self) -> list[dict[int, int]]:
        """Back-tests over the whole span; each maps the number of a block to that of the split that tests it."""
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


def _dates_of(rows: Any, groups: Any) -> tuple[Dates, Dates]:
    """Date and `known_at` of each row."""
    if groups is not None:
        columns = np.asarray(groups)
        if not np.issubdtype(columns.dtype, np.datetime64) or columns.shape not in ((len(columns),), (len(columns), 2)):
            raise DatasetError(
                f"groups of shape {columns.shape} and type {columns.dtype}; they must be dates, or dates and known_at"
            )
        columns = columns.astype("datetime64[D]")
        return (columns, columns) if columns.ndim == 1 else (columns[:, 0], columns[:, 1])
    if isinstance(rows, pl.DataFrame) and {"date", "known_at"} <= set(rows.columns):
        return rows["date"].to_numpy(), rows["known_at"].to_numpy()
    raise DatasetError("the rows have no dates: give a frame with date and known_at, or groups")
