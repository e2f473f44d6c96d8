"""Minimum variance: the lowest risk within the limits."""

from dataclasses import dataclass

from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import Constraints
from quant_assets.portfolio.convex import cvxpy, risk, solve, within
from quant_assets.portfolio.fitting import settled
from quant_assets.portfolio.optimisers.base import Outlook, sound


@dataclass(frozen=True)
class MinimumVariance:
    """The optimiser."""

    needs_covariance: bool = True

    def weights(
        self, covariance: FloatArray, outlook: Outlook, constraints: Constraints, previous: FloatArray
    ) -> FloatArray:
        """See `Optimiser`; the outlook is not used."""
        constraints = constraints.feasible()
        return settled(least_variance(sound(covariance), constraints), constraints)


def least_variance(covariance: FloatArray, constraints: Constraints) -> FloatArray:
    """The solver's weights, float64 of shape (n_names,)."""
    cp = cvxpy()
    weights = cp.Variable(len(constraints))
    scaled = covariance / float(covariance.diagonal().mean())
    solve(cp.Minimize(risk(scaled, weights)), within(constraints, weights), "minimum_variance", constraints)
    return weights.value  # type: ignore[no-any-return]
