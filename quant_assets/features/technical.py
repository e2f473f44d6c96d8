"""The technical features: oscillators, returns, volatility, distance from the high, volume, beta."""

import math
from collections.abc import Callable

import numpy as np

from quant_assets.market.panel import STALE_SESSIONS, FloatArray, Panel
from quant_assets.signals import windows
from quant_assets.signals.columns import Inputs, PanelColumn

SESSIONS_PER_YEAR = 252

FIELDS = ("close", "volume")
RSI_SPAN = 14
MACD_FAST, MACD_SLOW, MACD_SIGNAL = 12, 26, 9
RETURN_LAGS = (1, 5, 20, 60, 120, 252)
VOLATILITY_WINDOWS = (20, 60)
HIGH_WINDOW = 252
VOLUME_WINDOW = 20
BETA_WINDOW = 120

#: Sessions before its own that a daily return and the two MACD lines depend on.
_RETURN_LOOKBACK = 1 + STALE_SESSIONS
_LINE_LOOKBACK = windows.ema_memory(MACD_SLOW) - 1
_SIGNAL_LOOKBACK = _LINE_LOOKBACK + windows.ema_memory(MACD_SIGNAL) - 1


def universe_sessions() -> int:
    """Sessions before a row's own whose members the features read: a return of beta's window is over the members of the session before."""
    return BETA_WINDOW


def inputs(panel: Panel, sector_return: FloatArray) -> dict[str, FloatArray]:
    """The arrays that the features read: the panel's fields and what several of them share.

    Args:
        panel: the sector's panel of `FIELDS`.
        sector_return: `market.sector_return.equal_weight_returns` over the panel's sessions, of shape (n_sessions,).

    Returns:
        `close, volume`; `change` of the close in USD, `daily_return` and `log_return`, each against the last bar before;
        `macd_line` and `signal_line` in USD; `sector_return` as given.

    """
    close = panel["close"]
    ratio = windows.lagged_ratio(close, 1)
    line = windows.ema(close, MACD_FAST) - windows.ema(close, MACD_SLOW)
    return {
        "close": close,
        "volume": panel["volume"],
        "change": close - windows.lagged(close, 1),
        "daily_return": ratio - 1.0,
        "log_return": windows.log(ratio),
        "macd_line": line,
        "signal_line": windows.ema(line, MACD_SIGNAL),
        "sector_return": sector_return,
    }


def _rsi(x: Inputs) -> FloatArray:
    """100 times the average gain over the average gain plus loss; missing where the close never moved."""
    gain = windows.wilder(np.maximum(x["change"], 0.0), RSI_SPAN)
    loss = windows.wilder(np.maximum(-x["change"], 0.0), RSI_SPAN)
    moved = gain + loss
    return 100.0 * (gain / np.where(moved > 0.0, moved, np.nan))


def _return(lag: int) -> PanelColumn:
    return PanelColumn(f"return_{lag}", ("close",), lag + STALE_SESSIONS, lambda x: windows.lagged_ratio(x["close"], lag) - 1.0)


def _volatility(window: int) -> PanelColumn:
    def compute(x: Inputs) -> FloatArray:
        return windows.std(x["log_return"], window) * math.sqrt(SESSIONS_PER_YEAR)

    return PanelColumn(f"realised_volatility_{window}", ("log_return",), window - 1 + _RETURN_LOOKBACK, compute)


def _volume_zscore(x: Inputs) -> FloatArray:
    deviation = windows.std(x["volume"], VOLUME_WINDOW)
    return (x["volume"] - windows.mean(x["volume"], VOLUME_WINDOW)) / np.where(deviation > 0.0, deviation, np.nan)


def _over_close(lookback: int, name: str, numerator: Callable[[Inputs], FloatArray], *needed: str) -> PanelColumn:
    return PanelColumn(name, ("close", *needed), lookback, lambda x: numerator(x) / x["close"])


TECHNICAL: tuple[PanelColumn, ...] = (
    PanelColumn("rsi_14", ("change",), windows.wilder_memory(RSI_SPAN) - 1 + _RETURN_LOOKBACK, _rsi),
    _over_close(_LINE_LOOKBACK, "macd", lambda x: x["macd_line"], "macd_line"),
    _over_close(_SIGNAL_LOOKBACK, "macd_signal", lambda x: x["signal_line"], "signal_line"),
    _over_close(_SIGNAL_LOOKBACK, "macd_histogram", lambda x: x["macd_line"] - x["signal_line"], "macd_line", "signal_line"),
    *(_return(lag) for lag in RETURN_LAGS),
    *(_volatility(window) for window in VOLATILITY_WINDOWS),
    PanelColumn("high_52w_distance", ("close",), HIGH_WINDOW - 1, lambda x: x["close"] / windows.highest(x["close"], HIGH_WINDOW) - 1.0),
    PanelColumn("volume_zscore_20", ("volume",), VOLUME_WINDOW - 1, _volume_zscore),
    PanelColumn(
        "beta_120",
        ("daily_return", "sector_return"),
        BETA_WINDOW - 1 + _RETURN_LOOKBACK,
        lambda x: windows.slope(x["daily_return"], x["sector_return"], BETA_WINDOW),
    ),
)
