"""Back-tests of a value at risk over a series of sessions: number, clustering and size of exceedances.

References:
    Kupiec (1995), Techniques for verifying the accuracy of risk measurement models, Journal of Derivatives 3(2).
    Christoffersen (1998), Evaluating interval forecasts, International Economic Review 39(4).
    Acerbi, Szekely (2014), Back-testing expected shortfall, Risk: the second test, equation (6).
    Basel Committee (1996), Supervisory framework for the use of backtesting: the three zones.

"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from quant_assets.market.panel import BoolArray, FloatArray

#: Cumulative binomial probabilities at which Basel's yellow and red zones begin.
_YELLOW, _RED = 0.95, 0.9999

#: Degrees of freedom and number of samples for simulating Acerbi and Szekely's statistic. Its critical values hardly
#: depend on the tail: for 250 sessions at 97.5 % they are -0.70 at 5 % for all degrees of freedom from 5 on.
_TAIL_NU, _SAMPLES, _SEED = 5.0, 4_000, 20_240_601
#: Losses of a simulated history that are drawn at once.
_BLOCK = 32


class Ratio(NamedTuple):
    """A likelihood ratio and its p-value under the hypothesis."""

    statistic: float
    p_value: float


class Backtest(NamedTuple):
    """Results of one method at one level.

    Attributes:
        sessions: sessions with a forecast and a return.
        exceptions: sessions whose loss was greater than the value at risk.
        kupiec: whether their number is as expected.
        independence: whether an exception makes one on the next session more likely.
        conditional_coverage: both at once.
        shortfall: Acerbi and Szekely's second statistic: 0 is expected, below it shortfalls were understated.
        shortfall_p_value: probability of such a low statistic if the model is right.
        traffic_light: green, yellow or red.

    """

    sessions: int
    exceptions: int
    kupiec: Ratio
    independence: Ratio
    conditional_coverage: Ratio
    shortfall: float
    shortfall_p_value: float
    traffic_light: str


def kupiec(exceptions: int, sessions: int, level: float) -> Ratio:
    """Unconditional coverage: chi-squared with 1 degree of freedom.

    Of 250 sessions at 99 %, 0.7691 for 4 exceptions and 5.4970 for 7.
    """
    p, rate = 1.0 - level, exceptions / sessions
    wrong = _log_likelihood(exceptions, sessions - exceptions, p)
    return _ratio(_log_likelihood(exceptions, sessions - exceptions, rate) - wrong, 1)


def independence(hits: BoolArray) -> Ratio:
    """Whether an exception follows an exception as often as it follows none: chi-squared with 1 degree of freedom."""
    before, after = hits[:-1], hits[1:]
    moves = [[int((~before & ~after).sum()), int((~before & after).sum())]]
    moves.append([int((before & ~after).sum()), int((before & after).sum())])
    (n00, n01), (n10, n11) = moves
    total = n00 + n01 + n10 + n11
    alike = _log_likelihood(n01 + n11, n00 + n10, (n01 + n11) / total) if total else 0.0
    apart = sum(_log_likelihood(yes, no, yes / (yes + no)) for no, yes in moves if yes + no)
    return _ratio(apart - alike, 1)


def shortfall_statistic(returns: FloatArray, value_at_risk: FloatArray, expected: FloatArray, level: float) -> float:
    """Acerbi and Szekely's second statistic, 1 + sum of r I / (T (1 - level) ES), with I where -r > VaR."""
    hits = -returns > value_at_risk
    return 1.0 + math.fsum((returns[hits] / expected[hits]).tolist()) / (len(returns) * (1.0 - level))


@lru_cache(maxsize=256)
def _shortfall_samples(sessions: int, level: float) -> FloatArray:
    """The statistic of `_SAMPLES` simulated histories in which the model is right, ascending."""
    p = 1.0 - level
    rng = np.random.default_rng([_SEED, sessions, round(1e6 * level)])
    counts = rng.binomial(sessions, p, size=_SAMPLES)
    sums = np.zeros(_SAMPLES)
    for block in range(math.ceil(int(counts.max()) / _BLOCK)):
        within = np.clip(counts - block * _BLOCK, 0, _BLOCK)
        sums += _shortfall_sums(block, level)[np.arange(_SAMPLES), within]
    return np.sort(1.0 + sums / (sessions * p))


@lru_cache(maxsize=64)
def _shortfall_sums(block: int, level: float) -> FloatArray:
    """Sums of the first 0 to `_BLOCK` losses of a block beyond VaR over the expected shortfall, negative, by history.

    Histories of any length share the losses: a quantile of Student's t takes a microsecond.

    Returns:
        Shape (_SAMPLES, _BLOCK + 1).

    """
    from scipy.special import stdtrit

    p, nu = 1.0 - level, _TAIL_NU
    quantile = float(stdtrit(nu, p))
    constant = math.lgamma(0.5 * (nu + 1.0)) - math.lgamma(0.5 * nu) - 0.5 * math.log(math.pi * nu)
    density = math.exp(constant - 0.5 * (nu + 1.0) * math.log1p(quantile * quantile / nu))
    expected = density / p * (nu + quantile * quantile) / (nu - 1.0)
    rng = np.random.default_rng([_SEED, block, round(1e6 * level), _BLOCK])
    worst = stdtrit(nu, p * rng.random((_SAMPLES, _BLOCK))) / expected
    return np.concatenate([np.zeros((_SAMPLES, 1)), np.cumsum(worst, axis=1)], axis=1)


def shortfall_p_value(statistic: float, sessions: int, level: float) -> float:
    """Probability of a statistic as low if the model is right, by simulation with a fixed seed."""
    samples = _shortfall_samples(sessions, level)
    return float((np.searchsorted(samples, statistic, side="right") + 1) / (len(samples) + 1))


def traffic_light(exceptions: int, sessions: int, level: float) -> str:
    """Basel's zone: of 250 sessions at 99 % green up to 4 exceptions, yellow up to 9, red from 10 on."""
    from scipy.special import bdtr

    cumulative = float(bdtr(exceptions, sessions, 1.0 - level))
    return "green" if cumulative < _YELLOW else "yellow" if cumulative < _RED else "red"


def backtest(returns: FloatArray, value_at_risk: FloatArray, expected: FloatArray, level: float) -> Backtest | None:
    """All tests of one method at one level; None without a session.

    Args:
        returns: of the holdings, in order of sessions, shape (n_sessions,), without NaN.
        value_at_risk: forecast for each session at the close before.
        expected: expected shortfall, as there.
        level: confidence level.

    """
    if not len(returns):
        return None
    hits = -returns > value_at_risk
    count, sessions = int(hits.sum()), len(returns)
    coverage, alone = kupiec(count, sessions, level), independence(hits)
    statistic = shortfall_statistic(returns, value_at_risk, expected, level)
    return Backtest(
        sessions,
        count,
        coverage,
        alone,
        _ratio(0.5 * (coverage.statistic + alone.statistic), 2),
        statistic,
        shortfall_p_value(statistic, sessions, level),
        traffic_light(count, sessions, level),
    )


def _log_likelihood(yes: int, no: int, p: float) -> float:
    """Log-likelihood of counts of independent draws; 0 log 0 is 0."""
    return (yes * math.log(p) if yes else 0.0) + (no * math.log1p(-p) if no else 0.0)


def _ratio(gain: float, degrees: int) -> Ratio:
    """Twice a gain in log-likelihood, and its probability by chance."""
    statistic = max(2.0 * gain, 0.0)
    chance = math.erfc(math.sqrt(0.5 * statistic)) if degrees == 1 else math.exp(-0.5 * statistic)
    return Ratio(statistic, chance)
