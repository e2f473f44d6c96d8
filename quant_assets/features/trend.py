"""Features of trend: averages, regression on time, momentum, directional movement."""

import math

import numpy as np

from quant_assets.features.bars import over
from quant_assets.market.calendar import SESSIONS_PER_YEAR
from quant_assets.market.panel import STALE_SESSIONS, FloatArray
from quant_assets.schemas.columns import TIES
from quant_assets.windows.declarations import Feature, Inputs
from quant_assets.windows.windows import Windows, adx_memory, ema_memory

SESSIONS_PER_MONTH = 21

_WILDER = "Wilder (1978), New Concepts in Technical Trading Systems, The Directional Movement System"
_AVERAGES = "Brock, Lakonishok & LeBaron (1992), Journal of Finance 47, 1731-1764"
_SPAN = 14


def _sma_distance(window: int) -> Feature:
    def compute(x: Inputs, w: Windows) -> FloatArray:
        return x["close"] / x[f"sma_{window}"] - 1.0

    meaning = f"close over its mean of {window} sessions, less 1"
    return Feature(f"sma_distance_{window}", ("close", f"sma_{window}"), 0, compute, meaning, source=_AVERAGES, gt=-1)


def _sma(window: int) -> Feature:
    def compute(x: Inputs, w: Windows) -> FloatArray:
        return w.mean(x["close"], window)

    return Feature(
        f"sma_{window}", ("close",), window - 1, compute, f"mean close of {window} sessions", "USD", hidden=True
    )


def _sma_slope(window: int, lag: int) -> Feature:
    def compute(x: Inputs, w: Windows) -> FloatArray:
        return w.ratio(x[f"sma_{window}"], lag) - 1.0

    meaning = f"mean close of {window} sessions over that of {lag} sessions before, less 1"
    return Feature(f"sma_slope_{window}", (f"sma_{window}",), lag + STALE_SESSIONS, compute, meaning, gt=-1)


def _ema_distance(span: int) -> Feature:
    def compute(x: Inputs, w: Windows) -> FloatArray:
        return x["close"] / w.ema(x["close"], span) - 1.0

    meaning = f"close over its exponential average of span {span}, less 1"
    return Feature(
        f"ema_distance_{span}",
        ("close",),
        ema_memory(span) - 1,
        compute,
        meaning,
        source="after Appel (2005), Technical Analysis: Power Tools for Active Investors",
        gt=-1,
        fading=True,
    )


def _trend(window: int) -> tuple[Feature, ...]:
    through = f"trend_line_{window}"

    def compute(x: Inputs, w: Windows) -> FloatArray:
        return w.line(x["log_close"], w.time, window)

    def slope(x: Inputs, w: Windows) -> FloatArray:
        annual: FloatArray = x[through][0] * SESSIONS_PER_YEAR
        return annual

    def fit(x: Inputs, w: Windows) -> FloatArray:
        square: FloatArray = x[through][1] * x[through][1]
        return square

    line = f"least-squares line through the log close of {window} sessions"
    source = "Clenow (2015), Stocks on the Move"
    return (
        Feature(through, ("log_close",), window - 1, compute, line, hidden=True),
        Feature(
            f"trend_slope_{window}", (through,), 0, slope, f"slope of the {line}, times 252", "1 / year", source=source
        ),
        Feature(f"trend_fit_{window}", (through,), 0, fit, f"R squared of the {line}", source=source, ge=0, le=1),
    )


def _momentum(months: int, skipped: int, source: str) -> Feature:
    far, near = months * SESSIONS_PER_MONTH, skipped * SESSIONS_PER_MONTH

    inputs = f"close_before_{near}", f"close_before_{far}"

    def compute(x: Inputs, w: Windows) -> FloatArray:
        return x[inputs[0]] / x[inputs[1]] - 1.0

    meaning = f"return from {far} to {near} sessions before ({months} months without the last {skipped})"
    return Feature(f"momentum_{months}_{skipped}", inputs, 0, compute, meaning, source=source, gt=-1)


def _discreteness(x: Inputs, w: Windows) -> FloatArray:
    discreteness: FloatArray = -np.sign(x["return_252"]) * x["rising_less_falling_252"]
    return discreteness


def _risk_adjusted(x: Inputs, w: Windows) -> FloatArray:
    window = SESSIONS_PER_YEAR
    mean, deviation = w.mean_and_std(x["log_return"], window)
    return over(mean, deviation) * math.sqrt(SESSIONS_PER_YEAR)


def _efficiency(x: Inputs, w: Windows) -> FloatArray:
    way: FloatArray = over(np.abs(w.sum(x["change"], 20)), w.sum(np.abs(x["change"]), 20))
    return np.minimum(way, 1.0)  # rounding may give slightly more than 1


def _directional(name: str, layer: int, meaning: str, le: float | None = None) -> Feature:
    return Feature(
        name,
        ("directional_14",),
        0,
        lambda x, w: x["directional_14"][layer],
        meaning,
        "percent",
        source=_WILDER,
        ge=0,
        le=le,
        anchored=TIES,
    )


FEATURES: tuple[Feature, ...] = (
    *(_sma_distance(window) for window in (5, 10, 20, 50, 100, 200)),
    *(_ema_distance(span) for span in (10, 20)),  # longer spans would look back for years: 100 needs 1,250 sessions
    *(_sma(window) for window in (5, 10, 50, 100, 200)),  # sma_20 is with the Bollinger bands
    _sma_slope(20, 5),
    _sma_slope(50, 20),
    _sma_slope(200, 20),
    Feature(
        "sma_cross_50_200",
        ("sma_50", "sma_200"),
        0,
        lambda x, w: x["sma_50"] / x["sma_200"] - 1.0,
        "mean close of 50 sessions over that of 200, less 1",
        source=_AVERAGES,
        gt=-1,
    ),
    *_trend(20),
    *_trend(60),
    *_trend(120),
    _momentum(6, 1, "Jegadeesh & Titman (1993), Journal of Finance 48, 65-91"),
    _momentum(12, 1, "Jegadeesh & Titman (1993), Journal of Finance 48, 65-91; Carhart (1997)"),
    _momentum(12, 6, "Novy-Marx (2012), Journal of Financial Economics 103, 429-453"),
    Feature(
        "rising_less_falling_252",
        ("daily_return",),
        SESSIONS_PER_YEAR - 1,
        lambda x, w: w.mean(np.sign(x["daily_return"]), SESSIONS_PER_YEAR),
        "share of rising less share of falling sessions, of 252",
        hidden=True,
    ),
    Feature(
        "momentum_discreteness_252",
        ("return_252", "rising_less_falling_252"),
        0,
        _discreteness,
        (
            "share of falling less share of rising sessions, of 252, with the sign of the return over them: "
            "low if it consists of many small moves"
        ),
        source="Da, Gurun & Warachka (2014), Review of Financial Studies 27, 2171-2218 (who skip a month)",
        ge=-1,
        le=1,
    ),
    Feature(
        "risk_adjusted_momentum_252",
        ("log_return",),
        SESSIONS_PER_YEAR - 1,
        _risk_adjusted,
        "annualised mean over annualised standard deviation of the daily log returns of 252 sessions",
        source="after Rachev, Jasic, Stoyanov & Fabozzi (2007), Journal of Banking & Finance 31, 2325-2346",
    ),
    Feature(
        "efficiency_ratio_20",
        ("change",),
        19,
        _efficiency,
        "change of the close over 20 sessions over the sum of its daily changes, both absolute",
        source="Kaufman (1995), Smarter Trading",
        ge=0,
        le=1,
    ),
    Feature(
        "low_52w_distance",
        ("close",),
        SESSIONS_PER_YEAR - 1,
        lambda x, w: x["close"] / w.lowest(x["close"], SESSIONS_PER_YEAR) - 1.0,
        "close over the lowest close of 252 sessions, less 1",
        source="after George & Hwang (2004), Journal of Finance 59, 2145-2176",
        ge=0,
    ),
    Feature(
        "directional_14",
        ("high", "low", "close"),
        adx_memory(_SPAN),
        lambda x, w: w.directional(x["high"], x["low"], x["close"], _SPAN),
        "Wilder's +DI, -DI and ADX over 14 sessions",
        "percent",
        source=_WILDER,
        hidden=True,
        fading=True,
    ),
    _directional("plus_di_14", 0, "Wilder's +DI: average upward movement over average true range"),
    _directional("minus_di_14", 1, "Wilder's -DI: average downward movement over average true range, 14 sessions"),
    _directional(
        "adx_14",
        2,
        "average directional movement index over 14 sessions: strength of a trend in either direction",
        le=100,
    ),
)
