"""The ready-made set `extended`: what the field computes from bars, beyond `core`."""

from quant_assets.features import bars, gaps, oscillators, technical, trend, volatility, volume
from quant_assets.signals.declarations import Feature

FEATURES: tuple[Feature, ...] = (
    *technical.FEATURES,
    *bars.FEATURES,
    *trend.FEATURES,
    *oscillators.FEATURES,
    *volatility.FEATURES,
    *volume.FEATURES,
    *gaps.FEATURES,
)
