"""Maximum Sharpe ratio: the highest expected return above the risk-free rate per unit of risk.

Cash earns the risk-free rate and borrowing costs it, so the excess return of weights w is
w' (expected - risk_free) in every book. With y = k w, k >= 0, the ratio is largest where y' C y is least among the y
with y' (expected - risk_free) = 1 for which y / k respects the limits: a quadratic program (Cornuejols and Tütüncü
2007, Optimization Methods in Finance, 8.2).
"""

from dataclasses import dataclass

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import Constraints
from quant_assets.portfolio.convex import cvxpy, risk, solve, within
from quant_assets.portfolio.fitting import settled
from quant_assets.portfolio.optimisers.base import Outlook, sound
from quant_assets.portfolio.optimisers.minimum_variance import least_variance

#: Lowest expected excess return for which a ratio is maximised, as a share of the largest of a name.
_LEAST = 1e-4


@dataclass(frozen=True)
class MaximumSharpe:
    """Maximises the Sharpe ratio.

    If no weights within the limits are expected to earn more than the risk-free rate, every ratio is negative and
    grows with risk; the result is then the minimum variance.
    """

    risk_free: float = 0.0
    needs_covariance: bool = True

    def weights(
        self, covariance: FloatArray, outlook: Outlook, constraints: Constraints, previous: FloatArray
    ) -> FloatArray:
        """See `Optimiser`."""
        cp, constraints, matrix = cvxpy(), constraints.feasible(), sound(covariance)
        excess = outlook.expected - self.risk_free
        size = float(np.abs(excess).max())
        if size == 0.0 or _most(excess / size, constraints) <= _LEAST:
            return settled(least_variance(matrix, constraints), constraints)
        variable, scale = cp.Variable(len(constraints)), cp.Variable(nonneg=True)
        scaled = matrix / float(matrix.diagonal().mean())
        limits = [*within(constraints, variable, scale), (excess / size) @ variable == 1.0]
        solve(cp.Minimize(risk(scaled, variable)), limits, "maximum_sharpe", constraints)
        return settled(np.asarray(variable.value) / float(scale.value), constraints)


def _most(expected: FloatArray, constraints: Constraints) -> float:
    """The highest expected return within the limits."""
    cp = cvxpy()
    weights = cp.Variable(len(constraints))
    return solve(cp.Maximize(expected @ weights), within(constraints, weights), "maximum_sharpe", constraints)
