"""Walk-forward of one model: windows that follow each other, what each may know, and the figures of the files."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import HistoryError
from quant_assets.learning.calibration import Interval
from quant_assets.learning.models.lightgbm import LightGBM
from quant_assets.learning.observing import observed_by
from quant_assets.learning.residuals import ResidualBuckets
from quant_assets.learning.walk_forward import walk_forward
from quant_assets.market.calendar import session_number
from quant_assets.settings.domain import PredictionSettings
from quant_assets_tests.synthetic_learning import FEATURES, PLANTED, Market

LEARNER = LightGBM("m", {"min_data_in_leaf": 50, "num_trees": 30})
HORIZON = 20


@pytest.fixture(scope="module")
def rows(market: Market) -> pl.DataFrame:
    features, labels = market
    wanted = labels.filter(pl.col("horizon") == HORIZON, pl.col("date") < pl.date(2020, 1, 1))
    return wanted.select("ticker", "date", "forward_return", "known_at").join(features, on=["ticker", "date"])


class Seen:
    def __init__(self) -> None:
        self.fits: list[tuple[Any, Any]] = []
        self.tests: list[Any] = []

    def fitted(self, name: str, rows: Any, validation: Any, model: Any) -> None:
        self.fits.append((rows, validation))

    def predicted(self, model: Any, rows: Any, forecasts: Any) -> None:
        self.tests.append(rows)


def run(rows: pl.DataFrame, **given: Any) -> tuple[Any, Seen]:
    seen = Seen()
    with observed_by(seen):
        return walk_forward(rows, LEARNER, HORIZON, FEATURES, PredictionSettings(), **given), seen


@pytest.mark.parametrize("embargo", [0, 7])
def test_no_label_that_is_used_touches_a_later_slice(rows: pl.DataFrame, embargo: int) -> None:
    found, seen = run(rows, n_splits=3, test_size=0.3, embargo_sessions=embargo)
    known = dict(zip(rows["date"].to_list(), session_number(rows["known_at"].to_numpy()), strict=True))

    def latest_known(part: Any) -> int:
        return max(int(known[each]) for each in set(part.dates.tolist()))

    assert len(seen.fits) == 4
    for (train, validation), test in zip(seen.fits[:-1], seen.tests, strict=True):
        assert latest_known(train) < session_number(validation.dates).min() - embargo
        assert latest_known(validation) < session_number(test.dates).min() - embargo
    windows = [session_number(np.unique(test.dates)) for test in seen.tests]
    every = np.concatenate(windows)
    assert (np.diff(every) == 1).all(), "consecutive and not overlapping"
    sessions = rows["date"].n_unique()
    assert abs(len(every) - 0.3 * sessions) <= 1
    assert every[-1] == session_number(rows["date"].to_numpy()).max()
    train, validation = seen.fits[-1]
    assert validation.dates.max() == np.datetime64(rows["date"].max()), "the model that is kept sees the newest rows"
    assert found.overall_metrics["n_total_samples"] == sum(len(test) for test in seen.tests)


def test_figures_are_those_of_the_windows(rows: pl.DataFrame) -> None:
    found, _ = run(rows, n_splits=2)
    rmse = [fold["rmse"] for fold in found.fold_metrics]
    assert found.overall_metrics["rmse_mean"] == pytest.approx(np.mean(rmse))
    assert found.overall_metrics["rmse_std"] == pytest.approx(np.std(rmse))
    assert set(found.fold_metrics[0]) == {
        "rmse", "mae", "r2", "direction_accuracy", "n_samples", "fold", "train_start", "train_end", "test_start",
        "test_end", "n_train", "n_test",
    }  # fmt: skip
    assert found.importances["feature"][0] == PLANTED
    assert found.importances["importance"].is_sorted(descending=True)
    assert len(found.importances) == len(FEATURES)


def test_calibration_and_interval_are_those_of_the_windows(rows: pl.DataFrame) -> None:
    found, seen = run(rows, n_splits=3, test_size=0.3)
    with observed_by(seen):  # the models of the windows once more
        of_window = [
            LEARNER.fit(train, validation, 42).predict(test).mean[:, 0]
            for (train, validation), test in zip(seen.fits[:-1], list(seen.tests), strict=True)
        ]
    outcome = np.concatenate([test.targets[:, 0] for test in seen.tests[:3]])
    prediction, settings = np.concatenate(of_window), PredictionSettings()
    residuals = ResidualBuckets.fit(prediction, outcome, settings.buckets, settings.min_bucket_rows)
    assert found.entries["residuals"] == residuals.to_manifest()
    std = residuals.std_of(prediction)
    interval = Interval.fit(prediction, std, outcome, settings.interval_coverage)
    assert found.entries["interval"] == interval.to_manifest()
    assert found.entries["calibration"]["rows"] == len(outcome) == found.overall_metrics["n_total_samples"]
    assert found.entries["calibration"]["slope"] != 1
    assert 0.8 < found.entries["measured_coverage"]["share"] < 1
    assert found.entries["measured_coverage"]["rows"] == sum(len(test) for test in seen.tests[1:3])


def test_the_order_of_the_rows_is_of_no_matter(rows: pl.DataFrame) -> None:
    one, _ = run(rows, n_splits=2)
    other, _ = run(rows.sample(fraction=1, shuffle=True, seed=1), n_splits=2)
    assert one.fold_metrics == other.fold_metrics


def test_too_little_history_is_said(rows: pl.DataFrame) -> None:
    short = rows.filter(pl.col("date") < pl.date(2018, 3, 1))
    with pytest.raises(HistoryError, match="is too short for 5 windows of the last 20% with an embargo of 2 sessions"):
        run(short)
    with pytest.raises(HistoryError, match="no row has features and a known label"):
        run(rows.head(0))
