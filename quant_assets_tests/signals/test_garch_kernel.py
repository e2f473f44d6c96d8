"""The compiled likelihood against the readable one, and its derivatives against numerical and expected ones."""

import math

import numpy as np
import pytest

from quant_assets.signals import garch_kernel
from quant_assets_tests.signals.garch_reference import DISTRIBUTIONS, PRESAMPLES, plain_likelihood, simulated


@pytest.mark.parametrize("presample", PRESAMPLES)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize(
    ("alpha", "beta", "gamma", "nu"),
    [
        (0.08, 0.86, None, 5.0),
        (0.0, 0.97, None, 2.3),
        (0.4, 0.0, None, 40.0),
        (0.03, 0.97, None, 400.0),
        (0.03, 0.86, 0.1, 5.0),
        (0.2, 0.6, -0.2, 40.0),
        (0.0, 0.9, 0.15, 2.3),
    ],
)
def test_score_equals_finite_differences(
    distribution: str, presample: str, alpha: float, beta: float, gamma: float | None, nu: float
) -> None:
    leverage, student = gamma is not None, distribution == "t"
    y = simulated(5, 400, alpha=0.03, beta=0.86, gamma=0.14) if leverage else simulated(5, 400)
    y = (y - y.mean()) / y.std()
    plain = [0.03, 0.05, alpha, beta, *([gamma] if leverage else [])]
    x = np.array([*plain, *([1.0 / nu] if student else [])])
    k = len(x)

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
        score, information = np.empty(k), np.empty((k, k))
        level, ahead = garch_kernel.evaluate(
            y, x, student, leverage or None, presample == "mean_square", 0.7, score, information, True
        )
        return level, score, information, ahead

    level, score, information, ahead = evaluate(x)
    if presample == "mean_square":
        expected = plain_likelihood(y, np.array([*plain, *([nu] if student else [])]), presample, leverage)
        assert (level, ahead) == pytest.approx(expected, rel=1e-11)
    for i in range(k):
        # A fourth-order difference; the likelihood may be evaluated beyond its bounds. With leverage a step is so small
        # that no observation lies so near to the mean that it changes sides.
        h = 1e-3 * x[i] if i == len(plain) else 1e-6 if leverage else 1e-5
        points = [evaluate(np.where(np.arange(k) == i, x + step * h, x))[0] for step in (-2, -1, 1, 2)]
        slope = (points[0] - 8 * points[1] + 8 * points[2] - points[3]) / (12 * h)
        assert score[i] == pytest.approx(slope, rel=1e-6, abs=1e-4 if leverage else 1e-5)
    np.testing.assert_array_equal(information, information.T)
    assert np.linalg.eigvalsh(information).min() > 0


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [None, 0.2])
def test_information_is_the_variance_of_the_score(gamma: float | None) -> None:
    # Over samples drawn from the model itself, the mean information equals the covariance of the score.
    leverage = gamma is not None
    truth = np.array([0.1, 0.1, *([0.05, 0.75, gamma] if leverage else [0.15, 0.75]), 1.0 / 7.0])
    k = len(truth)
    rng = np.random.default_rng(8)
    scores, informations = [], []
    for _ in range(1500):
        score, information = np.empty(k), np.empty((k, k))
        errors = rng.standard_t(7, 300) * math.sqrt(5 / 7)
        variance, y = 0.1 + 0.9 * 0.8, np.empty(300)
        for t in range(300):
            residual = math.sqrt(variance) * errors[t]
            y[t] = truth[0] + residual
            variance = truth[1] + (truth[2] + (gamma or 0.0) * (residual < 0)) * residual**2 + truth[3] * variance
        garch_kernel.evaluate(y, truth, True, leverage or None, False, 0.8, score, information, True)
        scores.append(score)
        informations.append(information)
    expected = np.mean(informations, axis=0)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(np.cov(np.array(scores).T) / scale, expected / scale, atol=0.12)
