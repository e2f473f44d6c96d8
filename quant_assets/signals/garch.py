"""GARCH(1,1) with constant mean: fitted at each month's end, applied day by day through the next month.

Model (Bollerslev 1986): r_t = mu + e_t, e_t = sigma_t z_t, sigma²_{t+1} = omega + alpha e_t² + beta sigma²_t, with z_t
standard normal or standardised Student-t. With leverage (Glosten, Jagannathan and Runkle 1993) alpha + gamma replaces
alpha if e_t < 0. The search is in `quant_assets.signals.garch_kernel`; the choice of windows and the rules for
degenerate estimates are here.

Degenerate estimates
--------------------
A search may converge to an estimate that does not describe the returns' volatility. It counts as not converged if

- more than half of the returns are 0: without a density the likelihood is unbounded and rises as the variance goes to 0
  (a price below a dollar, in whole cents, or a stale quote);
- with Student-t errors, nu is at its lower bound: at nu = 2 the errors have no variance, and the forecast is a scale
  times a number chosen by the bound;
- the forecast volatility is more than `_ABSURD` times the returns' deviation, or less than 1 / `_ABSURD` of it.

Of the 25,189 windows of the S&P 500's members since 2000 that end in March or September, the rules refuse 44: those of
two tickers whose bars are stale for years, and one around a bad print. For all others the forecast is 0.05 to 6.6 times
the deviation. The unconditional variance omega / (1 - alpha - beta) is no criterion: it is infinite on 7 % of these
windows (alpha + beta at 1) and goes to 0 if the variance fades through the window; the forecast is sound on both.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant_assets.market.calendar import SESSIONS_PER_YEAR
from quant_assets.market.panel import BoolArray, FloatArray, IntArray
from quant_assets.settings.domain import GarchSettings
from quant_assets.windows.compiled import kernel
from quant_assets.windows.kernels import logarithms

#: numba's portable threading layer ends the process if two threads enter parallel kernels at once.
_ONE_AT_A_TIME = threading.Lock()

#: See the module's docstring. `_LOWEST_NU` is the kernel's lower bound of nu; within `_AT_BOUND` of it, nu is at it.
_ABSURD, _LOWEST_NU, _AT_BOUND = 20.0, 2.05, 1e-6

#: Returns are multiples of this: far below the effect of a cent, far above the rounding errors of a logarithm.
RETURN_UNIT = 2.0**-32

#: Result of a (ticker, month) pair, by its code.
STATUS = ("fitted", "too_young", "too_few_bars", "no_fit")
_FITTED, _TOO_YOUNG, _TOO_FEW_BARS, _NO_FIT = range(len(STATUS))

#: A young name without gaps lacks at most one bar per this many sessions since its first bar.
_SESSIONS_TO_MISS_ONE = 100


@dataclass(frozen=True)
class GarchFits:
    """Estimates of many windows, arrays of shape (n_windows,), in the unit of the returns; NaN for constant returns.

    Attributes:
        mu: mean.
        omega: constant of the variance.
        alpha: weight of the last squared residual.
        beta: weight of the last variance.
        gamma: added to alpha if the last residual was negative; 0 without leverage.
        nu: degrees of freedom; infinite for normal errors.
        presample: variance and squared residual before the first return.
        loglikelihood: at the estimates.
        variance: forecast at the window's last return for the next one.
        converged: whether the Karush-Kuhn-Tucker conditions hold (by the information matrix of the estimate, no
            feasible step gains 1e-6 of log-likelihood) and the estimate is not degenerate.
        starts: number of starting values tried: 4, or up to 8 if these ended at different maxima; 0 for constant
            returns.

    """

    mu: FloatArray
    omega: FloatArray
    alpha: FloatArray
    beta: FloatArray
    gamma: FloatArray
    nu: FloatArray
    presample: FloatArray
    loglikelihood: FloatArray
    variance: FloatArray
    converged: BoolArray
    starts: IntArray


class GarchCounts(NamedTuple):
    """Counts of the fits of (ticker, month) pairs by result.

    Attributes:
        fitted: pairs with parameters.
        too_short: pairs with fewer than `min_observations` returns in the window, too young or with gaps.
        failed: pairs whose search did not converge, whose estimate is degenerate or whose prices never moved.

    """

    fitted: int = 0
    too_short: int = 0
    failed: int = 0


class GarchVolatility(NamedTuple):
    """One-step-ahead volatilities and the results of the fits.

    Attributes:
        volatility: float64 of shape (n_tickers, n_sessions), annualised (square root of 252); NaN at a session that is
            not wanted or has no bar, and for a whole month without a fit.
        status: int8 of the same shape, the index in `STATUS` of the month's result at wanted sessions with a bar; -1
            elsewhere. A pair with fewer than `min_observations` returns is `too_young` if there are too few sessions
            since its company's first bar and at most one in a hundred lacks a bar; else it has `too_few_bars`.
        by_month: counts of tickers' fits by month; a month without any has no entry.

    """

    volatility: FloatArray
    status: NDArray[np.int8]
    by_month: Mapping[str, GarchCounts]

    @property
    def counts(self) -> GarchCounts:
        """Counts of all (ticker, month) pairs."""
        return GarchCounts(*(sum(counts) for counts in zip(GarchCounts(), *self.by_month.values(), strict=True)))


def fit(
    returns: FloatArray,
    starts: IntArray,
    stops: IntArray,
    distribution: Literal["normal", "t"],
    presample: Literal["backcast", "mean_square"] = "backcast",
    leverage: bool = False,
) -> GarchFits:
    """Maximum-likelihood estimates of the windows returns[starts[i]:stops[i]], which may overlap.

    A window's estimate does not depend, bit for bit, on other windows or on the number of threads (numba's:
    `NUMBA_NUM_THREADS` or `numba.set_num_threads`). The unit of the returns does not matter: every window is
    standardised first. The parameters are in the set that arch allows: omega > 0, alpha and beta >= 0, alpha + beta <
    1, nu from 2.05 to 500; with leverage alpha + gamma >= 0 and alpha + gamma / 2 + beta < 1 (arch then also requires
    alpha < 1 and gamma > -1).

    Args:
        returns: float64 of shape (n_returns,), finite.
        starts: int64 of shape (n_windows,), first return of each window.
        stops: int64 of shape (n_windows,), one past its last.
        distribution: of the errors.
        presample: variance and squared residual before the first return. `backcast`: exponentially weighted (0.94) mean
            of the first 75 squared deviations, as in arch. `mean_square`: mean squared residual of the window, a
            function of mu, as in Fiorentini, Calzolari and Panattoni (1996).
        leverage: adds gamma to the weight of a negative residual; before the first return half of it, as in arch.

    Raises:
        ValueError: `starts` and `stops` are not within the returns.

    """
    if len(starts) != len(stops) or np.any(starts < 0) or np.any(stops < starts) or np.any(stops > len(returns)):
        raise ValueError(f"windows must lie in the {len(returns)} returns and have as many starts as stops")
    from quant_assets.signals import garch_kernel  # imported here because numba takes half a second

    with _ONE_AT_A_TIME:
        estimates = garch_kernel.fit_windows(
            np.ascontiguousarray(returns, dtype=np.float64),
            np.ascontiguousarray(starts, dtype=np.int64),
            np.ascontiguousarray(stops, dtype=np.int64),
            distribution == "t",
            True if leverage else None,
            presample == "mean_square",
        )
    mu, omega, alpha, beta, gamma, nu, before, loglikelihood, variance, converged, tried = np.ascontiguousarray(
        estimates.T
    )
    good = (converged == 1.0) & (nu > _LOWEST_NU + _AT_BOUND) & _plausible(returns, starts, stops, variance, _ABSURD)
    return GarchFits(mu, omega, alpha, beta, gamma, nu, before, loglikelihood, variance, good, tried.astype(np.int64))


@kernel
def _plausible(returns: FloatArray, starts: IntArray, stops: IntArray, variance: FloatArray, most: float) -> BoolArray:
    """Whether at least half of a window's returns are not 0 and its variance forecast is plausible for them."""
    out = np.zeros(len(starts), dtype=np.bool_)
    for i in range(len(starts)):
        zeros, total, squares, count = 0, 0.0, 0.0, stops[i] - starts[i]
        for t in range(starts[i], stops[i]):
            zeros += 1 if returns[t] == 0.0 else 0
            total += returns[t]
        for t in range(starts[i], stops[i]):
            squares += (returns[t] - total / count) ** 2
        ahead = variance[i] * count
        out[i] = 2 * zeros <= count and ahead <= most * most * squares and squares <= most * most * ahead
    return out


def garch_volatility(
    close: FloatArray,
    sessions: NDArray[np.datetime64],
    wanted: BoolArray,
    settings: GarchSettings,
    first_day: date,
    last_day: date,
    listed: NDArray[np.datetime64] | None = None,
    unexplained: BoolArray | None = None,
) -> GarchVolatility:
    """Annualised one-step-ahead volatility at the close of each wanted session from `first_day` to `last_day`.

    By ticker and month: the parameters are fitted on the returns of the last `settings.window` sessions up to the last
    session of the month before; the filter starts at the first of these returns and runs through the month. No other
    data is used, so a month's values are the same whatever range is computed. A return is the log return between
    consecutive bars, also over a gap, to the nearest `RETURN_UNIT`; the first return needs one session more.

    Args:
        close: adjusted closes, float64 of shape (n_tickers, n_sessions).
        sessions: datetime64[D] of shape (n_sessions,); `settings.window + 1` of them before the month of `first_day`.
        wanted: bool of close's shape. A ticker without a wanted session in a month is not fitted for it.
        settings: window, smallest number of returns, distribution, leverage.
        first_day: first day of the range.
        last_day: last day of the range.
        listed: first session of each row's company, datetime64[D] of shape (n_tickers,); None for its first bar in the
            window.
        unexplained: bool of close's shape: bars whose return is left out as unknown (dataset prices), with the forecast
            of the bar before.

    """
    volatility, status = np.full(close.shape, np.nan), np.full(close.shape, -1, dtype=np.int8)
    has_bar = ~np.isnan(close)
    month = sessions.astype("datetime64[M]")
    first, end = (
        int(place) for place in np.searchsorted(sessions, [np.datetime64(first_day), np.datetime64(last_day) + 1])
    )
    rows = np.zeros(close.shape, dtype=bool)
    rows[:, first:end] = wanted[:, first:end] & has_bar[:, first:end]
    if not rows.any():
        return GarchVolatility(volatility, status, {})
    # All bars in one array, ordered by ticker; the return of a bar is from the ticker's bar before.
    logs = logarithms(close)[has_bar]
    # Rounded, because the last bits of an adjusted close depend on the first bar that it is anchored at, and a search
    # on a flat likelihood may end elsewhere when they change.
    returns = np.round(np.diff(logs, prepend=logs[0]) / RETURN_UNIT) * RETURN_UNIT
    left_out = np.zeros(len(logs), dtype=bool) if unexplained is None else unexplained[has_bar]
    returns_before = np.arange(len(logs) + 1) - np.concatenate(
        [[0], np.cumsum(left_out)]
    )  # number of returns before each bar
    returns = returns[~left_out]
    before = np.concatenate([[0], np.cumsum(has_bar)])  # number of bars before each cell of the panel

    def bars_before(ticker: IntArray, session: IntArray) -> IntArray:
        counted: IntArray = before[ticker * close.shape[1] + session]
        return counted

    months = np.unique(month[first:end])
    begins = np.searchsorted(month, months)  # of whole months: the range may start inside one
    ends = np.minimum(np.searchsorted(month, months, side="right"), end)
    ticker, which = np.nonzero(np.logical_or.reduceat(rows, np.maximum(begins, first), axis=1))
    # The oldest bar in the window is only the base of the first return.
    oldest = np.maximum(0, begins - settings.window - 1)[which]
    starts = bars_before(ticker, oldest) + 1
    stops = bars_before(ticker, begins[which])
    long_enough = stops - starts >= settings.min_observations
    if listed is None:
        first_bar = np.append(np.nonzero(has_bar)[1], 0)[starts - 1]
        since = np.where(stops >= starts, first_bar, begins[which])
    else:
        since = np.clip(np.searchsorted(sessions, listed)[ticker], oldest, begins[which])
    life, bars = begins[which] - since, stops - starts + 1
    young = (life <= settings.min_observations) & (_SESSIONS_TO_MISS_ONE * (life - bars) <= life)
    outcome = np.full((len(close), len(months)), -1, dtype=np.int8)
    outcome[ticker, which] = np.where(long_enough, _FITTED, np.where(young, _TOO_YOUNG, _TOO_FEW_BARS))
    fitted_in, short_in = which[long_enough], which[~long_enough]
    ticker, which, starts, stops = (array[long_enough] for array in (ticker, which, starts, stops))
    first_return, end_return = returns_before[starts], returns_before[stops]
    fits = fit(returns, first_return, end_return, settings.distribution, leverage=settings.leverage)
    good = fits.converged
    outcome[ticker[~good], which[~good]] = _NO_FIT
    of_month = np.stack([stops, bars_before(ticker, ends[which])])[:, good]
    parameters = np.stack([fits.mu, fits.omega, fits.alpha, fits.beta, fits.gamma, fits.presample], axis=1)[good]
    from quant_assets.signals import garch_kernel

    with _ONE_AT_A_TIME:
        ahead = np.full(len(logs), np.nan)
        ahead[~left_out] = garch_kernel.forecasts(
            returns, first_return[good], end_return[good], returns_before[of_month[1]], parameters
        )
    for bar in np.flatnonzero(left_out):  # hardly any
        for pair in np.flatnonzero((of_month[0] <= bar) & (bar < of_month[1])):
            ahead[bar] = fits.variance[good][pair] if bar == of_month[0, pair] else ahead[bar - 1]
    annual = np.full(close.shape, np.nan)
    annual[has_bar] = np.sqrt(ahead * SESSIONS_PER_YEAR)
    volatility[rows] = annual[rows]
    of_session = np.searchsorted(months, month[first:end])
    status[:, first:end] = np.where(rows[:, first:end], outcome[:, of_session], np.int8(-1))
    counted = np.stack(
        [np.bincount(group, minlength=len(months)) for group in (fitted_in[good], short_in, fitted_in[~good])]
    )
    by_month = {str(key): GarchCounts(*counts) for key, counts in zip(months, counted.T.tolist(), strict=True)}
    return GarchVolatility(volatility, status, {key: counts for key, counts in by_month.items() if any(counts)})
