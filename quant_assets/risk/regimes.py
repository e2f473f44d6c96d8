"""Risk-on or risk-off of a sector, from thresholds on realised volatility and drawdown.

Filtered regime models come beside it.
"""

import math
from collections.abc import Iterable
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import HistoryError
from quant_assets.market.calendar import SESSIONS_PER_YEAR
from quant_assets.market.panel import FloatArray
from quant_assets.market.sector_return import LOOKBACK, equal_weight_returns
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import RegimeSettings


def lookback_sessions(settings: RegimeSettings) -> int:
    """Sessions before as_of that a regime reads (prices and members)."""
    return max(settings.volatility_sessions, settings.drawdown_sessions - 1) - 1 + LOOKBACK


def realised_volatility(returns: FloatArray) -> float | None:
    """Annualised volatility: sqrt(252) times the sample standard deviation (n - 1) of daily returns.

    Args:
        returns: daily returns of shape (n_sessions,).

    Returns:
        The volatility, or None where a return is missing (NaN) or there are fewer than two.

    """
    if len(returns) < 2 or not np.isfinite(returns).all():
        return None
    mean = math.fsum(returns.tolist()) / len(returns)
    squares = math.fsum(((returns - mean) ** 2).tolist())
    return math.sqrt(squares / (len(returns) - 1) * SESSIONS_PER_YEAR)


def window_drawdown(returns: FloatArray) -> float:
    """Loss of the index at its last session against its highest close, the index being 1 before the first return.

    Missing returns (NaN) leave the index where it is.

    Returns:
        Positive fraction, 0 at the high.

    """
    index = np.cumprod(np.concatenate([[1.0], 1.0 + np.nan_to_num(returns, nan=0.0)]))
    return float(1.0 - index[-1] / index.max())


def regime_state(
    prices: pl.DataFrame,
    universe: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    as_ofs: Iterable[date],
    settings: RegimeSettings,
) -> pl.DataFrame:
    """The sector's regime at each as_of.

    Volatility is that of the last `volatility_sessions` equal-weight returns; drawdown is measured inside the last
    `drawdown_sessions` sessions, on an index that starts with the window, so that both depend on their windows alone.
    The regime is `risk_off` where either is above its threshold, and also where history is too short to tell (fewer
    returns than `volatility_sessions`): no evidence of calm is not calm. `reason` says which. A drawdown window that is
    not full (young history) is used as far as it goes.

    Args:
        prices: dataset prices from `lookback_sessions` before the first as_of.
        universe: dataset universe over the same sessions; an as_of without members has no row.
        sessions: datetime64[D], every session from `lookback_sessions` before the first as_of to the last as_of.
        as_ofs: decision sessions.
        settings: windows and thresholds.

    Returns:
        Dataset regime_state, sorted by as_of.

    Raises:
        HistoryError: an as_of is not among the sessions, or fewer sessions than the lookback stand before it.

    """
    returns = equal_weight_returns(prices, universe, sessions)
    occupied = set(universe["date"])
    rows = []
    for as_of in sorted(set(as_ofs)):
        at = int(np.searchsorted(sessions, np.datetime64(as_of)))
        if at == len(sessions) or sessions[at] != np.datetime64(as_of) or at < lookback_sessions(settings):
            raise HistoryError(
                f"regime at {as_of} needs that session and the {lookback_sessions(settings)} before it; "
                "pass sessions that reach so far"
            )
        if as_of not in occupied:
            continue
        recent = returns[at - settings.volatility_sessions + 1 : at + 1]
        window = returns[at - settings.drawdown_sessions + 2 : at + 1]
        volatility = realised_volatility(recent)
        drawdown = None if volatility is None else window_drawdown(window)
        known = int(np.isfinite(recent).sum())
        regime, reason = _judge(volatility, drawdown, known, settings)
        rows.append(
            {"as_of": as_of, "regime": regime, "volatility": volatility, "drawdown": drawdown, "reason": reason}
        )
    return pl.DataFrame(rows, schema=DATASETS["regime_state"].schema)


def _judge(volatility: float | None, drawdown: float | None, known: int, settings: RegimeSettings) -> tuple[str, str]:
    if volatility is None or drawdown is None:
        return "risk_off", f"history too short: {known} of {settings.volatility_sessions} returns"
    crossed = []
    if volatility > settings.max_volatility:
        crossed.append(f"volatility {volatility:.1%} above {settings.max_volatility:.1%}")
    if drawdown > settings.max_drawdown:
        crossed.append(f"drawdown {drawdown:.1%} above {settings.max_drawdown:.1%}")
    if crossed:
        return "risk_off", "; ".join(crossed)
    limits = f"{settings.max_volatility:.1%} and {settings.max_drawdown:.1%}"
    return "risk_on", f"volatility {volatility:.1%} and drawdown {drawdown:.1%} within {limits}"
