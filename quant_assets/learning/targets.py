"""Targets of a model: forward returns, raw or relative to the other names of their session."""

from typing import Literal

import numpy as np
import polars as pl

from quant_assets.market.panel import FloatArray
from quant_assets.settings.domain import TrainingSettings

#: Standard deviation of a normal distribution over its median absolute deviation.
_DEVIATION = 1.4826
#: Least number of rows of a session for a robust deviation.
_FEWEST = 5


def fitted_target(rows: pl.DataFrame, outcome: str, settings: TrainingSettings) -> FloatArray:
    """The target of each row.

    With m the median of a session's outcomes in `rows` and s their robust deviation (1.4826 times the median distance
    from m):

    - `raw`: the outcome y.
    - `winsorised`: y, clipped to m - k s and m + k s, where k is `target_limit`. Unchanged where the session has fewer
      than 5 rows or s is 0.
    - `rank`: m + s z, where z is the normal quantile of (rank - 1/2) / n among the session's n rows (ties share their
      mean rank): only the rank of y remains.

    With `relative_to` the sector, y is first replaced by y less the mean of its session, plus the mean of these means
    over the sessions: the model does not forecast the common move of a session, and the average return stays.

    Every target is a return, so forecasts, their deviations and metrics keep their meaning. A row's target depends only
    on rows of its own session, except for that average.

    Args:
        rows: rows with `date` and the outcome.
        outcome: column of the forward returns, without nulls.
        settings: target and limit.

    Returns:
        float64 of shape (n_rows,).

    """
    if settings.relative_to == "sector":
        rows = rows.with_columns(relative(rows, outcome))
    value = pl.col(outcome)
    if settings.target == "raw":
        return rows[outcome].to_numpy()
    middle = value.median().over("date")
    spread = _DEVIATION * (value - middle).abs().median().over("date")
    if settings.target == "winsorised":
        reach = settings.target_limit * spread
        usual = (pl.len().over("date") >= _FEWEST) & (spread > 0.0)
        cut = pl.when(usual).then(value.clip(middle - reach, middle + reach)).otherwise(value)
        return rows.select(cut).to_series().to_numpy()
    place = (value.rank("average").over("date") - 0.5) / pl.len().over("date")
    parts = rows.select(place=place, middle=middle, spread=spread)
    from scipy.special import ndtri  # scipy takes a third of a second to import

    place_of_normal = np.asarray(ndtri(parts["place"].to_numpy()), dtype=np.float64)
    target: FloatArray = parts["middle"].to_numpy() + parts["spread"].to_numpy() * place_of_normal
    return target


def relative(rows: pl.DataFrame, outcome: str) -> pl.Series:
    """Outcomes less the mean of their session, plus the mean over the sessions; the column keeps its name."""
    means = rows.group_by("date").agg(pl.col(outcome).mean()).sort("date")
    deviation = pl.col(outcome) - pl.col(outcome).mean().over("date")
    return rows.select(deviation + means[outcome].mean()).to_series()


def directions(rows: pl.DataFrame, outcome: str, settings: TrainingSettings) -> pl.Series:
    """1 where the outcome is positive (with `relative_to` the sector: above the mean of its session), else 0."""
    middle = pl.col(outcome).mean().over("date") if settings.relative_to == "sector" else pl.lit(0.0)
    return rows.select((pl.col(outcome) > middle).cast(pl.Float64)).to_series()


def said_target(settings: TrainingSettings, task: Literal["regression", "classification"]) -> str:
    """Description of the fitted target, for the manifest."""
    relative_to = settings.relative_to == "sector"
    if task == "classification":
        return "whether forward_return is " + ("above its session's mean" if relative_to else "positive")
    parts = ["forward_return", "relative to its session's mean"] if relative_to else ["forward_return"]
    return ", ".join(parts if settings.target == "raw" else [*parts, settings.target])
