"""Covariances: other libraries where returns are complete, and the stated rules where they are not."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.portfolio.covariances import Window, covariance, scenarios
from quant_assets.portfolio.covariances.garch_correlation import filtered, fitted_dynamics, likelihoods
from quant_assets.portfolio.covariances.moments import FLOOR, exponential_weights, pairwise, repaired
from quant_assets.settings.weights import CovarianceSettings

ESTIMATORS = ("sample", "ledoit_wolf", "exponential", "constant_correlation", "dcc", "factor")


def returns(seed: int, n: int = 8, sessions: int = 252) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.normal(0.0, 0.01, sessions)[:, None] * rng.uniform(0.5, 1.5, n)
    return common + rng.normal(0.0, 1.0, (sessions, n)) * rng.uniform(0.005, 0.03, n)


def window(given: np.ndarray, ahead: float = np.nan) -> Window:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a session without any return
        sector = np.nanmean(given, axis=1)
    return Window(given, sector, np.full(given.shape, 0.2), np.full(given.shape[1], ahead))


def estimated(given: np.ndarray, estimator: str, ahead: float = np.nan, **more: object) -> np.ndarray:
    return covariance(window(given, ahead), CovarianceSettings(estimator=estimator, **more)) / 252


def test_of_complete_returns_they_are_those_of_numpy_and_scikit_learn() -> None:
    from sklearn.covariance import LedoitWolf

    given = returns(1)
    assert estimated(given, "sample") == pytest.approx(np.cov(given.T), rel=1e-10)
    assert estimated(given, "ledoit_wolf") == pytest.approx(LedoitWolf().fit(given).covariance_, rel=1e-9)
    weights = exponential_weights(len(given), 63.0)
    assert weights[-1] == 1.0
    assert weights[-64] == pytest.approx(0.5)
    assert estimated(given, "exponential") == pytest.approx(np.cov(given.T, aweights=weights), rel=1e-10)


def test_missing_returns_leave_the_moments_of_those_that_are_there() -> None:
    import pandas as pd

    given = returns(2)
    given[np.random.default_rng(0).random(given.shape) < 0.1] = np.nan
    found = pairwise(given, np.ones(len(given)))
    # pandas demeans each pair by the sessions they share, ours by each name's own.
    assert np.diag(found) == pytest.approx(pd.DataFrame(given).var().to_numpy(), rel=1e-10)
    assert found == pytest.approx(pd.DataFrame(given).cov().to_numpy(), rel=0.02, abs=2e-6)


def test_a_few_factors_keep_the_variances_and_find_the_common_part() -> None:
    given = returns(3, 30, 1_000)
    sample = np.cov(given.T)
    for factors in (1, 3, 0):
        found = estimated(given, "factor", factors=factors, sessions=1_000)
        assert np.diag(found) == pytest.approx(np.diag(sample), rel=1e-10)
        assert np.abs(found - sample).max() < 0.3 * np.diag(sample).max()
        assert np.corrcoef(found[np.triu_indices(30, 1)], sample[np.triu_indices(30, 1)])[0, 1] > 0.6


def test_with_more_names_than_sessions_the_factor_model_stands_in_for_the_sample() -> None:
    given = returns(4, 70, 65)
    found = estimated(given, "sample", sessions=65)
    assert found.tolist() == estimated(given, "factor", sessions=65).tolist()
    assert np.linalg.eigvalsh(found)[0] > 0.0


def test_a_young_name_has_its_garch_volatility_and_the_others_mean_correlation() -> None:
    given = returns(5)
    given[:-20, 3] = np.nan
    for ahead, variance in ((0.4, 0.4**2), (np.nan, None)):
        found = estimated(given, "sample", ahead) * 252
        others = np.delete(np.delete(found, 3, 0), 3, 1)
        assert others == pytest.approx(np.cov(np.delete(given, 3, 1).T) * 252, rel=1e-9)
        assert found[3, 3] == pytest.approx(variance or np.median(np.diag(others)))
        correlation = found / np.sqrt(np.outer(np.diag(found), np.diag(found)))
        known = np.delete(np.delete(correlation, 3, 0), 3, 1)
        assert np.delete(correlation[3], 3) == pytest.approx(np.full(7, (known.sum() - 7) / 42))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_names_without_any_history_or_move_have_an_answer(estimator: str) -> None:
    nothing = np.full((100, 3), np.nan)
    assert estimated(nothing, estimator) * 252 == pytest.approx(np.eye(3))
    still = returns(6, 3, 100)
    still[:, 1] = 0.0
    found = estimated(still, estimator, sessions=100)
    assert (np.diag(found) > 0.0).all()
    assert np.linalg.eigvalsh(found)[0] > 0.0
    one = estimated(returns(7, 1, 100), estimator, sessions=100)
    assert one.shape == (1, 1)
    assert one[0, 0] > 0.0


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_same_name_twice_is_nearly_singular_and_not_more(estimator: str) -> None:
    given = returns(8)
    given[:, 1] = given[:, 0]
    found = estimated(given, estimator)
    deviations = np.sqrt(np.diag(found))
    assert np.linalg.eigvalsh(found / np.outer(deviations, deviations))[0] > 0.5 * FLOOR


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0.0, 0.9), st.sampled_from(ESTIMATORS))
@settings(max_examples=80, deadline=None)
def test_with_holes_of_any_kind_they_are_symmetric_and_positive_definite(
    seed: int, n: int, holes: float, estimator: str
) -> None:
    rng = np.random.default_rng(seed)
    given = returns(seed, n, 120)
    given[rng.random(given.shape) < holes * rng.random(n)] = np.nan
    found = estimated(given, estimator, sessions=120, min_observations=20)
    assert np.isfinite(found).all()
    assert (found == found.T).all()
    assert np.linalg.eigvalsh(found)[0] > 0.0
    order = rng.permutation(n)
    permuted = estimated(given[:, order], estimator, sessions=120, min_observations=20)
    if estimator != "dcc":  # whose neighbours decide
        assert permuted == pytest.approx(found[np.ix_(order, order)], rel=1e-6, abs=1e-9)


def test_a_repaired_matrix_keeps_its_variances() -> None:
    wrong = np.array([[0.04, 0.05, -0.03], [0.05, 0.09, 0.05], [-0.03, 0.05, 0.04]])
    assert np.linalg.eigvalsh(wrong)[0] < 0.0
    found = repaired(wrong)
    assert np.diag(found) == pytest.approx(np.diag(wrong), rel=1e-12)
    assert np.linalg.eigvalsh(found)[0] > 0.0
    sound = np.cov(returns(9).T)
    assert repaired(sound) is sound


# --- GARCH volatilities -----------------------------------------------------------------------------------------------


def _dynamic(seed: int, a: float, b: float, n: int = 6, sessions: int = 4_000) -> np.ndarray:
    """Residuals whose correlations follow DCC."""
    rng = np.random.default_rng(seed)
    target = np.full((n, n), 0.4) + 0.6 * np.eye(n)
    q, found = target.copy(), np.empty((sessions, n))
    for t in range(sessions):
        scale = np.sqrt(np.diag(q))
        found[t] = np.linalg.cholesky(q / np.outer(scale, scale)) @ rng.normal(size=n)
        q = (1.0 - a - b) * target + a * np.outer(found[t], found[t]) + b * q
    return found


def test_the_dynamics_that_made_the_residuals_are_found_again() -> None:
    residuals = _dynamic(1, 0.05, 0.90)
    news, persistence = fitted_dynamics(residuals, np.corrcoef(residuals.T))
    assert news == pytest.approx(0.05, abs=0.015)
    assert persistence == pytest.approx(0.95, abs=0.025)
    calm = np.random.default_rng(2).normal(size=(2_000, 6))
    assert fitted_dynamics(calm, np.corrcoef(calm.T))[0] < 0.01


def test_the_filter_is_its_recursion_written_out() -> None:
    residuals = _dynamic(3, 0.05, 0.9, 4, 200)
    residuals[50:60, 1] = np.nan
    there, target, a, b = np.isfinite(residuals), np.full((4, 4), 0.3) + 0.7 * np.eye(4), 0.04, 0.93
    q = target.copy()
    for row, seen in zip(residuals, there, strict=True):
        shock = np.where(np.outer(seen, seen), np.outer(row, row), q)
        np.fill_diagonal(shock, np.where(seen, row**2, 1.0))
        q = (1.0 - a - b) * target + a * shock + b * q
    found = filtered(np.where(there, residuals, 0.0), there, target, a, b)
    assert found == pytest.approx(q, rel=1e-12)


def test_the_likelihood_is_that_of_pairs_of_normal_variables() -> None:
    residuals = _dynamic(4, 0.05, 0.9, 3, 50)
    target = np.corrcoef(residuals.T)
    there = np.isfinite(residuals)
    (value,) = likelihoods(residuals, there, target, np.array([0.0]), np.array([0.0]))[0]
    expected = 0.0
    for pair in range(2):
        rho = target[pair, pair + 1]
        for x, y in residuals[:, pair : pair + 2]:
            expected -= 0.5 * (np.log(1 - rho**2) + (x * x - 2 * rho * x * y + y * y) / (1 - rho**2) - x * x - y * y)
    assert value == pytest.approx(expected, rel=1e-10)


def test_constant_correlations_take_the_volatilities_of_the_session_after() -> None:
    given = returns(10)
    found = estimated(given, "constant_correlation", 0.3) * 252
    assert np.diag(found) == pytest.approx(np.full(8, 0.09))
    assert found / 0.09 == pytest.approx(np.corrcoef(given.T), abs=1e-9)


# --- Scenarios --------------------------------------------------------------------------------------------------------


def test_scenarios_have_no_holes_and_leave_what_is_there() -> None:
    given = returns(11)
    given[:40, 2], given[100, :], given[120:, 5] = np.nan, np.nan, np.nan
    found = scenarios(window(given), 60)
    assert np.isfinite(found).all()
    known = np.isfinite(given)
    assert (found[known] == given[known]).all()
    assert (found[100] == 0.0).all()
    young = returns(12)
    others = np.delete(young, 0, 1)
    young[:-10, 0] = np.nan
    assert np.corrcoef(scenarios(window(young), 60)[:, 0], others.mean(axis=1))[0, 1] > 0.7
