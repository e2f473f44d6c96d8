"""Two models on the same rows: known figures, and the error of their difference."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import HistoryError
from quant_assets.learning.comparison import compared
from quant_assets.learning.metrics import evaluate
from quant_assets.market.calendar import sessions

NAMES = [f"T{place:02d}" for place in range(20)]


def panel(count: int, strength: float, noise: float, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    days = sessions(date(2024, 1, 1), date(2024, 12, 31))[:count]
    keys = pl.DataFrame({"ticker": NAMES}, schema={"ticker": pl.String}).join(
        pl.DataFrame({"date": pl.Series(days, dtype=pl.Date)}), how="cross"
    )
    outcome = rng.normal(size=len(keys))
    shared = noise * rng.normal(size=len(keys))
    return (
        keys.with_columns(prediction=pl.Series(0.1 * outcome + shared)),
        keys.with_columns(prediction=pl.Series((0.1 + strength) * outcome + shared)),
        keys.with_columns(forward_return=pl.Series(outcome)),
    )


def test_figures_are_those_of_each_model_on_the_rows_of_both() -> None:
    one, other, labels = panel(60, 0.3, 1.0)
    fewer = one.filter(pl.col("ticker") != "T03")
    found = {each.figure: each for each in compared(fewer, other, labels, 1)}
    for figure in ("ic", "rank_ic"):
        for model, value in ((one, found[figure].champion), (other, found[figure].challenger)):
            rows = model.filter(pl.col("ticker") != "T03").join(labels, on=["ticker", "date"])
            assert value == pytest.approx(getattr(evaluate(rows), figure))
        assert found[figure].difference == pytest.approx(found[figure].challenger - found[figure].champion)
        assert found[figure].sessions == 60
    best = labels.rename({"forward_return": "prediction"})
    (spread,) = (each for each in compared(one, best, labels, 1) if each.figure == "spread")
    outcome = labels.sort("date", "forward_return", descending=[False, True]).partition_by("date")
    expected = np.mean([day["forward_return"][:4].mean() - day["forward_return"][-4:].mean() for day in outcome])
    assert spread.challenger == pytest.approx(expected)


def test_the_error_is_that_of_the_difference_and_not_of_the_models() -> None:
    one, other, labels = panel(60, 0.02, 1.0)
    found = {each.figure: each for each in compared(one, other, labels, 1)}["ic"]
    rows = [each.join(labels, on=["ticker", "date"]) for each in (one, other)]
    alone = [evaluate(each).ic_standard_error or 0.0 for each in rows]
    assert found.error is not None
    assert found.error < 0.2 * min(alone), "what both share is not in it"
    assert found.difference > 2 * found.error
    overlapping = {each.figure: each for each in compared(one, other, labels, 20)}
    assert overlapping["ic"].error > 2 * found.error  # type: ignore[operator]
    assert overlapping["turnover"].error == pytest.approx(
        next(each.error for each in compared(one, other, labels, 1) if each.figure == "turnover")
    )


def test_turnover_is_the_share_of_the_best_fifth_that_is_new() -> None:
    one, _, labels = panel(10, 0.0, 0.0)
    still = one.with_columns(prediction=pl.col("ticker").str.slice(1).cast(pl.Float64))
    days = still["date"].unique().sort().to_list()
    swapped = still.with_columns(
        prediction=pl.when(pl.col("date").is_in(days[1::2]) & (pl.col("ticker") == "T00"))
        .then(100.0)
        .otherwise("prediction")
    )
    (found,) = (each for each in compared(still, swapped, labels, 1) if each.figure == "turnover")
    assert (found.champion, found.challenger, found.sessions) == (0.0, 0.25, 9)


def test_nothing_to_compare_is_said() -> None:
    one, other, labels = panel(5, 0.1, 1.0)
    with pytest.raises(HistoryError, match="no session has 3 names"):
        compared(one.filter(pl.col("ticker") < "T02"), other, labels, 5)
