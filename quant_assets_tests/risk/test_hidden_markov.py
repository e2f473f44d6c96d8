"""The Markov model against hmmlearn, statsmodels and Hamilton's published example; what a later return may not do."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from quant_assets.risk import hidden_markov
from quant_assets.risk.hidden_markov import MarkovModel, filter_forward, fit, gaussian, start, student_t
from quant_assets.settings.risk import MarkovSettings

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
NONE = np.zeros((2, 2))


def simulated(seed: int, n: int = 700, nu: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns of a calm and a volatile state, and the states."""
    rng = np.random.default_rng(seed)
    state, states = 0, np.empty(n, dtype=int)
    for t in range(n):
        state = state if rng.random() < (0.98, 0.95)[state] else 1 - state
        states[t] = state
    draws = rng.standard_normal(n) if nu is None else rng.standard_t(nu, n) * math.sqrt((nu - 2) / nu)
    return np.where(states == 0, 0.0006 + 0.007 * draws, -0.001 + 0.022 * draws), states


def slow_filter(initial, transition, log_density):
    """Hamilton's filter as the book has it, in logarithms."""
    found, level, predicted = [], 0.0, np.log(initial)
    for row in log_density:
        joint = predicted + row
        total = np.logaddexp.reduce(joint)
        level += total
        found.append(np.exp(joint - total))
        predicted = np.log(found[-1] @ transition)
    return np.array(found), level


def test_the_filter_is_the_slow_one() -> None:
    rng = np.random.default_rng(1)
    transition = rng.dirichlet(np.ones(3), size=3)
    initial, log_density = rng.dirichlet(np.ones(3)), 30 * rng.standard_normal((200, 3)) - 900
    filtered, level = filter_forward(initial, transition, log_density)
    expected, expected_level = slow_filter(initial, transition, log_density)
    np.testing.assert_allclose(filtered, expected, atol=1e-11)
    assert level == pytest.approx(expected_level, rel=1e-13)


# --- Hamilton (1989), table I: growth of real GNP, an AR(4) around a switching mean -----------------------------------

#: p00, p10, the means, the coefficients and the variance, as published by statsmodels and in E-views' and Stata's
#: manuals.
PUBLISHED = np.array([0.754671, 0.095913, -0.358812, 1.163516, 0.013486, -0.057521, -0.246983, -0.212923, 0.591367])
TUPLES = np.array(list(itertools.product((0, 1), repeat=5)))  # states at t, t-1, ... t-4


def growth() -> np.ndarray:
    """135 quarters from 1951-04 to 1984-10."""
    return np.array(json.loads((REFERENCE / "hamilton_gnp.json").read_text(encoding="utf-8")))


def hamilton(parameters: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Log-likelihood and filtered probability of a recession: a Markov chain of 32 tuples of five states."""
    p00, p10, low, high, *coefficients, variance = parameters
    step = np.array([[p00, 1 - p00], [p10, 1 - p10]])
    recession = p10 / (1 - p00 + p10)
    initial = np.array([recession, 1 - recession])[TUPLES[:, -1]]
    for lag in range(4):
        initial = initial * step[TUPLES[:, lag + 1], TUPLES[:, lag]]
    goes = (TUPLES[None, :, 1:] == TUPLES[:, None, :-1]).all(axis=2)
    transition = np.where(goes, step[TUPLES[:, 0]][:, TUPLES[:, 0]], 0.0)
    windows = np.lib.stride_tricks.sliding_window_view(y, 5)[:, ::-1]  # t, t-1, ... t-4
    off = windows[:, None, :] - np.array([low, high])[TUPLES]
    error = off[:, :, 0] - off[:, :, 1:] @ np.array(coefficients)
    log_density = -0.5 * (math.log(2 * math.pi * variance) + error**2 / variance)
    filtered, level = filter_forward(initial, transition, log_density)
    return level, filtered[:, TUPLES[:, 0] == 0].sum(axis=1)


def test_hamiltons_likelihood_at_the_published_parameters() -> None:
    level, recession = hamilton(PUBLISHED, growth())
    assert level == pytest.approx(-181.26339, abs=1e-4)
    assert len(recession) == 131


def test_hamiltons_filter_is_that_of_statsmodels() -> None:
    from statsmodels.tsa.regime_switching.markov_autoregression import MarkovAutoregression

    model = MarkovAutoregression(growth(), k_regimes=2, order=4, switching_ar=False)
    found = model.filter(np.array([*PUBLISHED[:4], PUBLISHED[-1], *PUBLISHED[4:8]]))
    level, recession = hamilton(PUBLISHED, growth())
    assert level == pytest.approx(found.llf, abs=1e-8)
    np.testing.assert_allclose(recession, found.filtered_marginal_probabilities[:, 0], atol=1e-8)


def test_the_maximum_of_the_filters_likelihood_is_hamiltons() -> None:
    y = growth()

    def loss(x: np.ndarray) -> float:
        p = 1.0 / (1.0 + np.exp(-x[:2]))
        return -hamilton(np.array([*p, *x[2:8], math.exp(x[8])]), y)[0]

    first = np.array([1.0, -2.0, -0.5, 1.0, 0.0, 0.0, 0.0, 0.0, -0.4])
    found = optimize.minimize(loss, first, method="BFGS", options={"gtol": 1e-5})
    reached = np.array([*1.0 / (1.0 + np.exp(-found.x[:2])), *found.x[2:8], math.exp(found.x[8])])
    assert -found.fun == pytest.approx(-181.26339, abs=1e-4)
    np.testing.assert_allclose(reached, PUBLISHED, atol=2e-3)


# --- Fits ------------------------------------------------------------------------------------------------------------


def test_expectation_maximisation_with_many_degrees_of_freedom_is_hmmlearns() -> None:
    y, _ = simulated(2)
    y = (y - y.mean()) / y.std()
    transition, variance = np.array([[0.95, 0.05], [0.1, 0.9]]), np.array([0.3, 2.0])
    counted = np.array([[19.0, 1.0], [1.0, 19.0]])
    ours, converged = student_t(y, start(transition, variance, nu=1e7), counted, 500, fixed_nu=True)
    theirs, also = gaussian(y, start(transition, variance), counted, 500)
    assert converged
    assert also
    assert ours.loglikelihood == pytest.approx(theirs.loglikelihood, abs=1e-3)
    np.testing.assert_allclose(ours.transition, theirs.transition, atol=1e-3)
    np.testing.assert_allclose(ours.scale, theirs.scale, atol=1e-3)
    np.testing.assert_allclose(ours.occupancy, theirs.occupancy, atol=0.2)


def test_the_last_filtered_probability_is_the_last_smoothed_one_of_hmmlearn() -> None:
    """At the last return nothing is later; at those before the two differ."""
    from hmmlearn.hmm import GaussianHMM

    returns, _ = simulated(3)
    model = fit(returns, MarkovSettings(emissions="gaussian", states=3, window=700))
    assert model is not None
    oracle = GaussianHMM(3, covariance_type="diag", init_params="")
    oracle.startprob_, oracle.transmat_ = model.initial, model.transition
    oracle.means_, oracle.covars_ = model.location.reshape(3, 1), (model.scale**2).reshape(3, 1)
    smoothed = oracle.predict_proba(returns.reshape(-1, 1))
    filtered = model.filtered(returns)
    np.testing.assert_allclose(filtered[-1], smoothed[-1], atol=1e-9)
    assert np.abs(filtered - smoothed).max() > 0.2
    cut = oracle.predict_proba(returns[:400].reshape(-1, 1))
    np.testing.assert_allclose(filtered[399], cut[-1], atol=1e-9)


def test_one_state_is_scipys_student_t() -> None:
    y = stats.t.rvs(4.0, size=900, random_state=np.random.default_rng(4))
    y = np.ascontiguousarray((y - y.mean()) / y.std())
    found, converged = student_t(y, start(np.ones((1, 1)), np.ones(1)), np.zeros((1, 1)), 2_000)
    nu, location, scale = stats.t.fit(y)
    assert converged
    assert found.loglikelihood == pytest.approx(stats.t.logpdf(y, nu, location, scale).sum(), abs=2e-3)
    assert found.nu == pytest.approx(nu, rel=0.03)
    assert found.scale[0] == pytest.approx(scale, rel=0.01)


def test_every_step_of_the_search_climbs() -> None:
    y, _ = simulated(5, nu=4.0)
    y = np.ascontiguousarray((y - y.mean()) / y.std())
    model = start(np.array([[0.9, 0.1], [0.1, 0.9]]), np.array([0.4, 2.0]))
    levels = [student_t(y, model, NONE, steps)[0].loglikelihood for steps in range(1, 60)]
    assert np.diff(levels).min() > -1e-9
    assert levels[-1] > levels[0] + 1


@pytest.mark.parametrize("emissions", ["student_t", "gaussian"])
def test_simulated_states_are_found_and_ordered_by_volatility(emissions: str) -> None:
    returns, states = simulated(6, n=3_000, nu=5.0 if emissions == "student_t" else None)
    settings = MarkovSettings(emissions=emissions, window=3_000, staying=1.0)
    model = fit(returns, settings)
    assert model is not None
    assert model.deviation[0] < model.deviation[1]
    np.testing.assert_allclose(model.deviation, [0.007, 0.022], rtol=0.15)
    np.testing.assert_allclose(np.diag(model.transition), [0.98, 0.95], atol=0.02)
    right = (model.filtered(returns).argmax(axis=1) == states).mean()
    assert right > 0.9


@pytest.mark.parametrize("emissions", ["student_t", "gaussian"])
@pytest.mark.parametrize("states", [2, 4])
def test_refits_keep_the_order_whatever_the_search_found_first(
    emissions: str, states: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = MarkovSettings(emissions=emissions, states=states, min_observations=100)
    returns, _ = simulated(7)
    fits = [fit(returns[at : at + 600], settings) for at in (0, 100)]
    monkeypatch.setattr(hidden_markov, "_starts", _reversed(hidden_markov._starts))
    again = [fit(returns[at : at + 600], settings) for at in (0, 100)]
    assert any(fits)
    for model in (each for each in (*fits, *again) if each is not None):
        assert (np.diff(model.deviation) >= 0).all()
        np.testing.assert_allclose(model.transition.sum(axis=1), 1.0, atol=1e-12)
        np.testing.assert_allclose(model.filtered(returns).sum(axis=1), 1.0, atol=1e-12)


def _reversed(real):
    def starts(y, states):
        return [
            start(each.transition[::-1, ::-1].copy(), (each.scale**2)[::-1].copy(), each.nu) for each in real(y, states)
        ]

    return starts


def test_filtered_probabilities_do_not_change_with_what_comes_later() -> None:
    returns, _ = simulated(8, nu=5.0)
    model = fit(returns[:500], MarkovSettings(emissions="student_t"))
    assert model is not None
    whole = model.filtered(returns)
    assert whole[:550].tobytes() == model.filtered(returns[:550]).tobytes()
    changed = returns.copy()
    changed[600:] *= 5
    assert whole[:600].tobytes() == model.filtered(changed)[:600].tobytes()


def test_units_of_the_returns_do_not_matter() -> None:
    returns, _ = simulated(9)
    settings = MarkovSettings(emissions="student_t")
    one, hundred = fit(returns, settings), fit(100 * returns, settings)
    assert one is not None
    assert hundred is not None
    np.testing.assert_allclose(100 * one.deviation, hundred.deviation, rtol=1e-9)
    np.testing.assert_allclose(one.filtered(returns), hundred.filtered(100 * returns), atol=1e-9)


def test_returns_that_do_not_vary_or_a_single_outlier_give_no_model() -> None:
    settings = MarkovSettings(emissions="gaussian")
    assert fit(np.full(600, 0.001), settings) is None
    lone = 0.01 * np.random.default_rng(10).standard_normal(600)
    lone[300] = 2.0
    assert fit(lone, settings) is None, "the second state is the outlier"


def test_the_deviation_ahead_mixes_the_states() -> None:
    model = MarkovModel(
        np.array([0.5, 0.5]),
        np.array([[0.9, 0.1], [0.3, 0.7]]),
        np.array([0.0, -0.01]),
        np.array([0.01, 0.03]),
        math.inf,
        0.0,
        np.zeros(2),
    )
    p = 0.2 * 0.9 + 0.8 * 0.3
    mean = -0.01 * (1 - p)
    variance = p * 0.01**2 + (1 - p) * (0.03**2 + 0.01**2) - mean**2
    assert model.ahead(np.array([0.2, 0.8])) == pytest.approx(math.sqrt(variance), rel=1e-12)
