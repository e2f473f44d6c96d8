"""Training of the LightGBM checkpoints: which rows, which folds, and what is written about them. No I/O.

LightGBM loads pandas and takes over a second to import, so only the functions that run it do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from quant_assets.errors import HistoryError
from quant_assets.learning.metrics import Metrics, best_returns, daily_ic, evaluate
from quant_assets.learning.residuals import ResidualBuckets
from quant_assets.learning.splits import BoolArray, Fold, purged_walk_forward
from quant_assets.market.calendar import last_session_to, session_number
from quant_assets.market.panel import FloatArray
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import LightGBMSettings, PredictionSettings, TrainingSettings

if TYPE_CHECKING:
    import lightgbm as lgb

#: Characters of a SHA-256 that name a version.
VERSION_LENGTH = 12


@dataclass(frozen=True)
class TrainedModel:
    """What one training yields for one horizon.

    Attributes:
        as_of: session of the training.
        horizon: sessions from entry to exit.
        rows: training rows known at `as_of`.
        first_date: earliest session among them; None without rows.
        last_known_at: latest `known_at` among them; None without rows.
        model: LightGBM's text format, or None where there is too little history.
        manifest: canonical JSON (UTF-8, sorted keys), or None without a model.
        metrics: over the test slices, or None without a model.
        out_of_fold: `date, rank_ic, best_return` of each test date (`daily_ic`, `best_returns`), or None without a
            model.

    """

    as_of: date
    horizon: int
    rows: int
    first_date: date | None
    last_known_at: date | None
    model: bytes | None = None
    manifest: bytes | None = None
    metrics: Metrics | None = None
    out_of_fold: pl.DataFrame | None = field(default=None, compare=False)

    @property
    def model_sha256(self) -> str | None:
        """SHA-256 of the model's bytes."""
        return _sha256(self.model)

    @property
    def manifest_sha256(self) -> str | None:
        """SHA-256 of the manifest's bytes."""
        return _sha256(self.manifest)

    @property
    def model_version(self) -> str | None:
        """First characters of the model's SHA-256."""
        return (self.model_sha256 or "")[:VERSION_LENGTH] or None

    @property
    def model_name(self) -> str | None:
        """File name of the model: its content decides it, so a file is never overwritten by another model."""
        return f"model_h{self.horizon}-{self.model_version}.txt" if self.model else None

    @property
    def manifest_name(self) -> str | None:
        """File name of the manifest, by its own hash: settings that leave the model alone change the manifest."""
        return (
            f"manifest_h{self.horizon}-{(self.manifest_sha256 or '')[:VERSION_LENGTH]}.json" if self.manifest else None
        )


def train_checkpoint(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    as_of: date,
    settings: TrainingSettings,
    prediction_settings: PredictionSettings,
    horizons: Sequence[int],
    sector: str,
    names: Sequence[str],
) -> list[TrainedModel]:
    """Train one model for each horizon on what was known at `as_of` minus the embargo.

    For each horizon the rows are split by `purged_walk_forward`. In every fold the number of trees is chosen on the
    fold's validation slice, never on its test slice. The last fold's model is kept; the other folds' test slices give
    the metrics and the residuals behind `prediction_std`. Later rows, and rows known later, change nothing.

    Args:
        features: dataset `features` of one sector; rows of any dates.
        labels: dataset `labels` of the sector; rows of any dates and horizons.
        as_of: session of the training; a day that is no session counts as the session before.
        settings: window, sampling, folds, embargo, seed and LightGBM's parameters.
        prediction_settings: buckets of the residuals.
        horizons: sessions from entry to exit.
        sector: slug; part of the seed and of the manifest.
        names: the columns of `features` that the model sees, in order; part of the manifest.

    Returns:
        One result for each horizon, in the order given; without a model where the rows are fewer than `min_rows` or too
        short to split.

    References:
        Ke et al. (2017), LightGBM: a highly efficient gradient boosting decision tree, NeurIPS 30.

    """
    return [
        _train(
            training_rows(features, labels, as_of, settings, h, names),
            as_of,
            settings,
            prediction_settings,
            h,
            sector,
            names,
        )
        for h in horizons
    ]


def training_start(as_of: date, window_months: int) -> date:
    """First day of the training window: the first of the month `window_months` before the month of `as_of`."""
    index = as_of.year * 12 + as_of.month - 1 - window_months
    return date(index // 12, index % 12 + 1, 1)


def training_rows(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    as_of: date,
    settings: TrainingSettings,
    horizon: int,
    names: Sequence[str],
) -> pl.DataFrame:
    """Rows that a training at `as_of` may use.

    Sessions are sampled by their number in the calendar, so the choice is the same whatever range of months is loaded.

    Returns:
        `ticker`, `date`, the features, `forward_return` and `known_at`, sorted by date and ticker.

    """
    cutoff = (
        int(session_number(np.array([last_session_to(as_of)], dtype="datetime64[D]"))[0]) - settings.embargo_sessions
    )
    start = training_start(as_of, settings.window_months)
    wanted = labels.filter((pl.col("horizon") == horizon) & pl.col("date").is_between(start, as_of))
    sampled = session_number(wanted["date"].to_numpy()) % settings.sample_every_sessions == 0
    known = session_number(wanted["known_at"].to_numpy()) <= cutoff
    return (
        wanted.filter(pl.Series(sampled & known, dtype=pl.Boolean))
        .select("ticker", "date", "forward_return", "known_at")
        .join(features.select("ticker", "date", *names), on=["ticker", "date"], how="inner", validate="1:1")
        .sort("date", "ticker")
    )


def checkpoint_rows(trained: Sequence[TrainedModel], folder: str) -> pl.DataFrame:
    """Rows of dataset `lightgbm_checkpoint` (without `sector`) for results whose files lie in `folder`.

    Args:
        trained: results of `train_checkpoint`.
        folder: path relative to the profile's storage, without a trailing slash.

    """
    rows = []
    for item in trained:
        metrics = asdict(item.metrics) if item.metrics else {}
        row: dict[str, Any] = {
            "as_of": item.as_of,
            "horizon": item.horizon,
            "status": "trained" if item.model else "too_little_history",
            "model_version": item.model_version,
            "model_file": f"{folder}/{item.model_name}" if item.model else None,
            "model_sha256": item.model_sha256,
            "manifest_file": f"{folder}/{item.manifest_name}" if item.manifest else None,
            "manifest_sha256": item.manifest_sha256,
            "rows": item.rows,
            "first_date": item.first_date,
            "last_known_at": item.last_known_at,
        }
        rows.append(
            row | {name: metrics.get(name) for name in ("rmse", "mae", "r2", "direction_accuracy", "ic", "rank_ic")}
        )
    return pl.DataFrame(rows, schema=DATASETS["lightgbm_checkpoint"].schema, orient="row").sort("as_of", "horizon")


def _train(
    rows: pl.DataFrame,
    as_of: date,
    settings: TrainingSettings,
    prediction_settings: PredictionSettings,
    horizon: int,
    sector: str,
    names: Sequence[str],
) -> TrainedModel:
    dates, known_at = rows["date"].to_numpy(), rows["known_at"].to_numpy()
    span = _span(rows)
    result = TrainedModel(as_of, horizon, len(rows), rows["date"].min(), rows["known_at"].max())  # type: ignore[arg-type]
    if len(rows) < settings.min_rows:
        return result
    try:
        folds = purged_walk_forward(dates, known_at, settings.folds, settings.embargo_sessions)
    except HistoryError:  # a documented outcome of a checkpoint: its status says so
        return result
    matrix, target = feature_matrix(rows, names), rows["forward_return"].to_numpy()
    seed = _seed(settings.seed, sector, as_of, horizon)
    entries: list[dict[str, Any]] = []
    judged: list[pl.DataFrame] = []
    for fold in folds[:-1]:
        booster = _fit(matrix, target, fold, settings.lightgbm, seed, names)
        test = rows.filter(pl.Series(fold.test)).select(
            "ticker", "date", "forward_return", prediction=pl.Series(predict(booster, matrix[fold.test]))
        )
        entries.append(
            _entry(rows, fold, booster) | {"test": _span(rows, fold.test), "metrics": asdict(evaluate(test, horizon))}
        )
        judged.append(test)
    out_of_fold = pl.concat(judged)
    metrics = evaluate(out_of_fold, horizon)
    residuals = ResidualBuckets.fit(
        out_of_fold["prediction"].to_numpy(),
        out_of_fold["forward_return"].to_numpy(),
        prediction_settings.buckets,
        prediction_settings.min_bucket_rows,
    )
    booster = _fit(matrix, target, folds[-1], settings.lightgbm, seed, names)
    model = booster.model_to_string(num_iteration=booster.best_iteration).encode()
    manifest = {
        "sector": sector,
        "as_of": as_of.isoformat(),
        "horizon": horizon,
        "model_sha256": _sha256(model),
        "model_format": "LightGBM text",
        "target": "forward_return",
        "features": list(names),
        "feature_importance": {
            kind: dict(
                zip(names, booster.feature_importance(kind, iteration=booster.best_iteration).tolist(), strict=True)
            )
            for kind in ("gain", "split")
        },
        "settings": settings.model_dump(mode="json"),
        "prediction_settings": prediction_settings.model_dump(mode="json"),
        "seed": seed,
        "data": span,
        "folds": entries,
        "final": _entry(rows, folds[-1], booster),
        "metrics": asdict(metrics),
        "residuals": residuals.to_manifest(),
        "libraries": {name: version(name) for name in ("lightgbm", "numpy", "polars")},
    }
    text = json.dumps(manifest, sort_keys=True, indent=2, allow_nan=False) + "\n"
    series = (
        daily_ic(out_of_fold)
        .select("date", "rank_ic")
        .join(best_returns(out_of_fold), on="date", how="inner")
        .sort("date")
    )
    return TrainedModel(
        as_of, horizon, result.rows, result.first_date, result.last_known_at, model, text.encode(), metrics, series
    )


def feature_matrix(frame: pl.DataFrame, features: Sequence[str]) -> FloatArray:
    """Model input of shape (n_rows, n_features), C-contiguous, NaN where a feature is null."""
    return np.ascontiguousarray(frame.select(pl.col(list(features)).cast(pl.Float64)).to_numpy())


def predict(booster: lgb.Booster, matrix: FloatArray) -> FloatArray:
    """Forecasts of shape (n_rows,).

    Each row is summed over the trees by itself, so its bytes do not depend on the other rows.
    """
    if not len(matrix):
        return np.empty(0)
    return np.asarray(booster.predict(matrix, num_threads=1), dtype=np.float64)


def _fit(
    matrix: FloatArray, target: FloatArray, fold: Fold, settings: LightGBMSettings, seed: int, names: Sequence[str]
) -> lgb.Booster:
    import lightgbm as lgb

    parameters = {
        "objective": "regression",
        "metric": "l2",
        "num_leaves": settings.num_leaves,
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": settings.min_data_in_leaf,
        "feature_fraction": settings.feature_fraction,
        "max_bin": settings.max_bin,
        "num_threads": settings.num_threads,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    # One Dataset for each fold: bin edges, too, come from the training rows alone.
    train = lgb.Dataset(matrix[fold.train], target[fold.train], feature_name=list(names), params=parameters)
    validation = lgb.Dataset(matrix[fold.validation], target[fold.validation], reference=train, params=parameters)
    stop = lgb.early_stopping(settings.early_stopping_rounds, verbose=False)
    return lgb.train(parameters, train, settings.num_trees, valid_sets=[validation], callbacks=[stop])


def _entry(rows: pl.DataFrame, fold: Fold, booster: lgb.Booster) -> dict[str, Any]:
    return {
        "train": _span(rows, fold.train),
        "validation": _span(rows, fold.validation),
        "trees": booster.best_iteration,
    }


def _span(rows: pl.DataFrame, mask: BoolArray | None = None) -> dict[str, Any]:
    part = rows if mask is None else rows.filter(pl.Series(mask))
    ends = {"first_date": part["date"].min(), "last_date": part["date"].max(), "last_known_at": part["known_at"].max()}
    return {"rows": len(part)} | {
        name: value.isoformat() if isinstance(value, date) else None for name, value in ends.items()
    }


def _seed(seed: int, sector: str, as_of: date, horizon: int) -> int:
    """A seed that depends on the setting and the partition alone, in the range LightGBM takes."""
    digest = hashlib.sha256(f"{seed}|{sector}|{as_of.isoformat()}|{horizon}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


def _sha256(content: bytes | None) -> str | None:
    return hashlib.sha256(content).hexdigest() if content is not None else None
