"""Forecast errors: out-of-fold residual standard deviation by bucket of the prediction."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from quant_assets.errors import DatasetError
from quant_assets.market.panel import FloatArray


@dataclass(frozen=True)
class ResidualBuckets:
    """Standard deviation of the forecast error as a step function of the prediction.

    Attributes:
        edges: ascending inner edges; bucket i holds predictions from edges[i - 1] (included) to edges[i] (excluded).
        rows: out-of-fold rows of each bucket, one more than edges.
        std: standard deviation of each bucket's residuals; the pooled one where a bucket has too few rows or no spread.
        pooled_std: standard deviation of all residuals.

    """

    edges: tuple[float, ...]
    rows: tuple[int, ...]
    std: tuple[float, ...]
    pooled_std: float

    @classmethod
    def fit(cls, prediction: FloatArray, outcome: FloatArray, buckets: int, min_rows: int) -> "ResidualBuckets":
        """Cut out-of-fold predictions at their quantiles; equal quantiles merge buckets.

        Args:
            prediction: out-of-fold forecasts of shape (n_rows,).
            outcome: realised returns of the same shape.
            buckets: greatest number of buckets.
            min_rows: a bucket with fewer rows takes the pooled value.

        Raises:
            DatasetError: the residuals are all equal, so there is no distribution.

        """
        residual = outcome - prediction
        pooled = float(residual.std(ddof=1)) if len(residual) > 1 else 0.0
        if not pooled > 0:
            raise DatasetError(
                f"the {len(residual)} out-of-fold residuals do not vary; check the forward returns of dataset 'labels'"
            )
        edges = np.unique(np.quantile(prediction, np.arange(1, buckets) / buckets))
        bucket = np.searchsorted(edges, prediction, side="right")
        members = [residual[bucket == i] for i in range(len(edges) + 1)]
        spread = [float(part.std(ddof=1)) if len(part) >= max(min_rows, 2) else 0.0 for part in members]
        return cls(
            tuple(edges.tolist()),
            tuple(len(part) for part in members),
            tuple(value if value > 0 else pooled for value in spread),
            pooled,
        )

    @classmethod
    def from_manifest(cls, entry: Mapping[str, Any]) -> "ResidualBuckets":
        """Read back what `to_manifest` wrote."""
        return cls(tuple(entry["edges"]), tuple(entry["rows"]), tuple(entry["std"]), entry["pooled_std"])

    def to_manifest(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def std_of(self, prediction: FloatArray) -> FloatArray:
        """Standard deviation of the bucket that each prediction falls in, shape (n_rows,)."""
        return np.asarray(self.std)[np.searchsorted(np.asarray(self.edges), prediction, side="right")]
