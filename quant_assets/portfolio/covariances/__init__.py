"""Covariance of the returns of the selected names, per year.

Each file has one estimator; `moments` has what they share. `covariance` chooses by the settings.

Missing returns. A name with at least `min_observations` returns in the window is estimated from its own returns: means
over its sessions, covariances over the sessions of both names. The result need not be positive semidefinite, so
eigenvalues of its correlations below `moments.FLOOR` are raised to it; the same applies to names that move exactly
alike. A name with fewer returns (a new listing) has no covariance of its own: its correlation with every other name is
the mean of the known ones, at least 0, and its variance comes from its GARCH volatility, or is the median of the
others. A name whose price never moved counts as one with too few returns. Where no name has enough returns, all are
uncorrelated.

Too few sessions. `sample` needs more sessions than names; otherwise the factor model replaces it.
"""

from dataclasses import dataclass

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.covariances.factor_model import declared_factors, statistical_factors
from quant_assets.portfolio.covariances.garch_correlation import constant_correlation, dynamic_correlation
from quant_assets.portfolio.covariances.moments import (
    centred,
    exponential_weights,
    pairwise,
    repaired,
    with_young,
)
from quant_assets.portfolio.covariances.shrinkage import ledoit_wolf
from quant_assets.settings.weights import CovarianceSettings

SESSIONS_PER_YEAR = 252


@dataclass(frozen=True)
class Window:
    """The sessions up to a decision.

    Attributes:
        returns: daily returns, float64 of shape (n_sessions, n_names), NaN where missing; the last row is the
            decision's session.
        sector: equal-weight return of the sector, of shape (n_sessions,), NaN where missing.
        volatility: GARCH volatility per year that was forecast for each session at the close before, of the shape of
            `returns`; None where no estimator needs it.
        ahead: the same for the session after the decision, of shape (n_names,), NaN where missing.

    """

    returns: FloatArray
    sector: FloatArray
    volatility: FloatArray | None
    ahead: FloatArray


def covariance(window: Window, settings: CovarianceSettings) -> FloatArray:
    """The covariance per year, symmetric and positive definite: float64 of shape (n_names, n_names).

    The module's docstring has the rules for missing returns and too few sessions.
    """
    returns = window.returns
    seen = np.isfinite(returns).sum(axis=0)
    moved = np.array([len(set(column[np.isfinite(column)].tolist())) > 1 for column in returns.T], dtype=bool)
    old = (seen >= settings.min_observations) & moved
    if not old.any():
        return with_young(np.zeros((0, 0)), old, window.ahead)
    own = returns[:, old]
    estimator = settings.estimator
    if estimator == "sample" and old.sum() >= seen[old].min():
        estimator = "factor"
    if estimator == "sample":
        daily = pairwise(own, np.ones(len(own)))
    elif estimator == "exponential":
        daily = pairwise(own, exponential_weights(len(own), settings.half_life))
    elif estimator == "ledoit_wolf":
        daily = ledoit_wolf(centred(own))
    elif estimator == "factor" and settings.factors:
        daily = statistical_factors(own, settings.factors)
    elif estimator == "factor":
        daily = declared_factors(own, window.sector[:, None])
    else:
        volatility = np.full(own.shape, np.nan) if window.volatility is None else window.volatility[:, old]
        estimate = constant_correlation if estimator == "constant_correlation" else dynamic_correlation
        return with_young(repaired(estimate(own, volatility, window.ahead[old])), old, window.ahead)
    return with_young(repaired(daily) * SESSIONS_PER_YEAR, old, window.ahead)


def scenarios(window: Window, min_observations: int) -> FloatArray:
    """The window's returns without gaps, for optimisers that use single sessions: float64 of the shape of `returns`.

    A missing return is the session's mean return, scaled by the name's deviation over that of the others; 0 where the
    session has no return. A name with too few returns has that mean throughout.
    """
    returns = window.returns
    observed = np.isfinite(returns)
    enough = observed.sum(axis=0) >= min_observations
    observed &= enough
    deviation = np.ones(returns.shape[1])
    for at in np.flatnonzero(enough):
        deviation[at] = returns[observed[:, at], at].std()
    usual = np.median(deviation[enough & (deviation > 0.0)]) if (enough & (deviation > 0.0)).any() else 1.0
    deviation = np.where(enough & (deviation > 0.0), deviation, usual)
    scaled = np.where(observed, returns, 0.0) / deviation
    count = observed.sum(axis=1)
    mean = np.divide(scaled.sum(axis=1), count, out=np.zeros(len(returns)), where=count > 0)
    return np.where(observed, returns, mean[:, None] * deviation)


def risk_contributions(weights: FloatArray, matrix: FloatArray) -> FloatArray:
    """Each name's contribution to the variance, w_i (C w)_i: sums to w' C w."""
    return np.asarray(weights * (matrix @ weights))
