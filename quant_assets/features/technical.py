"""The technical features of the core set: oscillators, returns, volatility, distance from the high, volume, beta."""

import math

import numpy as np

from quant_assets.features.bars import deviation, over
from quant_assets.market.calendar import SESSIONS_PER_YEAR
from quant_assets.market.panel import FloatArray
from quant_assets.windows.declarations import Feature, Inputs
from quant_assets.windows.windows import TIE, Windows, macd_memory, wilder_memory

_APPEL = "Appel (1979), The moving average convergence-divergence method"


def _ratio(x: Inputs, w: Windows) -> FloatArray:
    ratio: FloatArray = x["close"] / x["close_before_1"]
    ratio[np.abs(ratio - 1.0) < TIE] = 1.0
    return ratio


CHANGE = Feature(
    "change",
    ("close", "close_before_1", "daily_ratio"),
    0,
    lambda x, w: np.where(x["daily_ratio"] == 1.0, 0.0, x["close"] - x["close_before_1"]),
    "close less the last one before",
    "USD",
    hidden=True,
)
DAILY_RATIO = Feature(
    "daily_ratio",
    ("close", "close_before_1"),
    0,
    _ratio,
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
BAR_CHANGE = Feature(
    "bar_change",
    ("close", "close_of_bar_before"),
    0,
    lambda x, w: x["close"] - x["close_of_bar_before"],
    "close less that of the bar before, however old",
    "USD",
    hidden=True,
)
MACD_LINES = Feature(
    "macd_lines",
    ("close",),
    macd_memory(26, 9) - 1,
    lambda x, w: w.macd(x["close"], 12, 26, 9),
    "EMA 12 - EMA 26 of the close, and EMA 9 of that",
    "USD",
    source=_APPEL,
    hidden=True,
    fading=True,
)


def _rsi(x: Inputs, w: Windows) -> FloatArray:
    """100 times the average gain over the average gain plus loss; missing where the close never moved."""
    gain, loss = w.rises_and_falls(x["bar_change"], 14, x["close"])
    return 100.0 * over(gain, gain + loss)


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
    mean, deviation = w.mean_and_std(x["volume"], 20)
    return over(x["volume"] - mean, deviation)


FEATURES: tuple[Feature, ...] = (
    CHANGE,
    DAILY_RATIO,
    DAILY_RETURN,
    LOG_RETURN,
    BAR_CHANGE,
    MACD_LINES,
    Feature(
        "rsi_14",
        ("bar_change", "close"),
        wilder_memory(14),
        _rsi,
        "relative strength index over 14 sessions",
        "percent",
        source="Wilder (1978), New Concepts in Technical Trading Systems",
        ge=0,
        le=100,
        fading=True,
    ),
    Feature(
        "macd",
        ("close", "macd_lines"),
        0,
        lambda x, w: x["macd_lines"][0] / x["close"],
        "MACD line (EMA 12 - EMA 26) over the close",
        source=_APPEL,
    ),
    Feature(
        "macd_signal",
        ("close", "macd_lines"),
        0,
        lambda x, w: x["macd_lines"][1] / x["close"],
        "EMA 9 of the MACD line, over the close",
        source=_APPEL,
    ),
    Feature(
        "macd_histogram",
        ("close", "macd_lines"),
        0,
        lambda x, w: (x["macd_lines"][0] - x["macd_lines"][1]) / x["close"],
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
