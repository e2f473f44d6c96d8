"""Features of volume and liquidity.

On-balance volume and similar sums since the first bar are changes over a window here.
"""

import numpy as np

from quant_assets.features.bars import BAR_BEFORE, over
from quant_assets.market.panel import FloatArray
from quant_assets.schemas.columns import TIES
from quant_assets.windows.declarations import Feature, Inputs
from quant_assets.windows.windows import Windows

_MONEY, _LONG = 14, 60

_AMIHUD = "Amihud (2002), Journal of Financial Markets 5, 31-56, eq. 1"


def _sum(of: str, window: int, unit: str = "shares") -> Feature:
    def compute(x: Inputs, w: Windows) -> FloatArray:
        return w.sum(x[of], window)

    return Feature(
        f"{of}_sum_{window}", (of,), window - 1, compute, f"sum of {of} of {window} sessions", unit, hidden=True
    )


def _share_of_volume(name: str, part: str, window: int, meaning: str, source: str) -> Feature:
    """Sum of a part of the volume over the whole volume."""
    inputs = f"{part}_sum_{window}", f"volume_sum_{window}"

    def compute(x: Inputs, w: Windows) -> FloatArray:
        return np.clip(over(x[inputs[0]], x[inputs[1]]), -1.0, 1.0)  # the sums are rounded

    return Feature(f"{name}_{window}", inputs, 0, compute, meaning, source=source, ge=-1, le=1)


def _obv_change(window: int) -> Feature:
    meaning = f"change of on-balance volume over {window} sessions, over their whole volume"
    return _share_of_volume(
        "obv_change", "signed_volume", window, meaning, "Granville (1963), New Key to Stock Market Profits"
    )


def _money_flow_volume(x: Inputs, w: Windows) -> FloatArray:
    reach = x["high"] - x["low"]
    location = ((x["close"] - x["low"]) - (x["high"] - x["close"])) / np.where(reach > 0.0, reach, 1.0)
    flow: FloatArray = np.where(reach > 0.0, np.clip(location, -1.0, 1.0), 0.0 * reach) * x["volume"]
    return flow


def _money_flow_index(x: Inputs, w: Windows) -> FloatArray:
    rising, falling = np.maximum(x["money_flow"], 0.0), np.maximum(-x["money_flow"], 0.0)
    gained = w.sum(rising, _MONEY)
    return 100.0 * over(gained, gained + w.sum(falling, _MONEY))


def _money_flow(x: Inputs, w: Windows) -> FloatArray:
    price = x["typical_price"]
    flow: FloatArray = np.sign(price - w.lagged(price, 1)) * price * x["volume"]
    return flow


def _vwap_distance(x: Inputs, w: Windows) -> FloatArray:
    return over(x["close"], over(x["typical_turnover_sum_20"], x["volume_sum_20"])) - 1.0


def _zscore(x: Inputs, w: Windows) -> FloatArray:
    return over(x["dollar_volume"] - x["turnover_60"], x["turnover_deviation_60"])


def _illiquidity(window: int) -> Feature:
    def compute(x: Inputs, w: Windows) -> FloatArray:
        return w.mean(over(np.abs(x["daily_return"]), x["dollar_volume"]), window) * 1e6

    meaning = (
        f"mean of the absolute daily return over dollar volume, {window} sessions, without sessions that had no volume"
    )
    return Feature(
        f"amihud_{window}",
        ("daily_return", "dollar_volume"),
        window - 1,
        compute,
        meaning,
        "1 / million USD",
        source=_AMIHUD,
        ge=0,
    )


def _return_volume_correlation(x: Inputs, w: Windows) -> FloatArray:
    volume = np.where(x["volume"] > 0.0, x["volume"], np.nan)
    return w.correlation(np.abs(x["daily_return"]), w.log(volume), _LONG)


FEATURES: tuple[Feature, ...] = (
    Feature(
        "signed_volume",
        ("change", "volume"),
        0,
        lambda x, w: np.sign(x["change"]) * x["volume"],
        "volume with the sign of the change of the close",
        "shares",
        hidden=True,
    ),
    *(_sum(of, window) for of in ("volume", "signed_volume") for window in (20, 60)),
    _obv_change(20),
    _obv_change(60),
    Feature(
        "money_flow_volume",
        ("high", "low", "close", "volume"),
        0,
        _money_flow_volume,
        "volume times the position of the close in the session's range, from -1 to 1",
        "shares",
        hidden=True,
    ),
    _sum("money_flow_volume", 20),
    _share_of_volume(
        "chaikin_money_flow",
        "money_flow_volume",
        20,
        (
            "volume times the position of the close in the session's range, from -1 to 1, over the volume, "
            "both summed over 20 sessions"
        ),
        "Chaikin, in Colby (2003), The Encyclopedia of Technical Market Indicators",
    ),
    Feature(
        "money_flow",
        ("typical_price", "volume"),
        BAR_BEFORE,
        _money_flow,
        "typical price times volume, with the sign of the change of the typical price",
        "USD",
        hidden=True,
    ),
    Feature(
        "money_flow_index_14",
        ("money_flow",),
        _MONEY - 1,
        _money_flow_index,
        (
            "typical price times volume of the sessions in which the typical price rose, "
            "over that of rising and falling ones, 14 sessions"
        ),
        "percent",
        source="Quong & Soudack (1989), Technical Analysis of Stocks & Commodities 7:3",
        ge=0,
        le=100,
        anchored=TIES,
    ),
    Feature(
        "typical_turnover",
        ("typical_price", "volume"),
        0,
        lambda x, w: x["typical_price"] * x["volume"],
        "typical price times volume",
        "USD",
        hidden=True,
    ),
    _sum("typical_turnover", 20, "USD"),
    Feature(
        "vwap_distance_20",
        ("close", "typical_turnover_sum_20", "volume_sum_20"),
        0,
        _vwap_distance,
        "close over the volume-weighted typical price of 20 sessions, less 1",
        source="Berkowitz, Logue & Noser (1988), Journal of Finance 43, 97-112",
        gt=-1,
    ),
    Feature(
        "turnover_moments_60",
        ("dollar_volume",),
        _LONG - 1,
        lambda x, w: w.mean_and_std(x["dollar_volume"], _LONG),
        "mean and standard deviation of the dollar volume of 60 sessions",
        "USD",
        hidden=True,
    ),
    Feature(
        "turnover_60",
        ("turnover_moments_60",),
        0,
        lambda x, w: x["turnover_moments_60"][0],
        "mean dollar volume of 60 sessions",
        "USD",
        hidden=True,
    ),
    Feature(
        "turnover_deviation_60",
        ("turnover_moments_60",),
        0,
        lambda x, w: x["turnover_moments_60"][1],
        "standard deviation of the dollar volume of 60 sessions",
        "USD",
        hidden=True,
    ),
    Feature(
        "turnover_zscore_60",
        ("dollar_volume", "turnover_60", "turnover_deviation_60"),
        0,
        _zscore,
        "dollar volume against mean and standard deviation of 60 sessions",
        source="after Gervais, Kaniel & Mingelgrin (2001), Journal of Finance 56, 877-919",
    ),
    Feature(
        "volume_ratio_5_60",
        ("volume",),
        _LONG - 1,
        lambda x, w: over(w.mean(x["volume"], 5), w.mean(x["volume"], _LONG)),
        "mean volume of 5 sessions over that of 60",
        ge=0,
    ),
    Feature(
        "turnover_variation_60",
        ("turnover_60", "turnover_deviation_60"),
        0,
        lambda x, w: over(x["turnover_deviation_60"], x["turnover_60"]),
        "standard deviation over mean of the dollar volume of 60 sessions",
        source="after Chordia, Subrahmanyam & Anshuman (2001), Journal of Financial Economics 59, 3-32",
        ge=0,
    ),
    _illiquidity(20),
    _illiquidity(120),
    Feature(
        "return_volume_correlation_60",
        ("daily_return", "volume"),
        _LONG - 1,
        _return_volume_correlation,
        "correlation of the absolute daily return with the logarithm of volume, 60 sessions",
        source="after Karpoff (1987), Journal of Financial and Quantitative Analysis 22, 109-126",
        ge=-1,
        le=1,
    ),
    Feature(
        "zero_return_share_60",
        ("daily_return",),
        _LONG - 1,
        lambda x, w: w.mean(np.where(np.isnan(x["daily_return"]), np.nan, x["daily_return"] == 0.0), _LONG),
        "share of 60 sessions whose close is that of the session before",
        source="Lesmond, Ogden & Trzcinka (1999), Review of Financial Studies 12, 1113-1141",
        ge=0,
        le=1,
    ),
)
