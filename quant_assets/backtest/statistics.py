"""How far a Sharpe ratio or a mean IC can be believed: its distribution, intervals, and what choosing among trials does to it.

Pure functions over arrays. Sharpe ratios are of one period (a session), not annualised: `metrics.sharpe` has sqrt(252) times as much.
What was tried is in trials.py. Figures of a single track record, without a distribution, are in metrics.py.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quant_assets.errors import SettingsError
from quant_assets.market.panel import FloatArray

#: Deviations below this are rounding, as in metrics.py.
_NEGLIGIBLE = 1e-12

#: With fewer observations no distribution is stated.
MIN_OBSERVATIONS = 20

#: Sessions of a block below which no probability of backtest overfitting is stated: the halves' Sharpe ratios would be noise.
MIN_BLOCK = 10

#: Of every interval and of the minimum track record length: the critical values of the intervals exist for few levels.
CONFIDENCE = 0.95

#: A series whose lags reach beyond this share of it tells nothing about its mean.
_MOST_LAGS = 0.5

#: Largest autoregressive coefficient that prewhitening takes out, as Andrews and Monahan (1992) have it.
_MOST_PREWHITENED = 0.97

#: Critical value of a two-sided interval of 95 % with a Bartlett kernel that reaches over the share b of the series: coefficients of
#: 1, b, b^2 and b^3. Kiefer and Vogelsang (2005), Econometric Theory 21(6), table 1; at b = 0 the normal distribution's.
_FIXED_B = (1.9600, 2.9694, 0.4160, -0.5324)

#: Resamples held in memory at once.
_CHUNK = 100

_NORMAL = NormalDist()

#: Lower and upper bound.
Interval = tuple[float, float]

#: What an interval is about: the mean of a series, or its mean over its deviation.
Statistic = Literal["mean", "sharpe"]


@dataclass(frozen=True)
class Moments:
    """What the distribution of an estimated Sharpe ratio depends on.

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
        """Moments of a series of shape (n_periods,); None with fewer than two values or where they do not vary."""
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
        # Between 0 and rounding where skew and kurtosis meet their bound, kurtosis >= skew^2 + 1.
        return math.sqrt(max(1.0 - self.skew * self.sharpe + (self.kurtosis - 1.0) / 4.0 * self.sharpe**2, _NEGLIGIBLE))


def sharpe_standard_error(moments: Moments) -> float:
    r"""Standard error of an estimated Sharpe ratio of independent returns of any distribution.

    .. math:: \sigma(\widehat{SR}) = \sqrt{\frac{1 - \gamma_3 SR + \frac{\gamma_4 - 1}{4} SR^2}{T - 1}}

    With normal returns (:math:`\gamma_3 = 0, \gamma_4 = 3`) it is Lo's :math:`\sqrt{(1 + SR^2 / 2) / T}`.

    References:
        Lo (2002), The statistics of Sharpe ratios, Financial Analysts Journal 58(4), eq. 9.
        Bailey and López de Prado (2012), The Sharpe ratio efficient frontier, Journal of Risk 15(2), section 2 (after Mertens 2002).

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
    r"""Sharpe ratio that the best of `trials` independent trials without skill is expected to show.

    .. math:: SR_0 = \sqrt{V} \left((1 - \gamma) Z^{-1}\left[1 - \frac{1}{N}\right] + \gamma Z^{-1}\left[1 - \frac{1}{N e}\right]\right)

    with the Euler-Mascheroni constant :math:`\gamma`. It is 0 for a single trial, where nothing was chosen.

    Args:
        trials: N, at least 1.
        variance: V, the variance of the trials' Sharpe ratios, of the period of the result.

    Raises:
        SettingsError: less than one trial or a negative variance.

    References:
        Bailey and López de Prado (2014), The deflated Sharpe ratio, Journal of Portfolio Management 40(5), the expected maximum (eq. 1)
        with a mean of zero.

    """
    if trials < 1 or variance < 0:
        raise SettingsError(f"{trials} trials with variance {variance}: give at least one trial and a variance of 0 or more")
    if trials == 1:
        return 0.0
    far = (1.0 - np.euler_gamma) * _NORMAL.inv_cdf(1.0 - 1.0 / trials) + np.euler_gamma * _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * float(far)


def deflated_sharpe_ratio(moments: Moments, trials: int, variance: float) -> float:
    r"""Probability that the true Sharpe ratio is above 0, given that it is the best of `trials`: :math:`\widehat{PSR}(SR_0)`.

    All trials count as independent. Correlated ones have Sharpe ratios that lie closer together, which `variance` shows.

    Args:
        moments: of the returns that were chosen.
        trials: how many were tried, this one included.
        variance: of their Sharpe ratios of one period.

    References:
        Bailey and López de Prado (2014), the definition of DSR (eq. 2).

    """
    return probabilistic_sharpe_ratio(moments, expected_maximum_sharpe(trials, variance))


def minimum_track_record_length(moments: Moments, benchmark: float = 0.0, confidence: float = CONFIDENCE) -> float | None:
    r"""Observations after which a Sharpe ratio such as this one would be above `benchmark` with the given confidence.

    .. math:: MinTRL = 1 + \left[1 - \gamma_3 \widehat{SR} + \frac{\gamma_4 - 1}{4} \widehat{SR}^2\right]
        \left(\frac{Z_\alpha}{\widehat{SR} - SR^*}\right)^2

    Returns:
        The number of periods; None where the Sharpe ratio is not above the benchmark, since no length would do.

    References:
        Bailey and López de Prado (2012), section 4, the definition of MinTRL.

    """
    if moments.sharpe - benchmark < _NEGLIGIBLE:
        return None
    return 1.0 + (moments.scale * _NORMAL.inv_cdf(confidence) / (moments.sharpe - benchmark)) ** 2


def probability_of_backtest_overfitting(returns: FloatArray, blocks: int = 16) -> float | None:
    r"""How often the best of several strategies in one half of the time is below the median in the other half.

    Combinatorially symmetric cross-validation: the periods are cut into `blocks` :math:`S` neighbouring blocks of equal length (the first
    periods that do not fill them are left out). For each of the :math:`\binom{S}{S/2}` halves, the strategy with the best Sharpe ratio in
    it has the relative rank :math:`\omega = rank / (N + 1)` in the other half, and the logit :math:`\lambda = \ln \omega / (1 - \omega)`.
    The result is the share of :math:`\lambda < 0`, with those of exactly 0 (the middle of an odd number of strategies, or equal ones)
    counted as half, so that strategies without skill have an expectation of 1/2 whatever their number.

    Args:
        returns: shape (n_periods, n_strategies), without NaN.
        blocks: an even number.

    Returns:
        The probability; None with fewer than two strategies or `MIN_BLOCK` periods a block.

    Raises:
        SettingsError: `blocks` is odd or below 2.

    References:
        Bailey, Borwein, López de Prado and Zhu (2017), The probability of backtest overfitting, Journal of Computational Finance 20(4),
        section 2.3 (circulated in 2014 to 2016).

    """
    if blocks < 2 or blocks % 2:
        raise SettingsError(f"{blocks} blocks cannot be cut into two halves; use an even number of at least 2")
    length, strategies = len(returns) // blocks, returns.shape[1]
    if length < MIN_BLOCK or strategies < 2:
        return None
    kept = returns[len(returns) - blocks * length :]
    # Blocks enter by their sums. Those of squares are about the strategy's own mean, so that no digits are lost.
    mean = kept.mean(axis=0)
    parts = (kept - mean).reshape(blocks, length, strategies)
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


def _half_sharpes(inside: NDArray[np.bool_], sums: FloatArray, squares: FloatArray, mean: FloatArray, length: int) -> FloatArray:
    """Sharpe ratios of each strategy over the blocks of each half, shape (n_halves, n_strategies); 0 where they do not vary."""
    total, square = np.zeros((2, len(inside), len(mean)))
    for block in range(len(sums)):  # added up one after the other: the same bytes on every machine
        member = inside[:, block, None]
        total += member * sums[block]
        square += member * squares[block]
    count = inside.shape[1] // 2 * length
    deviation = np.sqrt(np.maximum(square - total**2 / count, 0.0) / (count - 1))
    ratios: FloatArray = np.divide(mean + total / count, deviation, out=np.zeros_like(deviation), where=deviation > _NEGLIGIBLE)
    return ratios


# --- Intervals --------------------------------------------------------------------------------------------------------


def newey_west_lags(values: FloatArray) -> int:
    r"""Lags of the Bartlett kernel that the series' own autocovariances :math:`\hat\sigma_j` ask for.

    With :math:`n = \lfloor 4 (T/100)^{2/9} \rfloor`, :math:`\hat s^{(1)} = 2 \sum_{j=1}^n j \hat\sigma_j`, and
    :math:`\hat s^{(0)} = \hat\sigma_0 + 2 \sum_{j=1}^n \hat\sigma_j`:

    .. math:: \hat\gamma = 1.1447 \left(\frac{\hat s^{(1)}}{\hat s^{(0)}}\right)^{2/3}, \qquad m = \lfloor \hat\gamma T^{1/3} \rfloor

    References:
        Newey and West (1994), Automatic lag selection in covariance matrix estimation, Review of Economic Studies 61(4), table II,
        without prewhitening.

    """
    count = len(values)
    reach = min(int(4 * (count / 100) ** (2 / 9)), count - 1)
    covariances = _autocovariances(values, reach)
    flat = covariances[0] + 2 * float(covariances[1:].sum())
    tilted = 2 * float((np.arange(1, reach + 1) * covariances[1:]).sum())
    if covariances[0] < _NEGLIGIBLE**2:
        return 0
    # Where the sum all but vanishes the formula asks for more lags than there are observations.
    gamma = 1.1447 * abs(tilted / max(abs(flat), _NEGLIGIBLE * covariances[0])) ** (2 / 3)
    return int(min(gamma * count ** (1 / 3), _MOST_LAGS * count))


def long_run_variance(values: FloatArray, lags: int) -> float:
    r"""T times the variance of the mean of an autocorrelated series: :math:`\hat\sigma_0 + 2 \sum_{j=1}^m (1 - j/(m+1)) \hat\sigma_j`.

    References:
        Newey and West (1987), Econometrica 55(3), eq. 5.

    """
    covariances = _autocovariances(values, lags)
    weights = 1 - np.arange(1, lags + 1) / (lags + 1)
    return max(float(covariances[0] + 2 * (weights * covariances[1:]).sum()), 0.0)


def _autocovariances(values: FloatArray, lags: int) -> FloatArray:
    """Of lags 0 to `lags`, each sum over T."""
    centred = values - values.mean()
    count = len(values)
    return np.array([float((centred[lag:] * centred[: count - lag]).sum()) / count for lag in range(lags + 1)])


def newey_west_interval(values: FloatArray, statistic: Statistic, overlap: int = 1) -> Interval | None:
    r"""Interval of 95 % for the mean or the Sharpe ratio of an autocorrelated series.

    The Sharpe ratio's error is to first order the mean of :math:`\psi_t = z_t - SR (z_t^2 - 1) / 2` with :math:`z_t = (r_t - \bar r) / s`,
    the mean's that of :math:`r_t - \bar r`. The standard error is Newey-West's of that series: for `overlap` 1 of the residuals of an
    autoregression of order 1 with their own lags (prewhitening), else, because the overlap is known, with 3 `overlap` lags. The
    critical value allows for the lags (fixed-b), without which intervals are too narrow.

    Share of 2,000 simulated series whose interval holds the truth: of the Sharpe ratio of AR(1) returns 94.5 % with 250 and 95.0 to 95.6 %
    with 500 or 1,000 (coefficients 0 to 0.5; Student-t 5 too); of the mean with an overlap of 5 of 480 values 93.9 %, of 20 of 480 92.4 %,
    of 20 of 240 92.3 %: too narrow still where fewer than about 50 outcomes are apart.

    Args:
        values: shape (n_periods,), in order of time, without NaN.
        statistic: `mean`, or `sharpe` of one period.
        overlap: periods over which neighbouring values share part of their outcome, such as the horizon of forecasts.

    Returns:
        Lower and upper bound; None with too few observations for the lags or without deviation.

    References:
        Newey and West (1987, 1994); Lo (2002), eq. 12 (the same estimator by GMM); Andrews and Monahan (1992), Econometrica 60(4);
        Kiefer and Vogelsang (2005).

    """
    found = _estimated(values, statistic, overlap)
    if found is None:
        return None
    estimate, error, reach = found
    half = critical_value(reach) * error
    return estimate - half, estimate + half


def critical_value(reach: float) -> float:
    """What |t| of a mean exceeds in one of twenty series without any, with a Newey-West error (fixed-b).

    Args:
        reach: share b of the series that the kernel reaches over: its lags and 1 more, over the number of observations.

    References:
        Kiefer and Vogelsang (2005), table 1.

    """
    return float(sum(coefficient * reach**power for power, coefficient in enumerate(_FIXED_B)))


def bootstrap_interval(values: FloatArray, statistic: Statistic, replications: int, seed: int, overlap: int = 1) -> Interval | None:
    r"""Interval of 95 % for the mean or the Sharpe ratio of an autocorrelated series by a circular block bootstrap.

    The series, joined at its ends, is drawn anew in blocks of one and a half times `block_length`, and of 2 `overlap` at least where
    that is above 1. Each sample's distance from the series' statistic is divided by its own standard error, which comes from the sums
    of its blocks; the symmetric 95 % quantile of the distances times the series' standard error (that of `newey_west_interval`) is the
    half-width. In the simulations of `newey_west_interval` it covers 94.4 to 96.0 % of the Sharpe ratios, and with an overlap 92.7 to
    94.9 %. Plain percentiles, of stationary and of circular blocks alike, covered 88 to 93 % of the Sharpe ratios of autocorrelated
    returns.

    Args:
        values: shape (n_periods,), in order of time, without NaN.
        statistic: `mean`, or `sharpe` of one period.
        replications: samples drawn.
        seed: of the draws; the same seed gives the same interval.
        overlap: as in `newey_west_interval`.

    Returns:
        Lower and upper bound; None with too few observations for the lags or without deviation.

    References:
        Politis and Romano (1992), A circular block-resampling procedure for stationary data, in LePage and Billard (eds.), Exploring the
        limits of bootstrap; Politis and Romano (1994), The stationary bootstrap, JASA 89(428).
        Ledoit and Wolf (2008), Robust performance hypothesis testing with the Sharpe ratio, Journal of Empirical Finance 15(5),
        section 3.2 (studentised; the blocks' standard error is Götze and Künsch's, 1996, Annals of Statistics 24(5)).

    """
    found = _estimated(values, statistic, overlap)
    if found is None:
        return None
    estimate, error, _ = found
    count = len(values)
    length = math.ceil(max(1.5 * block_length(values), 2 * overlap if overlap > 1 else 1))
    blocks = max(count // length, 2)
    length = min(length, count // blocks)
    centre = float(_with_influence(values, statistic)[0])
    rng = np.random.default_rng(seed)
    offsets = np.arange(length)
    distances = []
    for done in range(0, replications, _CHUNK):
        starts = rng.integers(0, count, size=(min(_CHUNK, replications - done), blocks))
        samples = values[(starts[:, :, None] + offsets) % count]
        drawn, influence = _with_influence(samples.reshape(len(starts), -1), statistic)
        sums = influence.reshape(samples.shape).sum(axis=2)
        errors = np.sqrt((sums**2).sum(axis=1)) / (blocks * length)
        distances.append(np.divide(abs(drawn - centre), errors, out=np.full(len(drawn), np.inf), where=errors > _NEGLIGIBLE))
    half = float(np.sort(np.concatenate(distances))[math.ceil(CONFIDENCE * replications) - 1]) * error
    return (estimate - half, estimate + half) if math.isfinite(half) else None


def block_length(values: FloatArray) -> float:
    r"""Mean-square optimal block length of a circular block bootstrap of the mean.

    With the flat-top lag window :math:`\lambda(k/M)` (1 up to a half, then falling to 0 at 1), :math:`G = \sum_k \lambda |k| \hat R(k)` and
    :math:`D = \frac{4}{3} (\sum_k \lambda \hat R(k))^2`, it is :math:`(2 G^2 / D)^{1/3} T^{1/3}`, at most
    :math:`\min(3 \sqrt T, T/3)`. M is twice the lag after which K autocorrelations in a row are below :math:`2 \sqrt{\log_{10} T / T}`.

    Args:
        values: shape (n_periods,), without NaN.

    References:
        Politis and White (2004), Econometric Reviews 23(1), with the correction of Patton, Politis and White (2009), 28(4).

    """
    count = len(values)
    run = max(5, int(math.log10(count)))
    most = min(math.ceil(math.sqrt(count)) + run, count - 2)
    covariances = _autocovariances(values, most)
    if covariances[0] < _NEGLIGIBLE**2:
        return 1.0
    centred = values - values.mean()
    small = np.zeros(most + 1, dtype=bool)
    for lag in range(most + 1):  # scaled by the two ends' own deviations, which for short series matters
        ends = float((centred[lag + 1 :] ** 2).sum()) * float((centred[: count - lag - 1] ** 2).sum())
        small[lag] = count * abs(covariances[lag]) < 2 * math.sqrt(math.log10(count) / count) * math.sqrt(ends)
    quiet = next((lag for lag in range(most - run + 1) if small[lag : lag + run].all()), None)
    window = most if quiet is None else min(2 * max(quiet, 1), most)
    lags = np.arange(1, window + 1)
    weights = np.where(lags / window <= 0.5, 1.0, 2 * (1 - lags / window))
    tilted = 2 * float((weights * lags * covariances[1 : window + 1]).sum())
    flat = float(covariances[0]) + 2 * float((weights * covariances[1 : window + 1]).sum())
    bound = math.ceil(min(3 * math.sqrt(count), count / 3))
    if abs(flat) < _NEGLIGIBLE * covariances[0]:
        return float(bound)
    return float(min((2 * tilted**2 / (4 / 3 * flat**2) * count) ** (1 / 3), bound))


def _estimated(values: FloatArray, statistic: Statistic, overlap: int) -> tuple[float, float, float] | None:
    """The statistic, its standard error and the share of the series that the kernel reaches over."""
    count = len(values)
    lags = 3 * overlap
    if count < MIN_OBSERVATIONS or float(values.std()) < _NEGLIGIBLE or (overlap > 1 and lags > _MOST_LAGS * count):
        return None
    estimate, influence = _with_influence(values, statistic)
    if statistic == "sharpe":
        estimate = estimate * math.sqrt((count - 1) / count)  # sample deviation, as everywhere
    if overlap > 1:
        variance = long_run_variance(influence, lags)
    else:
        before, after = influence[:-1], influence[1:]
        slope = float((before * after).sum() / (before**2).sum())
        slope = min(max(slope, -_MOST_PREWHITENED), _MOST_PREWHITENED)
        residuals = after - slope * before
        lags = newey_west_lags(residuals)
        variance = long_run_variance(residuals, lags) / (1 - slope) ** 2
    return float(estimate), math.sqrt(variance / count), (lags + 1) / count


def _with_influence(samples: FloatArray, statistic: Statistic) -> tuple[FloatArray, FloatArray]:
    """The statistic over the last axis, and each value's part in its error."""
    mean = samples.mean(axis=-1, keepdims=True)
    centred = samples - mean
    if statistic == "mean":
        return mean[..., 0], centred
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True))
    varies = deviation > _NEGLIGIBLE
    ratio = np.divide(mean, deviation, out=np.zeros_like(mean), where=varies)
    standardised = np.divide(centred, deviation, out=np.zeros_like(centred), where=varies)
    return ratio[..., 0], standardised - ratio / 2 * (standardised**2 - 1) * varies
