import numpy as np
import pytest
from scipy import stats

from quant_assets.signals.cross_section import rank, zscore

RNG = np.random.default_rng(5)
VALUES = np.round(RNG.standard_normal((9, 40)), 1)  # rounded, so that there are ties
VALUES[RNG.random(VALUES.shape) < 0.2] = np.nan
AMONG = RNG.random(VALUES.shape) < 0.8


def _each_session(method):  # type: ignore[no-untyped-def]
    expected = np.full(VALUES.shape, np.nan)
    for j in range(VALUES.shape[1]):
        compared = AMONG[:, j] & ~np.isnan(VALUES[:, j])
        if compared.sum() > 1:
            expected[compared, j] = method(VALUES[compared, j])
    return expected


def test_rank_is_scipys_between_0_and_1() -> None:
    expected = _each_session(lambda x: (stats.rankdata(x) - 1) / (len(x) - 1))
    np.testing.assert_allclose(rank(VALUES, AMONG), expected, rtol=1e-15)
    assert np.nanmin(expected) == 0.0
    assert np.nanmax(expected) == 1.0


def test_zscore_is_scipys() -> None:
    np.testing.assert_allclose(
        zscore(VALUES, AMONG), _each_session(lambda x: stats.zscore(x, ddof=1)), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("method", [rank, zscore])
def test_names_that_are_not_compared_change_nothing(method) -> None:  # type: ignore[no-untyped-def]
    before = method(VALUES, AMONG)
    others = np.vstack([VALUES, RNG.standard_normal((3, VALUES.shape[1]))])
    among = np.vstack([AMONG, np.zeros((3, VALUES.shape[1]), dtype=bool)])
    np.testing.assert_array_equal(method(others, among)[:9], before)
    changed = np.where(AMONG, VALUES, 99.0)
    np.testing.assert_array_equal(method(changed, AMONG), before)


@pytest.mark.parametrize("method", [rank, zscore])
def test_the_order_of_the_names_changes_no_bit(method) -> None:  # type: ignore[no-untyped-def]
    values, among = RNG.standard_normal((30, 40)), np.ones((30, 40), dtype=bool)
    order = RNG.permutation(30)
    np.testing.assert_array_equal(method(values[order], among), method(values, among)[order])


@pytest.mark.parametrize("method", [rank, zscore])
def test_a_session_is_its_own(method) -> None:  # type: ignore[no-untyped-def]
    whole = method(VALUES, AMONG)
    for j in (0, 17, 39):
        np.testing.assert_array_equal(
            method(VALUES[:, j : j + 1].copy(), AMONG[:, j : j + 1].copy()), whole[:, j : j + 1]
        )


def test_nothing_to_compare_with_is_missing() -> None:
    alone = np.array([[1.0], [np.nan]])
    same = np.array([[0.1], [0.1], [0.1]])
    assert np.isnan(rank(alone, np.ones((2, 1), dtype=bool))).all()
    assert np.isnan(zscore(alone, np.ones((2, 1), dtype=bool))).all()
    assert np.isnan(zscore(same, np.ones((3, 1), dtype=bool))).all()
    np.testing.assert_array_equal(rank(same, np.ones((3, 1), dtype=bool)), np.full((3, 1), 0.5))
