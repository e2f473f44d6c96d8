"""What is kept of the training rows of a checkpoint, so that later rows can be held against them.

It is taken from the training rows alone when a checkpoint is trained, and stored with it.

References:
    Meyer and Pebesma (2021), Predicting into unknown space? Estimating the area of applicability of spatial prediction
    models, Methods in Ecology and Evolution 12(9): the dissimilarity index. FreqAI's `DI_threshold` is a limit of it.
    Eirola, Doquire, Verleysen and Lendasse (2013), Distance estimation in numerical data sets with missing values,
    Information Sciences 240.
    Siddiqi (2006), Credit Risk Scorecards, chapter 8: the population stability index and its usual limits.

"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl

from quant_assets.learning.distances import AT_ONCE, nearest_and_total
from quant_assets.learning.model_files import VERSION_LENGTH, sha256, verified
from quant_assets.learning.registry import Loaded
from quant_assets.market.panel import FloatArray, IntArray
from quant_assets.settings.domain import TrainingSettings

#: References of the last trainings.
_MADE: Loaded["KeptReference"] = Loaded(16)

#: References that stay loaded: several models of a training have the same one.
_LOADED: Loaded["Reference"] = Loaded(16)

#: Share of the features that a row must have, so that something can be said of its distance.
_LEAST_KNOWN = 0.5

#: Attributes of a reference that are arrays.
_ARRAYS = ("centre", "scale", "sample", "edges", "counts", "usual")

#: Deviation of a feature, as a share of its mean, that rounding alone explains.
_ROUNDING = 1e-12

#: Deviations from the mean beyond which all values are alike, so that no square is infinite.
_FARTHEST = 1e6

#: Added to every count of a bin, so that an empty one has a logarithm (Jeffreys' prior).
_PRIOR = 0.5


@dataclass(frozen=True, eq=False)
class Reference:
    """What is kept of the training rows of a checkpoint.

    With z a row's features, standardised by the training rows and 0 where missing, and m how many are missing, the
    squared distance of two rows is |z - z'|^2 + m + m': what it is expected to be, a missing value having the training
    rows' mean and variance.

    Attributes:
        features: names of the columns, in order.
        rows: training rows that it stands for.
        centre: mean of each feature, shape (n_features,).
        scale: standard deviation; 0 of a feature that is left out of distances, because it never varies or is never
            there.
        sample: some training rows, standardised, NaN where missing, float32 of shape (n_sampled, n_features).
        distance: mean distance between two of them; 0 where there is none.
        edges: upper ends of a feature's bins but the last, ascending, shape (n_features, n_bins - 1); infinite where it
            has fewer values than bins.
        counts: training rows in each bin, the last being that of missing values, shape (n_features, n_bins + 1).
        usual: greatest stability index that a month of the training rows has against all of them, shape (n_features,).

    """

    features: tuple[str, ...]
    rows: int
    centre: FloatArray
    scale: FloatArray
    sample: FloatArray
    distance: float
    edges: FloatArray
    counts: IntArray
    usual: FloatArray

    @classmethod
    def of(
        cls, features: Sequence[str], matrix: FloatArray, months: IntArray, sampled: int, bins: int, seed: int
    ) -> Self:
        """What is kept of training rows.

        Args:
            features: names of the columns.
            matrix: of shape (n_rows, n_features), NaN where missing; an infinite value counts as missing.
            months: number of each row's month, shape (n_rows,).
            sampled: rows that distances are taken to, at most.
            bins: of each feature, of as many training rows each as ties let.
            seed: of the choice of the rows.

        """
        values = _finite(matrix)
        known = ~np.isnan(values)
        many, ordered = known.sum(axis=0), np.sort(values, axis=0)  # NaN last
        edges = np.full((values.shape[1], bins - 1), np.inf)
        counts = np.zeros((values.shape[1], bins + 1), dtype=np.int64)
        shares = np.arange(1, bins) / bins
        for column, count in enumerate(many.tolist()):
            if count:
                # Values that are there, not between two of them: a feature of few values has a bin of each.
                own = ordered[:count, column]
                found = np.unique(own[np.ceil(shares * count).astype(np.int64) - 1])
                edges[column, : len(found)] = found
                below = np.searchsorted(own, edges[column], side="right")
                counts[column, :bins] = np.diff(below, prepend=0, append=count)
            counts[column, bins] = len(values) - count
        with np.errstate(over="ignore", invalid="ignore"):
            centre = np.where(known, values, 0.0).sum(axis=0) / np.maximum(many, 1)
            apart = np.where(known, values - centre, 0.0)
            scale = np.sqrt((apart * apart).sum(axis=0) / np.maximum(many, 1))
            # What rounding alone makes vary does not vary.
            scale[~(np.isfinite(scale) & (scale > _ROUNDING * np.abs(centre)))] = 0.0
        chosen = np.arange(len(values))
        if len(values) > sampled:
            chosen = np.sort(np.random.default_rng(seed).choice(len(values), sampled, replace=False))
        usual = _greatest(values, months, edges, counts)
        few = cls(tuple(features), len(values), centre, scale, np.empty((0, 0)), 0.0, edges, counts, usual)
        sample = few._standardised(values[chosen])
        return replace(few, sample=sample, distance=_mean_distance(sample[:, scale > 0]))

    def to_bytes(self) -> bytes:
        """NumPy's archive of arrays, none of them of objects; the same content has the same bytes."""
        content = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        names = np.frombuffer(json.dumps(self.features).encode(), dtype=np.uint8)
        np.savez(content, features=names, rows=np.int64(self.rows), distance=np.float64(self.distance), **arrays)
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """What `to_bytes` gave; pickled objects in it are refused."""
        with np.load(io.BytesIO(content), allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in _ARRAYS}
            names, rows, distance = kept["features"], int(kept["rows"]), float(kept["distance"])
        return cls(tuple(json.loads(names.tobytes())), rows=rows, distance=distance, **arrays)

    def dissimilarity(self, matrix: FloatArray) -> FloatArray:
        """Distance of each row to the nearest of the sampled training rows, in units of their mean distance.

        1 is as far as two training rows are from each other on average. A row's value depends on no other row.

        Args:
            matrix: of shape (n_rows, n_features), NaN where missing.

        Returns:
            float64 of shape (n_rows,); NaN where less than half of the features that vary among the training rows are
            there, or no two training rows differ.

        """
        used = self.scale > 0
        rows = self._standardised(_finite(matrix))[:, used]
        if not len(rows) or not self.distance > 0:
            return np.full(len(rows), np.nan)
        nearest, _ = _distances(rows, self.sample[:, used])
        told = np.isfinite(rows).sum(axis=1) >= _LEAST_KNOWN * used.sum()
        found: FloatArray = np.where(told, nearest / self.distance, np.nan)
        return found

    def stability(self, matrix: FloatArray) -> FloatArray:
        r"""Population stability index of each feature: :math:`\sum_b (p_b - q_b) \ln(p_b / q_b)` over its bins.

        p is the share of these rows in a bin and q that of the training rows, half a row being added to every count.
        Missing values have a bin of their own.

        Args:
            matrix: at least one row, shape (n_rows, n_features).

        Returns:
            float64 of shape (n_features,).

        """
        months = np.zeros(len(matrix), dtype=np.int64)
        found: FloatArray = _indices(_counts(_finite(matrix), months, self.edges), self.counts, self.edges)[:, 0]
        return found

    def _standardised(self, values: FloatArray) -> FloatArray:
        used = self.scale > 0
        with np.errstate(over="ignore"):
            apart = np.where(used, (values - self.centre) / np.where(used, self.scale, 1.0), np.nan)
        return np.clip(apart, -_FARTHEST, _FARTHEST).astype(np.float32)


@dataclass(frozen=True)
class KeptReference:
    """The file of a reference, and what a manifest says of it.

    Attributes:
        content: of the file.
        entry: its name beside the manifest, its SHA-256, and plain figures.

    """

    content: bytes
    entry: Mapping[str, Any]

    @classmethod
    def of(cls, reference: Reference) -> Self:
        """A reference under its version: the same content has the same name."""
        content = reference.to_bytes()
        found = sha256(content)
        figures = {"rows": reference.rows, "sampled": len(reference.sample), "mean_distance": reference.distance}
        return cls(content, {"file": f"reference-{found[:VERSION_LENGTH]}.npz", "sha256": found} | figures)

    @property
    def name(self) -> str:
        """Of the file."""
        return str(self.entry["file"])


def kept_reference(
    manifest: Mapping[str, Any],
    manifest_file: str,
    read: Callable[[str], bytes],
    loaded: Loaded[Reference] = _LOADED,
) -> Reference | None:
    """The reference that a manifest names.

    Args:
        manifest: of a checkpoint.
        manifest_file: its name; the file of the reference lies beside it.
        read: gives the content of a file by its name.
        loaded: references that need not be read again.

    Returns:
        None of a model that was not trained here, or before there were references.

    Raises:
        ModelFileError: the file is not the one that was written.

    """
    entry = manifest.get("reference")
    if entry is None:
        return None
    place = f"{manifest_file.rpartition('/')[0]}/{entry['file']}"
    return loaded.get(
        entry["sha256"],
        lambda: Reference.from_bytes(verified(f"reference {entry['file']}", read(place), entry["sha256"])),
    )


def stored_reference(
    row: Mapping[str, Any], read: Callable[[str], bytes], loaded: Loaded[Reference] = _LOADED
) -> Reference | None:
    """The reference of a row of the dataset of checkpoints; arguments, result and errors as of `kept_reference`."""
    content = verified("manifest", read(row["manifest_file"]), row["manifest_sha256"])
    return kept_reference(json.loads(content), row["manifest_file"], read, loaded)


def reference_of(
    dates: pl.Series, names: Sequence[str], matrix: FloatArray, settings: TrainingSettings, seed: int
) -> KeptReference:
    """The reference of training rows; several models of a training have mostly the same rows, and it is made once.

    Args:
        dates: session of each row.
        names: of the columns, in order.
        matrix: of shape (n_rows, n_names), C-contiguous, NaN where missing.
        settings: how many rows are sampled, and how many bins there are.
        seed: of the sample.

    """
    months = (12 * dates.dt.year() + dates.dt.month()).to_numpy()
    made_of = settings.reference_rows, settings.reference_bins, seed
    content = hashlib.sha256(np.ascontiguousarray(matrix).data)
    content.update(np.ascontiguousarray(months).data)
    return _MADE.get(
        (content.digest(), matrix.shape, tuple(names), *made_of),
        lambda: KeptReference.of(Reference.of(names, matrix, months, *made_of)),
    )


def _finite(matrix: FloatArray) -> FloatArray:
    found: FloatArray = np.where(np.isfinite(matrix), matrix, np.nan)
    return found


def _counts(values: FloatArray, groups: IntArray, edges: FloatArray) -> IntArray:
    """Rows of each group (numbered from 0) in each bin of each feature, shape (n_features, n_groups, n_bins + 1).

    A value at an edge lies below it; missing ones come last.
    """
    bins, many = edges.shape[1] + 1, int(groups.max(initial=0)) + 1
    found = np.empty((len(edges), many, bins + 1), dtype=np.int64)
    for column, ends in enumerate(edges):
        own = values[:, column]
        place = np.where(np.isnan(own), bins, np.searchsorted(ends, own, side="left"))
        found[column] = np.bincount(groups * (bins + 1) + place, minlength=many * (bins + 1)).reshape(many, bins + 1)
    return found


def _indices(counts: IntArray, reference: IntArray, edges: FloatArray) -> FloatArray:
    """Stability index of each feature and group, shape (n_features, n_groups)."""
    # The bins that a feature has: one more than edges, and that of missing values.
    real = np.pad(np.isfinite(edges), ((0, 0), (1, 1)), constant_values=True)[:, None, :]
    p, q = (
        np.where(real, (each + _PRIOR) / (each.sum(axis=-1, keepdims=True) + _PRIOR * real.sum(axis=-1)[:, None]), 1.0)
        for each in (counts, reference[:, None, :])
    )
    found: FloatArray = ((p - q) * np.log(p / q)).sum(axis=-1)
    return found


def _greatest(values: FloatArray, months: IntArray, edges: FloatArray, counts: IntArray) -> FloatArray:
    """Greatest index of a month among those that have at least half as many rows as they have on average."""
    names, groups = np.unique(months, return_inverse=True)
    if not len(names):
        return np.zeros(len(edges))
    rows = np.bincount(groups)
    whole = rows >= 0.5 * rows.mean()
    found: FloatArray = _indices(_counts(values, groups, edges), counts, edges)[:, whole].max(axis=1)
    return found


def _distances(rows: FloatArray, others: FloatArray, *, total: bool = False) -> tuple[FloatArray, FloatArray]:
    """Distance of each row to the nearest of the others, and the sum of its distances to all of them where asked."""
    beside = -rows.shape[1] % AT_ONCE
    own, theirs = (np.isnan(each).sum(axis=1, dtype=np.float32) for each in (rows, others))
    filled = [np.pad(np.where(np.isnan(each), np.float32(0), each), ((0, 0), (0, beside))) for each in (rows, others)]
    return nearest_and_total(filled[0], np.ascontiguousarray(filled[1].T), own, theirs, total)


def _mean_distance(sample: FloatArray) -> float:
    """Mean distance of two rows of a standardised sample; 0 where there are none."""
    count = len(sample)
    if count < 2 or not sample.shape[1]:
        return 0.0
    itself = np.sqrt(2.0 * np.isnan(sample).sum(axis=1))  # a row with missing values is no copy of itself
    _, totals = _distances(sample, sample, total=True)
    return max(float((totals - itself).sum() / (count * (count - 1))), 0.0)
