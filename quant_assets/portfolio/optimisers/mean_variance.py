"""Mean-variance with a turnover penalty: expected return less risk, less the return that trading must earn.

w maximises w' m - (risk_aversion / 2) w' C w - turnover_penalty sum |w - w0|, with w0 the holdings before, after their
drift by prices. Without holdings everything has to be bought, and all books of the same size pay the same penalty.
"""

from dataclasses import dataclass

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import Constraints
from quant_assets.portfolio.convex import cvxpy, risk, solve, within
from quant_assets.portfolio.fitting import settled
from quant_assets.portfolio.optimisers.base import Outlook, sound


@dataclass(frozen=True)
class MeanVariance:
    """The optimiser."""

    risk_aversion: float = 5.0
    turnover_penalty: float = 0.01
    needs_covariance: bool = True

    def weights(
        self, covariance: FloatArray, outlook: Outlook, constraints: Constraints, previous: FloatArray
    ) -> FloatArray:
        """See `Optimiser`."""
        constraints = constraints.feasible()
        return settled(self.best(sound(covariance), outlook.expected, constraints, previous), constraints)

    def best(
        self, covariance: FloatArray, expected: FloatArray, constraints: Constraints, previous: FloatArray
    ) -> FloatArray:
        """The solver's weights, float64 of shape (n_names,)."""
        cp = cvxpy()
        weights = cp.Variable(len(constraints))
        unit = max(float(np.abs(expected).max()), self.risk_aversion * float(covariance.diagonal().mean()))
        loss = risk(covariance * (self.risk_aversion / 2.0 / unit), weights) - (expected / unit) @ weights
        if self.turnover_penalty:
            loss += self.turnover_penalty / unit * cp.norm1(weights - previous)
        solve(cp.Minimize(loss), within(constraints, weights), "mean_variance", constraints)
        return np.asarray(weights.value)
