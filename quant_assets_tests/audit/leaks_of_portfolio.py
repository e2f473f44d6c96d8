"""Leaks of weights and sleeves to plant in the real code: what they are given knows more than it may."""

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.assets import market as market_wiring
from quant_assets.portfolio.covariances import Window
from quant_assets.portfolio.history import History
from quant_assets_tests.audit.leaks import leak, spoil

#: Weights that follow from the sessions before: short windows, and nothing that holds them at their cap.
OF_HISTORY = {
    "method": "equal_risk_contribution",
    "max_weight": 1.0,
    "covariance": {"sessions": 60, "min_observations": 20},
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
