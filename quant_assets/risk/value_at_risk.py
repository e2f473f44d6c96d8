"""Value at risk and expected shortfall of a series of returns by five methods. Losses are positive.

With returns r over one session, VaR at level c is the loss that is not exceeded with probability c, and ES the mean
loss of the worst share 1 - c. Over T sessions:

- `historical`: the empirical quantile; ES is the mean of the tail, with the quantile's share in it (Rockafellar and
  Uryasev 2002, proposition 8). Over T sessions the mean times T, and the deviation of the quantile from the mean times
  the root of T: there would be only a handful of independent T-session returns.
- `filtered_historical`: standardised residuals of a GARCH(1,1) with Student-t errors, times the variance of the coming
  session (Hull and White 1998; Barone-Adesi, Giannopoulos and Vosper 1999). Over T sessions paths are simulated with
  drawn residuals, each session's variance following from the last; a path's returns are compounded. The seed comes
  from the settings and the partition's key.
- `cornish_fisher`: the normal quantile corrected for skewness S and excess kurtosis K (Cornish and Fisher 1938),
  z + (z² - 1) S / 6 + (z³ - 3z) K / 24 - (2z³ - 5z) S² / 36, and the mean of that over the tail. Null outside its
  domain, in which it rises with z (Maillard 2012): beyond, a worse quantile would be a smaller loss. Over T sessions
  mean and variance times T, S over the root of T and K over T, as for a sum of independent returns.
- `student_t`: location, scale and degrees of freedom by maximum likelihood. Over T sessions as `historical`: the shape
  of one session is kept, which is conservative for fat tails.
- `normal`: mean and standard deviation. Over T sessions the mean times T, the deviation times the root of T.

The mean is always scaled by T, never by its root.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.risk import garch_paths, hidden_markov
from quant_assets.settings.risk import RiskSettings
from quant_assets.signals import garch

METHODS = ("historical", "filtered_historical", "cornish_fisher", "student_t", "normal")

_NORMAL = NormalDist()

#: Normal variables beyond this occur once in 10^12 times.
_FARTHEST = 7.0

#: Most iterations of the Student-t fit.
_ITERATIONS = 2_000


class Measured(NamedTuple):
    """A value at risk with its expected shortfall, both as positive fractions; None with a reason where unknown."""

    value_at_risk: float | None
    expected_shortfall: float | None
    reason: str | None = None


class Moments(NamedTuple):
    """Mean, standard deviation, skewness and excess kurtosis (of the population) of a sample."""

    mean: float
    deviation: float
    skewness: float
    kurtosis: float


class StudentT(NamedTuple):
    """Location, scale and degrees of freedom."""

    location: float
    scale: float
    nu: float


@dataclass(frozen=True)
class Fits:
    """Estimates that are made once, at a decision, and used on the sessions after it.

    Attributes:
        student: None where the returns do not vary.
        garch: mu, omega, alpha, beta, gamma and presample variance; None where no fit converged.

    """

    student: StudentT | None
    garch: tuple[float, ...] | None


def moments(returns: FloatArray) -> Moments:
    """Moments of returns of shape (n,), by exactly rounded sums; deviation with n - 1, the others with n."""
    n = len(returns)
    mean = math.fsum(returns.tolist()) / n
    e = returns - mean
    second, third, fourth = (math.fsum((e**power).tolist()) / n for power in (2, 3, 4))
    if not second > 0.0:
        return Moments(mean, 0.0, 0.0, 0.0)
    return Moments(mean, math.sqrt(second * n / (n - 1)), third / second**1.5, fourth / second**2 - 3.0)


def tail(losses: FloatArray, level: float) -> tuple[float, float]:
    """VaR and ES of the empirical distribution of losses of shape (n,).

    VaR is the smallest loss that a share `level` of the losses does not exceed.
    """
    ordered = np.sort(losses)
    n = len(ordered)
    place = min(max(math.ceil(n * level - 1e-9) - 1, 0), n - 1)
    quantile = float(ordered[place])
    beyond = math.fsum(ordered[place + 1 :].tolist()) / n
    within = (place + 1) / n - level
    return quantile, (within * quantile + beyond) / (1.0 - level)


def fitted(returns: FloatArray, settings: RiskSettings) -> Fits:
    """Student-t and GARCH estimates of returns of shape (n,), without NaN."""
    sample = moments(returns)
    if not sample.deviation > 1e-10 * float(np.abs(returns).max(initial=0.0)):
        return Fits(None, None)
    one = np.ones((1, 1))
    y = np.ascontiguousarray((returns - sample.mean) / sample.deviation)
    model, converged = hidden_markov.student_t(y, hidden_markov.start(one, np.ones(1)), 0.0 * one, _ITERATIONS)
    student = None
    if converged:
        location, scale = float(model.location[0]), float(model.scale[0])
        student = StudentT(sample.mean + sample.deviation * location, sample.deviation * scale, model.nu)
    ends = np.array([len(returns)], dtype=np.int64)
    fits = garch.fit(returns, 0 * ends, ends, "t", leverage=settings.leverage)
    if not fits.converged[0]:
        return Fits(student, None)
    arrays = (fits.mu, fits.omega, fits.alpha, fits.beta, fits.gamma, fits.presample)
    return Fits(student, tuple(float(values[0]) for values in arrays))


@dataclass(frozen=True)
class Sample:
    """Returns up to a session, the basis of its figures.

    Attributes:
        returns: of the window, of shape (n,), without NaN, the newest last.
        fits: estimates made at the decision.
        filtered: returns from the first one of the GARCH fit through the newest, without NaN.
        settings: of risk.
        key: of the partition; with the settings' seed it seeds the simulated paths.

    """

    returns: FloatArray
    fits: Fits
    filtered: FloatArray
    settings: RiskSettings
    key: str

    @cached_property
    def moments(self) -> Moments:
        """Of `returns`."""
        return moments(self.returns)

    @cached_property
    def variances(self) -> FloatArray:
        """Variances of `filtered`, and of the next return."""
        return garch_paths.variances(self.filtered, *(self.fits.garch or ()))

    def measure(self, method: str, level: float, horizon: int) -> Measured:
        """Value at risk and expected shortfall over the next `horizon` sessions."""
        if len(self.returns) < self.settings.min_observations:
            needed = self.settings.min_observations
            return Measured(None, None, f"history too short: {len(self.returns)} of {needed} returns")
        if not self.moments.deviation > 0.0:
            return Measured(None, None, "returns do not vary")
        if method == "historical":
            return scaled(*tail(-self.returns, level), self.moments.mean, horizon)
        if method == "filtered_historical":
            return self._filtered_historical(level, horizon)
        if method == "cornish_fisher":
            return cornish_fisher(self.moments, level, horizon)
        if method == "student_t":
            return student_t(self.fits.student, level, horizon)
        if method == "normal":
            return normal(self.moments, level, horizon)
        raise ValueError(f"there is no method '{method}'; choose among {', '.join(METHODS)}")

    def _filtered_historical(self, level: float, horizon: int) -> Measured:
        if self.fits.garch is None:
            return Measured(None, None, "no GARCH fit")
        mu, omega, alpha, beta, gamma, _ = self.fits.garch
        residuals = (self.filtered - mu) / np.sqrt(self.variances[:-1])
        ahead = float(self.variances[-1])
        if horizon == 1:
            return Measured(*tail(-(mu + math.sqrt(ahead) * residuals), level))
        rng = np.random.default_rng([self.settings.seed, horizon, *self.key.encode()])
        draws = rng.integers(len(residuals), size=(self.settings.paths, horizon))
        return Measured(*tail(-garch_paths.paths(residuals, draws, ahead, mu, omega, alpha, beta, gamma), level))


def scaled(value_at_risk: float, expected_shortfall: float, mean: float, horizon: int) -> Measured:
    """Figures of one session over `horizon` sessions: mean times T, the excess over it times the root of T."""
    root = math.sqrt(horizon)
    quantile, shortfall = (-horizon * mean + root * (loss + mean) for loss in (value_at_risk, expected_shortfall))
    return Measured(quantile, shortfall)


def normal(sample: Moments, level: float, horizon: int) -> Measured:
    """Figures of a normal distribution with the sample's mean and deviation."""
    z = _NORMAL.inv_cdf(level)
    deviation, mean = math.sqrt(horizon) * sample.deviation, horizon * sample.mean
    return Measured(deviation * z - mean, deviation * _NORMAL.pdf(z) / (1.0 - level) - mean)


def student_t(fit: StudentT | None, level: float, horizon: int) -> Measured:
    """Of a Student-t distribution; ES as McNeil, Frey and Embrechts (2005), Quantitative Risk Management, (2.25)."""
    if fit is None:
        return Measured(None, None, "no Student-t fit")
    from scipy.special import stdtrit

    nu = fit.nu
    quantile = float(stdtrit(nu, level))
    constant = math.lgamma(0.5 * (nu + 1.0)) - math.lgamma(0.5 * nu) - 0.5 * math.log(math.pi * nu)
    density = math.exp(constant - 0.5 * (nu + 1.0) * math.log1p(quantile * quantile / nu))
    mean_beyond = density / (1.0 - level) * (nu + quantile * quantile) / (nu - 1.0)
    loss, shortfall = (fit.scale * value - fit.location for value in (quantile, mean_beyond))
    return scaled(loss, shortfall, fit.location, horizon)


def in_domain(skewness: float, kurtosis: float) -> bool:
    """Whether the Cornish-Fisher quantile rises with the normal one over the practical range of normal variables.

    Its derivative a z² + b z + c has a = K / 8 - S² / 6, b = S / 3, c = 1 - K / 8 + 5 S² / 36. Maillard (2012, equation
    8) demands that it is positive for every z, which refuses a sample with a kurtosis slightly below the normal one's;
    here |z| goes up to `_FARTHEST`.
    """
    a, b = kurtosis / 8.0 - skewness**2 / 6.0, skewness / 3.0
    c = 1.0 - kurtosis / 8.0 + 5.0 * skewness**2 / 36.0
    lowest = min(a * _FARTHEST**2 + b * z + c for z in (_FARTHEST, -_FARTHEST))
    if a > 0.0 and abs(b) < 2.0 * a * _FARTHEST:
        lowest = min(lowest, c - b * b / (4.0 * a))
    return lowest > 0.0


def cornish_fisher(sample: Moments, level: float, horizon: int) -> Measured:
    """Figures of a distribution near the normal one with the sample's first four moments."""
    s, k = sample.skewness / math.sqrt(horizon), sample.kurtosis / horizon
    if not in_domain(s, k):
        return Measured(None, None, f"outside the domain of Cornish-Fisher: skewness {s:.2f}, excess kurtosis {k:.2f}")
    z = _NORMAL.inv_cdf(1.0 - level)
    quantile = z + (z * z - 1.0) * s / 6.0 + (z**3 - 3.0 * z) * k / 24.0 - (2.0 * z**3 - 5.0 * z) * s * s / 36.0
    # The integral of the quantile over the tail; that of a Hermite polynomial He_n phi up to z is -He_(n-1) phi.
    beyond = 1.0 + z * s / 6.0 + (z * z - 1.0) * k / 24.0 - (2.0 * z * z - 1.0) * s * s / 36.0
    deviation, mean = math.sqrt(horizon) * sample.deviation, horizon * sample.mean
    return Measured(-mean - deviation * quantile, deviation * _NORMAL.pdf(z) / (1.0 - level) * beyond - mean)
