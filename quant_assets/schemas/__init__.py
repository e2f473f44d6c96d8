"""The one registry of datasets: columns, dtypes, units, meaning, key, and which column says when a row became known.

The IO manager, the asset checks, the column schemas and descriptions in the web UI and the README's table are all
derived from `DATASETS`. Computation does not live here.
"""

from quant_assets.schemas.dataset import Column, Dataset
from quant_assets.schemas.learning import LEARNING
from quant_assets.schemas.market import MARKET, OHLCV_FIELDS, OHLCV_MEANS, OHLCV_QUANTITIES, ohlcv_quantity
from quant_assets.schemas.operations import OPERATIONS
from quant_assets.schemas.portfolio import PORTFOLIO
from quant_assets.schemas.signals import FEATURES, SIGNALS

__all__ = [
    "DATASETS",
    "FEATURES",
    "OHLCV_FIELDS",
    "OHLCV_MEANS",
    "OHLCV_QUANTITIES",
    "Column",
    "Dataset",
    "markdown_table",
    "ohlcv_quantity",
]

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (*MARKET, *SIGNALS, *LEARNING, *PORTFOLIO, *OPERATIONS)}


def markdown_table() -> str:
    """The README's table of datasets (`make docs` puts it there)."""
    lines = ["| dataset | grain | what it holds | key | known at |", "|---|---|---|---|---|"]
    for dataset in DATASETS.values():
        grain = "sector × month" if dataset.grain == "sector" else "month"
        lines.append(f"| `{dataset.name}` | {grain} | {dataset.meaning} | {', '.join(dataset.key)} | `{dataset.known_at}` |")
    return "\n".join(lines)
