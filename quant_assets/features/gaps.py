"""Features of gaps between sessions, and of the move from open to close."""

import numpy as np

from quant_assets.features.bars import over
from quant_assets.market.panel import FloatArray
from quant_assets.windows.declarations import Feature, Inputs
from quant_assets.windows.windows import Windows

_WINDOW = 20

_TUG = "Lou, Polk & Skouras (2019), Journal of Financial Economics 134, 192-213"


def _overnight_share(x: Inputs, w: Windows) -> FloatArray:
    overnight, intraday = x["log_overnight_deviation_20"], x["log_intraday_deviation_20"]
    return over(overnight * overnight, overnight * overnight + intraday * intraday)


FEATURES: tuple[Feature, ...] = (
    Feature(
        "overnight_return",
        ("open", "close_before_1"),
        0,
        lambda x, w: x["open"] / x["close_before_1"] - 1.0,
        "gap: return from the close before to the open",
        source=_TUG,
        gt=-1,
    ),
    Feature(
        "intraday_return",
        ("open", "close"),
        0,
        lambda x, w: x["close"] / x["open"] - 1.0,
        "return from open to close",
        source=_TUG,
        gt=-1,
    ),
    Feature(
        "overnight_return_20",
        ("log_overnight",),
        _WINDOW - 1,
        lambda x, w: w.sum(x["log_overnight"], _WINDOW),
        "sum of the log returns from close to open of 20 sessions",
        source=_TUG,
    ),
    Feature(
        "intraday_return_20",
        ("log_intraday",),
        _WINDOW - 1,
        lambda x, w: w.sum(x["log_intraday"], _WINDOW),
        "sum of the log returns from open to close of 20 sessions",
        source=_TUG,
    ),
    Feature(
        "overnight_variance_share_20",
        ("log_overnight_deviation_20", "log_intraday_deviation_20"),
        0,
        _overnight_share,
        "variance of the overnight log returns of 20 sessions over that variance plus the intraday one",
        source="after French & Roll (1986), Journal of Financial Economics 17, 5-26",
        ge=0,
        le=1,
    ),
    Feature(
        "gap_over_atr_14",
        ("open", "close_before_1", "average_true_range_14"),
        0,
        lambda x, w: over(x["open"] - x["close_before_1"], x["average_true_range_14"]),
        "gap from the close before to the open, over the average true range of 14 sessions",
    ),
    Feature(
        "range_over_atr_14",
        ("true_range", "average_true_range_14"),
        0,
        lambda x, w: over(x["true_range"], x["average_true_range_14"]),
        "true range of the session over its average of 14 sessions",
        ge=0,
    ),
    Feature(
        "close_location",
        ("high", "low", "close"),
        0,
        lambda x, w: np.clip(over(x["close"] - x["low"], x["high"] - x["low"]), 0.0, 1.0),
        "position of the close between the session's low (0) and high (1)",
        ge=0,
        le=1,
    ),
    Feature(
        "body_share",
        ("open", "high", "low", "close"),
        0,
        lambda x, w: np.clip(over(x["close"] - x["open"], x["high"] - x["low"]), -1.0, 1.0),
        "change from open to close over the session's range",
        source="Nison (1991), Japanese Candlestick Charting Techniques",
        ge=-1,
        le=1,
    ),
)
