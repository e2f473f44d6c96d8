"""The result of a training or an update for one horizon, and its row in the checkpoint dataset."""

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
    """The result of one training or update for one horizon.

    Attributes:
        model: name of the model.
        kind: kind of the model.
        as_of: session of the training.
        horizon: sessions from entry to exit.
        rows: training rows known at `as_of`.
        first_date: earliest session among them; None without rows.
        last_known_at: latest `known_at` among them; None without rows.
        files: files of the fitted model, shared by the horizons of one fit, and of its reference, if its kind learns
            from rows; None with too little history.
        manifest: canonical JSON (UTF-8, sorted keys), or None without a model.
        metrics: metrics over the test slices, or None without a model.
        out_of_fold: `date, rank_ic, best_return` of each test date (`daily_ic`, `best_returns`), or None without a
            model.
        contributions: `sampled_contributions` of the test slices, or None without any.
        updated: whether an existing model was updated; else it was trained.

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
        """Status in the checkpoint dataset."""
        if self.files is None:
            return "too_little_history"
        return "updated" if self.updated else "trained"

    @property
    def judged(self) -> list[dict[str, Any]]:
        """Evaluations of all updates since the training (`learning.updating`), this one last."""
        judged: list[dict[str, Any]] = json.loads(self.manifest or b"{}").get("updated", {}).get("judged", [])
        return judged

    @property
    def model_sha256(self) -> str | None:
        """SHA-256 of the model's file, or of the listing of its files."""
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
        """File name of the model; it follows from the content, so no model overwrites another."""
        return self.files.name if self.files else None

    @property
    def manifest_name(self) -> str | None:
        """File name of the manifest, with its own hash: it may change while the model does not."""
        digest = self.manifest_sha256
        return f"manifest_h{self.horizon}-{digest[:VERSION_LENGTH]}.json" if digest else None

    @property
    def importances_name(self) -> str | None:
        """File name of the importances over the folds, with the hash of their manifest."""
        digest = self.manifest_sha256
        return f"importances_h{self.horizon}-{digest[:VERSION_LENGTH]}.csv" if digest else None


def checkpoint_rows(trained: Sequence[TrainedModel], folder: str) -> pl.DataFrame:
    """Rows of the checkpoint dataset (without `sector`) for results with files in `folder`.

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
