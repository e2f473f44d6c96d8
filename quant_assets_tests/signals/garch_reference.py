"""GARCH(1,1), with leverage GJR-GARCH(1,1): simulated returns, a readable likelihood, and `arch` as the peer of the
compiled kernel."""

import math
import warnings
from typing import Any

import numpy as np
from arch.univariate import GARCH, ConstantMean, Normal, StudentsT
from scipy.special import gammaln

from quant_assets.signals import garch

DISTRIBUTIONS = ["normal", "t"]
PRESAMPLES = ["backcast", "mean_square"]


def simulated(
    seed: int,
    count: int,
    omega: float = 0.06,
    alpha: float = 0.09,
    beta: float = 0.88,
    gamma: float = 0.0,
    nu: float = 6.0,
) -> np.ndarray:
    """Returns in percent of a process with Student-t errors, in which losses weigh by gamma more."""
    rng = np.random.default_rng(seed)
    errors = rng.standard_t(nu, count) * math.sqrt((nu - 2) / nu)
    returns, variance = np.empty(count), omega / max(1.0 - alpha - beta - 0.5 * gamma, 0.02)
    for t in range(count):
        residual = math.sqrt(variance) * errors[t]
        returns[t] = 0.03 + residual
        variance = omega + (alpha + gamma * (residual < 0)) * residual**2 + beta * variance
    return returns


def fit_one(
    returns: np.ndarray, distribution: str, presample: str = "backcast", leverage: bool = False
) -> garch.GarchFits:
    return garch.fit(returns, np.array([0]), np.array([len(returns)]), distribution, presample, leverage)


def arch_fit(returns: np.ndarray, distribution: str = "t", leverage: bool = False) -> Any:
    errors = StudentsT() if distribution == "t" else Normal()
    model = ConstantMean(returns, volatility=GARCH(1, int(leverage), 1), distribution=errors, rescale=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(disp="off", show_warning=False)


def values(fits: garch.GarchFits, i: int = 0, leverage: bool = False) -> np.ndarray:
    """Parameters of a window as `plain_likelihood` takes them."""
    names = [
        "mu",
        "omega",
        "alpha",
        "beta",
        *(["gamma"] if leverage else []),
        *([] if np.isinf(fits.nu[i]) else ["nu"]),
    ]
    return np.array([getattr(fits, name)[i] for name in names])


def plain_likelihood(
    returns: np.ndarray, parameters: np.ndarray, presample: str, leverage: bool = False
) -> tuple[float, float]:
    """Log-likelihood and variance forecast. Parameters: mu, omega, alpha, beta, with leverage gamma, and of Student-t
    errors nu."""
    mu, omega, alpha, beta, *rest = parameters
    gamma = rest.pop(0) if leverage else 0.0
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
