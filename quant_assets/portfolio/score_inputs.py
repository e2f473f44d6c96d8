"""Inputs of the decision engine's scores: their factors, and how they are computed at the decisions.

`scores` turns inputs into scores. Inputs are the declared features of prices and of statements, independent of the
features that the profile's models use, and the forecasts of the models.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.features import core, fundamental
from quant_assets.features.features import features
from quant_assets.features.library import FeatureLibrary
from quant_assets.features.valuation import VALUATION
from quant_assets.settings.domain import ENSEMBLE, FundamentalSettings
from quant_assets.windows.declarations import Declared, Feature

#: The forecasts' part of momentum, as listed among missing inputs.
ML = "ml"


@dataclass(frozen=True)
class Input:
    """One input of a factor.

    Attributes:
        name: column of dataset scores.
        factor: valuation, quality, technical (a part of momentum) or risk.
        best: whether high or low values are good.

    """

    name: str
    factor: str
    best: str = "high"


#: In the order of the list of missing inputs. Multiples are ranked by their inverse, which orders losses too.
INPUTS = (
    Input("earnings_yield", "valuation"),
    Input("book_to_market", "valuation"),
    Input("ebitda_yield", "valuation"),
    Input("upside", "valuation"),
    Input("return_on_equity", "quality"),
    Input("return_on_assets", "quality"),
    Input("operating_margin", "quality"),
    Input("net_margin", "quality"),
    Input("debt_to_equity", "quality", "low"),
    Input("momentum_12_1", "technical"),
    Input("momentum_6_1", "technical"),
    Input("sma_distance_200", "technical"),
    Input("high_52w_distance", "technical"),
    Input("realised_volatility_60", "risk", "low"),
    Input("beta_120", "risk", "low"),
    Input("drawdown_252", "risk", "low"),
    Input("amihud_120", "risk", "low"),
)

DRAWDOWN = Feature(
    "drawdown_252",
    ("close",),
    502,
    lambda x, w: -w.lowest(x["close"] / w.highest(x["close"], 252) - 1.0, 252),
    "largest fall of the close below its highest of the 252 sessions before, over the last 252 sessions, as a positive "
    "fraction",
    ge=0,
    le=1,
)

_OF_PRICES = tuple(item.name for item in INPUTS if item.factor in ("technical", "risk"))


def _declared() -> tuple[Declared[object], ...]:
    """The features of `_OF_PRICES` and their own inputs, in the order of declaration."""
    every = {item.name: item for item in (*core.FEATURES, DRAWDOWN) if isinstance(item, Feature)}
    needed: set[str] = set()

    def need(names: Iterable[str]) -> None:
        for name in names:
            if name in every and name not in needed:
                needed.add(name)
                need(every[name].inputs)

    need(_OF_PRICES)
    return tuple(feature for name, feature in every.items() if name in needed)


#: Features of prices for the scores.
LIBRARY = FeatureLibrary({"core": _declared()})


def price_lookback(settings: FundamentalSettings) -> int:
    """Sessions before a month's first session whose prices a score may depend on."""
    return max(LIBRARY.price_lookback(settings), fundamental.price_sessions(settings))


def inputs(
    prices: pl.DataFrame,
    fundamentals: pl.DataFrame,
    universe: pl.DataFrame,
    predictions: pl.DataFrame,
    statements: FundamentalSettings,
    sessions: NDArray[np.datetime64],
    decisions: Sequence[date],
    first_day: date,
    last_day: date,
) -> pl.DataFrame:
    """Known figures of each member at each decision.

    Args:
        prices: dataset prices, `price_lookback` sessions before the month of `first_day`.
        fundamentals: dataset fundamentals, `statements.lookback_months` before that month.
        universe: dataset universe, `LIBRARY.universe_lookback` sessions before that month.
        predictions: dataset predictions of the months of the decisions.
        statements: how long a statement is used.
        sessions: sessions without a gap that `prices` covers.
        decisions: `as_of` of each month.
        first_day: first day of the months.
        last_day: their last day.

    Returns:
        A row for each `ticker` and `as_of`, sorted by them: `close_unadjusted`, the features of prices and of
        `valuation.VALUATION`, and the columns of `forecasts`. Unknown values are null.

    """
    decided = pl.Series(decisions, dtype=pl.Date)
    members = universe.filter(pl.col("date").is_in(decided.implode())).select("ticker", "date").sort("ticker", "date")
    technical = features(
        prices, prices.clear(), fundamentals, universe, LIBRARY, statements, sessions, first_day, last_day
    ).select("ticker", "date", *_OF_PRICES)
    technical = technical.filter(pl.col("date").is_in(decided.implode()))
    figures = fundamental.fundamental(
        technical.select("ticker", "date"), prices, fundamentals, statements, first_day, last_day, VALUATION
    )
    closes = prices.select("ticker", "date", "close_unadjusted")
    key = ["ticker", "date"]
    for beside in (closes, technical, figures, forecasts(predictions, decisions)):
        members = members.join(beside, on=key, how="left", maintain_order="left")
    return members.rename({"date": "as_of"})


def forecasts(predictions: pl.DataFrame, decisions: Sequence[date]) -> pl.DataFrame:
    r"""The forecasts of each name at each decision as one figure.

    Over the horizons and models :math:`i` that forecast the name at `as_of`, each by its mean :math:`m_i`, deviation
    :math:`s_i` and confidence :math:`c_i`:

    .. math:: \text{signal} = \overline{m_i / s_i} \cdot \overline{c_i}

    Each forecast is counted in units of its own deviation, so that 60 sessions do not outweigh one. The ensemble is
    left out, because it is made of the models.

    Returns:
        `ticker`, `date`, `ml_signal`, `ml_confidence` (the mean of the confidences) and `ml_forecasts` (how many).

    """
    decided = pl.Series(decisions, dtype=pl.Date)
    of_models = predictions.filter(pl.col("date").is_in(decided.implode()), pl.col("model") != ENSEMBLE)
    # As lists: the mean of a list depends on its own values alone, whatever else is computed.
    forecast = (
        of_models.sort("ticker", "date", "horizon", "model")
        .group_by("ticker", "date", maintain_order=True)
        .agg(score=pl.col("prediction") / pl.col("prediction_std"), confidence=pl.col("confidence"))
    )
    return forecast.select(
        "ticker",
        "date",
        ml_signal=pl.col("score").list.mean() * pl.col("confidence").list.mean(),
        ml_confidence=pl.col("confidence").list.mean(),
        ml_forecasts=pl.col("score").list.len().cast(pl.Int32),
    )
