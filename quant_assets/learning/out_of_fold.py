"""Evaluation on the test folds: metrics, residuals, calibration and intervals, and how well the latter two held.

The values stored for later forecasts are fitted to all test folds. If a model has no standard deviation of its own, its
interval is fitted to the same rows as the residual buckets, so the conformal bound does not apply; only the measured
coverage does. It is measured as in use: each fold is checked with values fitted to earlier folds, as far as those were
known when that fold began.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from quant_assets.learning.calibration import Calibration, Interval, reliability, stated_probability
from quant_assets.learning.metrics import Metrics, evaluate, measured
from quant_assets.learning.residuals import ResidualBuckets
from quant_assets.learning.rows import Distribution
from quant_assets.market.calendar import session_number
from quant_assets.market.panel import FloatArray
from quant_assets.settings.domain import PredictionSettings

#: Columns of a fold's forecasts beside `ticker`, `date`, `known_at` and `forward_return`; the last two are null where a
#: kind has none.
_FORECAST = {"prediction": pl.Float64, "std": pl.Float64, "prob_up": pl.Float64}


@dataclass(frozen=True)
class Judged:
    """Results of the test folds of one horizon.

    Attributes:
        series: `date, rank_ic, best_return` of each test date of all folds (`daily_ic`, `best_returns`).
        metrics: metrics over all folds.
        folds: metrics of each fold.
        entries: other plain values for the manifest.

    """

    series: pl.DataFrame
    metrics: Metrics
    folds: list[Metrics]
    entries: dict[str, Any]


def fold_forecasts(tested: pl.DataFrame, outcome: str, found: Distribution, column: int) -> pl.DataFrame:
    """The forecasts of a fold's test rows for one horizon.

    Args:
        tested: rows with `ticker`, `date`, `known_at` and the outcome.
        outcome: column of the forward returns.
        found: forecasts of these rows.
        column: column of the horizon in `found`.

    """
    values = (found.mean, found.std, found.prob_up)
    return tested.select("ticker", "date", "known_at", pl.col(outcome).alias("forward_return")).with_columns(
        pl.lit(None, pl.Float64).alias(name)
        if forecasts is None
        else pl.Series(name, np.ascontiguousarray(forecasts[:, column]), dtype=pl.Float64)
        for name, forecasts in zip(_FORECAST, values, strict=True)
    )


def judge(tests: Sequence[pl.DataFrame], horizon: int, settings: PredictionSettings, embargo_sessions: int) -> Judged:
    """Evaluate a model by the forecasts of its test folds.

    Args:
        tests: `fold_forecasts` of each fold, in time order.
        horizon: sessions ahead.
        settings: buckets, calibration and coverage.
        embargo_sessions: sessions between the last outcome used and the fold it is used for.

    Raises:
        DatasetError: the residuals do not vary.

    """
    rows = pl.concat(tests)
    fitted_to_all = _Fitted.to(rows, horizon, settings)
    checked = [
        (fold, _Fitted.to(earlier, horizon, settings))
        for fold, earlier in _with_earlier(tests, embargo_sessions, settings)
    ]
    outcomes = _joined([_outcomes(fold) for fold, _ in checked])
    held = [(len(fold), fitted.interval.holds(*fitted.spread_of(fold), _outcomes(fold))) for fold, fitted in checked]
    counted = [(count, share) for count, share in held if share is not None]
    metrics, daily, spread = measured(rows, horizon)
    return Judged(
        daily.select("date", "rank_ic").join(spread.select("date", "best_return"), on="date", how="inner").sort("date"),
        metrics,
        [evaluate(test, horizon) for test in tests],
        {
            "residuals": fitted_to_all.residuals.to_manifest(),
            "calibration": fitted_to_all.calibration.to_manifest(),
            "interval": fitted_to_all.interval.to_manifest(),
            # Of the folds after the first, with values fitted to the earlier folds.
            "reliability": {
                "stated": reliability(_joined([fitted.stated(fold) for fold, fitted in checked]), outcomes),
                "calibrated": reliability(
                    _joined([fitted.calibration.of(fitted.stated(fold)) for fold, fitted in checked]), outcomes
                ),
            },
            "measured_coverage": {
                "rows": sum(count for count, _ in counted),
                "share": sum(count * share for count, share in counted) / sum(count for count, _ in counted)
                if counted
                else None,
            },
        },
    )


@dataclass(frozen=True)
class _Fitted:
    """Residuals, calibration and interval fitted to some test folds."""

    residuals: ResidualBuckets
    calibration: Calibration
    interval: Interval

    @classmethod
    def to(cls, rows: pl.DataFrame, horizon: int, settings: PredictionSettings) -> "_Fitted":
        prediction, outcome = rows["prediction"].to_numpy(), _outcomes(rows)
        residuals = ResidualBuckets.fit(prediction, outcome, settings.buckets, settings.min_bucket_rows)
        uncalibrated = cls(residuals, Calibration(), Interval(settings.interval_coverage, None, 0))
        platt, sessions = settings.calibration == "platt", session_number(rows["date"].to_numpy())
        apart = min(len(np.unique(sessions)), float(np.ptp(sessions) + 1) / horizon)
        return cls(
            residuals,
            Calibration.fit(uncalibrated.stated(rows), outcome, apart) if platt else Calibration(),
            Interval.fit(*uncalibrated.spread_of(rows), outcome, settings.interval_coverage),
        )

    def spread_of(self, rows: pl.DataFrame) -> tuple[FloatArray, FloatArray]:
        """Predictions and their standard deviations: the model's own, else those of the residuals."""
        prediction = rows["prediction"].to_numpy()
        own = rows["std"]
        return prediction, self.residuals.std_of(prediction) if own.null_count() else own.to_numpy()

    def stated(self, rows: pl.DataFrame) -> FloatArray:
        """Probabilities of a rise before they are calibrated."""
        own = rows["prob_up"]
        return stated_probability(*self.spread_of(rows), None if own.null_count() else own.to_numpy())


def _with_earlier(
    tests: Sequence[pl.DataFrame], embargo_sessions: int, settings: PredictionSettings
) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    """Each fold with the earlier rows known when it began; folds with fewer rows than a bucket needs are left out."""
    pairs = []
    for number, fold in enumerate(tests[1:], start=1):
        before = pl.concat(tests[:number])
        begins = session_number(fold["date"].to_numpy()).min() - embargo_sessions
        earlier = before.filter(pl.Series(session_number(before["known_at"].to_numpy()) < begins))
        if len(earlier) >= settings.min_bucket_rows:
            pairs.append((fold, earlier))
    return pairs


def _outcomes(rows: pl.DataFrame) -> FloatArray:
    outcomes: FloatArray = rows["forward_return"].to_numpy()
    return outcomes


def _joined(parts: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate(parts) if parts else np.empty(0)
