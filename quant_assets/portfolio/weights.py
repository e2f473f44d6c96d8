"""Long-only weights of one sector: which candidates are held, and what holds for every optimiser's weights.

How the names held are weighed is in optimisers/, shares between sectors in allocation.py.
"""

import math
from collections.abc import Iterable
from datetime import date

import numpy as np
import polars as pl

from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.optimisers import optimiser
from quant_assets.schemas import DATASETS
from quant_assets.settings.weights import WeightSettings


def usable_volatility(volatility: FloatArray) -> FloatArray:
    """Replace a missing (NaN) or zero volatility by the median of the usable ones.

    Args:
        volatility: annualised volatilities of shape (n_names,), NaN where missing.

    Returns:
        Array of the same shape; all NaN where none is usable.

    """
    usable = np.isfinite(volatility) & (volatility > 0)
    if not usable.any():
        return np.full(len(volatility), np.nan)
    return np.where(usable, volatility, np.median(volatility[usable]))


def cap_weights(weights: FloatArray, max_weight: float) -> FloatArray:
    """Cap weights and hand the excess to the names below in proportion to their weights, until none is above the cap.

    With fewer names than 1 / max_weight no set of weights can respect the cap and sum to 1: the cap is then 1 /
    n_names.

    Args:
        weights: positive weights of shape (n_names,) that sum to 1.
        max_weight: largest weight of a name.

    Returns:
        Weights of the same shape, summing to 1 within 1e-12.

    """
    cap = max(max_weight, 1.0 / len(weights))
    capped = np.zeros(len(weights), dtype=bool)
    while not capped.all():
        scale = (1.0 - cap * int(capped.sum())) / math.fsum(weights[~capped].tolist())
        result = np.where(capped, cap, weights * scale)
        above = ~capped & (result > cap)
        if not above.any():
            return np.asarray(result)
        capped |= above
    return np.full(len(weights), 1.0 / len(weights))  # every name at the cap: the cap is 1 / n_names


def sector_weights(
    candidates: pl.DataFrame,
    predictions: pl.DataFrame,
    indicators: pl.DataFrame,
    as_ofs: Iterable[date],
    settings: WeightSettings,
) -> pl.DataFrame:
    """Weights decided at each as_of among that month's long candidates.

    The best `top_n` by the prediction of `horizon` at as_of are held. Where no candidate has a prediction (no model
    yet) they are ranked by composite score, and `score_source` says so; where only some have one, the others are left
    out: the two scores have different units and cannot be ranked together. Equal scores are ordered by ticker.
    Weights are those of the optimiser `method`, capped at `max_weight` (see `cap_weights`). It is given the GARCH
    volatility at as_of; a missing one counts as the median of the chosen names, and is null where all are missing. An
    as_of without long candidates has no rows.

    Args:
        candidates: dataset candidates.
        predictions: dataset predictions; only rows dated as_of are read.
        indicators: dataset indicators; only rows dated as_of are read.
        as_ofs: decision sessions.
        settings: number of names, model (any, where there is but one and none is named), horizon, optimiser and cap.

    Returns:
        Dataset weights, sorted by ticker and as_of.

    """
    on = ["ticker", "as_of"]
    of_model = pl.lit(True) if settings.model is None else pl.col("model") == settings.model
    forecasts = predictions.filter((pl.col("horizon") == settings.horizon) & of_model).select(
        "ticker", pl.col("prediction").fill_nan(None), as_of="date"
    )
    volatilities = indicators.select("ticker", pl.col("garch_volatility"), as_of="date")
    longs = (
        candidates.filter(pl.col("candidate_type") == "long")
        .select("ticker", "as_of", pl.col("composite_score").fill_nan(None))
        .join(forecasts, on=on, how="left", validate="m:1")
        .join(volatilities, on=on, how="left", validate="m:1")
    )
    decisions = [_decide(longs.filter(pl.col("as_of") == as_of), settings) for as_of in sorted(set(as_ofs))]
    schema = DATASETS["weights"].schema
    return pl.concat(
        [pl.DataFrame(schema=schema), *(d.select(list(schema)).cast(schema) for d in decisions if len(d))]
    ).sort(on)


def _decide(longs: pl.DataFrame, settings: WeightSettings) -> pl.DataFrame:
    """Weights of one as_of from its long candidates with `prediction`, `composite_score` and `garch_volatility`."""
    source = "prediction" if longs["prediction"].is_not_null().any() else "composite_score"
    chosen = longs.with_columns(score=source, score_source=pl.lit(source)).drop_nulls("score")
    chosen = chosen.sort(["score", "ticker"], descending=[True, False]).head(settings.top_n)
    if chosen.is_empty():
        return chosen
    volatility = usable_volatility(chosen["garch_volatility"].cast(pl.Float64).fill_null(np.nan).to_numpy())
    chosen = chosen.with_columns(rank=pl.int_range(1, pl.len() + 1), volatility=pl.Series(volatility, nan_to_null=True))
    weight = cap_weights(optimiser(settings.method)(chosen, settings), settings.max_weight)
    return chosen.with_columns(weight=pl.Series(weight))
