"""Walk-forward evaluation of one model over a panel, and a final fit on all of it: what `quant train` computes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from quant_assets.errors import HistoryError
from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.out_of_fold import fold_forecasts, judge
from quant_assets.learning.rows import Rows
from quant_assets.learning.splits import BoolArray, Fold
from quant_assets.market.calendar import session_number
from quant_assets.settings.domain import PredictionSettings

#: Share of the sessions before a test window that serves early stopping; the model is not fitted on it.
_STOPPED_BY = 0.1

_METRICS = ("rmse", "mae", "r2", "direction_accuracy")


@dataclass(frozen=True)
class WalkForwardResult:
    """Result of a walk-forward evaluation.

    Attributes:
        model: fitted on all rows except those of early stopping.
        fold_metrics: metrics of each fold, as plain values.
        importances: `feature, importance`: mean over the folds of the kind's first measure, descending.
        entries: `residuals`, `calibration`, `interval` of the test windows and how well these held
            (`out_of_fold.judge`), for a manifest.

    """

    model: FittedModel
    fold_metrics: list[dict[str, Any]]
    importances: pl.DataFrame
    entries: dict[str, Any]

    @property
    def overall_metrics(self) -> dict[str, float | int | None]:
        """Mean and standard deviation (of the population) of each metric over the folds, and the number of rows."""
        metrics: dict[str, float | int | None] = {}
        for name in _METRICS:
            values = [fold[name] for fold in self.fold_metrics if fold[name] is not None]
            metrics[f"{name}_mean"] = float(np.mean(values)) if values else None
            metrics[f"{name}_std"] = float(np.std(values)) if values else None
        rows = sum(fold["n_samples"] for fold in self.fold_metrics)
        return metrics | {"n_folds": len(self.fold_metrics), "n_total_samples": rows}


def walk_forward(
    rows: pl.DataFrame,
    learner: Learner[Any],
    horizon: int,
    names: Sequence[str],
    settings: PredictionSettings,
    *,
    n_splits: int = 5,
    test_size: float = 0.2,
    embargo_sessions: int = 2,
    seed: int = 42,
) -> WalkForwardResult:
    """Fit before each of several test windows, evaluate on it, and fit once more on everything.

    The last `test_size` of the sessions are cut into `n_splits` consecutive windows. A row of any ticker is used for a
    window if its label was known before the window's first session less the embargo. Of the sessions before a window
    the last tenth serves early stopping, purged in the same way.

    Args:
        rows: `ticker`, `date`, `known_at`, `forward_return` and the features, one row per ticker and session.
        learner: the kind of model and its parameters.
        horizon: of `forward_return`, in sessions.
        names: the feature columns of the model, in order.
        settings: buckets of the residuals, calibration and coverage.
        n_splits: number of test windows.
        test_size: share of the sessions in test windows.
        embargo_sessions: sessions between the last label used and the rows it is used for.
        seed: of every random draw.

    Raises:
        HistoryError: a window has no rows for fitting, early stopping or testing.

    """
    rows = rows.sort("date", "ticker")
    model_rows = Rows.of(rows, names, (horizon,), ("forward_return",))
    *folds, last = _folds(rows, n_splits, test_size, embargo_sessions)
    metrics, importances, tests = list[dict[str, Any]](), list[list[float]](), list[pl.DataFrame]()
    for number, fold in enumerate(folds):
        model = learner.fit(model_rows.where(fold.train), model_rows.where(fold.validation), seed)
        part, forecasts = rows.filter(pl.Series(fold.test)), model.predict(model_rows.where(fold.test))
        test, used = (
            fold_forecasts(part, "forward_return", forecasts, 0),
            rows.filter(pl.Series(fold.train | fold.validation)),
        )
        tests.append(test)
        metrics.append(
            {"n_samples": len(test), "fold": number}
            | {"train_start": used["date"].min(), "train_end": used["date"].max()}
            | {"test_start": test["date"].min(), "test_end": test["date"].max()}
            | {"n_train": len(used), "n_test": len(test)}
        )
        if measures := model.importances():
            importances.append(next(iter(measures.values())))
    judged = judge(tests, horizon, settings, embargo_sessions)
    return WalkForwardResult(
        learner.fit(model_rows.where(last.train), model_rows.where(last.validation), seed),
        [
            {name: getattr(fold_metrics, name) for name in _METRICS} | spans
            for fold_metrics, spans in zip(judged.folds, metrics, strict=True)
        ],
        pl.DataFrame(
            list(zip(names, np.mean(importances, axis=0).tolist(), strict=True)) if importances else [],
            schema={"feature": pl.String, "importance": pl.Float64},
            orient="row",
        ).sort(["importance", "feature"], descending=[True, False]),
        judged.entries,
    )


def _folds(rows: pl.DataFrame, n_splits: int, test_size: float, embargo: int) -> list[Fold]:
    """The folds, and a last one without a test for the final model."""
    if rows.is_empty():
        raise HistoryError("no row has features and a known label; choose other tickers or a longer span")
    number, known = session_number(rows["date"].to_numpy()), session_number(rows["known_at"].to_numpy())
    first, end = int(number.min()), int(number.max()) + 1
    start = end - max(n_splits, math.ceil((end - first) * test_size))
    edges = start + (end - start) * np.arange(n_splits + 1) // n_splits
    none = np.zeros(len(rows), dtype=bool)
    folds = [
        _fold(number, known, low, (number >= low) & (number < high), embargo) for low, high in pairwise(edges.tolist())
    ]
    for fold in folds:
        if not (fold.train.any() and fold.validation.any() and fold.test.any()):
            raise HistoryError(
                f"{_ends(rows)} is too short for {n_splits} windows of the last "
                f"{test_size:.0%} with an embargo of {embargo} sessions; choose a longer span or fewer windows"
            )
    return [*folds, _fold(number, known, int(known.max()) + embargo + 1, none, embargo)]


def _ends(rows: pl.DataFrame) -> str:
    return " to ".join(rows.select(pl.min("date"), last=pl.max("date")).cast(pl.String).row(0))


def _fold(number: Any, known: Any, start: int, test: BoolArray, embargo: int) -> Fold:
    """Rows known before a window; their last sessions serve early stopping."""
    usable = known < start - embargo
    if not usable.any():
        return Fold(usable, usable, test)
    low, high = int(number[usable].min()), int(number[usable].max()) + 1
    stop = high - max(1, math.ceil((high - low) * _STOPPED_BY))
    return Fold(usable & (known < stop - embargo), usable & (number >= stop), test)
