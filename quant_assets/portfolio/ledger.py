"""Rows of the ledger of a session, from its forecasts, candidates and weights."""

from datetime import date

import polars as pl

from quant_assets.portfolio.weights import sector_weights
from quant_assets.settings.domain import CandidateSettings
from quant_assets.settings.weights import WeightSettings
from quant_assets.signals.candidates import candidates

#: In place of a model, for a selection score.
COMPOSITE = "composite_score"

#: Columns of `said`: those of dataset decisions that hold the statement.
SAID = pl.Schema(
    {
        "ticker": pl.String(),
        "date": pl.Date(),
        "item": pl.String(),
        "model": pl.String(),
        "horizon": pl.Int32(),
        "value": pl.Float64(),
        "std": pl.Float64(),
        "lower": pl.Float64(),
        "upper": pl.Float64(),
        "prob_up": pl.Float64(),
        "side": pl.String(),
        "rank": pl.Int32(),
        "model_version": pl.String(),
    }
)


def said(
    day: date,
    indicators: pl.DataFrame,
    universe: pl.DataFrame,
    predictions: pl.DataFrame,
    selecting: CandidateSettings,
    weighing: WeightSettings,
    held: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Forecasts, candidates and weights at the close of a session, as if it were the decision of its month.

    Everything depends on the session's own rows, known at its close. The result is therefore the same before and after
    the month ends; for the session at which the month ended it equals datasets candidates and weights.

    Args:
        day: session.
        indicators: dataset indicators of the sector; only rows of `day` are read, here and in the others.
        universe: dataset universe.
        predictions: dataset predictions.
        selecting: settings of candidates.
        weighing: settings of weights.
        held: dataset weights, required where weights depend on more than the session's own rows
            (`history.needs_history`): those decided at the session are used, none where there are none.

    Returns:
        Columns `SAID`, sorted by ticker, item, model and horizon: a row for each forecast, candidate and weight.

    """
    of_day = pl.col("date") == day
    indicators, universe, predictions = (frame.filter(of_day) for frame in (indicators, universe, predictions))
    chosen = candidates(indicators, universe, [day], selecting)
    if held is None:
        held = sector_weights(chosen, predictions, indicators, [day], weighing)
    held = held.filter(pl.col("as_of") == day)
    forecasts = predictions.select(
        "ticker",
        "date",
        "model",
        "horizon",
        "prob_up",
        "model_version",
        item=pl.lit("forecast"),
        value="prediction",
        std="prediction_std",
        lower="prediction_lower",
        upper="prediction_upper",
    )
    sides = chosen.select(
        "ticker",
        date="as_of",
        item=pl.lit("candidate"),
        model=pl.lit(COMPOSITE),
        horizon=pl.lit(0, pl.Int32),
        value="composite_score",
        side="candidate_type",
        rank="selection_rank",
    )
    forecast = pl.col("score_source") == "prediction"
    weights = held.select(
        "ticker",
        date="as_of",
        item=pl.lit("weight"),
        model=pl.when(forecast).then(pl.lit(weighing.model)).otherwise(pl.lit(COMPOSITE)),
        horizon=pl.when(forecast).then(pl.lit(weighing.horizon)).otherwise(0).cast(pl.Int32),
        value="weight",
        side=pl.when(pl.col("weight") < 0.0).then(pl.lit("short")).otherwise(pl.lit("long")),
        rank="rank",
    ).join(
        forecasts.select("ticker", "date", "model", "horizon", "model_version"),
        on=["ticker", "date", "model", "horizon"],
        how="left",
    )
    parts = [pl.DataFrame(schema=SAID), forecasts, sides, weights]
    rows = pl.concat(parts, how="diagonal").select(list(SAID))
    return rows.sort("ticker", "item", "model", "horizon")
