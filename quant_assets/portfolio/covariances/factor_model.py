"""Covariances from a few factors and uncorrelated residuals: for more names than sessions."""

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.covariances.moments import pairwise

#: Lowest share of a name's variance that is specific to it.
_OWN = 0.01


def statistical_factors(returns: FloatArray, factors: int) -> FloatArray:
    """Covariance from the first principal components of the correlations.

    Args:
        returns: float64 of shape (n_sessions, n_names), NaN where missing.
        factors: their number; at most one less than names and sessions.

    Returns:
        float64 of shape (n_names, n_names), with the names' sample variances.

    """
    sample = pairwise(returns, np.ones(len(returns)))
    n = len(sample)
    count = min(factors, n - 1, len(returns) - 2)
    if count < 1:
        return sample
    deviations = np.sqrt(np.diag(sample))
    values, vectors = np.linalg.eigh(sample / np.outer(deviations, deviations))
    loadings = vectors[:, -count:] * np.sqrt(np.maximum(values[-count:], 0.0))
    return _modelled(loadings, deviations)


def declared_factors(returns: FloatArray, factors: FloatArray) -> FloatArray:
    """Covariance from given factors, by a regression of each name over its own sessions.

    Args:
        returns: float64 of shape (n_sessions, n_names), NaN where missing.
        factors: returns of the factors, float64 of shape (n_sessions, n_factors), NaN where missing.

    Returns:
        float64 of shape (n_names, n_names), with the names' sample variances.

    """
    sample = pairwise(returns, np.ones(len(returns)))
    complete = np.isfinite(factors).all(axis=1)
    spread = pairwise(factors, np.ones(len(factors)))
    deviations = np.sqrt(np.diag(sample))
    loadings = np.zeros((len(sample), factors.shape[1]))
    values, vectors = np.linalg.eigh(spread)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    for at in range(len(sample)):
        rows = complete & np.isfinite(returns[:, at])
        if rows.sum() > factors.shape[1] + 1:
            away = factors[rows] - factors[rows].mean(axis=0)
            betas = np.linalg.lstsq(away, returns[rows, at] - returns[rows, at].mean(), rcond=None)[0]
            loadings[at] = (betas @ root) / deviations[at]
    return _modelled(loadings, deviations)


def _modelled(loadings: FloatArray, deviations: FloatArray) -> FloatArray:
    """The covariance from loadings of standardised returns, of shape (n_names, n_factors), and deviations."""
    common = (loadings**2).sum(axis=1)
    loadings = loadings * np.sqrt(np.minimum((1.0 - _OWN) / np.maximum(common, 1e-300), 1.0))[:, None]
    correlation = loadings @ loadings.T
    np.fill_diagonal(correlation, 1.0)
    result = correlation * np.outer(deviations, deviations)
    return np.asarray((result + result.T) / 2.0)
