"""Leaks of the portfolio to plant in the real code: an optimiser is given, or a month carries on, what is later."""

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.assets import market as market_wiring
from quant_assets.assets import portfolio as wiring
from quant_assets.assets import trading as trading_wiring
from quant_assets.portfolio.covariances import Window
from quant_assets.portfolio.history import History
from quant_assets_tests.audit.leaks import leak, spoil

#: Weights that follow from the sessions before: short windows, and nothing that holds them at their cap.
OF_HISTORY = {
    "method": "equal_risk_contribution",
    "max_weight": 1.0,
    "covariance": {"sessions": 60, "min_observations": 20},
}

#: Weights that follow from what was held: no decision goes all of the way.
OF_HOLDINGS = {"constraints": {"max_turnover": 0.3}}

#: The decision of the month that is audited first, with a cut at its session: it is carried on from the month before.
CARRIED: dict[str, Any] = {
    "kind": "a month carried on by later sessions",
    "first": "2023-11",
    "cut": date(2023, 11, 30),
    "settings": {"weights": OF_HOLDINGS},
}


@leak(
    "a covariance that sees the next month",
    "perturbation",
    "weights",
    kind="a window that reaches ahead",
    settings={"weights": OF_HISTORY},
)
def _(patch: pytest.MonkeyPatch) -> None:
    def ahead(real: Any, self: History, tickers: Any, as_of: date, sessions: int, **more: Any) -> Window:
        days = self._sessions
        later = min(int(np.searchsorted(days, np.datetime64(as_of))) + 21, len(days) - 1)
        return real(self, tickers, days[later].item(), sessions, **more)

    spoil(patch, History, "window", ahead)


@leak("holdings drifted by the session after the decision", "perturbation", "weights", **CARRIED)
def _(patch: pytest.MonkeyPatch) -> None:
    def ahead(real: Any, self: History, held: Any, decided: date, as_of: date, entry_lag: int) -> dict[str, float]:
        days = self._sessions
        after = min(int(np.searchsorted(days, np.datetime64(as_of))) + 1, len(days) - 1)
        return real(self, held, decided, days[after].item(), entry_lag)

    spoil(patch, History, "drifted", ahead)


@leak("a track record carried on past its decision", "perturbation", "track_record", **CARRIED)
def _(patch: pytest.MonkeyPatch) -> None:
    def past(real: Any, before: pl.DataFrame, backtest: pl.DataFrame, as_of: date) -> pl.DataFrame:
        after = backtest.filter(pl.col("date") > as_of)["date"].min()
        if before["since"].is_null().all() or after is None:
            return real(before, backtest, as_of)
        moved = pl.when(pl.col("date") == after).then(pl.lit(as_of)).otherwise("date")
        return real(before, backtest.with_columns(date=moved), as_of)

    spoil(patch, wiring, "continued", past)


@leak(
    "an index's close of the next session",
    "perturbation",
    "benchmark",
    kind="a benchmark that reaches ahead",
    cut=date(2023, 11, 15),
    settings={"backtest": {"benchmark": "MARKET"}},
)
def _(patch: pytest.MonkeyPatch) -> None:
    def ahead(real: Any, closes: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        later = pl.col("close").shift(-1).over("ticker", order_by="date")
        return real(closes.with_columns(close=later.fill_null(pl.col("close"))), *rest)

    spoil(patch, trading_wiring, "benchmark_rows", ahead)


@leak(
    "crypto closes of the next UTC day",
    "perturbation",
    "crypto",
    kind="a bar that ends after the session",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def own_day(real: Any, bars: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        return real(bars.with_columns(pl.col("date") - pl.duration(days=1)), *rest)

    spoil(patch, market_wiring, "at_sessions", own_day)
