"""The ready-made set `core`: prices over their peaks, technical features and statements."""

from quant_assets.features import bars, fundamental, gaps, ohlcv, oscillators, technical, trend, volatility, volume
from quant_assets.windows.declarations import Declared

_WINDOWS = (bars, technical, trend, oscillators, volatility, volume, gaps)

FEATURES: tuple[Declared[object], ...] = (
    *ohlcv.FEATURES,
    *(feature for module in _WINDOWS for feature in module.FEATURES),
    *fundamental.FEATURES,
)
