"""The technical features of the core set: oscillators, returns, volatility, distance from the high, volume, beta."""

import math

import numpy as np

from quant_assets.features.bars import deviation, over
from quant_assets.market.calendar import SESSIONS_PER_YEAR
from quant_assets.market.panel import FloatArray
from quant_assets.windows.declarations import Feature, Inputs
from quant_assets.windows.windows import Windows, ema_memory, wilder_memory

_APPEL = "Appel (1979), The moving average convergence-divergence method"

CHANGE = Feature(
    "change",
    ("close", "close_before_1"),
    0,
    lambda x, w: x["close"] - x["close_before_1"],
    "close less the last one before",
    "USD",
    hidden=True,
)
DAILY_RATIO = Feature(
    "daily_ratio",
    ("close", "close_before_1"),
    0,
    lambda x, w: x["close"] / x["close_before_1"],
    "close over the last one before",
    hidden=True,
)
DAILY_RETURN = Feature(
    "daily_return", ("daily_ratio",), 0, lambda x, w: x["daily_ratio"] - 1.0, "return since the last close", hidden=True
)
LOG_RETURN = Feature(
    "log_return",
    ("daily_ratio",),
    0,
    lambda x, w: w.log(x["daily_ratio"]),
    "log return since the last close",
    hidden=True,
)
MACD_LINE = Feature(
    "macd_line",
    ("close",),
    ema_memory(26) - 1,
    lambda x, w: (
        w.ema(x["close"], 12, skip=14) - w.ema(x["close"], 26)
    ),  # both have their seeds where the slow one has its own
    "EMA 12 - EMA 26 of the close",
    "USD",
    source=_APPEL,
    hidden=True,
)
SIGNAL_LINE = Feature(
    "signal_line",
    ("macd_line",),
    ema_memory(9) - 1,
    lambda x, w: w.ema(x["macd_line"], 9),
    "EMA 9 of the MACD line",
    "USD",
    source=_APPEL,
    hidden=True,
)


def _rsi(x: Inputs, w: Windows) -> FloatArray:
    """100 times the average gain over the average gain plus loss; missing where the close never moved."""
    gain = w.wilder(np.maximum(x["change"], 0.0), 14)
    moved = gain + w.wilder(np.maximum(-x["change"], 0.0), 14)
    return 100.0 * over(gain, moved)


def _return(lag: int) -> Feature:
    return Feature(
        f"return_{lag}",
        ("close", f"close_before_{lag}"),
        0,
        lambda x, w: x["close"] / x[f"close_before_{lag}"] - 1.0,
        f"return over {lag} session{'s' if lag > 1 else ''}",
        gt=-1,
    )


def _volatility(window: int) -> Feature:
    return Feature(
        f"realised_volatility_{window}",
        (f"log_return_deviation_{window}",),
        0,
        lambda x, w: x[f"log_return_deviation_{window}"] * math.sqrt(SESSIONS_PER_YEAR),
        f"annualised standard deviation of daily log returns over {window} sessions",
        ge=0,
    )


def _volume_zscore(x: Inputs, w: Windows) -> FloatArray:
    return over(x["volume"] - w.mean(x["volume"], 20), w.std(x["volume"], 20))


FEATURES: tuple[Feature, ...] = (
    CHANGE,
    DAILY_RATIO,
    DAILY_RETURN,
    LOG_RETURN,
    MACD_LINE,
    SIGNAL_LINE,
    Feature(
        "rsi_14",
        ("change",),
        wilder_memory(14) - 1,
        _rsi,
        "relative strength index over 14 sessions",
        "percent",
        source="Wilder (1978), New Concepts in Technical Trading Systems",
        ge=0,
        le=100,
    ),
    Feature(
        "macd",
        ("close", "macd_line"),
        0,
        lambda x, w: x["macd_line"] / x["close"],
        "MACD line (EMA 12 - EMA 26) over the close",
        source=_APPEL,
    ),
    Feature(
        "macd_signal",
        ("close", "signal_line"),
        0,
        lambda x, w: x["signal_line"] / x["close"],
        "EMA 9 of the MACD line, over the close",
        source=_APPEL,
    ),
    Feature(
        "macd_histogram",
        ("close", "macd_line", "signal_line"),
        0,
        lambda x, w: (x["macd_line"] - x["signal_line"]) / x["close"],
        "MACD line less its signal, over the close",
        source=_APPEL,
    ),
    *(_return(lag) for lag in (1, 5, 20, 60, 120, 252)),
    *(deviation("log_return", window) for window in (20, 60, 120)),
    *(_volatility(window) for window in (20, 60)),
    Feature(
        "high_52w_distance",
        ("close",),
        251,
        lambda x, w: x["close"] / w.highest(x["close"], 252) - 1.0,
        "close over the highest close of 252 sessions, less 1",
        source="George and Hwang (2004), The 52-week high and momentum investing",
        le=0,
    ),
    Feature(
        "volume_zscore_20", ("volume",), 19, _volume_zscore, "volume against mean and standard deviation of 20 sessions"
    ),
    Feature(
        "sector_line_120",
        ("daily_return", "sector_return"),
        119,
        lambda x, w: w.line(x["daily_return"], x["sector_return"], 120),
        "line of the daily return on the equal-weight return of the sector's members at the time, over 120 sessions",
        hidden=True,
    ),
    Feature(
        "beta_120",
        ("sector_line_120",),
        0,
        lambda x, w: x["sector_line_120"][0],
        "slope of the daily return on the equal-weight return of the sector's members at the time, over 120 sessions",
    ),
)
