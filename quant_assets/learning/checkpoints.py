"""Rows of the dataset of checkpoints, and which of them a month uses: cadence and age. Loads no model library."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import polars as pl

from quant_assets.errors import HistoryError
from quant_assets.learning.training import TrainedModel
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.domain import TrainingSettings


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
            "status": "trained" if item.files else "too_little_history",
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


def is_training_month(month: date, cadence_months: int) -> bool:
    """Whether a checkpoint is trained at the end of the month of `month`.

    Counted in calendar months, not from the profile's first one: a cadence of 3 is March, June, September and December,
    12 is December.
    """
    return _index(month) % cadence_months == 0


def newest_checkpoint(
    checkpoints: pl.DataFrame, month: date, settings: TrainingSettings, first_month: date, sector: str
) -> pl.DataFrame | None:
    """Rows of the checkpoint that the predictions of a month use.

    Args:
        checkpoints: rows of one model in the dataset of checkpoints, of one sector and from any months; those of
            `month` and later are ignored.
        month: any day of the month to predict.
        settings: cadence and greatest age.
        first_month: any day of the profile's first month; no checkpoint can be older.
        sector: slug, and the model where there are several, for the message.

    Returns:
        The trained horizons of the newest checkpoint of a month strictly before, sorted by horizon. None where there is
        no model yet: no training month has passed, or every training that is young enough found too little history.

    Raises:
        HistoryError: a checkpoint should exist but there is none that is young enough; names the months to materialise.

    """
    target = _index(month)
    oldest = target - settings.max_checkpoint_age_months
    if len(young_checkpoints(checkpoints, month, settings)):
        return next(usable_checkpoints(checkpoints, month, settings), None)
    due = [index for index in range(_index(first_month), target) if index % settings.cadence_months == 0]
    if not due:
        return None
    young = [index for index in due if index >= oldest]
    if not young:
        raise HistoryError(
            f"sector {sector}: the last training month before {_name(target)} is {_name(due[-1])}, older than "
            f"{settings.max_checkpoint_age_months} months; "
            "set training.max_checkpoint_age_months to at least training.cadence_months"
        )
    raise HistoryError(
        f"sector {sector}: predictions of {_name(target)} need a checkpoint of at most "
        f"{settings.max_checkpoint_age_months} months ago; materialise {CHECKPOINTS.name} for "
        f"{', '.join(_name(index) for index in young)}"
    )


def usable_checkpoints(checkpoints: pl.DataFrame, month: date, settings: TrainingSettings) -> Iterator[pl.DataFrame]:
    """The checkpoints of months strictly before that are young enough, newest first; arguments as of the newest one."""
    trained = young_checkpoints(checkpoints, month, settings).filter(pl.col("status") == "trained")
    for as_of in trained["as_of"].unique().sort(descending=True):
        yield trained.filter(pl.col("as_of") == as_of).sort("horizon")


def young_checkpoints(checkpoints: pl.DataFrame, month: date, settings: TrainingSettings) -> pl.DataFrame:
    """Rows of checkpoints of months strictly before that are young enough, trained or not."""
    target = _index(month)
    index = pl.col("as_of").dt.year().cast(pl.Int64) * 12 + pl.col("as_of").dt.month().cast(pl.Int64)
    return checkpoints.filter(index.is_between(target - settings.max_checkpoint_age_months, target - 1))


def used_checkpoints(young: pl.DataFrame, predictions: pl.DataFrame) -> pl.DataFrame:
    """Of the checkpoints that the forecasts of a month are from, the row of each model's shortest horizon, by model.

    Args:
        young: what `young_checkpoints` gives for the month.
        predictions: `model, horizon, model_version` of the forecasts.

    """
    return (
        young.filter(pl.col("status") == "trained")
        .join(predictions, on=["model", "horizon", "model_version"], how="semi")
        .sort("model", "as_of", "horizon", descending=[False, True, False])
        .unique("model", keep="first", maintain_order=True)
    )


def _index(month: date) -> int:
    return month.year * 12 + month.month


def _name(index: int) -> str:
    return f"{(index - 1) // 12:04d}-{(index - 1) % 12 + 1:02d}"
