"""Content of one stock's page, from datasets as known at a decision. Draws nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from quant_assets.market.point_in_time import known
from quant_assets.portfolio.score_inputs import INPUTS
from quant_assets.portfolio.scores import FACTORS, percentile
from quant_assets.portfolio.valuation.dcf import Grid, grid
from quant_assets.settings.scoring import ScoreSettings
from quant_assets.settings.sectors import SECTORS

#: Sessions of the moving averages that are drawn.
AVERAGES = (50, 200)
#: Statements that are shown, newest first.
_STATEMENTS = 8
#: Amounts of a statement that are shown.
FIGURES = (
    "revenue",
    "operating_income",
    "net_income",
    "operating_cash_flow",
    "capital_expenditure",
    "total_assets",
    "total_equity",
    "total_debt",
    "cash",
)


@dataclass(frozen=True)
class Stock:
    """Content of the page of one stock.

    Attributes:
        ticker: symbol.
        sector: slug.
        sector_name: for a reader.
        as_of: session of the decision.
        score: its row of dataset scores.
        peers: dataset scores of the sector at `as_of`.
        percentiles: of each input, of `INPUTS`, among the peers; None where it is not known.
        weights: of the factors.
        settings: weights, cuts and assumptions.
        prices: `date`, `close` and `sma_50`, `sma_200`: adjusted, at the level of the close as traded at `as_of`.
        forecasts: dataset predictions of the session, by horizon and model.
        statements: newest periods as they were known, newest first.
        wacc: discount rate of the sector; the cost of equity where the flow is the shareholders'.
        growth: of the first stage; None where it is not known.
        values: fair value by discount rate and growth; None where there is no value for any.

    """

    ticker: str
    sector: str
    sector_name: str
    as_of: date
    score: Mapping[str, Any]
    peers: pl.DataFrame
    percentiles: Mapping[str, float | None]
    weights: Mapping[str, float]
    settings: ScoreSettings
    prices: pl.DataFrame
    forecasts: pl.DataFrame
    statements: pl.DataFrame
    wacc: float
    growth: float | None
    values: Grid | None

    @property
    def missing(self) -> list[str]:
        """Inputs that are not known."""
        return [name for name in str(self.score["missing"]).split(", ") if name]


def gather(
    ticker: str,
    sector: str,
    as_of: date,
    scores: pl.DataFrame,
    prices: pl.DataFrame,
    predictions: pl.DataFrame,
    fundamentals: pl.DataFrame,
    settings: ScoreSettings,
) -> Stock:
    """Content of the page of a stock.

    Args:
        ticker: a member of the sector that has scores at `as_of`.
        sector: slug.
        as_of: session of the decision; later rows are not used.
        scores: dataset scores of the sector, of the month of `as_of`.
        prices: dataset prices of the ticker, as far back as is drawn and `AVERAGES` need.
        predictions: dataset predictions of the month.
        fundamentals: dataset fundamentals of the ticker.
        settings: weights, cuts and assumptions.

    """
    peers = scores.filter(pl.col("as_of") == as_of).sort("ticker")
    ranked = peers.select("ticker", "as_of", *(score_input.name for score_input in INPUTS)).with_columns(
        percentile(score_input.name, best=score_input.best) for score_input in INPUTS
    )
    score = peers.row(by_predicate=pl.col("ticker") == ticker, named=True)
    drawn = prices.filter(pl.col("ticker") == ticker, pl.col("date") <= as_of).sort("date").select("date", "close")
    # Rescaled from the level of the first bar to that of as_of.
    level = score["close_unadjusted"] / drawn["close"][-1] if len(drawn) and score["close_unadjusted"] else 1.0
    close = pl.col("close") * level
    drawn = drawn.with_columns(close=close, **{f"sma_{n}": close.rolling_mean(n) for n in AVERAGES})
    key = ["ticker", "period_end", "frequency", "provider"]
    statements = known(fundamentals.filter(pl.col("ticker") == ticker), key, as_of)
    statements = statements.sort("period_end", "frequency", "provider", descending=[True, True, False])
    dcf, wacc = settings.dcf, settings.dcf.rate_of(sector)
    growth, values = score["revenue_growth"], None
    if growth is not None:
        growth = min(max(growth, dcf.least_growth), dcf.most_growth)
    debt = 0.0 if dcf.flow_to == "equity" else score["net_debt"]
    given = (score["free_cash_flow"], growth, debt, score["shares_outstanding"])
    if None not in given and score["free_cash_flow"] > 0.0:
        values = grid(
            *given,
            wacc=wacc,
            terminal_growth=dcf.terminal_growth,
            years=dcf.years,
            wacc_steps=dcf.wacc_steps,
            growth_steps=dcf.growth_steps,
        )
    return Stock(
        ticker,
        sector,
        SECTORS[sector].name,
        as_of,
        score,
        peers,
        ranked.row(by_predicate=pl.col("ticker") == ticker, named=True),
        {name: getattr(settings.weights, name) for name in FACTORS},
        settings,
        drawn,
        predictions.filter(pl.col("ticker") == ticker, pl.col("date") == as_of).sort("horizon", "model"),
        statements.head(_STATEMENTS),
        wacc,
        growth,
        values,
    )
