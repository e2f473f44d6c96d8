"""What a model is fitted to: forward returns as they are, or held against those of the other names of their session."""

from typing import Literal

import numpy as np
import polars as pl

from quant_assets.market.panel import FloatArray
from quant_assets.settings.domain import TrainingSettings

#: A normal distribution's deviation over its median absolute one.
_DEVIATION = 1.4826
#: Fewer names of a session say nothing of what is far from its middle.
_FEWEST = 5


def fitted_target(rows: pl.DataFrame, outcome: str, settings: TrainingSettings) -> FloatArray:
    """The target of each row.

    With m the median of a session's outcomes and s their robust deviation (1.4826 times the median distance from m),
    over the rows given:

    - `raw`: the outcome y.
    - `winsorised`: y, cut at m - k s and m + k s, k being `target_limit`. As it is where the session has fewer than 5
      rows or s is 0.
    - `rank`: m + s z, z being the normal quantile of (rank - 1/2) / n among the session's n rows (ties share their mean
      rank): what is left of y is its place.

    With `relative_to` the sector, y is first replaced by y less the mean of its session, plus the mean of these means
    over the sessions: what all names of a session share is left to nobody to forecast, and its average stays.

    Every one is a return, so that forecasts, their deviations and metrics mean the same. A row's target follows from
    rows of its own session, but for that average.

    Args:
        rows: with `date` and the outcome.
        outcome: column of the forward returns, every one of them known.
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
    from scipy.special import ndtri  # scipy is a third of a second that only those who rank pay

    place_of_normal = np.asarray(ndtri(parts["place"].to_numpy()), dtype=np.float64)
    target: FloatArray = parts["middle"].to_numpy() + parts["spread"].to_numpy() * place_of_normal
    return target


def relative(rows: pl.DataFrame, outcome: str) -> pl.Series:
    """Outcomes less the mean of their session, plus the mean over the sessions, under their name."""
    means = rows.group_by("date").agg(pl.col(outcome).mean()).sort("date")
    apart = pl.col(outcome) - pl.col(outcome).mean().over("date")
    return rows.select(apart + means[outcome].mean()).to_series()


def directions(rows: pl.DataFrame, outcome: str, settings: TrainingSettings) -> pl.Series:
    """1 where the outcome is positive, or with `relative_to` the sector above the mean of its session, and else 0."""
    middle = pl.col(outcome).mean().over("date") if settings.relative_to == "sector" else pl.lit(0.0)
    return rows.select((pl.col(outcome) > middle).cast(pl.Float64)).to_series()


def said_target(settings: TrainingSettings, task: Literal["regression", "classification"]) -> str:
    """What is fitted, in words."""
    relative_to = settings.relative_to == "sector"
    if task == "classification":
        return "whether forward_return is " + ("above its session's mean" if relative_to else "positive")
    parts = ["forward_return", "relative to its session's mean"] if relative_to else ["forward_return"]
    return ", ".join(parts if settings.target == "raw" else [*parts, settings.target])
