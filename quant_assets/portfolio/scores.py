"""Dataset `scores`: four factors and their composite for every member of a sector at a decision, and the action.

`score_inputs` computes the inputs, `valuation` the values of shares. Nothing is selected or weighted here.

- An input's score is its percentile among the members of the sector that have it at the decision:
  :math:`100 (r - 1/2) / n` with the average rank :math:`r` of :math:`n`, so that the middle is 50, and so is a single
  name.
- A factor's score is the mean of its known inputs' scores. Momentum is the weighted mean of its
  technical part and of the percentile of the forecasts' signal.
- The composite is the weighted mean of the known factors. Unknown values are left out of means and listed; they never
  count as 0 or as 50.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from quant_assets.portfolio.score_inputs import INPUTS, ML
from quant_assets.portfolio.valuation.dcf import two_stage
from quant_assets.portfolio.valuation.graham import graham_number
from quant_assets.schemas import DATASETS
from quant_assets.settings.scoring import DcfSettings, ScoreSettings

FACTORS = ("valuation", "quality", "momentum", "risk")


def scores(known: pl.DataFrame, settings: ScoreSettings, sector: str) -> pl.DataFrame:
    """Scores of the members of one sector.

    Args:
        known: `score_inputs.inputs`: a row for each member and decision.
        settings: weights, cuts and assumptions.
        sector: slug, for the discount rate.

    Returns:
        Dataset scores without `sector`, sorted by ticker and as_of.

    """
    rows = valued(known, settings.dcf, settings.dcf.rate_of(sector))
    ranked = rows.select("as_of", *(item.name for item in INPUTS), "ml_signal").with_columns(
        *(percentile(item.name, best=item.best) for item in INPUTS), percentile("ml_signal")
    )

    def factor(name: str) -> pl.Series:
        return ranked.select(pl.mean_horizontal(item.name for item in INPUTS if item.factor == name)).to_series()

    rows = rows.with_columns(
        valuation=factor("valuation"),
        quality=factor("quality"),
        technical=factor("technical"),
        ml=ranked["ml_signal"],
        risk=factor("risk"),
        ml_forecasts=pl.col("ml_forecasts").fill_null(0),
    )
    parts = {"technical": settings.technical_weight, "ml": settings.ml_weight}
    rows = rows.with_columns(momentum=_weighted(parts))
    weights = {name: float(getattr(settings.weights, name)) for name in FACTORS}
    known_share = _known_weight(weights) / sum(weights.values())
    rows = rows.with_columns(composite=_weighted(weights), known_share=known_share)
    rated = pl.col("known_share") >= settings.min_known
    rows = rows.with_columns(
        recommendation=pl.when(rated & (pl.col("composite") >= settings.buy_from))
        .then(pl.lit("buy"))
        .when(rated & (pl.col("composite") <= settings.sell_to))
        .then(pl.lit("sell"))
        .when(rated & pl.col("composite").is_not_null())
        .then(pl.lit("hold")),
        missing=pl.concat_str(
            *(pl.when(pl.col(name).is_null()).then(pl.lit(name)) for name in (*(item.name for item in INPUTS), ML)),
            separator=", ",
            ignore_nulls=True,
        ),
    )
    return rows.select(list(DATASETS["scores"].schema))


def percentile(name: str, *, best: str = "high") -> pl.Expr:
    """Percentile, 0 to 100, of a column among the rows of the same `as_of` that have it; null where it is null.

    Args:
        name: name of the column.
        best: `high` where high values score near 100, else `low`.

    """
    value = pl.col(name) if best == "high" else -pl.col(name)
    rank = value.rank("average").over("as_of")
    return (100.0 * (rank - 0.5) / value.count().over("as_of")).alias(name)


def valued(rows: pl.DataFrame, settings: DcfSettings, rate: float) -> pl.DataFrame:
    """The rows with `fair_value`, `upside`, `no_fair_value` and `graham_value` per share.

    Args:
        rows: `close_unadjusted` and the figures of `features.valuation`.
        settings: assumptions.
        rate: discount rate of the flow.

    """

    def values(name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return rows[name].fill_null(np.nan).to_numpy()

    debt = values("net_debt")
    growth = np.clip(values("revenue_growth"), settings.least_growth, settings.most_growth)
    value = two_stage(
        values("free_cash_flow"),
        growth,
        np.zeros(len(debt)) if settings.flow_to == "equity" else debt,
        values("shares_outstanding"),
        wacc=rate,
        terminal_growth=settings.terminal_growth,
        years=settings.years,
    )
    graham = graham_number(values("earnings_per_share"), values("book_per_share"))
    rows = rows.with_columns(
        fair_value=pl.Series(value.per_share, nan_to_null=True, dtype=pl.Float64),
        no_fair_value=pl.Series(value.reason.tolist(), dtype=pl.String),
        graham_value=pl.Series(graham, nan_to_null=True, dtype=pl.Float64),
    )
    return rows.with_columns(
        upside=pl.col("fair_value") / pl.col("close_unadjusted") - 1.0,
        no_fair_value=pl.when(pl.col("no_fair_value") != "").then("no_fair_value"),
    )


def _known_weight(weights: Mapping[str, float]) -> pl.Expr:
    return pl.sum_horizontal(
        pl.when(pl.col(name).is_not_null()).then(weight).otherwise(0.0) for name, weight in weights.items()
    )


def _weighted(weights: Mapping[str, float]) -> pl.Expr:
    """Weighted mean of the known columns; null where these have no weight."""
    total = pl.sum_horizontal(pl.col(name).fill_null(0.0) * weight for name, weight in weights.items())
    weight = _known_weight(weights)
    return pl.when(weight > 0.0).then(total / weight)
