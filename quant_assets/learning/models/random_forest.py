"""A random forest by scikit-learn, one for each horizon; stored and evaluated as plain arrays, without a pickle.

scikit-learn takes a second to import and is only needed for fitting. A forest of directions averages targets of 0 and
1, so its forecast is a probability, and splits by squared error equal those by the Gini index.

References:
    Breiman (2001), Random forests, Machine Learning 45(1).

"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.market.panel import FloatArray
from quant_assets.settings.group import SettingsGroup

_FILE = "model.npz"

#: A node of a tree; a leaf has feature -1. Children are numbered in the whole forest.
_NODE = np.dtype(
    [
        ("feature", "<i4"),
        ("left", "<i4"),
        ("right", "<i4"),
        ("missing_left", "?"),
        ("threshold", "<f8"),
        ("value", "<f8"),
        ("gain", "<f8"),
    ]
)
Nodes = NDArray[np.void]


class Parameters(SettingsGroup):
    """Parameters of scikit-learn, with its names except `num_trees` and `num_threads`."""

    num_trees: int = Field(default=50, ge=1)
    max_depth: int = Field(default=6, ge=1, le=30)
    min_samples_leaf: int = Field(default=50, ge=1)
    max_features: float = Field(default=0.3, gt=0, le=1)
    max_samples: float = Field(default=0.5, gt=0, le=1)
    num_threads: int = Field(default=1, ge=1)


class Forest(FittedModel):
    """The nodes of all trees, the root of each tree, and the one horizon of the forest."""

    def __init__(self, nodes: Nodes, roots: NDArray[np.int32], features: tuple[str, ...], horizons: tuple[int, ...]):
        self.nodes, self.roots, self.features, self.horizons = nodes, roots, features, horizons

    def _predict(self, rows: Rows) -> Distribution:
        # As scikit-learn, which compares 32-bit inputs with 64-bit thresholds. Row by row and tree after tree, so a
        # row's bytes do not depend on the other rows.
        matrix = rows.matrix.astype(np.float32)
        missing, number = np.isnan(matrix), np.arange(len(matrix))
        feature, threshold = self.nodes["feature"], self.nodes["threshold"]
        left, right, missing_left = self.nodes["left"], self.nodes["right"], self.nodes["missing_left"]
        total = np.zeros(len(matrix))
        for root in self.roots:
            at = np.full(len(matrix), root, dtype=np.int32)
            walking = number[feature[at] >= 0]
            while len(walking):
                here = at[walking]
                column = feature[here]
                goes_left = np.where(
                    missing[walking, column], missing_left[here], matrix[walking, column] <= threshold[here]
                )
                at[walking] = np.where(goes_left, left[here], right[here])
                walking = walking[feature[at[walking]] >= 0]
            total += self.nodes["value"][at]
        return Distribution((total / len(self.roots))[:, None])

    def save(self, folder: Path) -> None:
        """A NumPy archive without object arrays."""
        names = np.frombuffer(json.dumps(self.features).encode(), dtype=np.uint8)
        np.savez(folder / _FILE, nodes=self.nodes, roots=self.roots, features=names)

    def description(self) -> dict[str, Any]:
        """Numbers of trees and leaves."""
        return {"trees": len(self.roots), "leaves": int((self.nodes["feature"] < 0).sum())}

    def importances(self) -> dict[str, list[float]]:
        """Reduction of squared error per training row by a feature's splits, mean over the trees; number of splits."""
        split = self.nodes[self.nodes["feature"] >= 0]
        count = len(self.features)
        return {
            "gain": (np.bincount(split["feature"], split["gain"], count) / len(self.roots)).tolist(),
            "split": np.bincount(split["feature"], minlength=count).astype(float).tolist(),
        }


class RandomForest(Learner[Parameters]):
    """Trees on bootstrapped rows and random features, grown to a depth; the validation rows are not used."""

    kind = "random_forest"
    file_format = "NumPy arrays of nodes"
    missing = "learned"
    exact = True
    tasks = ("regression", "classification")
    libraries = ("scikit-learn",)
    without_effect = frozenset({"num_threads"})
    parameters_type = Parameters

    def _fit(self, rows: Rows, validation: Rows, seed: int) -> Forest:
        from sklearn.ensemble import RandomForestRegressor

        settings = self.parameters
        forest = RandomForestRegressor(
            n_estimators=settings.num_trees,
            max_depth=settings.max_depth,
            min_samples_leaf=settings.min_samples_leaf,
            max_features=settings.max_features,
            max_samples=settings.max_samples,
            n_jobs=settings.num_threads,
            random_state=seed,
        ).fit(rows.matrix, rows.targets[:, 0])
        trees = [estimator.tree_ for estimator in forest.estimators_]
        roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1].astype(np.int32)
        nodes = np.concatenate([_nodes(tree, root) for tree, root in zip(trees, roots.tolist(), strict=True)])
        return Forest(nodes, roots, rows.features, rows.horizons)

    def load(self, folder: Path, horizons: tuple[int, ...]) -> Forest:
        """The forest of the archive; refuses pickled objects."""
        with np.load(folder / _FILE, allow_pickle=False) as archive:
            nodes, roots, names = archive["nodes"], archive["roots"], archive["features"]
        return Forest(nodes, roots, tuple(json.loads(names.tobytes())), horizons)


def _nodes(tree: Any, root: int) -> Nodes:
    """The nodes of a scikit-learn tree, numbered from `root`."""
    nodes = np.zeros(tree.node_count, dtype=_NODE)
    inner = tree.children_left >= 0
    nodes["feature"] = np.where(inner, tree.feature, -1)
    nodes["left"] = np.where(inner, tree.children_left + root, -1)
    nodes["right"] = np.where(inner, tree.children_right + root, -1)
    nodes["missing_left"] = inner & (np.asarray(tree.missing_go_to_left) != 0)
    nodes["threshold"] = np.where(inner, tree.threshold, 0.0)
    nodes["value"] = tree.value[:, 0, 0]
    error: FloatArray = tree.impurity * tree.weighted_n_node_samples / tree.weighted_n_node_samples[0]
    nodes["gain"][inner] = (error[inner] - error[tree.children_left[inner]] - error[tree.children_right[inner]]).clip(0)
    return nodes


LEARNER = RandomForest
