"""Qlib's Alpha158 as declared features: nine of the bar, four prices, and 29 statistics over 5 to 60 sessions.

The windows are 5, 10, 20, 30 and 60 sessions.

A column's name is `alpha158_` and Qlib's name in lower case: MA20 is `alpha158_ma20`. Its value is Qlib's (version
0.9.7, expressions of `qlib.contrib.data.loader.Alpha158DL`) on the same prices, except that:

- Qlib has values from a ticker's first bars on. Here a value exists only at an observed session, and if 80 % of the
  window's sessions are observed, as for every window of this project.
- Changes (in CORD, CNT*, SUM*, WVMA and VSUM*) are from the session before, and ROC is from the one d sessions before,
  as in Qlib: if that session has no bar, they are missing.
- CNT*, IMAX and IMIN count all d sessions, also those before a ticker's first bar; Qlib counts from that bar.
- In a window with sessions without a bar, Qlib's IMAX and IMIN give the position of the first of these; here it is that
  of the highest high and of the lowest low.
- If no share was traded, ratios to the session's volume (VMA, VSTD) are null; Qlib gives about 1e18.

Qlib's `$vwap` is the volume-weighted average price, which daily bars do not have: it is replaced by the typical price
(high + low + close) / 3. Qlib rounds prices, ratios of them, logarithms and results to float32; here everything is
float64, which on real prices changes CORD, CORR and WVMA by up to 4e-5 and all others by less than 1e-6.

Source: Yang, Liu, Zhou, Bian, Liu: Qlib, an AI-oriented Quantitative Investment Platform, arXiv:2009.11189 (2020).
"""

from typing import Any

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.windows.declarations import Compute, Feature, Inputs
from quant_assets.windows.windows import Windows

PREFIX = "alpha158_"
WINDOWS = (5, 10, 20, 30, 60)

#: Qlib adds this to denominators that may be 0.
_TINY = 1e-12

#: If a standard deviation is not above this, Qlib gives no correlation and no R².
_LEAST_DEVIATION = 2e-5


def _feature(qlib: str, inputs: str, lookback: int, compute: Compute, meaning: str, **bounds: Any) -> Feature:
    """One of the 158; `inputs` are separated by spaces."""
    name = PREFIX + qlib.lower()
    return Feature(name, tuple(inputs.split()), lookback, compute, meaning, source=f"Qlib Alpha158 {qlib}", **bounds)


def _hidden(name: str, inputs: str, lookback: int, compute: Compute, meaning: str) -> Feature:
    """An intermediate result that several features share."""
    return Feature(name, tuple(inputs.split()), lookback, compute, meaning, hidden=True)


def _positive(values: FloatArray) -> FloatArray:
    positive: FloatArray = np.where(values > 0.0, values, np.nan)
    return positive


def _bar() -> tuple[Feature, ...]:
    """Features of one session's bar."""

    def body_top(x: Inputs) -> FloatArray:
        return np.maximum(x["open"], x["close"])

    def body_bottom(x: Inputs) -> FloatArray:
        return np.minimum(x["open"], x["close"])

    def bar_range(x: Inputs) -> FloatArray:
        return x["high"] - x["low"] + _TINY

    def shift(x: Inputs) -> FloatArray:
        return 2.0 * x["close"] - x["high"] - x["low"]

    ohlc = "open high low close"
    of_range = "over the day's range; 0 for a bar without one"
    return (
        _feature(
            "KMID",
            "open close",
            0,
            lambda x, w: (x["close"] - x["open"]) / x["open"],
            "Body (close less open) over the open",
        ),
        _feature(
            "KLEN", "open high low", 0, lambda x, w: (x["high"] - x["low"]) / x["open"], "The day's range over the open"
        ),
        _feature("KMID2", ohlc, 0, lambda x, w: (x["close"] - x["open"]) / bar_range(x), f"Body {of_range}"),
        _feature(
            "KUP",
            "open high close",
            0,
            lambda x, w: (x["high"] - body_top(x)) / x["open"],
            "Upper shadow over the open",
        ),
        _feature("KUP2", ohlc, 0, lambda x, w: (x["high"] - body_top(x)) / bar_range(x), f"Upper shadow {of_range}"),
        _feature(
            "KLOW",
            "open low close",
            0,
            lambda x, w: (body_bottom(x) - x["low"]) / x["open"],
            "Lower shadow over the open",
        ),
        _feature("KLOW2", ohlc, 0, lambda x, w: (body_bottom(x) - x["low"]) / bar_range(x), f"Lower shadow {of_range}"),
        _feature(
            "KSFT", ohlc, 0, lambda x, w: shift(x) / x["open"], "Twice the close less high and low, over the open"
        ),
        _feature(
            "KSFT2",
            "high low close",
            0,
            lambda x, w: shift(x) / bar_range(x),
            f"Twice the close less high and low, {of_range}",
        ),
        _feature("OPEN0", "open close", 0, lambda x, w: x["open"] / x["close"], "Open over the close", gt=0.0),
        _feature("HIGH0", "high close", 0, lambda x, w: x["high"] / x["close"], "High over the close", gt=0.0),
        _feature("LOW0", "low close", 0, lambda x, w: x["low"] / x["close"], "Low over the close", gt=0.0),
        _feature(
            "VWAP0",
            "high low close",
            0,
            lambda x, w: (x["high"] + x["low"] + x["close"]) / 3.0 / x["close"],
            "Typical price (mean of high, low and close) over the close",
            gt=0.0,
        ),
    )


_RATIO, _LOG_VOLUME, _LOG_VOLUME_RATIO, _WEIGHTED_MOVE = (
    PREFIX + name for name in ("close_ratio", "log_volume", "log_volume_ratio", "weighted_move")
)


def _shared() -> tuple[Feature, ...]:
    """Series to which windows are applied."""

    def weighted_move(x: Inputs, w: Windows) -> FloatArray:
        product: FloatArray = np.abs(x[_RATIO] - 1.0) * x["volume"]
        return product

    def log_volume_ratio(x: Inputs, w: Windows) -> FloatArray:
        ratio: FloatArray = x["volume"] / _positive(w.delayed(x["volume"], 1))
        return w.log(ratio + 1.0)

    return (
        _hidden(
            _RATIO,
            "close",
            1,
            lambda x, w: x["close"] / w.delayed(x["close"], 1),
            "Close over the close of the session before",
        ),
        _hidden(_LOG_VOLUME, "volume", 0, lambda x, w: w.log(x["volume"] + 1.0), "Logarithm of volume + 1"),
        _hidden(
            _LOG_VOLUME_RATIO, "volume", 1, log_volume_ratio, "Logarithm of 1 + volume over that of the session before"
        ),
        _hidden(_WEIGHTED_MOVE, f"{_RATIO} volume", 0, weighted_move, "Absolute return times volume"),
    )


def _window_shared(d: int) -> tuple[Feature, ...]:
    """Intermediate results of one window, each of shape (k, n_tickers, n_sessions)."""

    def lowest(x: Inputs, w: Windows) -> FloatArray:
        mirrored = w.peak(-x["low"], d)
        mirrored[0] = -mirrored[0]
        return mirrored

    return (
        _hidden(
            f"{PREFIX}line{d}",
            "close",
            d - 1,
            lambda x, w: w.line(x["close"], w.time, d, _LEAST_DEVIATION),
            "Line through the closes",
        ),
        _hidden(
            f"{PREFIX}order{d}",
            "close",
            d - 1,
            lambda x, w: w.order(x["close"], d, 0.2, 0.8),
            "Rank and quantiles of the closes",
        ),
        _hidden(f"{PREFIX}top{d}", "high", d - 1, lambda x, w: w.peak(x["high"], d), "Highest high and its place"),
        _hidden(f"{PREFIX}bottom{d}", "low", d - 1, lowest, "Lowest low and its place"),
        _hidden(f"{PREFIX}moves{d}", "close", d, lambda x, w: w.moves(x["close"], d), "Rises and falls of the close"),
        _hidden(
            f"{PREFIX}flows{d}", "volume", d, lambda x, w: w.moves(x["volume"], d), "Rises and falls of the volume"
        ),
        _hidden(
            f"{PREFIX}volume{d}",
            "volume",
            d - 1,
            lambda x, w: _spread(x["volume"], d, w),
            "Mean and deviation of the volume",
        ),
        _hidden(
            f"{PREFIX}weighted{d}",
            _WEIGHTED_MOVE,
            d - 1,
            lambda x, w: _spread(x[_WEIGHTED_MOVE], d, w),
            "Mean and deviation of absolute returns times volume",
        ),
    )


def _spread(values: FloatArray, d: int, w: Windows) -> FloatArray:
    """Mean and standard deviation."""
    return np.stack((w.mean(values, d), w.std(values, d)))


def _correlation(x: FloatArray, y: FloatArray, d: int, w: Windows) -> FloatArray:
    correlation: FloatArray = w.line(y, x, d, _LEAST_DEVIATION)[1].copy()
    return correlation


def _windowed(d: int) -> tuple[Feature, ...]:
    """The 29 statistics of one window, in Qlib's order."""
    names = ("line", "order", "top", "bottom", "moves", "flows", "volume", "weighted")
    line, order, top, bottom, moves, flows, volume, weighted = (f"{PREFIX}{name}{d}" for name in names)
    share: dict[str, Any] = {"ge": 0.0, "le": 1.0}
    last = f"of the last {d} sessions"

    def over_volume(values: FloatArray, x: Inputs) -> FloatArray:
        ratio: FloatArray = values / (_positive(x["volume"]) + _TINY)
        return ratio

    def over_moves(part: FloatArray, sums: FloatArray) -> FloatArray:
        ratio: FloatArray = part / (sums[0] + sums[1] + _TINY)
        return ratio

    def stochastic(x: Inputs, w: Windows) -> FloatArray:
        ratio: FloatArray = (x["close"] - x[bottom][0]) / (x[top][0] - x[bottom][0] + _TINY)
        return ratio

    def close_with_volume(x: Inputs, w: Windows) -> FloatArray:
        return _correlation(x["close"], x[_LOG_VOLUME], d, w)

    def changes_with_volume(x: Inputs, w: Windows) -> FloatArray:
        return _correlation(x[_RATIO], x[_LOG_VOLUME_RATIO], d, w)

    def of(qlib: str, inputs: str, compute: Compute, meaning: str, lookback: int = 0, **bounds: float) -> Feature:
        return _feature(f"{qlib}{d}", inputs, lookback, compute, meaning, **bounds)

    closes, ups, downs = (
        f"the closes {last}",
        f"rises of the close in the last {d} sessions",
        f"falls of the close in the last {d} sessions",
    )
    more, less = f"rises of the volume in the last {d} sessions", f"falls of the volume in the last {d} sessions"
    return (
        of(
            "ROC",
            "close",
            lambda x, w: w.delayed(x["close"], d) / x["close"],
            f"Close {d} sessions before, over the close",
            d,
            gt=0.0,
        ),
        of(
            "MA",
            "close",
            lambda x, w: w.mean(x["close"], d) / x["close"],
            f"Mean of {closes}, over the close",
            d - 1,
            gt=0.0,
        ),
        of(
            "STD",
            "close",
            lambda x, w: w.std(x["close"], d) / x["close"],
            f"Standard deviation of {closes}, over the close",
            d - 1,
            ge=0.0,
        ),
        of(
            "BETA",
            f"{line} close",
            lambda x, w: x[line][0] / x["close"],
            f"Slope for each session of a line through {closes}, over the close",
        ),
        of("RSQR", line, lambda x, w: x[line][1] * x[line][1], f"R² of a line through {closes}", **share),
        of(
            "RESI",
            f"{line} close",
            lambda x, w: x[line][3] / x["close"],
            f"Close less the end of a line through {closes}, over the close",
        ),
        of("MAX", f"{top} close", lambda x, w: x[top][0] / x["close"], f"Highest high {last}, over the close", gt=0.0),
        of(
            "MIN",
            f"{bottom} close",
            lambda x, w: x[bottom][0] / x["close"],
            f"Lowest low {last}, over the close",
            gt=0.0,
        ),
        of(
            "QTLU",
            f"{order} close",
            lambda x, w: x[order][2] / x["close"],
            f"80 % quantile of {closes}, over the close",
            gt=0.0,
        ),
        of(
            "QTLD",
            f"{order} close",
            lambda x, w: x[order][1] / x["close"],
            f"20 % quantile of {closes}, over the close",
            gt=0.0,
        ),
        of(
            "RANK",
            order,
            lambda x, w: x[order][0].copy(),
            f"Rank of the close among {closes}, 1 the highest",
            gt=0.0,
            le=1.0,
        ),
        of(
            "RSV",
            f"{top} {bottom} close",
            stochastic,
            f"Close less the lowest low {last}, over highest high less lowest low",
        ),
        of(
            "IMAX",
            top,
            lambda x, w: x[top][1] / d,
            f"Place of the highest high {last}, over {d}; 1 is the newest session",
            gt=0.0,
            le=1.0,
        ),
        of(
            "IMIN",
            bottom,
            lambda x, w: x[bottom][1] / d,
            f"Place of the lowest low {last}, over {d}; 1 is the newest session",
            gt=0.0,
            le=1.0,
        ),
        of(
            "IMXD",
            f"{top} {bottom}",
            lambda x, w: (x[top][1] - x[bottom][1]) / d,
            f"Sessions from the lowest low to the highest high {last}, over {d}",
            ge=-1.0,
            le=1.0,
        ),
        of(
            "CORR",
            f"close {_LOG_VOLUME}",
            close_with_volume,
            f"Correlation of close and log volume {last}",
            d - 1,
            ge=-1.0,
            le=1.0,
        ),
        of(
            "CORD",
            f"{_RATIO} {_LOG_VOLUME_RATIO}",
            changes_with_volume,
            f"Correlation of the changes of close and volume {last}",
            d - 1,
            ge=-1.0,
            le=1.0,
        ),
        of("CNTP", moves, lambda x, w: x[moves][2] / d, f"Share {last} on which the close rose", **share),
        of("CNTN", moves, lambda x, w: x[moves][3] / d, f"Share {last} on which the close fell", **share),
        of("CNTD", moves, lambda x, w: (x[moves][2] - x[moves][3]) / d, f"CNTP{d} less CNTN{d}", ge=-1.0, le=1.0),
        of(
            "SUMP",
            moves,
            lambda x, w: over_moves(x[moves][0], x[moves]),
            f"Sum of the {ups}, over that of all moves",
            **share,
        ),
        of(
            "SUMN",
            moves,
            lambda x, w: over_moves(x[moves][1], x[moves]),
            f"Sum of the {downs}, over that of all moves",
            **share,
        ),
        of(
            "SUMD",
            moves,
            lambda x, w: over_moves(x[moves][0] - x[moves][1], x[moves]),
            f"SUMP{d} less SUMN{d}",
            ge=-1.0,
            le=1.0,
        ),
        of(
            "VMA",
            f"{volume} volume",
            lambda x, w: over_volume(x[volume][0], x),
            f"Mean volume {last}, over the volume",
            ge=0.0,
        ),
        of(
            "VSTD",
            f"{volume} volume",
            lambda x, w: over_volume(x[volume][1], x),
            f"Standard deviation of volume {last}, over the volume",
            ge=0.0,
        ),
        of(
            "WVMA",
            weighted,
            lambda x, w: x[weighted][1] / (x[weighted][0] + _TINY),
            f"Standard deviation over mean of absolute return times volume {last}",
            ge=0.0,
        ),
        of(
            "VSUMP",
            flows,
            lambda x, w: over_moves(x[flows][0], x[flows]),
            f"Sum of the {more}, over that of all its moves",
            **share,
        ),
        of(
            "VSUMN",
            flows,
            lambda x, w: over_moves(x[flows][1], x[flows]),
            f"Sum of the {less}, over that of all its moves",
            **share,
        ),
        of(
            "VSUMD",
            flows,
            lambda x, w: over_moves(x[flows][0] - x[flows][1], x[flows]),
            f"VSUMP{d} less VSUMN{d}",
            ge=-1.0,
            le=1.0,
        ),
    )


#: The 158 in Qlib's order, after the intermediate results that they read.
FEATURES: tuple[Feature, ...] = (
    *_shared(),
    *(feature for d in WINDOWS for feature in _window_shared(d)),
    *_bar(),
    *(feature for family in zip(*(_windowed(d) for d in WINDOWS), strict=True) for feature in family),
)
