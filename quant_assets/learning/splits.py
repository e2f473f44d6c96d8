"""Purged walk-forward splits by date and `known_at`; nothing here counts rows or knows about a model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_assets.errors import DatasetError, HistoryError
from quant_assets.market.calendar import session_number

BoolArray = NDArray[np.bool_]
Dates = NDArray[np.datetime64]


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
