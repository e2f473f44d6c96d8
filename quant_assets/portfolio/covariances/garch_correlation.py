"""Covariances from the names' GARCH volatilities and the correlations of their standardised residuals.

A standardised residual is a session's return over the volatility that was forecast for it at the close before. Where
no volatility was forecast (the name was no member yet), the deviation of the name's returns in the window is used.

References:
    Bollerslev (1990), Modelling the coherence in short-run nominal exchange rates: constant correlations.
    Engle (2002), Dynamic conditional correlation.
    Pakel, Shephard, Sheppard, Engle (2021), Fitting vast dimensional time-varying covariance models: the composite
        likelihood of neighbouring pairs, by which a and b are fitted.

"""

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.covariances.moments import pairwise, repaired
from quant_assets.windows.compiled import kernel

_SESSIONS_PER_YEAR = 252

#: Starting grid of DCC's a and a + b, and how often it is refined around the best point.
_NEWS = np.array([0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12])
_PERSISTENCE = np.array([0.0, 0.5, 0.8, 0.9, 0.95, 0.97, 0.985, 0.995])
_REFINED = 4


def constant_correlation(returns: FloatArray, volatility: FloatArray, ahead: FloatArray) -> FloatArray:
    """Correlations of the standardised residuals over the whole window, with the volatilities of the session after.

    Args:
        returns: float64 of shape (n_sessions, n_names), NaN where missing.
        volatility: forecast for each session, per year, of that shape, NaN where missing.
        ahead: forecast for the session after, per year, of shape (n_names,), NaN where missing.

    Returns:
        Per year, float64 of shape (n_names, n_names).

    """
    residuals, deviations = _residuals(returns, volatility, ahead)
    return np.asarray(_correlations(residuals) * np.outer(deviations, deviations))


def dynamic_correlation(returns: FloatArray, volatility: FloatArray, ahead: FloatArray) -> FloatArray:
    """DCC(1, 1): correlations of the session after.

    With residuals z, Q_{t+1} = (1 - a - b) S + a z_t z_t' + b Q_t from Q = S, the residuals' correlation over the
    window; a missing residual leaves the name's entries as they would be on average. a and b maximise the composite
    likelihood of neighbouring pairs, over a grid that is refined around its best point; the starting grid is the same
    for every window.

    Args and return as of `constant_correlation`.
    """
    residuals, deviations = _residuals(returns, volatility, ahead)
    target = repaired(_correlations(residuals))
    if len(target) == 1:
        return np.asarray(deviations[:, None] ** 2)
    news, persistence = fitted_dynamics(residuals, target)
    observed = np.isfinite(residuals)
    last = filtered(np.where(observed, residuals, 0.0), observed, target, news, max(persistence - news, 0.0))
    scale = np.sqrt(np.diag(last))
    return np.asarray(last / np.outer(scale, scale) * np.outer(deviations, deviations))


def fitted_dynamics(residuals: FloatArray, target: FloatArray) -> tuple[float, float]:
    """The a and a + b of the largest composite likelihood.

    Args:
        residuals: float64 of shape (n_sessions, n_names), NaN where missing.
        target: their correlation, of shape (n_names, n_names).

    """
    observed = np.isfinite(residuals)
    values = np.where(observed, residuals, 0.0)
    news, persistence = _NEWS, _PERSISTENCE
    best = (0.0, 0.0)
    for _ in range(_REFINED + 1):
        surface = likelihoods(values, observed, target, news, persistence)
        at = np.unravel_index(int(np.argmax(surface)), surface.shape)
        best = float(news[at[0]]), float(persistence[at[1]])
        news, persistence = _around(news, int(at[0])), _around(persistence, int(at[1]))
    return best


def _around(values: FloatArray, at: int) -> FloatArray:
    """Five values between the neighbours of a value, which is in the middle or at the end."""
    low, high = values[max(at - 1, 0)], values[min(at + 1, len(values) - 1)]
    return np.unique(np.array([low, (low + values[at]) / 2.0, values[at], (values[at] + high) / 2.0, high]))


def _residuals(returns: FloatArray, volatility: FloatArray, ahead: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Standardised residuals, NaN where the return is missing, and volatilities per year of the session after."""
    usual = np.sqrt(np.diag(pairwise(returns, np.ones(len(returns)))))
    daily = volatility / np.sqrt(_SESSIONS_PER_YEAR)
    daily = np.where(np.isfinite(daily) & (daily > 0.0), daily, usual)
    mean = np.nanmean(returns, axis=0)
    deviations = np.where(np.isfinite(ahead) & (ahead > 0.0), ahead, usual * np.sqrt(_SESSIONS_PER_YEAR))
    return (returns - mean) / daily, deviations


def _correlations(residuals: FloatArray) -> FloatArray:
    sample = pairwise(residuals, np.ones(len(residuals)))
    deviations = np.sqrt(np.diag(sample))
    result = np.clip(sample / np.outer(deviations, deviations), -1.0, 1.0)
    np.fill_diagonal(result, 1.0)
    return np.asarray(result)


@kernel
def likelihoods(
    residuals: FloatArray, observed: FloatArray, target: FloatArray, news: FloatArray, persistence: FloatArray
) -> FloatArray:
    """Composite log-likelihood of the pairs of neighbours at each a and a + b; -inf where a is above a + b.

    Args:
        residuals: float64 of shape (n_sessions, n_names), 0 where missing.
        observed: bool of that shape.
        target: correlation, of shape (n_names, n_names).
        news: a, of shape (n_a,).
        persistence: a + b, of shape (n_b,).

    """
    sessions, n = residuals.shape
    total_of = np.full((len(news), len(persistence)), -np.inf)
    for i in range(len(news)):
        for j in range(len(persistence)):
            a, b = news[i], persistence[j] - news[i]
            if b < -1e-12 or persistence[j] >= 1.0:
                continue
            total = 0.0
            for pair in range(n - 1):
                level = target[pair, pair + 1]
                first, second, both = 1.0, 1.0, level
                for t in range(sessions):
                    x, y = residuals[t, pair], residuals[t, pair + 1]
                    rest = 1.0 - a - b
                    if observed[t, pair] and observed[t, pair + 1]:
                        rho = both / np.sqrt(first * second)
                        rho = min(max(rho, -0.9999), 0.9999)
                        free = 1.0 - rho * rho
                        total -= 0.5 * (np.log(free) + (x * x - 2.0 * rho * x * y + y * y) / free - x * x - y * y)
                        both = rest * level + a * x * y + b * both
                    else:
                        both = rest * level + a * both / np.sqrt(first * second) + b * both
                    first = rest + a * (x * x if observed[t, pair] else 1.0) + b * first
                    second = rest + a * (y * y if observed[t, pair + 1] else 1.0) + b * second
            total_of[i, j] = total
    return total_of


@kernel
def filtered(residuals: FloatArray, observed: FloatArray, target: FloatArray, a: float, b: float) -> FloatArray:
    """Q of the session after the last, float64 of shape (n_names, n_names); arguments as of `likelihoods`."""
    sessions, n = residuals.shape
    q = target.copy()
    for t in range(sessions):
        for i in range(n):
            for j in range(i + 1):
                if i == j:
                    shock = residuals[t, i] * residuals[t, i] if observed[t, i] else 1.0
                elif observed[t, i] and observed[t, j]:
                    shock = residuals[t, i] * residuals[t, j]
                else:
                    shock = q[i, j]
                q[i, j] = (1.0 - a - b) * target[i, j] + a * shock + b * q[i, j]
    for i in range(n):
        for j in range(i):
            q[j, i] = q[i, j]
    return q
