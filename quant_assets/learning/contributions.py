"""Feature contributions (SHAP values) to the forecasts of a few test rows.

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
    """Contributions of the features to the forecasts of a random sample of rows, for each horizon of the model.

    Args:
        model: fitted on other rows.
        rows: of a test fold.
        count: greatest number of drawn rows.
        seed: of the draw.

    Returns:
        `ticker, date, feature, value, contribution` of each drawn row and feature, in the units of
        `FittedModel.contributions`; `value` is null where the feature is missing. Empty where the model's kind has no
        contributions, or `count` is 0.

    """
    if not count or not len(rows):
        return []
    drawn = np.zeros(len(rows), dtype=bool)
    drawn[np.random.default_rng(seed).permutation(len(rows))[:count]] = True
    chosen = rows.where(drawn)
    contributions = model.contributions(chosen)
    if contributions is None:
        return []
    columns = {
        "ticker": np.repeat(chosen.tickers, len(chosen.features)),
        "date": np.repeat(chosen.dates, len(chosen.features)),
        "feature": np.tile(np.array(chosen.features, dtype=object), len(chosen)),
        "value": pl.Series(chosen.matrix.ravel(), nan_to_null=True),
    }
    return [
        pl.DataFrame(columns | {"contribution": values[:, :-1].ravel()}, schema=_SCHEMA) for values in contributions
    ]


def mean_contributions(parts: Sequence[pl.DataFrame]) -> dict[str, Any] | None:
    """Number of drawn rows and mean absolute contribution of each feature, for the manifest; None without rows."""
    if not parts:
        return None
    rows = pl.concat(parts)
    mean = rows.group_by("feature", maintain_order=True).agg(pl.col("contribution").abs().mean())
    return {"rows": len(rows.select("ticker", "date").unique()), "mean_absolute": dict(mean.iter_rows())}
