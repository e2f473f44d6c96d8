"""What needs a solver: convex programs over weights and their limits, by cvxpy and Clarabel (extra `portfolio`).

Which objective makes which optimiser is in optimisers/.
"""

import warnings
from typing import Any

import numpy as np

from quant_assets.errors import InfeasibleError, MissingPackageError
from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import Constraints


def cvxpy() -> Any:
    """The package.

    Raises:
        MissingPackageError: it is not installed; names the extra.

    """
    try:
        import cvxpy
    except ImportError as error:
        raise MissingPackageError(
            f"this optimiser needs cvxpy ({error}); install the extra portfolio (pip install 'quant-assets[portfolio]')"
        ) from None
    return cvxpy


def within(constraints: Constraints, weights: Any, scale: Any = 1.0) -> list[Any]:
    """Cvxpy's constraints of a variable: `weights / scale` respects the limits.

    Args:
        constraints: limits.
        weights: variable of shape (n_names,).
        scale: 1, or a variable that is not negative, by which all are multiplied.

    """
    cp = cvxpy()
    lower, upper = constraints.bounds
    found = [weights >= lower * scale, weights <= upper * scale]
    for each in constraints.limits:
        size = max(float(np.abs(each.coefficients).max()), 1e-12)
        row = (each.coefficients / size) @ weights
        if each.low == each.high:
            found.append(row == each.low / size * scale)
            continue
        found += [row >= each.low / size * scale] if np.isfinite(each.low) else []
        found += [row <= each.high / size * scale] if np.isfinite(each.high) else []
    if constraints.turnover is not None and constraints.previous is not None:
        found.append(cp.norm1(weights - constraints.previous * scale) <= constraints.turnover * scale)
    return found


def risk(covariance: FloatArray, weights: Any) -> Any:
    """The variance of a variable."""
    return cvxpy().sum_squares(root(covariance).T @ weights)


def root(covariance: FloatArray) -> FloatArray:
    """A matrix R with R @ R.T the covariance, also of a singular one: float64 of shape (n_names, n_names)."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def solve(objective: Any, limits: list[Any], what: str, constraints: Constraints) -> float:
    """Solve a problem; its variables hold the solution, which `fitting.settled` holds against the limits.

    Args:
        objective: cvxpy's.
        limits: its constraints.
        what: is computed, for the message.
        constraints: what they were made of, for the message.

    Returns:
        The objective's value.

    Raises:
        InfeasibleError: there is no solution, or the solver found none.

    """
    cp = cvxpy()
    problem = cp.Problem(objective, limits)
    why = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a solution may be inaccurate: whether it keeps the limits is looked at
        try:
            problem.solve(solver=cp.CLARABEL, direct_solve_method="qdldl", warm_start=False)
        except cp.error.SolverError as error:
            why = str(error).splitlines()[0]
    if why or problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        raise InfeasibleError(f"{what}: no solution was found ({why or problem.status}) within {constraints.said}")
    return float(problem.value)


def nearest(weights: FloatArray, constraints: Constraints) -> FloatArray:
    """The weights within the limits that are nearest, by squared distance relative to a name's weight."""
    cp = cvxpy()
    found = cp.Variable(len(weights))
    sizes = np.maximum(np.abs(weights), 0.01 * max(float(np.abs(weights).max()), 1e-6))
    distance = cp.sum_squares(cp.multiply(1.0 / np.sqrt(sizes), found - weights))
    solve(cp.Minimize(distance), within(constraints, found), "weights within their limits", constraints)
    return np.asarray(found.value, dtype=np.float64)
