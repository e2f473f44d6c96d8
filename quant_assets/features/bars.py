"""Quantities of a bar and the one before that several features read. No dataset holds them; features themselves stand elsewhere."""

import numpy as np

from quant_assets.market.panel import STALE_SESSIONS, FloatArray
from quant_assets.signals.declarations import Feature, Inputs
from quant_assets.signals.windows import Windows

#: Sessions before its own on which what is compared with the bar before depends.
BAR_BEFORE = 1 + STALE_SESSIONS


def over(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Quotient, missing where the denominator is not positive."""
    quotient: FloatArray = numerator / np.where(denominator > 0.0, denominator, np.nan)
    return quotient


def _true_range(x: Inputs, w: Windows) -> FloatArray:
    before = w.lagged(x["close"], 1)
    reach: FloatArray = np.maximum(x["high"], before) - np.minimum(x["low"], before)
    return reach


def _log_of(name: str, numerator: str, denominator: str, meaning: str) -> Feature:
    def compute(x: Inputs, w: Windows) -> FloatArray:
        return w.log(x[numerator] / x[denominator])

    return Feature(name, (numerator, denominator), 0, compute, meaning, hidden=True)


FEATURES: tuple[Feature, ...] = (
    Feature(
        "true_range",
        ("high", "low", "close"),
        BAR_BEFORE,
        _true_range,
        "range of the session and the close before",
        "USD",
        source="Wilder (1978), New Concepts in Technical Trading Systems, The Volatility System",
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
        ("open", "close"),
        BAR_BEFORE,
        lambda x, w: w.log(x["open"] / w.lagged(x["close"], 1)),
        "log return from the close before to the open",
        hidden=True,
    ),
    _log_of("log_intraday", "close", "open", "log return from open to close"),
    _log_of("log_range", "high", "low", "logarithm of high over low"),
    _log_of("log_high", "high", "open", "logarithm of high over open"),
    _log_of("log_low", "low", "open", "logarithm of low over open"),
)
