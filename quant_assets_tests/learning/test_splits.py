"""Purging is a comparison of dates: ragged, halted and late rows are where a count of rows would fail."""

from datetime import date

import numpy as np
import pytest

from quant_assets.errors import DatasetError, HistoryError
from quant_assets.learning.splits import purged_walk_forward
from quant_assets.market.calendar import session_number, sessions

DAYS = sessions(date(2020, 1, 1), date(2022, 12, 31))
EMBARGO = 5


def ragged(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A dense ticker with short labels, a sparse one with long labels, and labels that a halt keeps unknown for a
    year."""
    rng = np.random.default_rng(seed)
    dense, sparse = np.arange(len(DAYS) - 300), np.sort(rng.choice(len(DAYS) - 300, 40, replace=False))
    halted = np.arange(0, 100, 7)
    start = np.concatenate([dense, sparse, halted])
    length = np.concatenate([np.full(len(dense), 6), np.full(len(sparse), 61), np.full(len(halted), 252)])
    order = rng.permutation(len(start))
    return DAYS[start[order]], DAYS[(start + length)[order]]


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_a_row_is_used_exactly_where_it_was_known_in_time(folds: int) -> None:
    dates, known_at = ragged()
    number, known = session_number(dates), session_number(known_at)
    result = purged_walk_forward(dates, known_at, folds, EMBARGO)
    assert len(result) == folds
    # The dense ticker has a row on every session, so each slice starts exactly at its first row.
    for fold in result:
        validated_from = number[fold.validation].min()
        np.testing.assert_array_equal(fold.train, known < validated_from - EMBARGO)
        assert not (fold.train & fold.validation).any()
        assert not (fold.validation & fold.test).any()
    for fold in result[:-1]:
        tested_from = number[fold.test].min()
        assert known[fold.validation | fold.train].max() < tested_from - EMBARGO
        in_slice = (number >= number[fold.validation].min()) & (number < tested_from)
        np.testing.assert_array_equal(fold.validation, in_slice & (known < tested_from - EMBARGO))


def test_a_halted_ticker_is_purged_though_its_row_is_old() -> None:
    dates, known_at = ragged()
    fold = purged_walk_forward(dates, known_at, 2, EMBARGO)[0]
    number, known = session_number(dates), session_number(known_at)
    validated_from = number[fold.validation].min()
    old_but_unknown = (number < validated_from - 100) & (known >= validated_from - EMBARGO)
    assert old_but_unknown.any()
    assert not fold.train[old_but_unknown].any()


def test_masks_follow_the_row_whatever_the_order() -> None:
    dates, known_at = ragged()
    order = np.random.default_rng(3).permutation(len(dates))
    for fold, shuffled in zip(
        purged_walk_forward(dates, known_at, 3, EMBARGO),
        purged_walk_forward(dates[order], known_at[order], 3, EMBARGO),
        strict=True,
    ):
        for name in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(fold, name)[order], getattr(shuffled, name))


def test_repeating_a_ticker_moves_no_border() -> None:
    """With three times the rows in the first half, a split by rows would move; a split by sessions does not."""
    dates, known_at = DAYS[:500], DAYS[6:506]
    doubled = (
        np.concatenate([dates, dates[:250], dates[:250]]),
        np.concatenate([known_at, known_at[:250], known_at[:250]]),
    )
    for fold, heavy in zip(
        purged_walk_forward(dates, known_at, 3, EMBARGO), purged_walk_forward(*doubled, 3, EMBARGO), strict=True
    ):
        for name in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(fold, name), getattr(heavy, name)[:500])


def test_folds_expand_in_time_order_and_the_last_has_no_test() -> None:
    first, second, final = purged_walk_forward(DAYS[:500], DAYS[6:506], 3, EMBARGO)
    assert first.train.sum() < second.train.sum() < final.train.sum()
    assert [int(fold.test.sum()) for fold in (first, second, final)] == [100, 100, 0]
    assert final.validation[400:500].all()
    assert not (first.test & second.test).any()


def test_too_short_a_span_names_the_remedy() -> None:
    with pytest.raises(HistoryError, match=r"too short for 3 purged folds .*training\.folds"):
        purged_walk_forward(DAYS[:40], DAYS[20:60], 3, EMBARGO)
    with pytest.raises(HistoryError, match="materialise features and labels"):
        purged_walk_forward(DAYS[:0], DAYS[:0], 3, EMBARGO)


def test_a_label_known_before_its_date_is_refused() -> None:
    with pytest.raises(DatasetError, match="earlier"):
        purged_walk_forward(DAYS[10:500], DAYS[:490], 3, EMBARGO)
