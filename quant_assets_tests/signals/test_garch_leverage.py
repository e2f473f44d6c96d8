"""GJR-GARCH(1,1): what leverage adds to the estimation that test_garch.py tests."""

import math
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from arch.univariate import GARCH, ConstantMean, Normal, StudentsT
from scipy.special import gammaln

from quant_assets.market.calendar import sessions
from quant_assets.settings.domain import GarchSettings
from quant_assets.signals import garch, garch_kernel

DISTRIBUTIONS = ["normal", "t"]
PRESAMPLES = ["backcast", "mean_square"]


def simulated(seed: int, count: int, omega: float = 0.06, alpha: float = 0.03, beta: float = 0.86, gamma: float = 0.14) -> np.ndarray:
    """Returns in percent of a process in which losses raise the variance more, with Student-t errors of 7 degrees of freedom."""
    rng = np.random.default_rng(seed)
    errors = rng.standard_t(7, count) * math.sqrt(5 / 7)
    returns, variance = np.empty(count), omega / max(1.0 - alpha - beta - 0.5 * gamma, 0.02)
    for t in range(count):
        residual = math.sqrt(variance) * errors[t]
        returns[t] = 0.03 + residual
        variance = omega + (alpha + gamma * (residual < 0)) * residual**2 + beta * variance
    return returns


def fit_one(returns: np.ndarray, distribution: str, presample: str = "backcast", leverage: bool = True) -> garch.GarchFits:
    return garch.fit(returns, np.array([0]), np.array([len(returns)]), distribution, presample, leverage)


def arch_fit(returns: np.ndarray, distribution: str):
    errors = StudentsT() if distribution == "t" else Normal()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ConstantMean(returns, volatility=GARCH(1, 1, 1), distribution=errors, rescale=False).fit(disp="off", show_warning=False)


def values(fits: garch.GarchFits) -> np.ndarray:
    found = np.array([getattr(fits, name)[0] for name in ("mu", "omega", "alpha", "beta", "gamma", "nu")])
    return found[np.isfinite(found)]


def plain_likelihood(returns: np.ndarray, parameters: np.ndarray, presample: str) -> tuple[float, float]:
    """Readable reference: log-likelihood and variance forecast; Student-t with nu as the sixth parameter."""
    mu, omega, alpha, beta, gamma, *rest = parameters
    residuals = returns - mu
    if presample == "mean_square":
        before = np.mean(residuals**2)
    else:
        weights = 0.94 ** np.arange(min(75, len(returns)))
        before = np.sum(weights / weights.sum() * ((returns - returns.mean()) ** 2)[:75])
    variances = [omega + (alpha + 0.5 * gamma + beta) * before]
    for residual in residuals:
        variances.append(omega + (alpha + gamma * (residual < 0)) * residual**2 + beta * variances[-1])
    variance = np.array(variances[:-1])
    squares = residuals**2 / variance
    if not rest:
        return -0.5 * float(np.sum(np.log(2 * np.pi * variance) + squares)), variances[-1]
    nu = rest[0]
    constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(np.pi * (nu - 2))
    return float(np.sum(constant - 0.5 * np.log(variance) - (nu + 1) / 2 * np.log1p(squares / (nu - 2)))), variances[-1]


@pytest.mark.parametrize("presample", PRESAMPLES)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize(("alpha", "beta", "gamma", "nu"), [(0.03, 0.86, 0.1, 5.0), (0.2, 0.6, -0.2, 40.0), (0.0, 0.9, 0.15, 2.3)])
def test_score_equals_finite_differences(distribution: str, presample: str, alpha: float, beta: float, gamma: float, nu: float) -> None:
    y = simulated(5, 400)
    y = (y - y.mean()) / y.std()
    x = np.array([0.03, 0.05, alpha, beta, gamma, 1.0 / nu])[: 6 if distribution == "t" else 5]
    k = len(x)

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
        score, information = np.empty(k), np.empty((k, k))
        level, ahead = garch_kernel.evaluate(y, x, k == 6, True, presample == "mean_square", 0.7, score, information, True)
        return level, score, information, ahead

    level, score, information, ahead = evaluate(x)
    if presample == "mean_square":
        expected = plain_likelihood(y, np.array([*x[:5], *([nu] if k == 6 else [])]), presample)
        assert (level, ahead) == pytest.approx(expected, rel=1e-11)
    for i in range(k):
        h = 1e-3 * x[i] if i == 5 else 1e-6  # no observation lies so near to the mean that it changes sides
        points = [evaluate(np.where(np.arange(k) == i, x + step * h, x))[0] for step in (-2, -1, 1, 2)]
        slope = (points[0] - 8 * points[1] + 8 * points[2] - points[3]) / (12 * h)
        assert score[i] == pytest.approx(slope, rel=1e-6, abs=1e-4)
    np.testing.assert_array_equal(information, information.T)
    assert np.linalg.eigvalsh(information).min() > 0


def test_information_is_the_variance_of_the_score() -> None:
    truth = np.array([0.1, 0.1, 0.05, 0.75, 0.2, 1.0 / 7.0])
    rng = np.random.default_rng(8)
    scores, informations = [], []
    for _ in range(1500):
        score, information = np.empty(6), np.empty((6, 6))
        errors = rng.standard_t(7, 300) * math.sqrt(5 / 7)
        variance, y = 0.1 + 0.9 * 0.8, np.empty(300)
        for t in range(300):
            e = math.sqrt(variance) * errors[t]
            y[t] = truth[0] + e
            variance = truth[1] + (truth[2] + truth[4] * (e < 0)) * e**2 + truth[3] * variance
        garch_kernel.evaluate(y, truth, True, True, False, 0.8, score, information, True)
        scores.append(score)
        informations.append(information)
    expected = np.mean(informations, axis=0)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(np.cov(np.array(scores).T) / scale, expected / scale, atol=0.12)


def test_arch_on_its_sp500_data() -> None:
    from arch.data import sp500

    returns = 100.0 * sp500.load()["Adj Close"].pct_change().dropna().to_numpy()
    normal = fit_one(returns, "normal")
    assert normal.converged[0]
    assert normal.loglikelihood[0] == pytest.approx(-6822.8828, abs=5e-5)
    for distribution in DISTRIBUTIONS:
        found, oracle = fit_one(returns, distribution), arch_fit(returns, distribution)
        assert found.loglikelihood[0] == pytest.approx(oracle.loglikelihood, abs=1e-4)
        mu, omega, alpha, gamma, beta, *nu = oracle.params
        np.testing.assert_allclose(values(found), [mu, omega, alpha, beta, gamma, *nu], rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_arch_on_windows_of_real_prices(shared_data: Path, distribution: str) -> None:
    prices = pl.scan_parquet(shared_data / "prices_sp500_adjusted.parquet")
    rng = np.random.default_rng(6)
    windows = []
    for name in ("AAPL", "XOM", "JPM", "JNJ"):
        close = prices.filter(pl.col("ticker") == name).sort("date").select(pl.col("close").cast(pl.Float64)).collect()["close"].to_numpy()
        returns = 100.0 * np.diff(np.log(close))
        windows += [returns[end - 750 : end] for end in rng.integers(750, len(returns), 5)]
    stops = 750 * np.arange(1, len(windows) + 1)
    found = garch.fit(np.concatenate(windows), stops - 750, stops, distribution, leverage=True)
    assert found.converged.all()
    agreed = 0
    for i, returns in enumerate(windows):
        oracle = arch_fit(returns, distribution)
        gain = found.loglikelihood[i] - oracle.loglikelihood
        assert gain > -1e-3
        if gain < 1e-3:
            agreed += 1
            assert math.sqrt(found.variance[i]) == pytest.approx(math.sqrt(oracle.forecast().variance.to_numpy()[-1, 0]), rel=5e-3)
    assert agreed > 0.7 * len(windows)


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
    found = fit_one(returns, distribution, presample)
    assert found.converged[0]
    best = values(found)

    def feasible(p: np.ndarray) -> bool:
        inside = p[1] > 0 and min(p[2], p[3], p[2] + p[4]) >= -1e-12 and p[2] + p[3] + 0.5 * p[4] < 1
        return bool(inside and (len(p) == 5 or 2.05 <= p[5] <= 500 * (1 + 1e-12)))

    assert feasible(best)
    level, ahead = plain_likelihood(returns, best, presample)
    assert (level, ahead) == pytest.approx((found.loglikelihood[0], found.variance[0]), abs=1e-6, rel=1e-9)
    for size in (1e-4,) if kind == "outlier" else (1e-4, 1e-2):  # there, hills stand so near to each other that some are missed
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
    assert found.loglikelihood[0] >= fit_one(returns, distribution, presample, leverage=False).loglikelihood[0] - 1e-6


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_mirrored_returns_mirror_the_estimate(distribution: str) -> None:
    """What weighed on losses weighs on gains: alpha becomes alpha + gamma, and gamma changes its sign."""
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
    made = garch.garch_volatility(close, days, np.ones(close.shape, dtype=bool), settings, date(2020, 7, 1), date(2020, 7, 31))
    returns = np.diff(np.log(close[0, july[0] - 751 : july[-1] + 1]))
    fits = fit_one(returns[: -len(july)], "t")
    assert fits.gamma[0] > 0.02
    variance = fits.variance[0]
    expected = []
    for value in returns[-len(july) :]:
        weight = fits.alpha[0] + (fits.gamma[0] if value < fits.mu[0] else 0.0)
        variance = fits.omega[0] + weight * (value - fits.mu[0]) ** 2 + fits.beta[0] * variance
        expected.append(math.sqrt(252 * variance))
    np.testing.assert_allclose(made.volatility[0, july], expected, rtol=1e-10)
