"""What each feature adds to single forecasts (SHAP values), of a few rows that the model was tested on.

References:
    Lundberg, Erion and Lee (2018), Consistent individualized feature attribution for tree ensembles, arXiv:1802.03888.

"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from quant_assets.learning.models.base import FittedModel
from quant_assets.learning.rows import Rows

_SCHEMA = {"ticker": pl.String, "date": pl.Date, "feature": pl.String, "value": pl.Float64, "contribution": pl.Float64}


def sampled_contributions(model: FittedModel, rows: Rows, count: int, seed: int) -> list[pl.DataFrame]:
    """Contributions of the features to the forecasts of some rows, drawn by the seed, for each horizon of the model.

    Args:
        model: fitted on other rows.
        rows: of a test fold.
        count: rows that are drawn at most.
        seed: of the draw.

    Returns:
        `ticker, date, feature, value, contribution` of each drawn row and feature, in the units of
        `FittedModel.contributions`; `value` is null where the feature is missing. Nothing where the model's kind states
        no contributions, or `count` is 0.

    """
    if not count or not len(rows):
        return []
    drawn = np.zeros(len(rows), dtype=bool)
    drawn[np.random.default_rng(seed).permutation(len(rows))[:count]] = True
    chosen = rows.where(drawn)
    found = model.contributions(chosen)
    if found is None:
        return []
    beside = {
        "ticker": np.repeat(chosen.tickers, len(chosen.features)),
        "date": np.repeat(chosen.dates, len(chosen.features)),
        "feature": np.tile(np.array(chosen.features, dtype=object), len(chosen)),
        "value": pl.Series(chosen.matrix.ravel(), nan_to_null=True),
    }
    return [pl.DataFrame(beside | {"contribution": each[:, :-1].ravel()}, schema=_SCHEMA) for each in found]


def mean_contributions(parts: Sequence[pl.DataFrame]) -> dict[str, Any] | None:
    """How many rows were drawn and each feature's mean absolute contribution, for the manifest; None of none."""
    if not parts:
        return None
    rows = pl.concat(parts)
    mean = rows.group_by("feature", maintain_order=True).agg(pl.col("contribution").abs().mean())
    return {"rows": len(rows.select("ticker", "date").unique()), "mean_absolute": dict(mean.iter_rows())}
