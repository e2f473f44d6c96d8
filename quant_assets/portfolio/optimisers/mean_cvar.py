"""Mean-CVaR: expected return less the mean loss of the worst sessions.

Over the scenarios r_t, the weights maximise w' m - (risk_aversion / 2) CVaR, with CVaR = min over a of
a + mean(max(-r_t' w - a, 0)) / tail (Rockafellar and Uryasev 2000), per year by the square root of the sessions, like a
deviation. A linear program: the solver breaks ties between weights, and is deterministic.
"""

from dataclasses import dataclass

import numpy as np

from quant_assets.errors import DatasetError
from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import Constraints
from quant_assets.portfolio.convex import cvxpy, solve, within
from quant_assets.portfolio.fitting import settled
from quant_assets.portfolio.optimisers.base import Outlook

SESSIONS_PER_YEAR = 252


@dataclass(frozen=True)
class MeanCVaR:
    """With a risk aversion of inf the expected returns are not used."""

    tail: float = 0.05
    risk_aversion: float = 5.0
    needs_covariance: bool = True

    def weights(
        self, covariance: FloatArray, outlook: Outlook, constraints: Constraints, previous: FloatArray
    ) -> FloatArray:
        """See `Optimiser`; the scenarios replace the covariance.

        Raises:
            DatasetError: there are no scenarios.

        """
        constraints, scenarios = constraints.feasible(), outlook.scenarios
        if scenarios is None or not len(scenarios) or not np.isfinite(scenarios).all():
            raise DatasetError("mean_cvar needs scenarios of the names' returns, none of them missing; pass them")
        cp = cvxpy()
        weights, threshold, excess = cp.Variable(len(constraints)), cp.Variable(), cp.Variable(len(scenarios))
        unit = max(float(np.sqrt(np.square(scenarios).mean())), 1e-12)
        worst = threshold + cp.sum(excess) / (self.tail * len(scenarios))
        loss = worst
        if np.isfinite(self.risk_aversion):
            per_year = unit * np.sqrt(SESSIONS_PER_YEAR) * self.risk_aversion / 2.0
            loss = worst - (outlook.expected / per_year) @ weights
        limits = [excess >= 0.0, excess >= -(scenarios / unit) @ weights - threshold, *within(constraints, weights)]
        solve(cp.Minimize(loss), limits, "mean_cvar", constraints)
        return settled(np.asarray(weights.value), constraints)


def shortfall(returns: FloatArray, tail: float) -> float:
    """CVaR of returns as a positive loss: the mean of the worst share `tail`, the session at its edge in part."""
    losses = np.sort(-returns)[::-1]
    count = tail * len(losses)
    complete = int(np.floor(count + 1e-12))
    rest = (count - complete) * losses[complete] if complete < len(losses) else 0.0
    return float((losses[:complete].sum() + rest) / count)
