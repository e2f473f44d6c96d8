"""Outcomes of a ledger's decisions: returns of the weights and information coefficients of the forecasts."""

import polars as pl

from quant_assets.learning.metrics import daily_ic

#: Columns of `realised` and of `judged`.
REALISED = pl.Schema(
    {
        "date": pl.Date(),
        "horizon": pl.Int32(),
        "names": pl.UInt32(),
        "invested": pl.Float64(),
        "return": pl.Float64(),
        "known_at": pl.Date(),
    }
)
JUDGED = pl.Schema(
    {
        "model": pl.String(),
        "horizon": pl.Int32(),
        "date": pl.Date(),
        "names": pl.Int32(),
        "ic": pl.Float64(),
        "rank_ic": pl.Float64(),
    }
)


def realised(decisions: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    r"""Returns of each session's weights, traded as in the labels, before costs.

    .. math:: R_{t,h} = \sum_i w_{i,t} \, r_{i,t,h}

    with the label :math:`r` from the close `labels.entry_lag` sessions after t to `horizon` sessions later; cash earns
    nothing. A session counts once the label of every name held is known.

    Args:
        decisions: dataset decisions of one sector.
        labels: dataset labels of the sector, as known now.

    Returns:
        `date, horizon, names, invested` (sum of the weights)`, return, known_at` (when the last of the labels was
        known), sorted by date and horizon.

    """
    weights = decisions.filter(pl.col("item") == "weight").select("ticker", "date", weight="value")
    held = weights.group_by("date").agg(names=pl.len())
    earned = (
        weights.join(labels.select("ticker", "date", "horizon", "forward_return", "known_at"), on=["ticker", "date"])
        .group_by("date", "horizon")
        .agg(
            labelled=pl.len(),
            invested=pl.col("weight").sort_by("ticker").sum(),
            value=(pl.col("weight") * pl.col("forward_return")).sort_by("ticker").sum(),
            known_at=pl.col("known_at").max(),
        )
        .join(held, on="date")
        .filter(pl.col("labelled") == pl.col("names"))
        .rename({"value": "return"})
    )
    return earned.select([pl.col(name).cast(dtype) for name, dtype in REALISED.items()]).sort("date", "horizon")


def judged(decisions: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Information coefficients of each session's forecasts that have matured since.

    Labels with an unexplained move are left out, as in training.

    Args:
        decisions: dataset decisions of one sector.
        labels: dataset labels of the sector, as known now.

    Returns:
        `model, horizon, date, names, ic, rank_ic`, sorted by the first three; see `daily_ic` for sessions without one.

    """
    outcomes = labels.filter(~pl.col("unexplained")).select("ticker", "date", "horizon", "forward_return")
    forecasts = decisions.filter(pl.col("item") == "forecast").select(
        "ticker", "date", "model", "horizon", prediction="value"
    )
    matched = forecasts.join(outcomes, on=["ticker", "date", "horizon"]).sort("model", "horizon", "date", "ticker")
    parts = [pl.DataFrame(schema=JUDGED)]
    for (model, horizon), rows in matched.partition_by("model", "horizon", as_dict=True, maintain_order=True).items():
        daily = daily_ic(rows.select("ticker", "date", "prediction", "forward_return"))
        parts.append(
            daily.with_columns(model=pl.lit(model, pl.String), horizon=pl.lit(horizon, pl.Int32)).select(list(JUDGED))
        )
    return pl.concat(parts)
