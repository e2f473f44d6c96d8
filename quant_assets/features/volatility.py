"""Features of volatility and of the shape of returns. Volatilities are annualised with 252 sessions."""

import math

import numpy as np

from quant_assets.features.bars import over
from quant_assets.market.calendar import SESSIONS_PER_YEAR
from quant_assets.market.panel import FloatArray
from quant_assets.windows.declarations import Feature, Inputs
from quant_assets.windows.windows import Windows, wilder_memory

_ANNUAL = math.sqrt(SESSIONS_PER_YEAR)
_SPAN, _MOMENTS = 14, 60


def _annualised(variance: FloatArray) -> FloatArray:
    volatility: FloatArray = np.sqrt(np.maximum(variance, 0.0)) * _ANNUAL
    return volatility


def _parkinson(window: int) -> Feature:
    def compute(x: Inputs, w: Windows) -> FloatArray:
        return _annualised(w.mean(x["log_range"] * x["log_range"], window) / (4.0 * math.log(2.0)))

    meaning = f"annualised volatility from the ranges of {window} sessions, without the overnight part"
    source = "Parkinson (1980), Journal of Business 53, 61-65"
    return Feature(f"parkinson_volatility_{window}", ("log_range",), window - 1, compute, meaning, source=source, ge=0)


def _garman_klass(window: int) -> Feature:
    def compute(x: Inputs, w: Windows) -> FloatArray:
        ranges, moves = x["log_range"], x["log_intraday"]
        return _annualised(w.mean(0.5 * ranges * ranges - (2.0 * math.log(2.0) - 1.0) * moves * moves, window))

    meaning = f"annualised volatility from open, high, low and close of {window} sessions, without the overnight part"
    source = "Garman & Klass (1980), Journal of Business 53, 67-78"
    return Feature(
        f"garman_klass_volatility_{window}",
        ("log_range", "log_intraday"),
        window - 1,
        compute,
        meaning,
        source=source,
        ge=0,
    )


def _rogers_satchell(x: Inputs) -> FloatArray:
    close = x["log_intraday"]
    return x["log_high"] * (x["log_high"] - close) + x["log_low"] * (x["log_low"] - close)


_YANG_ZHANG = ("log_overnight_deviation_20", "log_intraday_deviation_20", "rogers_satchell_20")


def _yang_zhang(x: Inputs, w: Windows) -> FloatArray:
    weight = 0.34 / (1.34 + 21 / 19)  # of 20 sessions
    overnight, intraday, inside = (x[name] for name in _YANG_ZHANG)
    return _annualised(overnight * overnight + weight * intraday * intraday + (1.0 - weight) * inside)


def _downside(x: Inputs, w: Windows) -> FloatArray:
    losses = np.minimum(x["log_return"], 0.0)
    return _annualised(w.mean(losses * losses, _MOMENTS))


def _moments(x: Inputs, w: Windows) -> FloatArray:
    returns = x["daily_return"]
    squares = returns * returns
    return np.stack([w.mean(power, _MOMENTS) for power in (squares, squares * returns, squares * squares)])


def _skewness(x: Inputs, w: Windows) -> FloatArray:
    square, cube, _ = x["moments_60"]
    return over(cube, square * np.sqrt(square))


def _kurtosis(x: Inputs, w: Windows) -> FloatArray:
    square, _, fourth = x["moments_60"]
    return over(fourth, square * square)


FEATURES: tuple[Feature, ...] = (
    Feature(
        "average_true_range_14",
        ("bar_range", "close"),
        wilder_memory(_SPAN),
        lambda x, w: w.wilder(x["bar_range"], _SPAN, bars=x["close"]),
        "Wilder's average of the true range over 14 sessions",
        "USD",
        hidden=True,
        fading=True,
    ),
    Feature(
        "atr_14",
        ("average_true_range_14", "close"),
        0,
        lambda x, w: x["average_true_range_14"] / x["close"],
        "average true range over 14 sessions, over the close",
        source="Wilder (1978), New Concepts in Technical Trading Systems, The Volatility System",
        ge=0,
    ),
    _parkinson(20),
    _parkinson(60),
    _garman_klass(20),
    _garman_klass(60),
    Feature(
        "rogers_satchell_20",
        ("log_high", "log_low", "log_intraday"),
        19,
        lambda x, w: w.mean(_rogers_satchell(x), 20),
        "variance of a session from open, high, low and close, mean of 20 sessions",
        hidden=True,
    ),
    Feature(
        "rogers_satchell_volatility_20",
        ("rogers_satchell_20",),
        0,
        lambda x, w: _annualised(x["rogers_satchell_20"]),
        (
            "annualised volatility from open, high, low and close of 20 sessions, whatever the drift, "
            "without the overnight part"
        ),
        source="Rogers & Satchell (1991), Annals of Applied Probability 1, 504-512",
        ge=0,
    ),
    Feature(
        "yang_zhang_volatility_20",
        _YANG_ZHANG,
        0,
        _yang_zhang,
        (
            "annualised volatility from open, high, low and close of 20 sessions, whatever the drift, "
            "with the overnight part"
        ),
        source="Yang & Zhang (2000), Journal of Business 73, 477-492",
        ge=0,
    ),
    Feature(
        "downside_volatility_60",
        ("log_return",),
        _MOMENTS - 1,
        _downside,
        "annualised root mean square of the negative daily log returns, over all 60 sessions",
        source="Sortino & Price (1994), Journal of Investing 3, 59-64",
        ge=0,
    ),
    Feature(
        "residual_volatility_120",
        ("sector_line_120",),
        0,
        lambda x, w: x["sector_line_120"][2] * _ANNUAL,
        (
            "annualised standard deviation of the part of the daily return not explained by the sector's return, "
            "over 120 sessions"
        ),
        source="after Ang, Hodrick, Xing & Zhang (2006), Journal of Finance 61, 259-299",
        ge=0,
    ),
    Feature(
        "sector_correlation_120",
        ("sector_line_120",),
        0,
        lambda x, w: x["sector_line_120"][1],
        "correlation of the daily return with the sector's, over 120 sessions",
        ge=-1,
        le=1,
    ),
    Feature(
        "volatility_ratio_20_120",
        ("log_return_deviation_20", "log_return_deviation_120"),
        0,
        lambda x, w: over(x["log_return_deviation_20"], x["log_return_deviation_120"]),
        "standard deviation of the daily log returns of 20 sessions over that of 120",
        ge=0,
    ),
    Feature(
        "max_return_20",
        ("daily_return",),
        19,
        lambda x, w: w.highest(x["daily_return"], 20),
        "highest daily return of 20 sessions",
        source="Bali, Cakici & Whitelaw (2011), Journal of Financial Economics 99, 427-446",
        gt=-1,
    ),
    Feature(
        "moments_60",
        ("daily_return",),
        _MOMENTS - 1,
        _moments,
        "mean square, cube and fourth power of the daily returns of 60 sessions",
        hidden=True,
    ),
    Feature(
        "realised_skewness_60",
        ("moments_60",),
        0,
        _skewness,
        "mean cube of the daily returns of 60 sessions over the 3/2 power of their mean square",
        source="after Amaya, Christoffersen, Jacobs & Vasquez (2015), Journal of Financial Economics 118, 135-167",
    ),
    Feature(
        "realised_kurtosis_60",
        ("moments_60",),
        0,
        _kurtosis,
        "mean fourth power of the daily returns of 60 sessions over their squared mean square",
        source="after Amaya, Christoffersen, Jacobs & Vasquez (2015), Journal of Financial Economics 118, 135-167",
        ge=0,
    ),
)
