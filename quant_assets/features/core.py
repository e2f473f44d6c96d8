"""The ready-made set `core`: prices over their peaks, technical features and statements."""

from quant_assets.features import fundamental, ohlcv, technical
from quant_assets.signals.declarations import Declared

FEATURES: tuple[Declared[object], ...] = (*ohlcv.FEATURES, *technical.FEATURES, *fundamental.FEATURES)
