"""Datasets: columns, dtypes, units, meaning, key, and which column says when a row became known.

`DATASETS` are those that are the same for every profile. `quant_assets.catalogue` adds `indicators` and `features`,
whose columns are declared where they are computed, and is what the IO manager, the asset checks, the web UI and the
reference of datasets are derived from. Computation does not live here.
"""

from quant_assets.schemas.audit import ON_DEMAND
from quant_assets.schemas.dataset import Column, Dataset, Reference
from quant_assets.schemas.decisions import DECISIONS
from quant_assets.schemas.learning import CHECKPOINTS, LEARNING, TRANSFORMER_CHECKPOINTS, TRANSFORMER_PRETRAINED
from quant_assets.schemas.live import LIVE
from quant_assets.schemas.market import MARKET, OHLCV_FIELDS, OHLCV_MEANS, OHLCV_QUANTITIES, ohlcv_quantity
from quant_assets.schemas.operations import OPERATIONS
from quant_assets.schemas.portfolio import PORTFOLIO
from quant_assets.schemas.research import RESEARCH
from quant_assets.schemas.risk import RISK
from quant_assets.schemas.signals import SIGNALS
from quant_assets.schemas.sleeves import SLEEVES
from quant_assets.schemas.trading import TRADING

__all__ = [
    "CHECKPOINTS",
    "DATASETS",
    "LIVE",
    "OHLCV_FIELDS",
    "OHLCV_MEANS",
    "OHLCV_QUANTITIES",
    "ON_DEMAND",
    "TRANSFORMER_CHECKPOINTS",
    "TRANSFORMER_PRETRAINED",
    "Column",
    "Dataset",
    "Reference",
    "ohlcv_quantity",
]

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        *MARKET,
        *SIGNALS,
        *LEARNING,
        *DECISIONS,
        *PORTFOLIO,
        *RISK,
        *TRADING,
        *SLEEVES,
        *OPERATIONS,
        *RESEARCH,
    )
}
