"""What a training or an update of a checkpoint leaves for one horizon, and the row that the dataset has of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import polars as pl

from quant_assets.learning.metrics import Metrics
from quant_assets.learning.model_files import VERSION_LENGTH, ModelFiles, sha256
from quant_assets.schemas import CHECKPOINTS


@dataclass(frozen=True)
class TrainedModel:
    """What one training yields for one horizon.

    Attributes:
        model: the model's name.
        kind: what kind of model it is.
        as_of: session of the training.
        horizon: sessions from entry to exit.
        rows: training rows known at `as_of`.
        first_date: earliest session among them; None without rows.
        last_known_at: latest `known_at` among them; None without rows.
        files: of the fitted model, shared by the horizons of one fit, and the reference that later rows are held
            against, where its kind learns from rows; None where there is too little history.
        manifest: canonical JSON (UTF-8, sorted keys), or None without a model.
        metrics: over the test slices, or None without a model.
        out_of_fold: `date, rank_ic, best_return` of each test date (`daily_ic`, `best_returns`), or None without a
            model.
        contributions: of features to forecasts of the test slices (`sampled_contributions`), or None without any.
        updated: whether a model that was there learned from more rows; else it was trained.

    """

    model: str
    kind: str
    as_of: date
    horizon: int
    rows: int
    first_date: date | None
    last_known_at: date | None
    files: ModelFiles | None = None
    manifest: bytes | None = None
    metrics: Metrics | None = None
    out_of_fold: pl.DataFrame | None = field(default=None, compare=False)
    contributions: pl.DataFrame | None = field(default=None, compare=False)
    updated: bool = False

    @property
    def status(self) -> str:
        """As the dataset of checkpoints has it."""
        if self.files is None:
            return "too_little_history"
        return "updated" if self.updated else "trained"

    @property
    def judged(self) -> list[dict[str, Any]]:
        """What each update since the training found (`learning.updating`), this one last."""
        found: list[dict[str, Any]] = json.loads(self.manifest or b"{}").get("updated", {}).get("judged", [])
        return found

    @property
    def model_sha256(self) -> str | None:
        """SHA-256 that stands for the model's files."""
        return self.files.sha256 if self.files else None

    @property
    def manifest_sha256(self) -> str | None:
        """SHA-256 of the manifest's bytes."""
        return sha256(self.manifest) if self.manifest else None

    @property
    def model_version(self) -> str | None:
        """First characters of the model's SHA-256."""
        return self.files.version if self.files else None

    @property
    def model_name(self) -> str | None:
        """File name of the model: its content decides it, so a file is never overwritten by another model."""
        return self.files.name if self.files else None

    @property
    def manifest_name(self) -> str | None:
        """File name of the manifest, by its own hash: settings that leave the model alone change the manifest."""
        found = self.manifest_sha256
        return f"manifest_h{self.horizon}-{found[:VERSION_LENGTH]}.json" if found else None

    @property
    def importances_name(self) -> str | None:
        """File name of the importances over the folds, after the manifest that they are from."""
        found = self.manifest_sha256
        return f"importances_h{self.horizon}-{found[:VERSION_LENGTH]}.csv" if found else None


def checkpoint_rows(trained: Sequence[TrainedModel], folder: str) -> pl.DataFrame:
    """Rows of the dataset of checkpoints (without `sector`) for results whose files lie in `folder`.

    Args:
        trained: results of `train_checkpoint`.
        folder: path relative to the profile's storage, without a trailing slash.

    """
    rows = []
    for item in trained:
        metrics = asdict(item.metrics) if item.metrics else {}
        row: dict[str, Any] = {
            "as_of": item.as_of,
            "model": item.model,
            "kind": item.kind,
            "horizon": item.horizon,
            "status": item.status,
            "model_version": item.model_version,
            "model_file": f"{folder}/{item.model_name}" if item.files else None,
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
    return pl.DataFrame(rows, schema=CHECKPOINTS.schema, orient="row").sort(CHECKPOINTS.key)
