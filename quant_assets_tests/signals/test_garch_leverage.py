"""GJR-GARCH(1,1): the estimation with leverage; test_garch.py tests the rest."""

import math
from datetime import date
from functools import partial

import numpy as np
import pytest

from quant_assets.market.calendar import sessions
from quant_assets.settings.domain import GarchSettings
from quant_assets.signals import garch
from quant_assets_tests.signals import garch_reference as reference
from quant_assets_tests.signals.garch_reference import DISTRIBUTIONS, PRESAMPLES

#: Losses raise the variance more.
simulated = partial(reference.simulated, alpha=0.03, beta=0.86, gamma=0.14, nu=7.0)
fit_one = partial(reference.fit_one, leverage=True)
arch_fit = partial(reference.arch_fit, leverage=True)
values = partial(reference.values, leverage=True)
plain_likelihood = partial(reference.plain_likelihood, leverage=True)


def test_arch_on_its_sp500_data() -> None:
    from arch.data import sp500

    returns = 100.0 * sp500.load()["Adj Close"].pct_change().dropna().to_numpy()
    normal = fit_one(returns, "normal")
    assert normal.converged[0]
    assert normal.loglikelihood[0] == pytest.approx(-6822.8828, abs=5e-5)
    for distribution in DISTRIBUTIONS:
        result, oracle = fit_one(returns, distribution), arch_fit(returns, distribution)
        assert result.loglikelihood[0] == pytest.approx(oracle.loglikelihood, abs=1e-4)
        mu, omega, alpha, gamma, beta, *nu = oracle.params
        np.testing.assert_allclose(values(result), [mu, omega, alpha, beta, gamma, *nu], rtol=2e-3, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("presample", PRESAMPLES)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("kind", ["leverage", "inverse", "white", "integrated", "outlier", "short", "rising"])
def test_a_maximum_inside_the_constraints(kind: str, distribution: str, presample: str) -> None:
    rng = np.random.default_rng(14)
    returns = {
        "leverage": simulated(1, 750),
        "inverse": simulated(2, 750, alpha=0.2, beta=0.7, gamma=-0.2),
        "white": rng.normal(size=750),
        "integrated": simulated(3, 750, omega=0.001, alpha=0.0, beta=0.92, gamma=0.16),
        "outlier": np.where(np.arange(750) == 300, -80.0, simulated(5, 750)),
        "short": simulated(7, 60),
        "rising": np.linspace(0.5, 2.0, 750) * rng.normal(size=750),
    }[kind]
    result = fit_one(returns, distribution, presample)
    assert result.converged[0]
    best = values(result)

    def feasible(p: np.ndarray) -> bool:
        inside = p[1] > 0 and min(p[2], p[3], p[2] + p[4]) >= -1e-12 and p[2] + p[3] + 0.5 * p[4] < 1
        return bool(inside and (len(p) == 5 or 2.05 <= p[5] <= 500 * (1 + 1e-12)))

    assert feasible(best)
    level, ahead = plain_likelihood(returns, best, presample)
    assert (level, ahead) == pytest.approx((result.loglikelihood[0], result.variance[0]), abs=1e-6, rel=1e-9)
    for size in (
        (1e-4,) if kind == "outlier" else (1e-4, 1e-2)
    ):  # there, hills stand so near to each other that some are missed
        for _ in range(100):
            near = best * (1.0 + size * rng.normal(size=len(best)))
            near[0] = best[0] + size * returns.std() * rng.normal()
            near[1] = max(near[1], 1e-8 * returns.var())
            near[2:5] = best[2:5] + size * rng.normal(size=3)
            near[2:4] = np.abs(near[2:4])
            near[4] = max(near[4], -near[2])
            near[2:5] /= max((near[2] + near[3] + 0.5 * near[4]) / (1 - 1e-9), 1.0)
            near[5:] = np.clip(near[5:], 2.05, 500.0)
            assert feasible(near)
            assert plain_likelihood(returns, near, presample)[0] <= level + 1e-6
    # The model without leverage is the one with gamma = 0.
    assert result.loglikelihood[0] >= fit_one(returns, distribution, presample, leverage=False).loglikelihood[0] - 1e-6


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_mirrored_returns_mirror_the_estimate(distribution: str) -> None:
    """The weights of losses and gains are swapped: alpha becomes alpha + gamma, and gamma changes its sign."""
    returns = simulated(11, 1000)
    there, back = fit_one(returns, distribution), fit_one(-returns, distribution)
    assert there.gamma[0] > 0.05
    assert back.loglikelihood[0] == pytest.approx(there.loglikelihood[0], abs=1e-7)
    mu, omega, alpha, beta, gamma, *nu = values(there)
    np.testing.assert_allclose(values(back), [-mu, omega, alpha + gamma, beta, -gamma, *nu], rtol=1e-4, atol=1e-6)


def test_a_window_alone_gives_the_bits_of_the_batch() -> None:
    returns = np.concatenate([*(simulated(seed, 800) for seed in range(3)), np.zeros(200)])
    starts = np.array([0, 30, 900, 1600, 2410, 700])
    stops = starts + np.array([750, 750, 500, 760, 100, 0])
    batch = garch.fit(returns, starts, stops, "t", leverage=True)
    for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        alone = fit_one(returns[start:stop].copy(), "t")
        for name in vars(batch):
            np.testing.assert_array_equal(getattr(alone, name), getattr(batch, name)[i : i + 1], err_msg=name)
    assert np.isnan(batch.gamma[4:]).all()


def test_without_leverage_gamma_is_zero_and_with_it_the_months_filter_has_it() -> None:
    assert fit_one(simulated(4, 750), "t", leverage=False).gamma[0] == 0.0
    days = sessions(date(2017, 1, 3), date(2020, 7, 31))
    close = 40.0 * np.exp(np.cumsum(simulated(4, len(days))) / 100.0)[None, :]
    july = np.flatnonzero(days.astype("datetime64[M]") == np.datetime64("2020-07"))
    settings = GarchSettings(leverage=True)
    result = garch.garch_volatility(
        close, days, np.ones(close.shape, dtype=bool), settings, date(2020, 7, 1), date(2020, 7, 31)
    )
    returns = np.diff(np.log(close[0, july[0] - 751 : july[-1] + 1]))
    returns = np.round(returns / garch.RETURN_UNIT) * garch.RETURN_UNIT
    fits = fit_one(returns[: -len(july)], "t")
    assert fits.gamma[0] > 0.02
    variance = fits.variance[0]
    expected = []
    for value in returns[-len(july) :]:
        weight = fits.alpha[0] + (fits.gamma[0] if value < fits.mu[0] else 0.0)
        variance = fits.omega[0] + weight * (value - fits.mu[0]) ** 2 + fits.beta[0] * variance
        expected.append(math.sqrt(252 * variance))
    np.testing.assert_allclose(result.volatility[0, july], expected, rtol=1e-10)
