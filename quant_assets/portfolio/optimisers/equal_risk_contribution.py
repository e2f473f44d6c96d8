"""Equal risk contribution: every name of a side contributes the same to the side's variance.

With x = w times any number, the weights minimise x' C x / 2 - sum(log x) / n, whose solution is unique for a positive
definite C. Coordinate descent solves it, each coordinate in closed form; where that is slow (nearly singular matrices),
Newton's method with the damped steps of a self-concordant function.

References:
    Maillard, Roncalli, Teïletche (2010), The properties of equally weighted risk contribution portfolios.
    Griveau-Billion, Richard, Roncalli (2013), A fast algorithm for computing high-dimensional risk parity portfolios.
    Spinu (2013), An algorithm for computing risk parity weights.

"""

from dataclasses import dataclass

import numpy as np

from quant_assets.errors import InfeasibleError
from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import Constraints
from quant_assets.portfolio.fitting import fitted
from quant_assets.portfolio.optimisers.base import Outlook, side_by_side, sound
from quant_assets.windows.compiled import kernel

#: Added to the variances, as a share of them: two names that move exactly against each other have no other solution.
_RIDGE = 1e-9

#: Target for the largest relative difference of a contribution from 1 / n, with the allowed sweeps and steps; and the
#: accepted difference, since for names that nearly hedge each other the last digits are rounding errors.
_ACCURACY, _SWEEPS, _STEPS, _ACCEPTED = 1e-10, 300, 200, 1e-5


@dataclass(frozen=True)
class EqualRiskContribution:
    """Each side is weighted by itself; the limits are met afterwards and may change the contributions."""

    needs_covariance: bool = True

    def weights(
        self, covariance: FloatArray, outlook: Outlook, constraints: Constraints, previous: FloatArray
    ) -> FloatArray:
        """See `Optimiser`; the outlook is not used."""
        constraints = constraints.feasible()
        return fitted(side_by_side(constraints, sound(covariance), equal_contributions), constraints)


def equal_contributions(covariance: FloatArray) -> FloatArray:
    """Weights of equal contributions to the variance: positive, summing to 1.

    Args:
        covariance: float64 of shape (n_names, n_names), positive semidefinite with a positive diagonal.

    Raises:
        InfeasibleError: there are no such weights: the matrix is too far from positive semidefinite.

    >>> equal_contributions(np.diag([0.15**2, 0.60**2])).round(6).tolist()
    [0.8, 0.2]
    """
    deviations = np.sqrt(np.diag(covariance))
    # In units of each name's deviation, so that the scale of the returns does not matter.
    correlation = covariance / np.outer(deviations, deviations)
    correlation.flat[:: len(correlation) + 1] = 1.0 + _RIDGE
    solution, off = descended(correlation, _SWEEPS, _ACCURACY)
    if off > _ACCURACY:
        solution = _newton(correlation)
    weights = solution / deviations
    return np.asarray(weights / weights.sum())


@kernel
def descended(matrix: FloatArray, sweeps: int, accuracy: float) -> tuple[FloatArray, float]:
    """Coordinate descent.

    Returns:
        x of shape (n_names,), and the largest relative difference of n x (C x) from 1.

    """
    n = len(matrix)
    share = 1.0 / n
    total = 0.0
    for i in range(n):
        for j in range(n):
            total += matrix[i, j]
    x = np.full(n, 1.0 / np.sqrt(max(total, 1e-12 * n * n)))
    gradient = np.zeros(n)
    for i in range(n):
        for j in range(n):
            gradient[j] += matrix[i, j] * x[i]
    off = np.inf
    for sweep in range(sweeps):
        for i in range(n):
            others = gradient[i] - matrix[i, i] * x[i]
            value = (np.sqrt(others * others + 4.0 * matrix[i, i] * share) - others) / (2.0 * matrix[i, i])
            change = value - x[i]
            if change != 0.0:
                x[i] = value
                row = matrix[i]
                for j in range(n):
                    gradient[j] += row[j] * change
        if sweep % 20 == 19:  # removes accumulated rounding
            gradient[:] = 0.0
            for i in range(n):
                for j in range(n):
                    gradient[j] += matrix[i, j] * x[i]
        off = 0.0
        for i in range(n):
            off = max(off, abs(n * x[i] * gradient[i] - 1.0))
        if off <= accuracy:
            break
    return x, off


def _newton(matrix: FloatArray) -> FloatArray:
    """Damped Newton steps from equal weights."""
    n = len(matrix)
    x = np.full(n, 1.0 / np.sqrt(max(float(matrix.sum()), 1e-12 * n * n)))
    best, least = x, np.inf
    for _ in range(_STEPS):
        gradient = matrix @ x - 1.0 / (n * x)
        off = float(np.abs(n * x * gradient).max())
        if off < least:
            best, least = x, off
        if off <= _ACCURACY:
            break
        step = np.linalg.solve(matrix + np.diag(1.0 / (n * x * x)), gradient)
        # Self-concordant once it is multiplied by n.
        length = np.sqrt(n * max(float(gradient @ step), 0.0))
        new = x - step / (1.0 + length) if length > 0.25 else x - step
        if not (new > 0.0).all() or not np.isfinite(new).all():
            break
        x = new
    if least <= _ACCEPTED:
        return best
    raise InfeasibleError(
        "equal_risk_contribution: no weights with equal contributions were found; the covariance is nearly singular "
        "or not positive semidefinite: use another weights.covariance.estimator, or fewer names"
    )
