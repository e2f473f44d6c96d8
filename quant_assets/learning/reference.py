"""A summary of a checkpoint's training rows, with which later rows are compared.

It is computed from the training rows alone when a checkpoint is trained, and stored with it.

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

from quant_assets.learning.distances import FEATURES_PER_STEP, nearest_and_total
from quant_assets.learning.model_files import VERSION_LENGTH, sha256, verified
from quant_assets.learning.registry import Loaded
from quant_assets.market.panel import FloatArray, IntArray
from quant_assets.settings.domain import TrainingSettings

#: References of recent trainings.
_MADE: Loaded["KeptReference"] = Loaded(16)

#: Loaded references: several models of a training share one.
_LOADED: Loaded["Reference"] = Loaded(16)

#: Share of the features that a row must have for its distance to be defined.
_LEAST_KNOWN = 0.5

#: Attributes of a reference that are arrays.
_ARRAYS = ("centre", "scale", "sample", "edges", "counts", "usual")

#: A standard deviation below this share of the mean is rounding error.
_ROUNDING = 1e-12

#: Standardised values are clipped to this size, so that no square is infinite.
_FARTHEST = 1e6

#: Added to the count of every bin, so that an empty bin has a logarithm (Jeffreys' prior).
_PRIOR = 0.5


@dataclass(frozen=True, eq=False)
class Reference:
    """Summary of the training rows of a checkpoint.

    With z a row's features, standardised by the training rows and 0 where missing, and m the number of missing ones,
    the squared distance of two rows is |z - z'|^2 + m + m': its expectation if a missing value has the training rows'
    mean and variance.

    Attributes:
        features: names of the columns, in order.
        rows: number of training rows.
        centre: mean of each feature, shape (n_features,).
        scale: standard deviation of each feature; 0 for a feature that distances leave out, because it is constant or
            always missing.
        sample: some training rows, standardised, NaN where missing, float32 of shape (n_sampled, n_features).
        distance: mean distance between two sampled rows; 0 with fewer than two.
        edges: upper edges of the bins except the last, ascending, shape (n_features, n_bins - 1); infinite where a
            feature has fewer values than bins.
        counts: training rows in each bin, missing values in the last one, shape (n_features, n_bins + 1).
        usual: greatest stability index of a single training month against all training rows, shape (n_features,).

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
        """Summarise training rows.

        Args:
            features: names of the columns.
            matrix: of shape (n_rows, n_features), NaN where missing; an infinite value counts as missing.
            months: number of each row's month, shape (n_rows,).
            sampled: greatest number of rows to sample for distances.
            bins: bins of each feature, with equally many training rows as far as ties allow.
            seed: of the sampling.

        """
        values = _finite(matrix)
        known = ~np.isnan(values)
        known_counts, ordered = known.sum(axis=0), np.sort(values, axis=0)  # NaN last
        edges = np.full((values.shape[1], bins - 1), np.inf)
        counts = np.zeros((values.shape[1], bins + 1), dtype=np.int64)
        shares = np.arange(1, bins) / bins
        for column, count in enumerate(known_counts.tolist()):
            if count:
                # Edges are observed values, not midpoints: each value of a feature with few values has its own bin.
                present = ordered[:count, column]
                inner = np.unique(present[np.ceil(shares * count).astype(np.int64) - 1])
                edges[column, : len(inner)] = inner
                below = np.searchsorted(present, edges[column], side="right")
                counts[column, :bins] = np.diff(below, prepend=0, append=count)
            counts[column, bins] = len(values) - count
        with np.errstate(over="ignore", invalid="ignore"):
            centre = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known_counts, 1)
            deviation = np.where(known, values - centre, 0.0)
            scale = np.sqrt((deviation * deviation).sum(axis=0) / np.maximum(known_counts, 1))
            # A feature that varies by rounding error only counts as constant.
            scale[~(np.isfinite(scale) & (scale > _ROUNDING * np.abs(centre)))] = 0.0
        chosen = np.arange(len(values))
        if len(values) > sampled:
            chosen = np.sort(np.random.default_rng(seed).choice(len(values), sampled, replace=False))
        usual = _greatest(values, months, edges, counts)
        unsampled = cls(tuple(features), len(values), centre, scale, np.empty((0, 0)), 0.0, edges, counts, usual)
        sample = unsampled._standardised(values[chosen])
        return replace(unsampled, sample=sample, distance=_mean_distance(sample[:, scale > 0]))

    def to_bytes(self) -> bytes:
        """A NumPy archive without object arrays; the same content has the same bytes."""
        content = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        names = np.frombuffer(json.dumps(self.features).encode(), dtype=np.uint8)
        np.savez(content, features=names, rows=np.int64(self.rows), distance=np.float64(self.distance), **arrays)
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read the bytes of `to_bytes`; refuses pickled objects."""
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in _ARRAYS}
            names, rows, distance = archive["features"], int(archive["rows"]), float(archive["distance"])
        return cls(tuple(json.loads(names.tobytes())), rows=rows, distance=distance, **arrays)

    def dissimilarity(self, matrix: FloatArray) -> FloatArray:
        """Distance of each row to the nearest sampled training row, in units of their mean distance.

        1 is the average distance of two training rows. A row's value does not depend on the other rows.

        Args:
            matrix: of shape (n_rows, n_features), NaN where missing.

        Returns:
            float64 of shape (n_rows,); NaN where a row lacks more than half of the features that vary in training, or
            all training rows are equal.

        """
        used = self.scale > 0
        rows = self._standardised(_finite(matrix))[:, used]
        if not len(rows) or not self.distance > 0:
            return np.full(len(rows), np.nan)
        nearest, _ = _distances(rows, self.sample[:, used])
        defined = np.isfinite(rows).sum(axis=1) >= _LEAST_KNOWN * used.sum()
        relative: FloatArray = np.where(defined, nearest / self.distance, np.nan)
        return relative

    def stability(self, matrix: FloatArray) -> FloatArray:
        r"""Population stability index of each feature: :math:`\sum_b (p_b - q_b) \ln(p_b / q_b)` over its bins.

        p is the share of these rows in a bin and q that of the training rows, with half a row added to every count.
        Missing values have their own bin.

        Args:
            matrix: at least one row, shape (n_rows, n_features).

        Returns:
            float64 of shape (n_features,).

        """
        months = np.zeros(len(matrix), dtype=np.int64)
        indices: FloatArray = _indices(_counts(_finite(matrix), months, self.edges), self.counts, self.edges)[:, 0]
        return indices

    def _standardised(self, values: FloatArray) -> FloatArray:
        used = self.scale > 0
        with np.errstate(over="ignore"):
            scaled = np.where(used, (values - self.centre) / np.where(used, self.scale, 1.0), np.nan)
        return np.clip(scaled, -_FARTHEST, _FARTHEST).astype(np.float32)


@dataclass(frozen=True)
class KeptReference:
    """The file of a reference and its entry in the manifest.

    Attributes:
        content: of the file.
        entry: the file's name in the manifest's folder, its SHA-256, and plain figures.

    """

    content: bytes
    entry: Mapping[str, Any]

    @classmethod
    def of(cls, reference: Reference) -> Self:
        """Name a reference by its content: the same content has the same name."""
        content = reference.to_bytes()
        digest = sha256(content)
        figures = {"rows": reference.rows, "sampled": len(reference.sample), "mean_distance": reference.distance}
        return cls(content, {"file": f"reference-{digest[:VERSION_LENGTH]}.npz", "sha256": digest} | figures)

    @property
    def name(self) -> str:
        """Name of the file."""
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
        manifest_file: its name; the file of the reference is in the same folder.
        read: returns the content of a file by its name.
        loaded: cache of references.

    Returns:
        None for a model that was trained elsewhere, or before references existed.

    Raises:
        ModelFileError: the file has changed.

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
    """The reference of a row of the checkpoint dataset; arguments, result and errors as in `kept_reference`."""
    content = verified("manifest", read(row["manifest_file"]), row["manifest_sha256"])
    return kept_reference(json.loads(content), row["manifest_file"], read, loaded)


def reference_of(
    dates: pl.Series, names: Sequence[str], matrix: FloatArray, settings: TrainingSettings, seed: int
) -> KeptReference:
    """The reference of training rows; computed once for the models of a training that share their rows.

    Args:
        dates: session of each row.
        names: names of the columns, in order.
        matrix: of shape (n_rows, n_names), C-contiguous, NaN where missing.
        settings: numbers of sampled rows and of bins.
        seed: of the sample.

    """
    months = (12 * dates.dt.year() + dates.dt.month()).to_numpy()
    options = settings.reference_rows, settings.reference_bins, seed
    content = hashlib.sha256(np.ascontiguousarray(matrix).data)
    content.update(np.ascontiguousarray(months).data)
    return _MADE.get(
        (content.digest(), matrix.shape, tuple(names), *options),
        lambda: KeptReference.of(Reference.of(names, matrix, months, *options)),
    )


def _finite(matrix: FloatArray) -> FloatArray:
    finite: FloatArray = np.where(np.isfinite(matrix), matrix, np.nan)
    return finite


def _counts(values: FloatArray, groups: IntArray, edges: FloatArray) -> IntArray:
    """Rows of each group (numbered from 0) in each bin of each feature, shape (n_features, n_groups, n_bins + 1).

    A value at an edge belongs to the bin below it; missing values come last.
    """
    bins, group_count = edges.shape[1] + 1, int(groups.max(initial=0)) + 1
    counts = np.empty((len(edges), group_count, bins + 1), dtype=np.int64)
    for column, ends in enumerate(edges):
        column_values = values[:, column]
        bin_of = np.where(np.isnan(column_values), bins, np.searchsorted(ends, column_values, side="left"))
        counts[column] = np.bincount(groups * (bins + 1) + bin_of, minlength=group_count * (bins + 1)).reshape(
            group_count, bins + 1
        )
    return counts


def _indices(counts: IntArray, reference: IntArray, edges: FloatArray) -> FloatArray:
    """Stability index of each feature and group, shape (n_features, n_groups)."""
    # Bins in use: one more than finite edges, and the one of missing values.
    real = np.pad(np.isfinite(edges), ((0, 0), (1, 1)), constant_values=True)[:, None, :]
    p, q = (
        np.where(real, (part + _PRIOR) / (part.sum(axis=-1, keepdims=True) + _PRIOR * real.sum(axis=-1)[:, None]), 1.0)
        for part in (counts, reference[:, None, :])
    )
    indices: FloatArray = ((p - q) * np.log(p / q)).sum(axis=-1)
    return indices


def _greatest(values: FloatArray, months: IntArray, edges: FloatArray, counts: IntArray) -> FloatArray:
    """Greatest index of a month; months with less than half the average number of rows do not count."""
    names, groups = np.unique(months, return_inverse=True)
    if not len(names):
        return np.zeros(len(edges))
    rows = np.bincount(groups)
    large = rows >= 0.5 * rows.mean()
    greatest: FloatArray = _indices(_counts(values, groups, edges), counts, edges)[:, large].max(axis=1)
    return greatest


def _distances(rows: FloatArray, others: FloatArray, *, total: bool = False) -> tuple[FloatArray, FloatArray]:
    """Distance of each row to the nearest of the others, and with `total` the sum of its distances to all of them."""
    padding = -rows.shape[1] % FEATURES_PER_STEP
    # m and m' of `Reference`.
    row_terms, other_terms = (np.isnan(values).sum(axis=1, dtype=np.float32) for values in (rows, others))
    filled = [
        np.pad(np.where(np.isnan(values), np.float32(0), values), ((0, 0), (0, padding))) for values in (rows, others)
    ]
    return nearest_and_total(filled[0], np.ascontiguousarray(filled[1].T), row_terms, other_terms, total)


def _mean_distance(sample: FloatArray) -> float:
    """Mean distance of two rows of a standardised sample; 0 with fewer than two."""
    count = len(sample)
    if count < 2 or not sample.shape[1]:
        return 0.0
    itself = np.sqrt(2.0 * np.isnan(sample).sum(axis=1))  # not 0 for a row with missing values
    _, totals = _distances(sample, sample, total=True)
    return max(float((totals - itself).sum() / (count * (count - 1))), 0.0)
