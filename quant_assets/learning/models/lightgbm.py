"""Gradient-boosted trees by LightGBM, stopped early on the validation rows, one model for each horizon.

LightGBM loads pandas and takes over a second to import, so only the functions that run it do.

References:
    Ke et al. (2017), LightGBM: a highly efficient gradient boosting decision tree, NeurIPS 30.

An update keeps the trees and moves the values of their leaves (`Booster.refit`): the few rows of a month would rather
be learned by heart by new trees, of which no validation rows are left to tell when to stop, and the model does not grow
from month to month.

"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.settings.group import SettingsGroup

if TYPE_CHECKING:
    import lightgbm as lgb

    from quant_assets.market.panel import FloatArray

_FILE = "model.txt"


class Parameters(SettingsGroup):
    """Parameters handed to LightGBM."""

    num_trees: int = Field(default=100, ge=1)
    num_leaves: int = Field(default=31, ge=2)
    learning_rate: float = Field(default=0.05, gt=0)
    min_data_in_leaf: int = Field(default=100, ge=1)
    feature_fraction: float = Field(default=0.8, gt=0, le=1)
    max_bin: int = Field(default=63, ge=3, le=255)
    early_stopping_rounds: int = Field(default=20, ge=1)
    num_threads: int = Field(default=1, ge=1)


class Trees(FittedModel):
    """A booster, and the one horizon that it was fitted for."""

    def __init__(self, booster: lgb.Booster, horizons: tuple[int, ...]) -> None:
        self.booster = booster
        self.features = tuple(booster.feature_name())
        self.horizons = horizons

    def _predict(self, rows: Rows) -> Distribution:
        # Each row is summed over the trees by itself, so its bytes do not depend on the other rows.
        found = np.asarray(self.booster.predict(rows.matrix, num_threads=1), dtype=np.float64)
        return Distribution(found[:, None])

    def save(self, folder: Path) -> None:
        """LightGBM's text format, as far as the best tree."""
        text = self.booster.model_to_string(num_iteration=self.booster.best_iteration)
        (folder / _FILE).write_bytes(text.encode())

    def description(self) -> dict[str, Any]:
        """How many trees early stopping left."""
        best = self.booster.best_iteration  # one that was read has only the trees that were left, and does not say so
        return {"trees": best if best > 0 else self.booster.num_trees()}

    def importances(self) -> dict[str, list[float]]:
        """Gain and number of splits."""
        return {
            kind: self.booster.feature_importance(kind, iteration=self.booster.best_iteration).tolist()
            for kind in ("gain", "split")
        }

    def contributions(self, rows: Rows) -> FloatArray:
        """LightGBM's own."""
        return np.asarray(self.booster.predict(rows.matrix, num_threads=1, pred_contrib=True), dtype=np.float64)[None]


class LightGBM(Learner[Parameters]):
    """LightGBM with squared loss, and with log-likelihood for directions."""

    kind = "lightgbm"
    file_format = "LightGBM text"
    missing = "learned"
    exact = True
    tasks = ("regression", "classification")
    updated = ("regression", "classification")
    libraries = ("lightgbm",)
    without_effect = frozenset({"num_threads"})
    parameters_type = Parameters

    def _fit(self, rows: Rows, validation: Rows, seed: int) -> Trees:
        import lightgbm as lgb

        settings, directions = self.parameters, self.task == "classification"
        parameters = {
            "objective": "binary" if directions else "regression",
            "metric": "binary_logloss" if directions else "l2",
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
        # One Dataset for each fit: bin edges, too, come from the training rows alone.
        train = lgb.Dataset(rows.matrix, rows.targets[:, 0], feature_name=list(rows.features), params=parameters)
        later = lgb.Dataset(validation.matrix, validation.targets[:, 0], reference=train, params=parameters)
        stop = lgb.early_stopping(settings.early_stopping_rounds, verbose=False)
        booster = lgb.train(parameters, train, settings.num_trees, valid_sets=[later], callbacks=[stop])
        return Trees(booster, rows.horizons)

    def _update(self, model: FittedModel, rows: Rows, fitted_rows: int) -> Trees:
        """Each tree in turn moves the values of its leaves towards what the new rows leave over after the trees before.

        `_kept` says how far, so that each row weighs the same, however old: as many new rows as there were so far, with
        returns that are all higher by as much, raise the forecasts by half of it.
        """
        import lightgbm as lgb

        if not isinstance(model, Trees):
            raise TypeError(f"{self.said} cannot update a {type(model).__name__}")
        before = lgb.Booster(model_str=model.booster.model_to_string(num_iteration=model.booster.best_iteration))
        rates = np.array([tree["shrinkage"] for tree in before.dump_model()["tree_info"]])
        booster = before.refit(
            rows.matrix,
            rows.targets[:, 0],
            decay_rate=_kept(rates, len(rows) / (fitted_rows + len(rows))),
            feature_name=list(rows.features),
            dataset_params={"num_threads": 1, "verbosity": -1},
            num_threads=1,
        )
        return Trees(booster, rows.horizons)

    def load(self, folder: Path, horizons: tuple[int, ...]) -> Trees:
        """The booster of LightGBM's text format."""
        import lightgbm as lgb

        return Trees(lgb.Booster(model_str=(folder / _FILE).read_text(encoding="utf-8")), horizons)


def _kept(rates: FloatArray, share: float) -> float:
    r"""The part of a leaf's value that an update keeps, so that all trees together take up a share of what is new.

    A leaf that keeps d takes 1 - d of its new value, which is the tree's rate times the mean of what the trees before
    leave over. So the trees take up :math:`1 - \prod_t (1 - (1 - d) r_t)` of a difference between rows and model; where
    even d = 0 is not enough, few trees of a low rate, that.

    Args:
        rates: of the trees, shape (n_trees,); LightGBM's first tree has 1, as it holds the mean.
        share: to be taken up, between 0 and 1.

    """
    low, high = 0.0, 1.0  # of 1 - d
    for _ in range(60):
        middle = (low + high) / 2
        enough = 1 - float(np.prod(1 - middle * rates)) >= share
        low, high = (low, middle) if enough else (middle, high)
    return 1 - high


LEARNER = LightGBM
