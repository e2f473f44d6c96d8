"""Oscillators: position of the close in its recent range."""

import numpy as np

from quant_assets.features.bars import over
from quant_assets.market.panel import FloatArray
from quant_assets.windows.declarations import Feature, Inputs
from quant_assets.windows.windows import Windows

_RANGE, _SMOOTH, _BANDS, _CHANNEL = 14, 3, 20, 20

_BOLLINGER = "Bollinger (2002), Bollinger on Bollinger Bands"


def _fast_k(x: Inputs, w: Windows) -> FloatArray:
    low = w.lowest(x["low"], _RANGE)
    place = over(x["close"] - low, w.highest(x["high"], _RANGE) - low)
    return 100.0 * np.clip(place, 0.0, 1.0)  # prices of 32 bits may stand a rounding error outside the range


def _cci(x: Inputs, w: Windows) -> FloatArray:
    price = x["typical_price"]
    mean = w.mean(price, _CHANNEL)
    return over(price - mean, 0.015 * w.mean_deviation(price, _CHANNEL, mean))


FEATURES: tuple[Feature, ...] = (
    Feature(
        "fast_k_14",
        ("high", "low", "close"),
        _RANGE - 1,
        _fast_k,
        "close in the range of highs and lows of 14 sessions",
        "percent",
        hidden=True,
    ),
    Feature(
        "stochastic_k_14",
        ("fast_k_14",),
        _SMOOTH - 1,
        lambda x, w: w.mean(x["fast_k_14"], _SMOOTH),
        "slow stochastic %K: close in the range of highs and lows of 14 sessions, mean of 3",
        "percent",
        source="Lane (1984), Technical Analysis of Stocks & Commodities 2:3",
        ge=0,
        le=100,
    ),
    Feature(
        "stochastic_d_14",
        ("stochastic_k_14",),
        _SMOOTH - 1,
        lambda x, w: w.mean(x["stochastic_k_14"], _SMOOTH),
        "slow stochastic %D: mean of 3 sessions of %K",
        "percent",
        source="Lane (1984), Technical Analysis of Stocks & Commodities 2:3",
        ge=0,
        le=100,
    ),
    Feature(
        "williams_r_14",
        ("fast_k_14",),
        0,
        lambda x, w: x["fast_k_14"] - 100.0,
        "close below the highest high of 14 sessions, in the range of highs and lows",
        "percent",
        source="Williams (1979), How I Made One Million Dollars Last Year Trading Commodities",
        ge=-100,
        le=0,
    ),
    Feature(
        "bollinger_20",
        ("close",),
        _BANDS - 1,
        lambda x, w: w.mean_and_std(x["close"], _BANDS, ddof=0),
        "mean and standard deviation (population) of the close of 20 sessions",
        "USD",
        hidden=True,
    ),
    Feature(
        "sma_20",
        ("bollinger_20",),
        0,
        lambda x, w: x["bollinger_20"][0],
        "mean close of 20 sessions",
        "USD",
        hidden=True,
    ),
    Feature(
        "bollinger_width_20",
        ("bollinger_20",),
        0,
        lambda x, w: 4.0 * x["bollinger_20"][1] / x["bollinger_20"][0],
        "distance of the bands, two standard deviations above and below the mean of 20 sessions, over that mean",
        source=_BOLLINGER,
        ge=0,
    ),
    Feature(
        "bollinger_position_20",
        ("close", "bollinger_20"),
        0,
        lambda x, w: 0.5 + over(x["close"] - x["bollinger_20"][0], 4.0 * x["bollinger_20"][1]),
        "%b: close between the Bollinger bands, 0 at the lower and 1 at the upper one",
        source=_BOLLINGER,
    ),
    Feature(
        "cci_20",
        ("typical_price",),
        _CHANNEL - 1,
        _cci,
        "commodity channel index: typical price less its mean of 20 sessions, over 0.015 times the mean deviation",
        source="Lambert (1980), Commodities 9:10, 40-41",
    ),
)
