"""Compiled recursions of hidden Markov models: the forward filter, and expectation maximisation with Student-t errors.

Importing it loads numba; `risk.hidden_markov` does so when it fits or filters. Sums have a fixed order.

References:
    Hamilton (1989), A new approach to the economic analysis of nonstationary time series and the business cycle,
        Econometrica 57(2): the filter.
    Rabiner (1989), A tutorial on hidden Markov models, Proceedings of the IEEE 77(2): scaled forward and backward
        recursions, equations (91) to (95) and (108) to (111).
    Peel, McLachlan (2000), Robust mixture modelling using the t distribution, Statistics and Computing 10: the updates
        of location, scale and degrees of freedom, equations (20) to (25) and (32).

"""

import math
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.signals.garch_kernel import digamma
from quant_assets.windows.compiled import machine_code

P = ParamSpec("P")
R = TypeVar("R")


def _compiled(function: Callable[P, R]) -> Callable[P, R]:
    return machine_code(function, error_model="numpy")


@_compiled
def forward(
    initial: FloatArray, transition: FloatArray, log_density: FloatArray, filtered: FloatArray, scale: FloatArray
) -> float:
    """Return the log-likelihood; write P(state at t | observations up to t).

    Args:
        initial: probabilities of the states at the first observation, shape (n_states,).
        transition: from state (row) to state (column), shape (n_states, n_states).
        log_density: of each observation in each state, shape (n_observations, n_states).
        filtered: of that shape; written.
        scale: density of each observation given the ones before, divided by exp of the largest of its row of
            `log_density`, shape (n_observations,); written.

    """
    n, k = log_density.shape
    predicted = initial.copy()
    level = 0.0
    for t in range(n):
        most = log_density[t, 0]
        for i in range(1, k):
            most = max(most, log_density[t, i])
        total = 0.0
        for i in range(k):
            filtered[t, i] = predicted[i] * math.exp(log_density[t, i] - most)
            total += filtered[t, i]
        scale[t] = total
        level += most + math.log(total)
        for i in range(k):
            filtered[t, i] /= total
        for j in range(k):
            predicted[j] = 0.0
        for i in range(k):
            for j in range(k):
                predicted[j] += filtered[t, i] * transition[i, j]
    return level


@_compiled
def student_densities(
    y: FloatArray, location: FloatArray, squared_scale: FloatArray, nu: float, log_density: FloatArray
) -> None:
    """Write the log density of each observation in each state."""
    constant = math.lgamma(0.5 * (nu + 1.0)) - math.lgamma(0.5 * nu) - 0.5 * math.log(math.pi * nu)
    for i in range(len(location)):
        level = constant - 0.5 * math.log(squared_scale[i])
        for t in range(len(y)):
            distance = (y[t] - location[i]) ** 2 / squared_scale[i]
            log_density[t, i] = level - 0.5 * (nu + 1.0) * math.log1p(distance / nu)


@_compiled
def _degrees(nu: float, mean: float, lowest: float, highest: float) -> float:
    """Peel and McLachlan's equation (32) for the degrees of freedom, by bisection.

    Args:
        nu: degrees of freedom so far.
        mean: of log u - u over the observations, u being their weights.
        lowest: bound.
        highest: bound.

    """
    constant = 1.0 + mean + digamma(0.5 * (nu + 1.0)) - math.log(0.5 * (nu + 1.0))
    low, high = lowest, highest
    for _ in range(60):
        middle = 0.5 * (low + high)
        if math.log(0.5 * middle) - digamma(0.5 * middle) + constant > 0.0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@_compiled
def student_em(
    y: FloatArray,
    initial: FloatArray,
    transition: FloatArray,
    location: FloatArray,
    squared_scale: FloatArray,
    nu: float,
    bounds: FloatArray,
    counted: FloatArray,
    least_scale: float,
    gain: float,
    iterations: int,
    occupancy: FloatArray,
) -> tuple[float, float, bool]:
    """Improve the parameters in place until convergence; return log-likelihood, nu and convergence.

    Args:
        y: observations of shape (n,).
        initial: probabilities at the first observation; changed.
        transition: changed.
        location: of each state; changed.
        squared_scale: of each state; changed.
        nu: degrees of freedom, common to the states.
        bounds: lowest and highest nu; equal where nu is not estimated.
        counted: moves between the states added to those of the observations, shape of `transition`: a
            Dirichlet prior of 1 + counted.
        least_scale: lower bound of `squared_scale`, without which a state on one observation has no optimum.
        gain: gain in log-likelihood (with the prior's) of an iteration below which it has converged.
        iterations: at most.
        occupancy: expected number of observations in each state; written.

    """
    n, k = len(y), len(location)
    log_density, filtered, scale = np.empty((n, k)), np.empty((n, k)), np.empty(n)
    smoothed, beta, new_beta = np.empty((n, k)), np.empty(k), np.empty(k)
    moves = np.empty((k, k))
    level, aimed, converged = -math.inf, -math.inf, False
    for step in range(iterations + 1):
        student_densities(y, location, squared_scale, nu, log_density)
        likelihood = forward(initial, transition, log_density, filtered, scale)
        if not math.isfinite(likelihood):
            return likelihood, nu, False
        target = likelihood
        for i in range(k):
            for j in range(k):
                if counted[i, j] > 0.0:
                    target += counted[i, j] * math.log(transition[i, j])
        converged = target - aimed < gain
        level, aimed = likelihood, target
        # Backward: beta is scaled as the filter is.
        for i in range(k):
            beta[i] = 1.0
            smoothed[n - 1, i] = filtered[n - 1, i]
            for j in range(k):
                moves[i, j] = 0.0
        for t in range(n - 2, -1, -1):
            most = log_density[t + 1, 0]
            for i in range(1, k):
                most = max(most, log_density[t + 1, i])
            for i in range(k):
                new_beta[i] = 0.0
                for j in range(k):
                    ahead = transition[i, j] * math.exp(log_density[t + 1, j] - most) * beta[j] / scale[t + 1]
                    moves[i, j] += filtered[t, i] * ahead
                    new_beta[i] += ahead
            for i in range(k):
                beta[i] = new_beta[i]
                smoothed[t, i] = filtered[t, i] * beta[i]
        for i in range(k):
            occupancy[i] = 0.0
            for t in range(n):
                occupancy[i] += smoothed[t, i]
        if converged or step == iterations:
            break
        weighed = 0.0
        for i in range(k):
            initial[i] = smoothed[0, i]
            leaving = 0.0
            for j in range(k):
                leaving += moves[i, j] + counted[i, j]
            for j in range(k):
                if leaving > 0.0:
                    transition[i, j] = (moves[i, j] + counted[i, j]) / leaving
            total = weights = squares = 0.0
            for t in range(n):
                u = (nu + 1.0) / (nu + (y[t] - location[i]) ** 2 / squared_scale[i])
                weighed += smoothed[t, i] * (math.log(u) - u)
                weights += smoothed[t, i] * u
                total += smoothed[t, i] * u * y[t]
            if weights > 0.0:
                centre = total / weights
                for t in range(n):
                    u = (nu + 1.0) / (nu + (y[t] - location[i]) ** 2 / squared_scale[i])
                    squares += smoothed[t, i] * u * (y[t] - centre) ** 2
                location[i] = centre
                squared_scale[i] = max(squares / occupancy[i], least_scale)
        if bounds[0] < bounds[1]:
            nu = _degrees(nu, weighed / n, bounds[0], bounds[1])
    return level, nu, converged
