"""Gradient-boosted trees by LightGBM, stopped early on the validation rows, one model for each horizon.

LightGBM loads pandas and takes over a second to import, so only the functions that run it do.

References:
    Ke et al. (2017), LightGBM: a highly efficient gradient boosting decision tree, NeurIPS 30.

An update keeps the trees and changes the values of their leaves. New trees would overfit the few rows of a month,
without validation rows for early stopping, and the model would grow from month to month. `Booster.refit` is unsuitable:
it moves every leaf by the same share, whatever its number of new rows, and shrinks those without any towards zero.

"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field

from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.settings.group import SettingsGroup

if TYPE_CHECKING:
    import lightgbm as lgb
    from numpy.typing import NDArray

    from quant_assets.market.panel import FloatArray

_FILE = "model.txt"
#: `Leaves` of an updated model.
_LEAVES = "leaves.json"


class Parameters(SettingsGroup):
    """Parameters of LightGBM."""

    num_trees: int = Field(default=100, ge=1)
    num_leaves: int = Field(default=31, ge=2)
    learning_rate: float = Field(default=0.05, gt=0)
    min_data_in_leaf: int = Field(default=100, ge=1)
    feature_fraction: float = Field(default=0.8, gt=0, le=1)
    max_bin: int = Field(default=63, ge=3, le=255)
    early_stopping_rounds: int = Field(default=20, ge=1)
    num_threads: int = Field(default=1, ge=1)


class Trees(FittedModel):
    """A booster and its one horizon."""

    def __init__(self, booster: lgb.Booster, horizons: tuple[int, ...], leaves: Leaves | None = None) -> None:
        self.booster, self.leaves = booster, leaves
        self.features = tuple(booster.feature_name())
        self.horizons = horizons

    def _predict(self, rows: Rows) -> Distribution:
        # LightGBM sums row by row, so a row's bytes do not depend on the other rows.
        forecasts = np.asarray(self.booster.predict(rows.matrix, num_threads=1), dtype=np.float64)
        return Distribution(forecasts[:, None])

    def save(self, folder: Path) -> None:
        """LightGBM's text format, up to the best tree; for an updated model also `Leaves`."""
        text = self.booster.model_to_string(num_iteration=self.booster.best_iteration)
        (folder / _FILE).write_bytes(text.encode())
        if self.leaves is not None:
            (folder / _LEAVES).write_text(json.dumps(asdict(self.leaves)), encoding="utf-8")

    def description(self) -> dict[str, Any]:
        """Number of trees after early stopping."""
        best = self.booster.best_iteration  # not set for a loaded model, which has only these trees
        return {"trees": best if best > 0 else self.booster.num_trees()}

    def importances(self) -> dict[str, list[float]]:
        """Gain and number of splits."""
        return {
            kind: self.booster.feature_importance(kind, iteration=self.booster.best_iteration).tolist()
            for kind in ("gain", "split")
        }

    def contributions(self, rows: Rows) -> FloatArray:
        """LightGBM's `pred_contrib`."""
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
        # One Dataset for each fit: bin edges must come from the training rows alone, too.
        train = lgb.Dataset(rows.matrix, rows.targets[:, 0], feature_name=list(rows.features), params=parameters)
        later = lgb.Dataset(validation.matrix, validation.targets[:, 0], reference=train, params=parameters)
        stop = lgb.early_stopping(settings.early_stopping_rounds, verbose=False)
        booster = lgb.train(parameters, train, settings.num_trees, valid_sets=[later], callbacks=[stop])
        return Trees(booster, rows.horizons)

    def _update(self, model: FittedModel, rows: Rows, fitted_rows: int) -> Trees:
        """Move the values of the leaves with new rows, tree by tree (`_moved`).

        Example: with as many new rows as old ones, whose returns are all higher by x, forecasts rise by x / 2. Leaves
        weight new rows by their number of rows so far; leaves without new rows do not change.
        """
        import lightgbm as lgb

        if not isinstance(model, Trees):
            raise TypeError(f"{self.said} cannot update a {type(model).__name__}")
        booster = lgb.Booster(model_str=model.booster.model_to_string(num_iteration=model.booster.best_iteration))
        dumped = booster.dump_model()["tree_info"]
        values = [np.array([leaf["leaf_value"] for leaf in _leaves(tree["tree_structure"])]) for tree in dumped]
        leaves = model.leaves or Leaves.of_training(dumped, self.parameters.learning_rate, fitted_rows)
        places = np.asarray(booster.predict(rows.matrix, num_threads=1, pred_leaf=True), dtype=np.int64)
        places = places.reshape(len(rows), len(dumped))
        moved, leaves = _moved(values, leaves, places, rows.targets[:, 0], directions=self.task == "classification")
        for tree, (old, new) in enumerate(zip(values, moved, strict=True)):
            for leaf in np.flatnonzero(new != old).tolist():
                booster.set_leaf_output(tree, leaf, float(new[leaf]))
        return Trees(booster, rows.horizons, leaves)

    def load(self, folder: Path, horizons: tuple[int, ...]) -> Trees:
        """The booster of LightGBM's text format."""
        import lightgbm as lgb

        path = folder / _LEAVES
        leaves = Leaves(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
        return Trees(lgb.Booster(model_str=(folder / _FILE).read_text(encoding="utf-8")), horizons, leaves)


@dataclass(frozen=True)
class Leaves:
    """The statistics behind the leaf values, by tree and leaf.

    Attributes:
        start: start value of all forecasts; LightGBM includes it in the values of the first tree.
        rate: learning rate: a leaf's value over its mean residual.
        weights: weight of the rows of a leaf: their number, for directions their sum of p (1 - p).
        residuals: mean residual of these rows after the earlier trees, for directions weighted by p (1 - p).

    """

    start: float
    rate: float
    weights: list[list[float]]
    residuals: list[list[float]]

    @classmethod
    def of_training(cls, dumped: list[dict[str, Any]], rate: float, rows: int) -> Self:
        """The leaves of a model that was never updated.

        Args:
            dumped: its trees, as LightGBM dumps them.
            rate: learning rate of a model with one tree, whose dump lacks it.
            rows: number of training rows.

        """
        rate = float(dumped[1]["shrinkage"]) if len(dumped) > 1 else rate
        trees = [_leaves(tree["tree_structure"]) for tree in dumped]
        counts = np.array([leaf["leaf_count"] for leaf in trees[0]], dtype=np.float64)
        # The first tree fits residuals from the mean, which sum to zero.
        start = float(counts @ [leaf["leaf_value"] for leaf in trees[0]] / counts.sum())
        scale = rows / float(counts.sum())
        weights = [[scale * leaf.get("leaf_weight", leaf["leaf_count"]) for leaf in leaves] for leaves in trees]
        starts = [start, *[0.0] * (len(trees) - 1)]
        residuals = [
            [(leaf["leaf_value"] - first) / rate for leaf in leaves]
            for leaves, first in zip(trees, starts, strict=True)
        ]
        return cls(start, rate, weights, residuals)


def _leaves(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Leaves below a node, in the order of their numbers."""
    leaves, stack = list[dict[str, Any]](), [node]
    while stack:
        current = stack.pop()
        if "leaf_value" in current:
            leaves.append(current)
        else:
            stack += [current["left_child"], current["right_child"]]
    return sorted(leaves, key=lambda leaf: int(leaf.get("leaf_index", 0)))


def _moved(
    values: list[FloatArray], leaves: Leaves, places: NDArray[np.int64], targets: FloatArray, *, directions: bool
) -> tuple[list[FloatArray], Leaves]:
    r"""The values of leaves after new rows, with the same weight for old and new rows.

    In a leaf let W be the weight of the old rows and r their mean residual after the earlier trees, w and q the same of
    the new rows. The mean residual of all rows is :math:`r + (q - r) w / (W + w)`, less d, the change of the earlier
    trees by this update. The value moves by the rate times the change of the mean residual; in the first tree by all of
    it, because the later trees would hardly learn a common shift of all rows. For d, the old rows are no longer
    available, so the mean over the new rows in the leaf is used.

    Args:
        values: values of the leaves, by tree.
        leaves: statistics of the leaves.
        places: leaf of each new row in each tree, shape (n_rows, n_trees).
        targets: targets of the new rows.
        directions: whether the sum of the trees is log odds.

    """
    moved: list[FloatArray] = []
    weights: list[list[float]] = []
    residuals: list[list[float]] = []
    before, shift = np.full(len(targets), leaves.start), np.zeros(len(targets))
    for tree, old in enumerate(values):
        place = places[:, tree]
        expected = 1 / (1 + np.exp(-before)) if directions else before
        weight = expected * (1 - expected) if directions else np.ones(len(targets))
        so_far, residual = np.array(leaves.weights[tree]), np.array(leaves.residuals[tree])

        def summed(amounts: FloatArray, place: NDArray[np.int64] = place, count: int = len(old)) -> FloatArray:
            sums: FloatArray = np.bincount(place, amounts, count)  # type: ignore[assignment]  # floats, as it has weights
            return sums

        new = summed(weight)
        touched = new > 0
        step = (summed(targets - expected) - residual * new)[touched] / (so_far + new)[touched]
        step -= summed(weight * shift)[touched] / new[touched]
        change = np.zeros(len(old))
        change[touched] = step if tree == 0 else leaves.rate * step
        residual[touched] += step
        moved.append(old + change)
        weights.append((so_far + new).tolist())
        residuals.append(residual.tolist())
        before = old[place] if tree == 0 else before + old[place]
        shift = shift + change[place]
    return moved, Leaves(leaves.start, leaves.rate, weights, residuals)


LEARNER = LightGBM
