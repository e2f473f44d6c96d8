"""Gradient-boosted trees by XGBoost, stopped early on the validation rows, one model for each horizon.

XGBoost takes seconds to import, so only the functions that run it do.

References:
    Chen and Guestrin (2016), XGBoost: a scalable tree boosting system, KDD 22.

"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.settings.group import SettingsGroup

if TYPE_CHECKING:
    import xgboost as xgb

    from quant_assets.market.panel import FloatArray

_FILE = "model.json"


class Parameters(SettingsGroup):
    """Parameters of XGBoost, with its names except `num_threads`."""

    num_trees: int = Field(default=100, ge=1)
    max_depth: int = Field(default=5, ge=1, le=20)
    learning_rate: float = Field(default=0.05, gt=0)
    min_child_weight: float = Field(default=100.0, ge=0)
    colsample_bytree: float = Field(default=0.8, gt=0, le=1)
    reg_lambda: float = Field(default=1.0, ge=0)
    max_bin: int = Field(default=64, ge=3, le=256)
    early_stopping_rounds: int = Field(default=20, ge=1)
    num_threads: int = Field(default=1, ge=1)


class Trees(FittedModel):
    """A booster up to its best tree, and its one horizon."""

    def __init__(self, booster: xgb.Booster, horizons: tuple[int, ...]) -> None:
        self.booster = booster
        self.features = tuple(booster.feature_names or ())
        self.horizons = horizons

    def _predict(self, rows: Rows) -> Distribution:
        # XGBoost sums row by row, so a row's bytes do not depend on the other rows.
        forecasts = np.asarray(self.booster.predict(_matrix(rows.matrix, self.features)), dtype=np.float64)
        return Distribution(forecasts[:, None])

    def save(self, folder: Path) -> None:
        """XGBoost's JSON format, up to the best tree."""
        (folder / _FILE).write_bytes(bytes(self.booster.save_raw("json")))

    def description(self) -> dict[str, Any]:
        """Number of trees after early stopping."""
        return {"trees": self.booster.num_boosted_rounds()}

    def importances(self) -> dict[str, list[float]]:
        """Gain and number of splits."""
        measures = {"gain": "total_gain", "split": "weight"}
        return {
            name: [float(scores.get(feature, 0.0)) for feature in self.features]  # type: ignore[arg-type]
            for name, measure in measures.items()
            for scores in (self.booster.get_score(importance_type=measure),)
        }

    def contributions(self, rows: Rows) -> FloatArray:
        """XGBoost's `pred_contribs`."""
        values = self.booster.predict(_matrix(rows.matrix, self.features), pred_contribs=True)
        return np.asarray(values, dtype=np.float64)[None]


class XGBoost(Learner[Parameters]):
    """XGBoost with squared loss, and with log-likelihood for directions."""

    kind = "xgboost"
    file_format = "XGBoost JSON"
    missing = "learned"
    exact = True
    tasks = ("regression", "classification")
    without_effect = frozenset({"num_threads"})
    parameters_type = Parameters

    def _fit(self, rows: Rows, validation: Rows, seed: int) -> Trees:
        import xgboost as xgb

        settings = self.parameters
        directions = self.task == "classification"
        parameters = {
            "objective": "binary:logistic" if directions else "reg:squarederror",
            "eval_metric": "logloss" if directions else "rmse",
            # Given, because an estimate would depend on the order of summation in threads.
            "base_score": float(rows.targets.mean()),
            "tree_method": "hist",
            "max_depth": settings.max_depth,
            "learning_rate": settings.learning_rate,
            # In rows: for directions the weight of a row is p (1 - p), at most a quarter.
            "min_child_weight": settings.min_child_weight / (4 if directions else 1),
            "colsample_bytree": settings.colsample_bytree,
            "reg_lambda": settings.reg_lambda,
            "max_bin": settings.max_bin,
            "nthread": settings.num_threads,
            "seed": seed,
            "verbosity": 0,
        }
        # Bin edges come from the training rows alone.
        train = xgb.QuantileDMatrix(
            rows.matrix, rows.targets[:, 0], max_bin=settings.max_bin, nthread=settings.num_threads
        )
        later = _matrix(validation.matrix, None, validation.targets[:, 0])
        booster = xgb.train(
            parameters,
            train,
            settings.num_trees,
            evals=[(later, "validation")],
            early_stopping_rounds=settings.early_stopping_rounds,
            verbose_eval=False,
        )
        best = booster[: booster.best_iteration + 1]
        # Names only here: XGBoost compares the names of matrices at each tree, a quarter of the time of a fit.
        best.feature_names = list(rows.features)
        # Through the file format, so that forecasts are the same before and after saving.
        return _read(best.save_raw("json"), rows.horizons)

    def load(self, folder: Path, horizons: tuple[int, ...]) -> Trees:
        """The booster of XGBoost's JSON format."""
        return _read(bytearray((folder / _FILE).read_bytes()), horizons)


def _read(content: bytearray, horizons: tuple[int, ...]) -> Trees:
    import xgboost as xgb

    booster = xgb.Booster({"nthread": 1})
    booster.load_model(content)
    return Trees(booster, horizons)


def _matrix(matrix: FloatArray, features: tuple[str, ...] | None, targets: FloatArray | None = None) -> xgb.DMatrix:
    import xgboost as xgb

    return xgb.DMatrix(matrix, targets, feature_names=features and list(features), nthread=1)


def _distribution() -> tuple[str, ...]:
    """The installed distribution: `xgboost-cpu` on Linux and Windows without CUDA, else `xgboost`."""
    for name in ("xgboost-cpu", "xgboost"):
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return (name,)
    return ()


XGBoost.libraries = _distribution()
LEARNER = XGBoost
