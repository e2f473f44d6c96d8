"""Metrics against scikit-learn and SciPy, and their undefined cases."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn import metrics as oracle

from quant_assets.errors import DatasetError
from quant_assets.learning.metrics import best_returns, daily_ic, evaluate, spreads, standard_error
from quant_assets.market.calendar import sessions

DAYS = sessions(date(2020, 1, 1), date(2020, 12, 31))


def forecasts(seed: int = 0, days: int = 60, names: int = 12) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    prediction = rng.normal(size=days * names).round(1)  # rounded, so that ranks have ties
    return pl.DataFrame(
        {
            "ticker": [f"T{i:02d}" for i in range(names)] * days,
            "date": pl.Series(np.repeat(DAYS[:days], names), dtype=pl.Date),
            "prediction": prediction,
            "forward_return": 0.3 * prediction + rng.normal(size=days * names),
        }
    )


def test_errors_agree_with_scikit_learn() -> None:
    frame = forecasts()
    truth, prediction = frame["forward_return"].to_numpy(), frame["prediction"].to_numpy()
    found = evaluate(frame)
    assert found.rows == 720
    assert found.rmse == pytest.approx(oracle.root_mean_squared_error(truth, prediction), rel=1e-12)
    assert found.mae == pytest.approx(oracle.mean_absolute_error(truth, prediction), rel=1e-12)
    assert found.r2 == pytest.approx(oracle.r2_score(truth, prediction), rel=1e-12)
    assert found.direction_accuracy == pytest.approx(
        oracle.accuracy_score(np.sign(truth), np.sign(prediction)), rel=1e-12
    )


def test_information_coefficients_agree_with_scipy() -> None:
    frame = forecasts()
    parts = frame.partition_by("date", maintain_order=True)
    pearson = [stats.pearsonr(part["prediction"], part["forward_return"]).statistic for part in parts]
    spearman = [stats.spearmanr(part["prediction"], part["forward_return"]).statistic for part in parts]
    daily = daily_ic(frame)
    np.testing.assert_allclose(daily["ic"], pearson, rtol=1e-12)
    np.testing.assert_allclose(daily["rank_ic"], spearman, rtol=1e-12)
    found = evaluate(frame)
    assert (found.ic, found.rank_ic) == pytest.approx((np.mean(pearson), np.mean(spearman)), rel=1e-12)
    assert (found.ic_standard_error, found.rank_ic_standard_error) == pytest.approx(
        (stats.sem(pearson), stats.sem(spearman)), rel=1e-12
    )


def test_order_of_rows_changes_no_bit() -> None:
    frame = forecasts()
    assert evaluate(frame.sample(fraction=1, shuffle=True, seed=4), 5) == evaluate(frame, 5)


def test_dates_without_a_cross_section_are_left_out() -> None:
    frame = forecasts(days=4)
    day = pl.col("date").rank("dense")
    frame = frame.with_columns(
        prediction=pl.when(day == 2).then(0.1).otherwise("prediction"),  # constant predictions
        forward_return=pl.when(day == 3).then(0.1).otherwise("forward_return"),  # constant returns
    ).filter((day != 4) | (pl.col("ticker") < "T02"))  # two names
    daily = daily_ic(frame)
    assert daily["date"].to_list() == [DAYS[0].item()]
    found = evaluate(frame)
    assert (found.ic_dates, found.ic_standard_error) == (1, None)
    assert found.ic == daily["ic"][0]


def test_undefined_metrics_are_none() -> None:
    empty = evaluate(forecasts().clear())
    assert (empty.rows, empty.ic_dates) == (0, 0)
    assert {
        empty.rmse,
        empty.mae,
        empty.r2,
        empty.direction_accuracy,
        empty.ic,
        empty.rank_ic,
        empty.ic_standard_error,
    } == {None}
    flat = evaluate(forecasts(days=1).with_columns(forward_return=pl.lit(0.0)))
    assert flat.rmse is not None
    assert (flat.r2, flat.direction_accuracy, flat.ic) == (None, None, None)


def test_a_perfect_and_a_reversed_forecast() -> None:
    frame = forecasts().with_columns(forward_return=pl.col("prediction"))
    perfect = evaluate(frame)
    assert (perfect.rmse, perfect.r2, perfect.direction_accuracy) == (0.0, 1.0, 1.0)
    assert (perfect.ic, perfect.rank_ic) == pytest.approx((1, 1))
    assert evaluate(frame.with_columns(prediction=-pl.col("prediction"))).rank_ic == pytest.approx(-1)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_missing_forecast_is_refused(value: float | None) -> None:
    frame = forecasts(days=2).with_columns(
        prediction=pl.when(pl.col("ticker") == "T05").then(pl.lit(value)).otherwise("prediction")
    )
    with pytest.raises(DatasetError, match="ticker T05 has no finite prediction"):
        evaluate(frame)


def test_standard_error_is_calibrated_for_overlapping_outcomes() -> None:
    """Means of moving sums of noise, in units of their standard error, have a deviation of 1; by Newey-West alone
    1.3."""
    rng = np.random.default_rng(2)
    days = sessions(date(2010, 1, 1), date(2013, 12, 31))
    scores = []
    for _ in range(400):
        values = np.convolve(rng.normal(size=len(days) + 19), np.ones(20) / 20, mode="valid")
        scores.append(values.mean() / standard_error(values, days, overlap_sessions=20))
    assert 0.9 < np.std(scores) < 1.12


def test_standard_error_counts_sessions_not_observations() -> None:
    values = np.random.default_rng(2).normal(size=50)
    assert standard_error(values, DAYS[:250:5], overlap_sessions=5) == pytest.approx(stats.sem(values), rel=1e-12)
    assert standard_error(values, DAYS[:50], overlap_sessions=5) != pytest.approx(stats.sem(values), rel=1e-3)
    assert standard_error(values[:1], DAYS[:1]) is None


def test_best_returns_hold_the_fifth_that_was_forecast_best() -> None:
    frame = forecasts(names=12)
    found = best_returns(frame.sample(fraction=1.0, shuffle=True, seed=1))
    for day, value in found.iter_rows():
        rows = frame.filter(pl.col("date") == day).sort(
            "prediction", "ticker", descending=[True, False]
        )  # 3 of 12; ties by ticker
        assert value == pytest.approx(rows["forward_return"][:3].mean(), rel=1e-12)
    assert len(found) == 60
    assert best_returns(frame.filter(pl.col("ticker") <= "T01")).is_empty()


def test_spread_and_turnover_against_a_loop_over_dates() -> None:
    frame = forecasts(names=12)
    before: set[str] = set()
    expected = []
    for day in sorted(frame["date"].unique()):
        rows = frame.filter(pl.col("date") == day).sort("prediction", "ticker", descending=[True, False])
        best, returns = set(rows["ticker"][:3]), rows["forward_return"]
        expected.append((day, returns[:3].mean() - returns[-3:].mean(), len(best - before) / 3 if before else None))
        before = best
    found = spreads(frame.sample(fraction=1.0, shuffle=True, seed=1))
    assert found["date"].to_list() == [day for day, *_ in expected]
    np.testing.assert_allclose(found["spread"], [spread for _, spread, _ in expected], rtol=1e-9)
    assert found["turnover"].to_list() == pytest.approx([share for *_, share in expected])
    assert 0.3 < found["turnover"].mean() < 1
    whole = evaluate(frame, 5)
    assert whole.quantile_spread == pytest.approx(found["spread"].mean())
    assert whole.turnover == pytest.approx(found["turnover"].mean())
    dates = found["date"].to_numpy()
    assert whole.quantile_spread_standard_error == pytest.approx(standard_error(found["spread"].to_numpy(), dates, 5))
    still = evaluate(frame.with_columns(prediction=pl.col("ticker").str.slice(1).cast(pl.Float64)))
    assert still.turnover == 0
    few = evaluate(frame.filter(pl.col("ticker") <= "T01"))
    assert (few.quantile_spread, few.turnover) == (None, None)
