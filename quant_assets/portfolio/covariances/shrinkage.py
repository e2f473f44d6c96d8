"""Ledoit and Wolf's linear shrinkage to a multiple of the identity.

References:
    Ledoit, Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices, Journal of Multivariate
        Analysis 88(2).

"""

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.covariances.moments import cross_products


def ledoit_wolf(away: FloatArray) -> FloatArray:
    """The shrunk covariance.

    A missing return is replaced by the name's mean. Before the shrinkage each name's variance is scaled by the share of
    its sessions, back to the variance of its own returns.

    Args:
        away: returns less their mean, float64 of shape (n_sessions, n_names), 0 where missing.

    Returns:
        float64 of shape (n_names, n_names).

    """
    sessions, n = away.shape
    observed = (away != 0.0).sum(axis=0)
    # A return that equals the mean is one in thousands, and counts as missing only here.
    away = away * np.sqrt(sessions / np.maximum(observed, 1)) if (observed < 0.98 * sessions).any() else away
    ones, equal = np.ones((sessions, n)), np.ones(sessions)
    sample = cross_products(away, ones, equal)[0] / sessions
    mean_variance = float(np.trace(sample)) / n
    squares = cross_products(away**2, ones, equal)[0].sum() / sessions
    spread = float((sample**2).sum())
    noise = (float(squares) - spread) / sessions / n
    distance = (spread - 2.0 * mean_variance * float(np.trace(sample)) + n * mean_variance**2) / n
    shrinkage = 0.0 if noise <= 0.0 else min(noise, distance) / distance if distance > 0.0 else 0.0
    result = (1.0 - shrinkage) * sample
    result.flat[:: n + 1] += shrinkage * mean_variance
    return np.asarray(result)
