"""Compiled estimation of GARCH(1,1) with constant mean on many windows.

Importing it loads numba; `signals.garch` does so when it fits.

Each window is standardised (mean 0, variance 1) and estimated by maximum likelihood in x = (mu, omega, alpha, beta),
with leverage (GJR-GARCH) gamma, and last, for Student-t errors, eta = 1 / nu, in which the likelihood is nearly
quadratic. The search is sequential quadratic programming: a quadratic model of the log-likelihood, at first with the
expected information, then with BFGS updates from the analytic score, is maximised exactly over the linear constraints
(`_step`), so a parameter can be exactly at its bound and no transformation flattens the likelihood there. Windows with
several maxima are common, so every window is searched from several starting values (`_STARTS`).

A window's estimate is computed from its own returns in a fixed order: no fastmath, no sum across windows. Everything is
in one file because numba checks only a function's own file to see whether its compiled code is out of date.

References:
    Bollerslev (1986), Generalized autoregressive conditional heteroskedasticity.
    Fiorentini, Calzolari, Panattoni (1996), Analytic derivatives and the computation of GARCH estimates: score and
        information.
    Glosten, Jagannathan, Runkle (1993), On the relation between the expected value and the volatility of the nominal
        excess return.
    Lange, Little, Taylor (1989), Robust statistical modeling using the t distribution: information of the degrees of
        freedom.
    Nocedal, Wright (2006), Numerical Optimization: active sets (16.5), damped BFGS (18.3).

"""

import math
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

import numpy as np
from numba import prange

from quant_assets.market.panel import FloatArray, IntArray
from quant_assets.windows.compiled import machine_code

P = ParamSpec("P")
R = TypeVar("R")

#: None rather than False: numba compiles per type, and removes the code for leverage if it is None. With a bool, fits
#: without leverage took 9 % more time.
Leverage = Literal[True] | None

MU, OMEGA, ALPHA, BETA, GAMMA = range(5)

#: The constraints of arch on standardised returns, rows of _NORMALS @ x >= _LIMITS: omega in [1e-8, 10], alpha, beta >=
#: 0, alpha + beta < 1, nu in [2.05, 500]. The last two rows are for Student-t errors only. With leverage, alpha + gamma
#: >= 0 precedes them, and the persistence, which is below 1, includes half of gamma.
_NORMALS = np.array(
    [
        [0, 1, 0, 0, 0],
        [0, -1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, -1, -1, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, -1],
    ],
    dtype=np.float64,
)
_LIMITS = np.array([1e-8, -10.0, 0.0, 0.0, -(1.0 - 1e-9), 1.0 / 500.0, -1.0 / 2.05])
_LEVERAGE_NORMALS = np.insert(
    np.insert(_NORMALS, GAMMA, [0, 0, 0, 0, -0.5, 0, 0], axis=1), 5, [0, 0, 1, 0, 1, 0], axis=0
)
_LEVERAGE_LIMITS = np.insert(_LIMITS, 5, 0.0)

#: Starting values of alpha and alpha + beta, omega for unit variance: the best pair of a grid; slow and persistent;
#: little memory; a variance that drifts from its first value independently of the returns; and four in between for
#: searches from these that end at different maxima. On 3,432 windows of real prices the best of 31 starts was higher by
#: more than 5e-3 on three windows with normal errors, three with Student-t. With leverage the weight of a squared
#: residual is a half of alpha above and three halves below the mean.
_STARTS = np.array(
    [[0.0, 0.0], [0.02, 0.995], [0.1, 0.2], [0.0, 0.997], [0.02, 0.9], [0.2, 0.9], [0.1, 0.995], [0.01, 0.98]]
)
_GRID, _DRIFT, _FIRST_STARTS = 0, 3, 4
_GRID_ALPHA = np.array([0.01, 0.05, 0.1, 0.2])
_GRID_PERSISTENCE = np.array([0.5, 0.7, 0.9, 0.98])
_START_ETA = 0.15

#: Log-likelihoods that differ by less, and points at a smaller distance (in squared standard errors), are the same
#: maximum.
_SAME_HILL, _SAME_HILL_DISTANCE = 0.01, 0.1

#: A search ends if the model expects less gain in log-likelihood than this,
_GAIN = 1e-13
#: an exploring search if it expects less than this,
_EXPLORED_GAIN = 1e-3
#: and it has converged if the information matrix of the last point expects less than this.
_CONVERGED_GAIN = 1e-6
#: A parameter this near to its bound is at it.
_AT_BOUND = 1e-12
#: Number of first steps of an exploring search with the expected information, the better model far from the maximum.
_SCORING_STEPS = 5
_MAX_EVALUATIONS, _LEAST_LENGTH = 500, 1e-9

#: Variances are multiplied until their product exceeds this, and then one logarithm is taken. The product is checked
#: after each block: 16 more values of 1e-8 to 1e12 do not overflow.
_LARGE, _LOG_BLOCK = 1e100, 16

#: Returns whose deviation is below this share of their largest value are constant up to rounding.
_LEAST_DEVIATION = 1e-10

#: Decay and number of the squared deviations in arch's variance before the first return.
_BACKCAST_DECAY, _BACKCAST_SESSIONS = 0.94, 75


def _compiled(function: Callable[P, R]) -> Callable[P, R]:
    return machine_code(function, error_model="numpy")


def _parallel(function: Callable[P, R]) -> Callable[P, R]:
    return machine_code(function, error_model="numpy", parallel=True)


@_compiled
def _copy(values: FloatArray, to: FloatArray) -> None:
    """As to[:] = values, whose error message for other shapes takes a second to compile."""
    for i in range(len(values)):
        to[i] = values[i]


@_compiled
def _copy_square(values: FloatArray, to: FloatArray) -> None:
    for i in range(len(values)):
        for j in range(len(values)):
            to[i, j] = values[i, j]


@_compiled
def digamma(x: float) -> float:
    """Derivative of the logarithm of the gamma function, for positive x."""
    total = 0.0
    while x < 8.0:
        total -= 1.0 / x
        x += 1.0
    r = 1.0 / (x * x)
    return (
        total
        + math.log(x)
        - 0.5 / x
        - r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r * (1 / 132 - r * 691 / 32760)))))
    )


@_compiled
def _trigamma(x: float) -> float:
    total = 0.0
    while x < 8.0:
        total += 1.0 / (x * x)
        x += 1.0
    r = 1.0 / (x * x)
    return (
        total
        + 1.0 / x
        + 0.5 * r
        + r / x * (1 / 6 - r * (1 / 30 - r * (1 / 42 - r * (1 / 30 - r * (5 / 66 - r * 691 / 2730)))))
    )


@_compiled
def evaluate(
    y: FloatArray,
    x: FloatArray,
    student: bool,
    leverage: Leverage,
    mean_square: bool,
    backcast: float,
    score: FloatArray,
    information: FloatArray,
    informed: bool,
) -> tuple[float, float]:
    """Log-likelihood and variance forecast at the last observation; writes score and expected information.

    Args:
        y: observations, shape (n,).
        x: mu, omega, alpha, beta, if `leverage` gamma, and, if `student`, eta = 1 / nu.
        leverage: if True, a squared residual below the mean has the weight alpha + gamma.
        student: standardised Student-t errors instead of normal ones.
        mean_square: use the mean of (y - mu)² as the variance before the first observation, a function of mu.
        backcast: that variance if it is not a function of mu.
        score: derivatives of the log-likelihood by x; written.
        information: their expected negative second derivatives, both triangles; written if `informed`.
        informed: compute the information, which costs as much as all else.

    """
    n = len(y)
    mu, omega, alpha, beta = x[MU], x[OMEGA], x[ALPHA], x[BETA]
    before, before_slope = backcast, 0.0
    if mean_square:
        before = 0.0
        for t in range(n):
            before += (y[t] - mu) ** 2
            before_slope -= 2.0 * (y[t] - mu)
        before /= n
        before_slope /= n
    gamma = x[GAMMA] if leverage is not None else 0.0
    eta = len(x) - 1
    nu, inverse = math.inf, 0.0
    if student:
        nu = 1.0 / x[eta]
        inverse = 1.0 / (nu - 2.0)
    # The variance of the next observation and its derivatives by mu, omega, alpha, beta and gamma.
    persistence = alpha + beta + 0.5 * gamma
    variance = omega + persistence * before
    d_mu, d_omega, d_alpha, d_beta, d_gamma = persistence * before_slope, 1.0, before, before, 0.5 * before
    s_mu = s_omega = s_alpha = s_beta = s_gamma = 0.0
    i_mu = i_direct = i_oo = i_oa = i_ob = i_aa = i_ab = i_bb = 0.0
    i_mo = i_ma = i_mb = i_mg = i_og = i_ag = i_bg = i_gg = 0.0
    m_omega = m_alpha = m_beta = m_mu = m_gamma = 0.0
    log_variance = log_tail = squares = 0.0
    product = tail_product = 1.0
    block = 0
    while block < n:
        for t in range(block, min(block + _LOG_BLOCK, n)):
            e = y[t] - mu
            e2 = e * e
            product *= variance
            precision = 1.0 / variance
            z2 = e2 * precision
            if student:
                tail = 1.0 + z2 * inverse
                tail_product *= tail
                weight = (nu + 1.0) * inverse / tail
                squares += z2 / tail
            else:
                weight = 1.0
                squares += z2
            slope = 0.5 * precision * (weight * z2 - 1.0)
            s_mu += weight * e * precision + slope * d_mu
            s_omega += slope * d_omega
            s_alpha += slope * d_alpha
            s_beta += slope * d_beta
            if informed:
                r_mu, r_omega, r_alpha, r_beta = (
                    precision * d_mu,
                    precision * d_omega,
                    precision * d_alpha,
                    precision * d_beta,
                )
                i_direct += precision
                i_mu += r_mu * r_mu
                i_oo += r_omega * r_omega
                i_oa += r_omega * r_alpha
                i_ob += r_omega * r_beta
                i_aa += r_alpha * r_alpha
                i_ab += r_alpha * r_beta
                i_bb += r_beta * r_beta
                if student:
                    m_mu += r_mu
                    m_omega += r_omega
                    m_alpha += r_alpha
                    m_beta += r_beta
            bend = alpha
            if leverage is not None:
                s_gamma += slope * d_gamma
                if informed:
                    r_mu, r_omega, r_alpha, r_beta = (
                        precision * d_mu,
                        precision * d_omega,
                        precision * d_alpha,
                        precision * d_beta,
                    )
                    r_gamma = precision * d_gamma
                    i_mo += r_mu * r_omega
                    i_ma += r_mu * r_alpha
                    i_mb += r_mu * r_beta
                    i_mg += r_mu * r_gamma
                    i_og += r_omega * r_gamma
                    i_ag += r_alpha * r_gamma
                    i_bg += r_beta * r_gamma
                    i_gg += r_gamma * r_gamma
                    m_gamma += r_gamma
                d_gamma = beta * d_gamma
                if e < 0.0:
                    bend = alpha + gamma
                    d_gamma += e2
            d_mu = beta * d_mu - 2.0 * bend * e
            d_omega = beta * d_omega + 1.0
            d_alpha = beta * d_alpha + e2
            d_beta = beta * d_beta + variance
            variance = omega + bend * e2 + beta * variance
        if not 1.0 / _LARGE < product < _LARGE:
            log_variance += math.log(product)
            product = 1.0
        if tail_product > _LARGE:
            log_tail += math.log(tail_product)
            tail_product = 1.0
        block += _LOG_BLOCK
    log_variance += math.log(product)
    log_tail += math.log(tail_product)
    direct, by_variance = 1.0, 0.5
    if student:
        direct = nu * (nu + 1.0) / ((nu - 2.0) * (nu + 3.0))
        by_variance = nu / (2.0 * (nu + 3.0))
    score[MU], score[OMEGA], score[ALPHA], score[BETA] = s_mu, s_omega, s_alpha, s_beta
    information[:, :] = 0.0
    information[MU, MU] = direct * i_direct + by_variance * i_mu
    information[OMEGA, OMEGA] = by_variance * i_oo
    information[ALPHA, ALPHA] = by_variance * i_aa
    information[BETA, BETA] = by_variance * i_bb
    information[OMEGA, ALPHA] = information[ALPHA, OMEGA] = by_variance * i_oa
    information[OMEGA, BETA] = information[BETA, OMEGA] = by_variance * i_ob
    information[ALPHA, BETA] = information[BETA, ALPHA] = by_variance * i_ab
    if leverage is not None:
        # The variance rises more below the mean, so its derivative by mu is correlated with the others.
        score[GAMMA] = s_gamma
        information[GAMMA, GAMMA] = by_variance * i_gg
        information[MU, OMEGA] = information[OMEGA, MU] = by_variance * i_mo
        information[MU, ALPHA] = information[ALPHA, MU] = by_variance * i_ma
        information[MU, BETA] = information[BETA, MU] = by_variance * i_mb
        information[MU, GAMMA] = information[GAMMA, MU] = by_variance * i_mg
        information[OMEGA, GAMMA] = information[GAMMA, OMEGA] = by_variance * i_og
        information[ALPHA, GAMMA] = information[GAMMA, ALPHA] = by_variance * i_ag
        information[BETA, GAMMA] = information[GAMMA, BETA] = by_variance * i_bg
    if not student:
        return -0.5 * (n * math.log(2.0 * math.pi) + log_variance + squares), variance
    half, whole = 0.5 * (nu + 1.0), 0.5 * nu
    level = math.lgamma(half) - math.lgamma(whole) - 0.5 * math.log(math.pi * (nu - 2.0))
    level_slope = 0.5 * (digamma(half) - digamma(whole) - inverse)
    to_eta = -nu * nu  # d nu / d eta
    score[eta] = to_eta * (n * level_slope - 0.5 * log_tail + half * inverse * inverse * squares)
    ratio = 2.0 * inverse / nu  # d log(squared scale) / d nu at a given variance
    by_nu = (
        0.25 * (_trigamma(whole) - _trigamma(half))
        - (nu + 5.0) / (2.0 * nu * (nu + 1.0) * (nu + 3.0))
        - 2.0 * ratio / ((nu + 1.0) * (nu + 3.0))
        + by_variance * ratio * ratio
    )
    information[eta, eta] = to_eta * to_eta * n * by_nu
    cross = to_eta * 3.0 * inverse / ((nu + 1.0) * (nu + 3.0))
    information[MU, eta] = information[eta, MU] = cross * m_mu
    information[OMEGA, eta] = information[eta, OMEGA] = cross * m_omega
    information[ALPHA, eta] = information[eta, ALPHA] = cross * m_alpha
    information[BETA, eta] = information[eta, BETA] = cross * m_beta
    if leverage is not None:
        information[GAMMA, eta] = information[eta, GAMMA] = cross * m_gamma
    return n * level - 0.5 * log_variance - half * log_tail, variance


@_compiled
def _solve(matrix: FloatArray, right: FloatArray, size: int) -> None:
    """Gaussian elimination with partial pivoting, in place: `right` becomes the solution."""
    for k in range(size):
        pivot = k
        for i in range(k + 1, size):
            if abs(matrix[i, k]) > abs(matrix[pivot, k]):
                pivot = i
        if pivot != k:
            for j in range(k, size):
                matrix[k, j], matrix[pivot, j] = matrix[pivot, j], matrix[k, j]
            right[k], right[pivot] = right[pivot], right[k]
        scale = 1.0 / matrix[k, k]
        for i in range(k + 1, size):
            factor = matrix[i, k] * scale
            if factor != 0.0:
                for j in range(k + 1, size):
                    matrix[i, j] -= factor * matrix[k, j]
                right[i] -= factor * right[k]
    for k in range(size - 1, -1, -1):
        for j in range(k + 1, size):
            right[k] -= matrix[k, j] * right[j]
        right[k] /= matrix[k, k]


@_compiled
def _step(x: FloatArray, score: FloatArray, curvature: FloatArray, leverage: Leverage, step: FloatArray) -> float:
    """Maximise score'd - d'curvature d / 2 over feasible x + d by active sets; writes d, returns the maximum.

    The multipliers of the last active set are the Karush-Kuhn-Tucker conditions: a maximum of 0 is a stationary point.
    NaN if the curvature has no such maximum.
    """
    k = len(x)
    normals, limits = (_LEVERAGE_NORMALS, _LEVERAGE_LIMITS) if leverage is not None else (_NORMALS, _LIMITS)
    rows = len(limits) if k == normals.shape[1] else len(limits) - 2
    scale = np.empty(k)  # to unit diagonal
    for i in range(k):
        if not curvature[i, i] > 0.0:
            return math.nan
        scale[i] = 1.0 / math.sqrt(curvature[i, i])
    active = np.zeros(rows, dtype=np.bool_)
    room = np.empty(rows)  # distance to each constraint
    for r in range(rows):
        room[r] = -limits[r]
        for i in range(k):
            room[r] += normals[r, i] * x[i]
        room[r] = max(room[r], 0.0)
        active[r] = room[r] <= _AT_BOUND
    d = np.zeros(k)
    system = np.empty((k + rows, k + rows))
    right = np.empty(k + rows)
    for _ in range(4 * rows):
        size = k
        for i in range(k):
            right[i] = score[i] * scale[i]
            for j in range(k):
                system[i, j] = curvature[i, j] * scale[i] * scale[j]
                right[i] -= system[i, j] * d[j]
            system[i, i] += 1e-10
        for r in range(rows):
            if active[r]:
                for i in range(k):
                    system[i, size] = -normals[r, i] * scale[i]
                    system[size, i] = normals[r, i] * scale[i]
                for j in range(k, size + 1):
                    system[j, size] = system[size, j] = 0.0
                right[size] = 0.0
                size += 1
        _solve(system, right, size)
        length, blocking = 1.0, -1
        for r in range(rows):
            if not active[r]:
                towards = 0.0
                for i in range(k):
                    towards -= normals[r, i] * scale[i] * right[i]
                if towards > 0.0 and room[r] < length * towards:
                    length, blocking = room[r] / towards, r
        for i in range(k):
            d[i] += length * right[i]
        for r in range(rows):
            if not active[r]:
                for i in range(k):
                    room[r] += length * normals[r, i] * scale[i] * right[i]
                room[r] = max(room[r], 0.0)
        if blocking >= 0:
            active[blocking] = True
            room[blocking] = 0.0
            continue
        # The maximum on the active set: release the constraint with the most negative multiplier.
        worst, release, place = -1e-7, -1, k
        for r in range(rows):
            if active[r]:
                if right[place] < worst:
                    worst, release = right[place], r
                place += 1
        if release < 0:
            break
        active[release] = False
    gain = 0.0
    for i in range(k):
        step[i] = d[i] * scale[i]
    for i in range(k):
        gain += score[i] * step[i]
        for j in range(k):
            gain -= 0.5 * step[i] * curvature[i, j] * step[j]
    return gain


@_compiled
def _moved(x: FloatArray, step: FloatArray, length: float, leverage: Leverage, to: FloatArray) -> None:
    """Write x + length * step, moved back onto constraints that rounding violates."""
    for i in range(len(x)):
        to[i] = x[i] + length * step[i]
    to[OMEGA] = min(max(to[OMEGA], _LIMITS[0]), -_LIMITS[1])
    for i in (ALPHA, BETA):
        if to[i] <= _AT_BOUND:
            to[i] = 0.0
    if leverage is not None:
        if to[ALPHA] + to[GAMMA] <= _AT_BOUND:
            to[GAMMA] = -to[ALPHA]
        if to[ALPHA] + to[BETA] + 0.5 * to[GAMMA] > -_LIMITS[4]:
            to[BETA] = max(-_LIMITS[4] - to[ALPHA] - 0.5 * to[GAMMA], 0.0)
            to[GAMMA] = min(to[GAMMA], 2.0 * (-_LIMITS[4] - to[ALPHA]))
    elif to[ALPHA] + to[BETA] > -_LIMITS[4]:
        to[BETA] = max(-_LIMITS[4] - to[ALPHA], 0.0)
        to[ALPHA] = min(to[ALPHA], -_LIMITS[4])
    if len(x) > (5 if leverage is not None else 4):
        to[-1] = min(max(to[-1], _LIMITS[5]), -_LIMITS[6])


@_compiled
def _update(curvature: FloatArray, step: FloatArray, change: FloatArray, push: FloatArray) -> bool:
    """Powell's damped BFGS update with the fall of the score along a step, which keeps the curvature positive definite.

    Overwrites `change` and `push`; False if the step is too short.
    """
    k = len(step)
    along = bent = 0.0
    for i in range(k):
        push[i] = 0.0
        for j in range(k):
            push[i] += curvature[i, j] * step[j]
        bent += step[i] * push[i]
        along += step[i] * change[i]
    if not bent > 0.0:
        return False
    share = 1.0 if along >= 0.2 * bent else 0.8 * bent / (bent - along)
    mixed = share * along + (1.0 - share) * bent
    for i in range(k):
        change[i] = share * change[i] + (1.0 - share) * push[i]
    for i in range(k):
        for j in range(k):
            curvature[i, j] += change[i] * change[j] / mixed - push[i] * push[j] / bent
    return True


@_compiled
def _search(
    y: FloatArray,
    x: FloatArray,
    curvature: FloatArray,
    final: bool,
    student: bool,
    leverage: Leverage,
    mean_square: bool,
    backcast: float,
    known: FloatArray,
    known_curvature: FloatArray,
    known_level: float,
) -> tuple[float, float, bool]:
    """Climb from x, which becomes the maximum; returns log-likelihood, variance forecast and convergence.

    An exploring search stops with `known_level` within `_SAME_HILL_DISTANCE` of the `known` maximum, by its curvature.
    The `final` search starts with the `curvature` of the exploring one, ends at `_GAIN`, and then checks convergence
    with the information at its last point, because the updates may miss a direction.
    """
    k = len(x)
    score, new_score, step, trial, push = np.zeros(k), np.empty(k), np.empty(k), x.copy(), np.empty(k)
    information = np.empty((k, k))
    enough = _GAIN if final else _EXPLORED_GAIN
    level, ahead, rise, length, gain = -math.inf, 0.0, 0.0, 0.0, math.inf
    informed, fresh, checking = not final, False, False
    accepted = 0
    for _ in range(_MAX_EVALUATIONS):
        # One call for all purposes, because compiled code is inlined at every call.
        new_level, new_ahead = evaluate(
            y, trial, student, leverage, mean_square, backcast, new_score, information, informed
        )
        # Rounding may hide the last gains.
        if length > 0.0 and not new_level >= level + 1e-4 * length * rise - 1e-13 * abs(level):
            if length > _LEAST_LENGTH:
                bend = rise * length - (new_level - level)
                length *= min(max(0.5 * rise * length / bend, 0.1), 0.5)
                _moved(x, step, length, leverage, trial)
                continue
            if fresh:
                return level, ahead, gain <= _CONVERGED_GAIN
            _copy(x, trial)
            informed = checking = True
            length = 0.0
            continue
        if informed:
            _copy_square(information, curvature)
            fresh = True
        elif length > 0.0:
            for i in range(k):
                step[i] = trial[i] - x[i]
                score[i] -= new_score[i]
            fresh = not _update(curvature, step, score, push) and fresh
        level, ahead = new_level, new_ahead
        _copy(trial, x)
        _copy(new_score, score)
        if not final and level < known_level:
            apart = 0.0
            for i in range(k):
                for j in range(k):
                    apart += (x[i] - known[i]) * known_curvature[i, j] * (x[j] - known[j])
            if apart < _SAME_HILL_DISTANCE:
                return known_level, ahead, True
        gain = _step(x, score, curvature, leverage, step)
        if math.isnan(gain) and fresh:
            return level, ahead, False
        if math.isnan(gain):  # rounding has made the updates indefinite
            informed = True
            length = 0.0
            _copy(x, trial)
            continue
        if gain <= enough or (checking and gain <= _CONVERGED_GAIN):
            if fresh or not final:
                return level, ahead, True
            informed = checking = True
            length = 0.0
            continue
        checking = False
        accepted += 1
        informed = not final and accepted <= _SCORING_STEPS
        rise = 0.0
        for i in range(k):
            rise += score[i] * step[i]
        length = 1.0
        _moved(x, step, length, leverage, trial)
    return level, ahead, False


@_compiled
def _grid_start(y: FloatArray, backcast: float, x: FloatArray) -> None:
    """Write the pair of the grid with the highest normal likelihood, with mean 0 and unit variance."""
    pairs = len(_GRID_ALPHA) * len(_GRID_PERSISTENCE)
    omega, alpha, beta, variance = np.empty(pairs), np.empty(pairs), np.empty(pairs), np.empty(pairs)
    product, loss = np.ones(pairs), np.zeros(pairs)
    for p in range(pairs):
        alpha[p] = _GRID_ALPHA[p // len(_GRID_PERSISTENCE)]
        persistence = _GRID_PERSISTENCE[p % len(_GRID_PERSISTENCE)]
        omega[p], beta[p] = 1.0 - persistence, persistence - alpha[p]
        variance[p] = omega[p] + persistence * backcast
    for t in range(len(y)):
        e2 = y[t] * y[t]
        for p in range(pairs):
            product[p] *= variance[p]
            loss[p] += e2 / variance[p]
            variance[p] = omega[p] + alpha[p] * e2 + beta[p] * variance[p]
        if t % _LOG_BLOCK == _LOG_BLOCK - 1 or t == len(y) - 1:
            for p in range(pairs):
                loss[p] += math.log(product[p])
                product[p] = 1.0
    best = np.argmin(loss)
    x[OMEGA], x[ALPHA], x[BETA] = omega[best], alpha[best], beta[best]


@_compiled
def _start(which: int, y: FloatArray, backcast: float, leverage: Leverage, x: FloatArray) -> None:
    """Write the starting values number `which`; they depend on the window alone."""
    x[MU] = 0.0
    if len(x) > (5 if leverage is not None else 4):
        x[-1] = _START_ETA
    x[OMEGA], x[ALPHA], x[BETA] = 1.0 - _STARTS[which, 1], _STARTS[which, 0], _STARTS[which, 1] - _STARTS[which, 0]
    if which == _GRID:
        _grid_start(y, backcast, x)
    elif which == _DRIFT:
        # The variance drifts from the backcast independently of the returns, with mean 1 over the window.
        beta = x[BETA]
        share = (1.0 - beta ** len(y)) / (len(y) * (1.0 - beta))
        x[OMEGA] = max((1.0 - beta) * (1.0 - share * backcast) / (1.0 - share), 1e-4)
    if leverage is not None:
        x[GAMMA] = x[ALPHA]
        x[ALPHA] *= 0.5


@_compiled
def _fit(returns: FloatArray, student: bool, leverage: Leverage, mean_square: bool, out: FloatArray) -> None:
    """Fit one window; writes a row of `fit_windows`."""
    n = len(returns)
    mean = largest = 0.0
    for t in range(n):
        mean += returns[t]
        largest = max(largest, abs(returns[t]))
    mean /= n
    square = 0.0
    for t in range(n):
        square += (returns[t] - mean) ** 2
    deviation = math.sqrt(square / n)
    if not (n > 0 and deviation > _LEAST_DEVIATION * largest and math.isfinite(deviation)):
        return
    y = np.empty(n)
    for t in range(n):
        y[t] = (returns[t] - mean) / deviation
    backcast = weight = 0.0
    for t in range(min(_BACKCAST_SESSIONS, n) - 1, -1, -1):
        backcast = _BACKCAST_DECAY * backcast + y[t] * y[t]
        weight = _BACKCAST_DECAY * weight + 1.0
    backcast = 1.0 if mean_square else backcast / weight
    k = (5 if leverage is not None else 4) + int(student)
    x, best, curvature, best_curvature = np.empty(k), np.zeros(k), np.empty((k, k)), np.zeros((k, k))
    level, ahead, converged = -math.inf, 0.0, False
    reached, last = 0, len(_STARTS)
    for attempt in range(len(_STARTS) + 1):
        final = attempt == last
        if final:
            _copy(best, x)
            _copy_square(best_curvature, curvature)
        else:
            _start(attempt, y, backcast, leverage, x)
        reached_level, ahead, converged = _search(
            y, x, curvature, final, student, leverage, mean_square, backcast, best, best_curvature, level
        )
        if final:
            level = reached_level
            _copy(x, best)
            break
        if abs(reached_level - level) < _SAME_HILL:
            reached += 1
        elif reached_level > level:
            reached = 1
        if reached_level > level:
            level = reached_level
            _copy(x, best)
            _copy_square(curvature, best_curvature)
        # A maximum reached from three such different starts is hardly a lower one.
        if attempt + 1 >= _FIRST_STARTS and reached > 2:
            last = attempt + 1
    if mean_square:
        backcast = 1.0 + best[MU] * best[MU]
    scale = deviation * deviation
    out[0], out[1], out[2], out[3] = mean + deviation * best[MU], scale * best[OMEGA], best[ALPHA], best[BETA]
    out[4] = best[GAMMA] if leverage is not None else 0.0
    out[5] = 1.0 / best[k - 1] if student else math.inf
    out[6] = scale * backcast
    out[7] = level - n * math.log(deviation)
    out[8] = scale * ahead
    out[9] = 1.0 if converged else 0.0
    out[10] = last


@_parallel
def fit_windows(
    returns: FloatArray, starts: IntArray, stops: IntArray, student: bool, leverage: Leverage, mean_square: bool
) -> FloatArray:
    """Fit every window returns[starts[i]:stops[i]].

    Returns:
        Shape (n_windows, 11): mu, omega, alpha, beta, gamma, nu, presample variance, log-likelihood, variance forecast
        at the window's last return, converged (0 or 1), number of starts. NaN, converged 0 and no start if the returns
        do not vary.

    """
    out = np.full((len(starts), 11), np.nan)
    for i in prange(len(starts)):
        out[i, 9], out[i, 10] = 0.0, 0.0
        _fit(returns[starts[i] : stops[i]], student, leverage, mean_square, out[i])
    return out


@_parallel
def forecasts(
    returns: FloatArray, starts: IntArray, stops: IntArray, ends: IntArray, parameters: FloatArray
) -> FloatArray:
    """Filter each window from its start to returns[ends[i]] with given parameters.

    Args:
        returns: shape (n_returns,).
        starts: first return of each window, shape (n_windows,).
        stops: first return with a forecast.
        ends: one past the last; the ranges from `stops` to `ends` do not overlap.
        parameters: mu, omega, alpha, beta, gamma and presample variance, shape (n_windows, 6).

    Returns:
        Shape (n_returns,): at each return, the variance forecast for the next one, NaN outside the ranges.

    """
    out = np.full(len(returns), np.nan)
    for i in prange(len(starts)):
        mu, omega, alpha, beta, gamma, before = parameters[i]
        variance = omega + (alpha + beta + 0.5 * gamma) * before
        for t in range(starts[i], ends[i]):
            bend = alpha + gamma if returns[t] < mu else alpha
            variance = omega + bend * (returns[t] - mu) ** 2 + beta * variance
            if t >= stops[i]:
                out[t] = variance
    return out
