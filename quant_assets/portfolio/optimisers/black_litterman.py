"""Black-Litterman with the predictions as views, then mean and variance.

The prior means are those for which equal weights of the candidates are optimal, pi = risk_aversion C w, since the
graph's datasets have no market weights. The view on each name is its prediction q, with the error variance
tau C_ii (1 - c) / c of a confidence c: at c = 1/2 it is that of He and Litterman, at 1 the view holds, at 0 the prior.
The posterior means are pi + tau C (tau C + Omega)^-1 (q - pi), and their own error adds to the covariance:
C + tau C - tau C (tau C + Omega)^-1 tau C.

References:
    Black, Litterman (1992), Global portfolio optimization, Financial Analysts Journal 48(5).
    He, Litterman (1999), The intuition behind Black-Litterman model portfolios.
    Idzorek (2005), A step-by-step guide to the Black-Litterman model: confidence in a view.

"""

from dataclasses import dataclass

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import Constraints
from quant_assets.portfolio.fitting import settled
from quant_assets.portfolio.optimisers.base import Outlook, sound
from quant_assets.portfolio.optimisers.mean_variance import MeanVariance


@dataclass(frozen=True)
class BlackLitterman:
    """Mean and variance under the posterior, without a charge for turnover."""

    risk_aversion: float = 5.0
    prior_uncertainty: float = 0.05
    needs_covariance: bool = True

    def weights(
        self, covariance: FloatArray, outlook: Outlook, constraints: Constraints, previous: FloatArray
    ) -> FloatArray:
        """See `Optimiser`; the expected returns are the views, an unknown confidence is 1/2."""
        constraints, matrix = constraints.feasible(), sound(covariance)
        confidence = np.full(len(matrix), 0.5) if outlook.confidence is None else outlook.confidence
        prior = equilibrium(matrix, np.full(len(matrix), 1.0 / len(matrix)), self.risk_aversion)
        means, spread = posterior(matrix, prior, outlook.expected, confidence, self.prior_uncertainty)
        best = MeanVariance(self.risk_aversion, 0.0).best(spread, means, constraints, previous)
        return settled(best, constraints)


def equilibrium(covariance: FloatArray, weights: FloatArray, risk_aversion: float) -> FloatArray:
    """The means for which the weights are optimal without limits: risk_aversion C w, shape (n_names,)."""
    return np.asarray(risk_aversion * (covariance @ weights))


def posterior(
    covariance: FloatArray, prior: FloatArray, views: FloatArray, confidence: FloatArray, tau: float
) -> tuple[FloatArray, FloatArray]:
    """Means and covariance after one view on each name.

    Args:
        covariance: float64 of shape (n_names, n_names).
        prior: means of shape (n_names,).
        views: of that shape.
        confidence: in each view, cut to 0.001 and 0.999.
        tau: variance of the prior means in units of the returns' own.

    """
    sure = np.clip(confidence, 0.001, 0.999)
    error = tau * np.diag(covariance) * (1.0 - sure) / sure
    gain = np.linalg.solve(tau * covariance + np.diag(error), tau * covariance).T
    spread = covariance + tau * covariance - gain @ (tau * covariance)
    return prior + gain @ (views - prior), (spread + spread.T) / 2.0
