"""Trading costs of a name, estimated from its bars: spread, volatility and dollar volume of the sessions before.

A value at a session depends on the sessions up to the session before: a trade knows neither the session's own bar nor
later ones.

References:
    Corwin, S. and Schultz, P. (2012). A simple way to estimate bid-ask spreads from daily high and low prices. Journal
    of Finance 67(2), equations 14 and 18, with their correction for overnight moves, negative estimates set to 0.
    Abdi, F. and Ranaldo, A. (2017). A simple estimation of bid-ask spreads from daily close, high, and low prices.
    Review of Financial Studies 30(12), the two-day corrected version (equation 11).

"""

import math

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.windows.windows import Windows


def corwin_schultz(high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    """Spread of each pair of sessions as a share of the price, at the later one.

    Args:
        high: float64 of shape (n_names, n_sessions), NaN without a bar.
        low: of that shape.
        close: of that shape.

    Returns:
        Array of that shape, NaN where either session has no bar.

    """
    spread = np.full(close.shape, np.nan)
    before = close[:, :-1]
    # A gap overnight widens the range of two days and is no spread: the later day is shifted to the end of the earlier.
    gap = np.maximum(before - high[:, 1:], 0.0) + np.minimum(before - low[:, 1:], 0.0)
    later_high, later_low = high[:, 1:] + gap, low[:, 1:] + gap
    with np.errstate(invalid="ignore", divide="ignore"):
        ranges = np.log(high[:, :-1] / low[:, :-1]) ** 2 + np.log(later_high / later_low) ** 2
        both = np.log(np.maximum(high[:, :-1], later_high) / np.minimum(low[:, :-1], later_low)) ** 2
        scale = 3.0 - 2.0 * math.sqrt(2.0)
        alpha = (np.sqrt(2.0 * ranges) - np.sqrt(ranges)) / scale - np.sqrt(both / scale)
        spread[:, 1:] = np.maximum(2.0 * (np.exp(alpha) - 1.0) / (1.0 + np.exp(alpha)), 0.0)
    return np.where(np.isfinite(spread), spread, np.nan)


def abdi_ranaldo(high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    """Spread of each pair of sessions as a share of the price, at the later one; arguments and result as above."""
    spread = np.full(close.shape, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle, last = (np.log(high) + np.log(low)) / 2.0, np.log(close)
        squared = 4.0 * (last[:, :-1] - middle[:, :-1]) * (last[:, :-1] - middle[:, 1:])
        spread[:, 1:] = np.sqrt(np.maximum(squared, 0.0))
    return np.where(np.isfinite(close) & np.isfinite(spread), spread, np.nan)


#: Estimators by their setting.
SPREADS = {"corwin_schultz": corwin_schultz, "abdi_ranaldo": abdi_ranaldo}


def half_spread(
    spread: str, high: FloatArray, low: FloatArray, close: FloatArray, windows: Windows, sessions: int
) -> FloatArray:
    """Half the mean spread of the `sessions` sessions up to the session before, NaN where too few are known.

    If that session has no bar, the newest mean of the `sessions` sessions before is used, also in the functions below.

    Args:
        spread: of `SPREADS`.
        high: float64 of shape (n_names, n_sessions).
        low: of that shape.
        close: of that shape.
        windows: windows over those sessions.
        sessions: sessions of an estimate.

    """
    return known_before(windows.mean(SPREADS[spread](high, low, close), sessions), sessions) / 2.0


def daily_returns(close: FloatArray, unexplained: FloatArray) -> FloatArray:
    """Returns from session to session, NaN without two bars or where the step is marked (1) as unexplained."""
    returns = np.full(close.shape, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        returns[:, 1:] = close[:, 1:] / close[:, :-1] - 1.0
    return np.where(unexplained == 1.0, np.nan, returns)


def daily_volatility(close: FloatArray, unexplained: FloatArray, windows: Windows, sessions: int) -> FloatArray:
    """Deviation of the `daily_returns` of the `sessions` sessions up to the session before."""
    return known_before(windows.std(daily_returns(close, unexplained), sessions), sessions)


def median_dollar_volume(dollar_volume: FloatArray, windows: Windows, sessions: int) -> FloatArray:
    """Median dollar volume of the `sessions` sessions up to the session before."""
    return known_before(windows.median(dollar_volume, sessions), sessions)


def known_before(values: FloatArray, sessions: int) -> FloatArray:
    """The newest value of the `sessions` sessions before each session; NaN where there is none."""
    numbers = np.arange(values.shape[1])
    place = np.maximum.accumulate(np.where(np.isfinite(values), numbers, -1), axis=1)
    place = np.concatenate([np.full((values.shape[0], 1), -1), place[:, :-1]], axis=1)
    newest = np.take_along_axis(values, np.maximum(place, 0), axis=1)
    return np.where((place >= 0) & (place >= numbers - sessions), newest, np.nan)
