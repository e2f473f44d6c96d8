"""Convex programs over weights and their limits, by cvxpy and Clarabel (extra `portfolio`).

The objectives are in optimisers/.
"""

import warnings
from typing import Any

import numpy as np

from quant_assets.errors import InfeasibleError, MissingPackageError
from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import Constraints


def cvxpy() -> Any:
    """The package cvxpy.

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
    """Constraints of cvxpy that keep `weights / scale` within the limits.

    Args:
        constraints: limits.
        weights: variable of shape (n_names,).
        scale: 1, or a non-negative variable that multiplies all limits.

    """
    cp = cvxpy()
    lower, upper = constraints.bounds
    rules = [weights >= lower * scale, weights <= upper * scale]
    for limit in constraints.limits:
        size = max(float(np.abs(limit.coefficients).max()), 1e-12)
        row = (limit.coefficients / size) @ weights
        if limit.low == limit.high:
            rules.append(row == limit.low / size * scale)
            continue
        rules += [row >= limit.low / size * scale] if np.isfinite(limit.low) else []
        rules += [row <= limit.high / size * scale] if np.isfinite(limit.high) else []
    if constraints.turnover is not None and constraints.previous is not None:
        rules.append(cp.norm1(weights - constraints.previous * scale) <= constraints.turnover * scale)
    return rules


def risk(covariance: FloatArray, weights: Any) -> Any:
    """Variance of a portfolio whose weights are a variable."""
    return cvxpy().sum_squares(root(covariance).T @ weights)


def root(covariance: FloatArray) -> FloatArray:
    """A matrix R with R @ R.T equal to the covariance, which may be singular: float64 of shape (n_names, n_names)."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def solve(objective: Any, limits: list[Any], what: str, constraints: Constraints) -> float:
    """Solve a problem; its variables hold the solution, which `fitting.settled` checks against the limits.

    Args:
        objective: cvxpy's.
        limits: its constraints.
        what: name of the result in the message.
        constraints: source of the limits, for the message.

    Returns:
        The objective's value.

    Raises:
        InfeasibleError: the solver found no solution.

    """
    cp = cvxpy()
    problem = cp.Problem(objective, limits)
    why = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an inaccurate solution: `settled` checks the limits
        try:
            problem.solve(solver=cp.CLARABEL, direct_solve_method="qdldl", warm_start=False)
        except cp.error.SolverError as error:
            why = str(error).splitlines()[0]
    if why or problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        raise InfeasibleError(f"{what}: no solution was found ({why or problem.status}) within {constraints.said}")
    return float(problem.value)


def nearest(weights: FloatArray, constraints: Constraints) -> FloatArray:
    """The nearest weights within the limits, by squared distance relative to a name's weight."""
    cp = cvxpy()
    solution = cp.Variable(len(weights))
    sizes = np.maximum(np.abs(weights), 0.01 * max(float(np.abs(weights).max()), 1e-6))
    distance = cp.sum_squares(cp.multiply(1.0 / np.sqrt(sizes), solution - weights))
    solve(cp.Minimize(distance), within(constraints, solution), "weights within their limits", constraints)
    return np.asarray(solution.value, dtype=np.float64)
