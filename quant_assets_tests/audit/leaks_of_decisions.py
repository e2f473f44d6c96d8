"""Leaks of what is thought of a stock: a statement that was not out yet, a forecast of tomorrow."""

from datetime import date
from typing import Any

import polars as pl
import pytest

from quant_assets.assets import scores as wiring
from quant_assets.portfolio import score_inputs
from quant_assets_tests.audit.leaks import leak, spoil


@leak("a fair value from a later statement", "perturbation", "scores", kind="a statement before it was out")
def _(patch: pytest.MonkeyPatch) -> None:
    def from_the_periods_end(real: Any, prices: pl.DataFrame, fundamentals: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        at_its_end = dict.fromkeys(("published", "known_at", "panel_from"), "period_end")
        return real(prices, fundamentals.with_columns(**at_its_end), *rest)

    spoil(patch, wiring, "inputs", from_the_periods_end)


@leak(
    "scored by the forecasts of the next session",
    "perturbation",
    "scores",
    cut=date(2023, 10, 31),
    kind="a forecast of a later day",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def a_session_early(real: Any, predictions: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        series = ["ticker", "horizon", "model"]
        before = pl.col("date").shift(1).over(series)
        return real(predictions.sort(*series, "date").with_columns(date=before).drop_nulls("date"), *rest)

    spoil(patch, score_inputs, "forecasts", a_session_early)
