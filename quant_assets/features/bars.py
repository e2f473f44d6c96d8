"""Hidden quantities of a bar and the one before that several features read."""

import numpy as np

from quant_assets.market.panel import STALE_SESSIONS, FloatArray
from quant_assets.windows.declarations import Feature, Inputs
from quant_assets.windows.windows import Windows

#: Lookback of a comparison with the bar before.
BAR_BEFORE = 1 + STALE_SESSIONS


def over(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Quotient, NaN where the denominator is not positive."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0.0)
    return quotient


def deviation(of: str, window: int) -> Feature:
    """A hidden standard deviation, `<of>_deviation_<window>`, that several features read."""
    meaning = f"standard deviation of {of} of {window} sessions"
    return Feature(
        f"{of}_deviation_{window}", (of,), window - 1, lambda x, w: w.std(x[of], window), meaning, hidden=True
    )


def _true_range(x: Inputs, w: Windows) -> FloatArray:
    before = x["close_before_1"]
    reach: FloatArray = np.maximum(x["high"], before) - np.minimum(x["low"], before)
    return reach


def _bar_range(x: Inputs, w: Windows) -> FloatArray:
    before = x["close_of_bar_before"]
    reach: FloatArray = np.maximum(x["high"], before) - np.minimum(x["low"], before)
    return reach


def _close_before(lag: int) -> Feature:
    meaning = f"close of {lag} session{'s' if lag > 1 else ''} before"
    return Feature(
        f"close_before_{lag}",
        ("close",),
        lag + STALE_SESSIONS,
        lambda x, w: w.lagged(x["close"], lag),
        meaning,
        "USD",
        hidden=True,
    )


def _log_of(name: str, numerator: str, denominator: str, meaning: str) -> Feature:
    def compute(x: Inputs, w: Windows) -> FloatArray:
        return w.log(x[numerator] / x[denominator])

    return Feature(name, (numerator, denominator), 0, compute, meaning, hidden=True)


FEATURES: tuple[Feature, ...] = (
    *(_close_before(lag) for lag in (1, 5, 20, 21, 60, 120, 126, 252)),
    Feature(
        "true_range",
        ("high", "low", "close_before_1"),
        0,
        _true_range,
        "range of the session and the close before",
        "USD",
        source="Wilder (1978), New Concepts in Technical Trading Systems, The Volatility System",
        hidden=True,
    ),
    Feature(
        "close_of_bar_before",
        ("close",),
        1,
        lambda x, w: w.before(x["close"]),
        "close of the bar before, however old",
        "USD",
        hidden=True,
    ),
    Feature(
        "bar_range",
        ("high", "low", "close_of_bar_before"),
        0,
        _bar_range,
        "range of the session and the close of the bar before, however old",
        "USD",
        hidden=True,
    ),
    Feature(
        "typical_price",
        ("high", "low", "close"),
        0,
        lambda x, w: (x["high"] + x["low"] + x["close"]) / 3.0,
        "mean of high, low and close",
        "USD",
        hidden=True,
    ),
    Feature("log_close", ("close",), 0, lambda x, w: w.log(x["close"]), "logarithm of the close", hidden=True),
    Feature(
        "log_overnight",
        ("open", "close_before_1"),
        0,
        lambda x, w: w.log(x["open"] / x["close_before_1"]),
        "log return from the close before to the open",
        hidden=True,
    ),
    deviation("log_overnight", 20),
    deviation("log_intraday", 20),
    _log_of("log_intraday", "close", "open", "log return from open to close"),
    _log_of("log_range", "high", "low", "logarithm of high over low"),
    _log_of("log_high", "high", "open", "logarithm of high over open"),
    _log_of("log_low", "low", "open", "logarithm of low over open"),
)
