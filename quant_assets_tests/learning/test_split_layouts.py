"""Walk-forward folds against published layouts (reference/README.md has the sources)."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import TimeSeriesSplit

from quant_assets.learning.splits import Fold, purged_walk_forward
from quant_assets.market.calendar import sessions

DAYS = sessions(date(2020, 1, 2), date(2022, 12, 30))


def places(mask: np.ndarray) -> list[int]:
    return np.flatnonzero(mask).tolist()


def layout(count: int, folds: int, horizon: int, embargo: int = 0) -> list[Fold]:
    """Folds of a row on each of `count` sessions whose label takes `horizon` sessions.

    A second ticker, whose labels are known at once, keeps slices that are shorter than the gap from being empty; its
    rows are cut off.
    """
    at = np.arange(count)
    known = np.concatenate([at + horizon, at])
    result = purged_walk_forward(DAYS[np.concatenate([at, at])], DAYS[known], folds, embargo)
    return [Fold(*(getattr(fold, name)[:count] for name in ("train", "validation", "test"))) for fold in result]


def test_layout_of_scikit_learns_example_without_a_gap() -> None:
    # TimeSeriesSplit() on 6 samples; its first fold has no slice for validation before the test.
    published = {2: [0, 1], 3: [0, 1, 2], 4: [0, 1, 2, 3], 5: [0, 1, 2, 3, 4]}
    folds = layout(6, 4, horizon=0)
    assert [places(fold.train) for fold in folds] == [published[start] for start in (2, 3, 4, 5)]
    assert [places(fold.train | fold.validation) for fold in folds[:-1]] == [published[start] for start in (3, 4, 5)]
    assert [places(fold.test) for fold in folds] == [[3], [4], [5], []]


@pytest.mark.parametrize(
    ("gap", "published"),
    [
        (
            0,
            {6: [*range(6)], 8: [*range(8)], 10: [*range(10)]},
        ),  # TimeSeriesSplit(n_splits=3, test_size=2) on 12 samples
        (2, {6: [*range(4)], 8: [*range(6)], 10: [*range(8)]}),  # the same with gap=2
        (
            0,
            {4: [0, 1, 2, 3]},
        ),  # CombinatorialPurgedCV(n_folds=3, n_test_folds=2) on 12 samples, split 2: all training before the tests
        (1, {4: [0, 1, 2]}),  # the same with purged_size=1
    ],
)
def test_training_rows_of_the_examples_of_scikit_learn_and_skfolio(gap: int, published: dict[int, list[int]]) -> None:
    # A gap is how long a label takes, and a session of embargo is one more; two would leave nothing of a slice of two
    # sessions.
    for embargo in range(min(gap, 1) + 1):
        folds = layout(12, 4, gap - embargo, embargo)
        assert [places(fold.test) for fold in folds[:-1]] == [[6, 7], [8, 9], [10, 11]]
        assert {
            start: places(fold.train) for start, fold in zip((4, 6, 8, 10), folds, strict=True) if start in published
        } == published


@given(st.integers(1, 5), st.integers(12, 40), st.integers(0, 6), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_equal_to_scikit_learns_expanding_split_with_a_gap(folds: int, slice_: int, horizon: int, embargo: int) -> None:
    """With one row on each session and labels of one length, purging and embargo together are a gap of as many rows."""
    count = slice_ * (folds + 2)
    peer = TimeSeriesSplit(n_splits=folds + 1, test_size=slice_, gap=horizon + embargo)
    expected = [(train.tolist(), test.tolist()) for train, test in peer.split(np.empty(count))][1:]
    found = purged_walk_forward(DAYS[:count], DAYS[horizon : count + horizon], folds, embargo)
    for k, fold in enumerate(found):
        train, slice_rows = expected[k]
        assert places(fold.train) == train
        if k < folds - 1:  # validation chooses the model that the test judges, so it is purged like training
            earlier, test = expected[k + 1]
            assert places(fold.validation) == [row for row in slice_rows if row in earlier]
            assert places(fold.test) == test
        else:
            assert places(fold.validation) == slice_rows


def overlap_free(start: np.ndarray, end: np.ndarray, first: int, last: int) -> np.ndarray:
    """López de Prado's purge (Snippet 7.1): no training label may start in, end in or envelop the test labels' span."""
    begins, ends = (start >= first) & (start <= last), (end >= first) & (end <= last)
    return ~(begins | ends | ((start <= first) & (end >= last)))


def test_lopez_de_prados_purge_worked_by_hand() -> None:
    #        row  0  1  2  3  4  5  6  7  8  9 10 11
    ends = np.array([2, 9, 5, 3, 5, 6, 8, 7, 10, 12, 11, 14])
    folds = purged_walk_forward(DAYS[:12], DAYS[ends], 2, 0)  # slices of three sessions, from 0, 3, 6 and 9
    # Before the validation from 6: row 1 envelops it and row 5 ends on its first session, the others end before.
    assert places(folds[0].train) == [0, 2, 3, 4]
    # Before the test from 9 row 8 has not ended, and row 1 ends on the test's first session.
    assert places(folds[0].validation) == [6, 7]
    assert places(folds[0].test) == [9, 10, 11]
    assert places(folds[1].train) == [0, 2, 3, 4, 5, 6, 7]


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 60)), min_size=30, max_size=120), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_equal_to_lopez_de_prados_purge(labels: list[tuple[int, int]], folds: int) -> None:
    """On labels of any length; his embargo comes after the test, where a walk-forward split has no training rows."""
    every = np.arange(100)
    start = np.concatenate([every, [begin for begin, _ in labels]])
    end = np.concatenate([every, [begin + length for begin, length in labels]])
    border = 100 * np.arange(folds + 3) // (folds + 2)
    for k, fold in enumerate(purged_walk_forward(DAYS[start], DAYS[end], folds, 0)):
        judged = (start >= border[k + 2]) & (start < border[k + 3])
        kept = overlap_free(start, end, int(border[k + 2]), int(end[judged].max())) & (start < border[k + 2])
        np.testing.assert_array_equal(fold.train, kept)
