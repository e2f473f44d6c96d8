"""GARCH(1,1) with constant mean: fitted at each month's end, applied day by day through the next month.

Model (Bollerslev 1986): r_t = mu + e_t, e_t = sigma_t z_t, sigma²_{t+1} = omega + alpha e_t² + beta sigma²_t, with z_t
standard normal or standardised Student-t. With leverage (Glosten, Jagannathan and Runkle 1993) alpha + gamma stands for
alpha where e_t < 0. What is compiled stands in `quant_assets.signals.garch_kernel`; which windows are fitted, here.
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
from quant_assets.windows.kernels import logarithms

#: numba's portable threading layer ends the process when two threads enter parallel kernels at once.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class GarchFits:
    """Estimates of many windows, each array of shape (n_windows,), in the unit of the returns.

    NaN where the returns do not vary.

    Attributes:
        mu: mean.
        omega: constant of the variance.
        alpha: weight of the last squared residual.
        beta: weight of the last variance.
        gamma: what is added to alpha where the last residual was negative; 0 without leverage.
        nu: degrees of freedom; infinite for normal errors.
        presample: variance and squared residual before the first return.
        loglikelihood: at the estimates.
        variance: forecast at the window's last return for the next one.
        converged: whether the Karush-Kuhn-Tucker conditions hold: with the information matrix of the estimate, no
            feasible step promises 1e-6 of log-likelihood.
        starts: number of starting values that were tried: 4, or 8 where those 4 ended on different hills; 0 where the
            returns do not vary.

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
    """How the fits of (ticker, month) pairs went.

    Attributes:
        fitted: pairs with parameters.
        too_short: pairs with fewer than `min_observations` returns in the window.
        failed: pairs whose search did not converge or whose prices never moved.

    """

    fitted: int = 0
    too_short: int = 0
    failed: int = 0


class GarchVolatility(NamedTuple):
    """One-step-ahead volatilities and how the fits went.

    Attributes:
        volatility: float64 of shape (n_tickers, n_sessions), annualised (square root of 252); NaN at a session that was
            not asked for or has no bar, and through a whole month that has no fit.
        by_month: how many tickers' fits of a month went how, by its key; a month without any has no entry.

    """

    volatility: FloatArray
    by_month: Mapping[str, GarchCounts]

    @property
    def counts(self) -> GarchCounts:
        """Of all (ticker, month) pairs."""
        return GarchCounts(*(sum(each) for each in zip(GarchCounts(), *self.by_month.values(), strict=True)))


def fit(
    returns: FloatArray,
    starts: IntArray,
    stops: IntArray,
    distribution: Literal["normal", "t"],
    presample: Literal["backcast", "mean_square"] = "backcast",
    leverage: bool = False,
) -> GarchFits:
    """Maximum-likelihood estimates of the windows returns[starts[i]:stops[i]], which may overlap.

    A window's estimate is the same, bit for bit, alone and among others, whatever the number of threads (numba's:
    `NUMBA_NUM_THREADS` or `numba.set_num_threads`). The unit of the returns does not matter: every window is
    standardised first. The parameters lie in the set that arch allows: omega > 0, alpha and beta >= 0, alpha + beta <
    1, nu from 2.05 to 500; with leverage alpha + gamma >= 0 and alpha + gamma / 2 + beta < 1 (arch keeps alpha below 1
    and gamma above -1 there, too).

    Args:
        returns: float64 of shape (n_returns,), finite.
        starts: int64 of shape (n_windows,), first return of each window.
        stops: int64 of shape (n_windows,), one past its last.
        distribution: of the errors.
        presample: variance and squared residual before the first return. `backcast`: exponentially weighted (0.94) mean
            of the first 75 squared deviations, as arch. `mean_square`: mean squared residual of the window, a function
            of mu, as Fiorentini, Calzolari and Panattoni (1996).
        leverage: a negative residual weighs by gamma more (or less); before the first return by half of it, as in arch.

    Raises:
        ValueError: `starts` and `stops` do not lie in the returns.

    """
    if len(starts) != len(stops) or np.any(starts < 0) or np.any(stops < starts) or np.any(stops > len(returns)):
        raise ValueError(f"windows must lie in the {len(returns)} returns and have as many starts as stops")
    from quant_assets.signals import garch_kernel  # numba is half a second that only those who fit pay

    with _ONE_AT_A_TIME:
        found = garch_kernel.fit_windows(
            np.ascontiguousarray(returns, dtype=np.float64),
            np.ascontiguousarray(starts, dtype=np.int64),
            np.ascontiguousarray(stops, dtype=np.int64),
            distribution == "t",
            True if leverage else None,
            presample == "mean_square",
        )
    mu, omega, alpha, beta, gamma, nu, before, loglikelihood, variance, converged, tried = np.ascontiguousarray(found.T)
    return GarchFits(
        mu, omega, alpha, beta, gamma, nu, before, loglikelihood, variance, converged == 1.0, tried.astype(np.int64)
    )


def garch_volatility(
    close: FloatArray,
    sessions: NDArray[np.datetime64],
    wanted: BoolArray,
    settings: GarchSettings,
    first_day: date,
    last_day: date,
) -> GarchVolatility:
    """Annualised one-step-ahead volatility at the close of each wanted session from `first_day` to `last_day`.

    For each ticker and month: the returns of the last `settings.window` sessions up to the last session of the month
    before give the parameters; the filter starts at the first of these returns and runs on through the month. Nothing
    else enters, so a month's values are the same whatever range is computed. A return is the log return between
    consecutive bars, over a gap too; the window takes one session more for the first return's base.

    Args:
        close: adjusted closes, float64 of shape (n_tickers, n_sessions).
        sessions: datetime64[D] of shape (n_sessions,); `settings.window + 1` of them before the month of `first_day`.
        wanted: bool of close's shape. A ticker without a wanted session in a month is not fitted for it.
        settings: window, least number of returns, distribution, leverage.
        first_day: first day of the range.
        last_day: last day of the range.

    """
    volatility = np.full(close.shape, np.nan)
    there = ~np.isnan(close)
    month = sessions.astype("datetime64[M]")
    first, end = (
        int(place) for place in np.searchsorted(sessions, [np.datetime64(first_day), np.datetime64(last_day) + 1])
    )
    rows = np.zeros(close.shape, dtype=bool)
    rows[:, first:end] = wanted[:, first:end] & there[:, first:end]
    if not rows.any():
        return GarchVolatility(volatility, {})
    # All bars in one line, ticker after ticker; the return of a bar leads to it from the ticker's bar before.
    logs = logarithms(close)[there]
    returns = np.diff(logs, prepend=logs[0])
    before = np.concatenate([[0], np.cumsum(there)])  # bars before each place of the panel, in the line's order

    def bars_before(ticker: IntArray, session: IntArray) -> IntArray:
        counted: IntArray = before[ticker * close.shape[1] + session]
        return counted

    months = np.unique(month[first:end])
    begins = np.searchsorted(month, months)  # of whole months: the range may start inside one
    ends = np.minimum(np.searchsorted(month, months, side="right"), end)
    ticker, which = np.nonzero(np.logical_or.reduceat(rows, np.maximum(begins, first), axis=1))
    # The oldest bar in the window is only the base of the first return.
    starts = bars_before(ticker, np.maximum(0, begins - settings.window - 1)[which]) + 1
    stops = bars_before(ticker, begins[which])
    long_enough = stops - starts >= settings.min_observations
    fitted_in, short_in = which[long_enough], which[~long_enough]
    ticker, which, starts, stops = (array[long_enough] for array in (ticker, which, starts, stops))
    fits = fit(returns, starts, stops, settings.distribution, leverage=settings.leverage)
    good = fits.converged
    parameters = np.stack([fits.mu, fits.omega, fits.alpha, fits.beta, fits.gamma, fits.presample], axis=1)[good]
    from quant_assets.signals import garch_kernel

    with _ONE_AT_A_TIME:
        ahead = garch_kernel.forecasts(
            returns, starts[good], stops[good], bars_before(ticker, ends[which])[good], parameters
        )
    annual = np.full(close.shape, np.nan)
    annual[there] = np.sqrt(ahead * SESSIONS_PER_YEAR)
    volatility[rows] = annual[rows]
    counted = np.stack(
        [np.bincount(each, minlength=len(months)) for each in (fitted_in[good], short_in, fitted_in[~good])]
    )
    by_month = {str(each): GarchCounts(*found) for each, found in zip(months, counted.T.tolist(), strict=True)}
    return GarchVolatility(volatility, {each: found for each, found in by_month.items() if any(found)})
