"""What is said of a session: the rows of the ledger, from the session's forecasts, candidates and weights."""

from datetime import date

import polars as pl

from quant_assets.portfolio.weights import sector_weights
from quant_assets.settings.domain import CandidateSettings
from quant_assets.settings.weights import WeightSettings
from quant_assets.signals.candidates import candidates

#: In place of a model where a composite score is said.
COMPOSITE = "composite_score"

#: Columns of `said`, those of dataset decisions that tell what was said.
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
    """What is said at the close of a session, as if it were the decision of its month.

    Everything follows from the session's own rows, which were known at its close. So the same is said whether the month
    is over or not, and for the session at which the month ended it is what datasets candidates and weights hold.

    Args:
        day: session.
        indicators: dataset indicators of the sector; only rows of `day` are read, and so of the others.
        universe: dataset universe.
        predictions: dataset predictions.
        selecting: of candidates.
        weighing: of weights.
        held: dataset weights, where the settings let weights follow from more than the session's own rows
            (`history.needs_history`): those decided at it are said, and none where none were.

    Returns:
        Columns `SAID`, sorted by ticker, item, model and horizon: a row for each forecast, candidate and weight.

    """
    of_day = pl.col("date") == day
    indicators, universe, predictions = (each.filter(of_day) for each in (indicators, universe, predictions))
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
