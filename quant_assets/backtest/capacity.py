"""The result as a function of the size of the book: how much money a strategy can carry."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.backtest.book_kernel import TERMS
from quant_assets.backtest.metrics import performance
from quant_assets.backtest.simulation import simulated
from quant_assets.backtest.statistics import MIN_OBSERVATIONS
from quant_assets.errors import SettingsError
from quant_assets.market.calendar import SESSIONS_PER_YEAR
from quant_assets.settings.trading import BacktestSettings


@dataclass(frozen=True)
class Capacity:
    """Result for one size of the book; all figures except `capital` and `sharpe` are per year.

    Attributes:
        capital: USD.
        annualised_return: after costs; None with fewer than `metrics.MIN_ANNUALISED_SESSIONS` sessions.
        sharpe: annualised, after costs; None with fewer than `statistics.MIN_OBSERVATIONS` sessions, too few for an
            interval.
        turnover: buys plus sells over equity.
        cost: over equity.
        terms: parts of the cost by name.

    """

    capital: float
    annualised_return: float | None
    sharpe: float | None
    turnover: float
    cost: float
    terms: dict[str, float]


def by_capital(
    weights: pl.DataFrame,
    prices: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    as_ofs: Iterable[date],
    first_day: date,
    last_day: date,
    capitals: Sequence[float],
    *,
    entry_lag: int,
    settings: BacktestSettings,
    delistings: pl.DataFrame | None = None,
) -> list[Capacity]:
    """`simulate` for each capital, ascending; see there for other arguments and errors.

    Raises:
        SettingsError: `settings.costs` is flat: nothing depends on capital then.

    """
    if settings.costs == "flat":
        raise SettingsError("backtest.costs is flat: nothing depends on capital; use itemised")
    results, decided = [], list(as_ofs)
    for capital in sorted(capitals):
        result = simulated(
            weights,
            prices,
            sessions,
            decided,
            first_day,
            last_day,
            entry_lag=entry_lag,
            settings=settings.model_copy(update={"capital": capital}),
            delistings=delistings,
        )
        figures, outcome = performance(result.frame), result.outcome
        rows = result.sessions >= np.datetime64(first_day)
        years = int(rows.sum()) / SESSIONS_PER_YEAR
        results.append(
            Capacity(
                capital,
                figures["annualised_return"],
                figures["sharpe"] if rows.sum() >= MIN_OBSERVATIONS else None,
                float(outcome.turnover[rows].sum()) / years,
                float(outcome.cost[rows].sum()) / years,
                {name: float(outcome.terms[name][rows].sum()) / years for name in TERMS[:-1]},
            )
        )
    return results
