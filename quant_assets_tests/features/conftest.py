"""The synthetic sector of the signals tests, with statements and carried maxima; panels of bars for the features that
are windows over them."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.features.ohlcv import peaks
from quant_assets.market.calendar import sessions
from quant_assets.market.panel import Panel
from quant_assets_tests import synthetic_bars, synthetic_statements
from quant_assets_tests.synthetic import Market, cut, identical, load, market, nothing_infinite, only
from quant_assets_tests.synthetic_bars import Compacted, evaluator, random_panel
from quant_assets_tests.synthetic_statements import Statement

__all__ = ["cut", "identical", "load", "market", "nothing_infinite", "only"]


@pytest.fixture(scope="session")
def statement() -> Statement:
    return synthetic_statements.statement


@pytest.fixture(scope="session")
def as_fundamentals() -> Callable[[list[dict[str, object]]], pl.DataFrame]:
    return synthetic_statements.as_fundamentals


@pytest.fixture(scope="session")
def statements(market: Market) -> pl.DataFrame:
    """Quarterly and annual statements of the market's tickers, with restatements, gaps and a second provider."""
    return synthetic_statements.statements_of(market)


@pytest.fixture(scope="session")
def month_ends() -> Callable[[np.ndarray], list[date]]:
    """The last of the sessions in each month."""
    return synthetic_statements.month_ends_of


@pytest.fixture(scope="session")
def price_peaks(market: Market, month_ends: Callable[[np.ndarray], list[date]]) -> pl.DataFrame:
    return peaks(market.prices, market.days, month_ends(market.days))


@pytest.fixture(scope="session")
def bar_panel() -> Panel:
    return synthetic_bars.panel_with_gaps()


@pytest.fixture(scope="session")
def flat_panel() -> Panel:
    return synthetic_bars.panel_that_stands_still()


@pytest.fixture(scope="session")
def bar_values(bar_panel: Panel) -> Callable[[str], np.ndarray]:
    return evaluator(bar_panel)


@pytest.fixture(scope="session")
def flat_values(flat_panel: Panel) -> Callable[[str], np.ndarray]:
    return evaluator(flat_panel)


@pytest.fixture(scope="session")
def drift_free() -> Callable[[str], np.ndarray]:
    """Features of seven tickers without drift or overnight moves, of 20 % volatility a year."""
    days = sessions(date(2018, 1, 1), date(2018, 12, 31))
    return evaluator(random_panel(np.random.default_rng(16), 7, days, 400, 0.20 / np.sqrt(252)))


@pytest.fixture(scope="session")
def real_values(shared_data: Path) -> Callable[[str], np.ndarray]:
    """Features of five real tickers since 2000: long-lived, volatile, listed later."""
    tickers = ["AAPL", "AIG", "JPM", "TSLA", "XOM"]
    frame = (
        pl.scan_parquet(shared_data / "prices_sp500_adjusted.parquet")
        .filter(pl.col("ticker").is_in(tickers), pl.col("date") < date(2025, 10, 8))
        .with_columns(pl.col("open", "high", "low", "close", "volume").cast(pl.Float64))
        .with_columns(dollar_volume=pl.col("close") * pl.col("volume"))
        .collect()
    )
    panel = Panel.from_long(
        frame,
        sessions(date(2000, 1, 1), date(2025, 10, 7)),
        ["open", "high", "low", "close", "volume", "dollar_volume"],
    )
    returns = panel["close"][:, 1:] / panel["close"][:, :-1] - 1
    return evaluator(
        Panel(
            panel.tickers,
            panel.sessions,
            {**panel.fields, "sector_return": np.concatenate([[np.nan], np.nanmean(returns, axis=0)])},
        )
    )


@pytest.fixture(scope="session")
def compacted() -> Compacted:
    """Each ticker's bars without the sessions that have none, and its values at them."""
    return synthetic_bars.compacted_bars
