"""GARCH(1,1) with constant mean: fitted at each month's end, applied day by day through the next month.

Model (Bollerslev 1986), on returns in percent: r_t = mu + e_t, e_t = sigma_t z_t, sigma²_{t+1} = omega + alpha e_t² + beta sigma²_t,
with z_t standard normal or standardised Student-t. The estimation is arch's (Kevin Sheppard, `arch` 8); the filter is ours.
"""

import math
import warnings
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant_assets.market.panel import FloatArray
from quant_assets.settings import GarchSettings
from quant_assets.signals.windows import kernel, log

SESSIONS_PER_YEAR = 252

#: How arch weighs the first squared residuals into the variance before the first return.
_BACKCAST_DECAY, _BACKCAST_SESSIONS = 0.94, 75


@dataclass(frozen=True)
class GarchParameters:
    """Parameters for returns in percent; `backcast` is the variance before the first return."""

    mu: float
    omega: float
    alpha: float
    beta: float
    backcast: float


class GarchVolatility(NamedTuple):
    """One-step-ahead volatilities and how the fits went.

    Attributes:
        volatility: float64 of shape (n_tickers, n_sessions), annualised (square root of 252); NaN at a session that was not asked
            for or has no bar, and through a whole month that has no fit.
        fitted: number of (ticker, month) pairs with parameters.
        too_short: pairs with fewer than `min_observations` returns in the window.
        failed: pairs whose optimiser did not converge, as where prices never moved.

    """

    volatility: FloatArray
    fitted: int
    too_short: int
    failed: int


def fit(returns: FloatArray, distribution: str) -> GarchParameters | None:
    """Maximum-likelihood estimate for returns in percent, shape (n_returns,).

    Starting values come from these returns alone, so the estimate does not depend on any other fit.

    Returns:
        None where the optimiser did not converge; it does not where the returns do not vary.

    """
    from arch.univariate import GARCH, ConstantMean, Normal, StudentsT  # a second that only those who fit pay

    deviations = returns - returns.mean()
    weights = _BACKCAST_DECAY ** np.arange(min(_BACKCAST_SESSIONS, len(returns)))
    backcast = float(np.sum(deviations[: len(weights)] ** 2 * (weights / weights.sum())))
    model = ConstantMean(
        returns, volatility=GARCH(p=1, o=0, q=1), distribution=StudentsT() if distribution == "t" else Normal(), rescale=False
    )
    # Degenerate windows make arch and SciPy warn and, rarely, raise; either way the outcome is judged below.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            result = model.fit(disp="off", show_warning=False, backcast=backcast)
        except (ValueError, FloatingPointError, ZeroDivisionError, np.linalg.LinAlgError):
            return None
    mu, omega, alpha, beta = (float(value) for value in np.asarray(result.params)[:4])
    if result.convergence_flag != 0 or not all(map(math.isfinite, (mu, omega, alpha, beta, result.loglikelihood))):
        return None
    return GarchParameters(mu, omega, alpha, beta, backcast)


@kernel
def variances(returns: FloatArray, mu: float, omega: float, alpha: float, beta: float, backcast: float) -> FloatArray:
    """Conditional variances of returns of shape (n,): element t + 1 is what is forecast at the close of return t.

    Returns:
        float64 of shape (n + 1,): element 0 is the variance before any return is seen.

    """
    out = np.empty(len(returns) + 1)
    out[0] = omega + alpha * backcast + beta * backcast
    for t in range(len(returns)):
        out[t + 1] = omega + alpha * (returns[t] - mu) ** 2 + beta * out[t]
    return out


def garch_volatility(
    close: FloatArray,
    sessions: NDArray[np.datetime64],
    wanted: NDArray[np.bool_],
    settings: GarchSettings,
    first_day: date,
    last_day: date,
) -> GarchVolatility:
    """Annualised one-step-ahead volatility at the close of each wanted session from `first_day` to `last_day`.

    For each ticker and month: the returns of the last `settings.window` sessions up to the last session of the month before give the
    parameters; the filter starts at the first of these returns and runs on through the month. Nothing else enters, so a month's values are
    the same whatever range is computed. A return is the log return between consecutive bars, over a gap too; the window takes
    one session more for the first return's base.

    Args:
        close: adjusted closes, float64 of shape (n_tickers, n_sessions).
        sessions: datetime64[D] of shape (n_sessions,); `settings.window + 1` of them before the month of `first_day`.
        wanted: bool of close's shape. A ticker without a wanted session in a month is not fitted for it.
        settings: window, least number of returns, distribution.
        first_day: first day of the range.
        last_day: last day of the range.

    """
    logs = log(close)
    volatility = np.full(close.shape, np.nan)
    month = sessions.astype("datetime64[M]")
    inside = (sessions >= np.datetime64(first_day)) & (sessions <= np.datetime64(last_day))
    fitted = too_short = failed = 0
    for this in np.unique(month[inside]):
        start, stop = int(np.searchsorted(month, this)), int(np.flatnonzero(inside & (month == this))[-1]) + 1
        oldest = max(0, start - settings.window - 1)
        rows = wanted & inside & (month == this) & ~np.isnan(close)
        for ticker in np.flatnonzero(rows.any(axis=1)):
            bars = oldest + np.flatnonzero(~np.isnan(logs[ticker, oldest:stop]))
            returns = 100.0 * np.diff(logs[ticker, bars])
            known = int(np.searchsorted(bars, start)) - 1  # returns whose both bars lie in the window
            if known < settings.min_observations:
                too_short += 1
                continue
            parameters = fit(returns[:known].copy(), settings.distribution)
            if parameters is None:
                failed += 1
                continue
            fitted += 1
            path = variances(returns, parameters.mu, parameters.omega, parameters.alpha, parameters.beta, parameters.backcast)
            # Element t of the path belongs to bar t: the forecast made at its close.
            ahead = np.full(close.shape[1], np.nan)
            ahead[bars] = np.sqrt(path * SESSIONS_PER_YEAR) / 100.0
            volatility[ticker, rows[ticker]] = ahead[rows[ticker]]
    return GarchVolatility(volatility, fitted, too_short, failed)
