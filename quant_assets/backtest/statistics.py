"""Uncertainty of a Sharpe ratio: its distribution for independent returns, and the effect of choosing among trials.

Pure functions over arrays. Sharpe ratios are of one period (a session), not annualised: `metrics.sharpe` has sqrt(252)
times as much. Trials are in trials.py, intervals that allow for autocorrelation in intervals.py. Figures of a single
track record, without a distribution, are in metrics.py.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from quant_assets.errors import SettingsError
from quant_assets.market.panel import FloatArray

#: Deviations below this are rounding, as in metrics.py.
_NEGLIGIBLE = 1e-12

#: Smallest number of observations for a distribution.
MIN_OBSERVATIONS = 20

#: Smallest number of sessions in a block for a probability of backtest overfitting: with fewer, the halves' Sharpe
#: ratios would be noise.
MIN_BLOCK = 10

#: Level of every interval and of the minimum track record length: critical values exist for few levels.
CONFIDENCE = 0.95

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Moments:
    """Parameters of the distribution of an estimated Sharpe ratio.

    Attributes:
        count: observations.
        sharpe: mean over sample deviation, of one period.
        skew: third standardised moment (0 for a normal distribution).
        kurtosis: fourth standardised moment (3 for a normal distribution: not the excess).

    """

    count: int
    sharpe: float
    skew: float
    kurtosis: float

    @classmethod
    def of(cls, returns: FloatArray) -> "Moments | None":
        """Moments of a series of shape (n_periods,); None with fewer than two values or a constant series."""
        count = len(returns)
        if count < 2:
            return None
        centred = returns - returns.mean()
        variance = float((centred**2).mean())
        if math.sqrt(variance) < _NEGLIGIBLE:
            return None
        deviation = math.sqrt(variance * count / (count - 1))
        return cls(
            count,
            float(returns.mean()) / deviation,
            float((centred**3).mean()) / variance**1.5,
            float((centred**4).mean()) / variance**2,
        )

    @property
    def scale(self) -> float:
        r"""Standard error of the Sharpe ratio times :math:`\sqrt{T - 1}`: see `sharpe_standard_error`."""
        # Close to 0 where skew and kurtosis meet their bound, kurtosis >= skew^2 + 1.
        return math.sqrt(max(1.0 - self.skew * self.sharpe + (self.kurtosis - 1.0) / 4.0 * self.sharpe**2, _NEGLIGIBLE))


def sharpe_standard_error(moments: Moments) -> float:
    r"""Standard error of an estimated Sharpe ratio of independent returns of any distribution.

    .. math:: \sigma(\widehat{SR}) = \sqrt{\frac{1 - \gamma_3 SR + \frac{\gamma_4 - 1}{4} SR^2}{T - 1}}

    With normal returns (:math:`\gamma_3 = 0, \gamma_4 = 3`) it is Lo's :math:`\sqrt{(1 + SR^2 / 2) / T}`.

    References:
        Lo (2002), The statistics of Sharpe ratios, Financial Analysts Journal 58(4), eq. 9.
        Bailey and López de Prado (2012), The Sharpe ratio efficient frontier, Journal of Risk 15(2), section 2 (after
        Mertens 2002).

    """
    return moments.scale / math.sqrt(moments.count - 1)


def probabilistic_sharpe_ratio(moments: Moments, benchmark: float = 0.0) -> float:
    r"""Probability that the true Sharpe ratio is above `benchmark` (of one period).

    .. math:: \widehat{PSR}(SR^*) = Z\left[\frac{(\widehat{SR} - SR^*) \sqrt{T - 1}}{\sqrt{1 - \gamma_3 \widehat{SR}
        + \frac{\gamma_4 - 1}{4} \widehat{SR}^2}}\right]

    References:
        Bailey and López de Prado (2012), section 3, the definition of PSR.

    """
    return _NORMAL.cdf((moments.sharpe - benchmark) / sharpe_standard_error(moments))


def expected_maximum_sharpe(trials: int, variance: float) -> float:
    r"""Expected Sharpe ratio of the best of `trials` independent trials without skill.

    .. math:: SR_0 = \sqrt{V} \left((1 - \gamma) Z^{-1}\left[1 - \frac{1}{N}\right] + \gamma Z^{-1}\left[1 - \frac{1}{N
    e}\right]\right)

    with the Euler-Mascheroni constant :math:`\gamma`. It is 0 for a single trial, where there is no choice.

    Args:
        trials: N, at least 1.
        variance: V, the variance of the trials' Sharpe ratios, of the period of the result.

    Raises:
        SettingsError: less than one trial or a negative variance.

    References:
        Bailey and López de Prado (2014), The deflated Sharpe ratio, Journal of Portfolio Management 40(5), the expected
        maximum (eq. 1) with a mean of zero.

    """
    if trials < 1 or variance < 0:
        raise SettingsError(
            f"{trials} trials with variance {variance}: give at least one trial and a variance of 0 or more"
        )
    if trials == 1:
        return 0.0
    far = (1.0 - np.euler_gamma) * _NORMAL.inv_cdf(1.0 - 1.0 / trials) + np.euler_gamma * _NORMAL.inv_cdf(
        1.0 - 1.0 / (trials * math.e)
    )
    return math.sqrt(variance) * float(far)


def deflated_sharpe_ratio(moments: Moments, trials: int, variance: float) -> float:
    r"""Probability that the best of `trials` has a true Sharpe ratio above 0: :math:`\widehat{PSR}(SR_0)`.

    All trials count as independent. Correlated trials have Sharpe ratios closer together, which `variance` reflects.

    Args:
        moments: of the chosen returns.
        trials: number of trials, this one included.
        variance: of their Sharpe ratios of one period.

    References:
        Bailey and López de Prado (2014), the definition of DSR (eq. 2).

    """
    return probabilistic_sharpe_ratio(moments, expected_maximum_sharpe(trials, variance))


def minimum_track_record_length(
    moments: Moments, benchmark: float = 0.0, confidence: float = CONFIDENCE
) -> float | None:
    r"""Number of observations after which such a Sharpe ratio would be above `benchmark` at the given confidence.

    .. math:: MinTRL = 1 + \left[1 - \gamma_3 \widehat{SR} + \frac{\gamma_4 - 1}{4} \widehat{SR}^2\right]
        \left(\frac{Z_\alpha}{\widehat{SR} - SR^*}\right)^2

    Returns:
        The number of periods; None where the Sharpe ratio is not above the benchmark, since no length suffices.

    References:
        Bailey and López de Prado (2012), section 4, the definition of MinTRL.

    """
    if moments.sharpe - benchmark < _NEGLIGIBLE:
        return None
    return 1.0 + (moments.scale * _NORMAL.inv_cdf(confidence) / (moments.sharpe - benchmark)) ** 2


def probability_of_backtest_overfitting(returns: FloatArray, blocks: int = 16) -> float | None:
    r"""Probability that the best of several strategies in one half of the time is below the median in the other half.

    Combinatorially symmetric cross-validation: the periods are split into `blocks` :math:`S` neighbouring blocks of
    equal length (surplus periods at the start are left out). For each of the :math:`\binom{S}{S/2}` halves, the
    strategy with the best Sharpe ratio in it has the relative rank :math:`\omega = rank / (N + 1)` in the other half,
    and the logit :math:`\lambda = \ln \omega / (1 - \omega)`. The result is the share of :math:`\lambda < 0`, with
    those of exactly 0 (the middle of an odd number of strategies, or ties) counted as half, so that strategies without
    skill have an expectation of 1/2 whatever their number.

    Args:
        returns: shape (n_periods, n_strategies), without NaN.
        blocks: an even number.

    Returns:
        The probability; None with fewer than two strategies or `MIN_BLOCK` periods per block.

    Raises:
        SettingsError: `blocks` is odd or below 2.

    References:
        Bailey, Borwein, López de Prado and Zhu (2017), The probability of backtest overfitting, Journal of
        Computational Finance 20(4), section 2.3 (circulated in 2014 to 2016).

    """
    if blocks < 2 or blocks % 2:
        raise SettingsError(f"{blocks} blocks cannot be split into two halves; use an even number of at least 2")
    length, strategies = len(returns) // blocks, returns.shape[1]
    if length < MIN_BLOCK or strategies < 2:
        return None
    used = returns[len(returns) - blocks * length :]
    # Blocks enter by their sums. Squares are taken about the strategy's mean, so that no digits are lost.
    mean = used.mean(axis=0)
    parts = (used - mean).reshape(blocks, length, strategies)
    sums, squares = parts.sum(axis=1), (parts**2).sum(axis=1)
    chosen = np.array(list(combinations(range(blocks), blocks // 2)))
    inside = np.zeros((len(chosen), blocks), dtype=bool)
    np.put_along_axis(inside, chosen, True, axis=1)
    first = _half_sharpes(inside, sums, squares, mean, length)
    second = _half_sharpes(~inside, sums, squares, mean, length)
    best = first.argmax(axis=1)
    reached = np.take_along_axis(second, best[:, None], axis=1)
    below = (second < reached).sum(axis=1) + 0.5 * ((second == reached).sum(axis=1) - 1)
    side = np.sign(2 * below - (strategies - 1))  # of the logit: ranks run from 1, below from 0
    return float(((side < 0) + 0.5 * (side == 0)).mean())


def _half_sharpes(
    inside: NDArray[np.bool_], sums: FloatArray, squares: FloatArray, mean: FloatArray, length: int
) -> FloatArray:
    """Sharpe ratios of each strategy over each half's blocks, shape (n_halves, n_strategies); 0 without variation."""
    total, square = np.zeros((2, len(inside), len(mean)))
    for block in range(len(sums)):  # added one after the other: the same bytes on every machine
        member = inside[:, block, None]
        total += member * sums[block]
        square += member * squares[block]
    count = inside.shape[1] // 2 * length
    deviation = np.sqrt(np.maximum(square - total**2 / count, 0.0) / (count - 1))
    ratios: FloatArray = np.divide(
        mean + total / count, deviation, out=np.zeros_like(deviation), where=deviation > _NEGLIGIBLE
    )
    return ratios
