"""Kernels of the filtered historical simulation: variances of a GARCH model over a series, and its simulated paths."""

import numpy as np

from quant_assets.market.panel import FloatArray, IntArray
from quant_assets.windows.compiled import kernel


@kernel
def variances(
    returns: FloatArray, mu: float, omega: float, alpha: float, beta: float, gamma: float, presample: float
) -> FloatArray:
    """Variance of each return and, last, of the next one, shape (n_returns + 1,)."""
    out = np.empty(len(returns) + 1)
    out[0] = omega + (alpha + beta + 0.5 * gamma) * presample
    for t in range(len(returns)):
        e = returns[t] - mu
        weight = alpha + gamma if e < 0.0 else alpha
        out[t + 1] = omega + weight * e * e + beta * out[t]
    return out


@kernel
def paths(
    residuals: FloatArray,
    draws: IntArray,
    variance: float,
    mu: float,
    omega: float,
    alpha: float,
    beta: float,
    gamma: float,
) -> FloatArray:
    """Compounded return of each path.

    Args:
        residuals: past standardised residuals.
        draws: index of the residual for each session of a path, shape (n_paths, n_sessions).
        variance: of the first session.
        mu: mean return.
        omega: constant of the variance.
        alpha: weight of the last squared residual.
        beta: weight of the last variance.
        gamma: added to alpha after a negative residual.

    """
    out = np.empty(len(draws))
    for path in range(len(draws)):
        ahead, grown = variance, 1.0
        for t in range(draws.shape[1]):
            e = np.sqrt(ahead) * residuals[draws[path, t]]
            grown *= 1.0 + mu + e
            weight = alpha + gamma if e < 0.0 else alpha
            ahead = omega + weight * e * e + beta * ahead
        out[path] = grown - 1.0
    return out
