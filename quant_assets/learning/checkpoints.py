"""Choice of the checkpoint of a month: training cadence and age limit. Loads no model library."""

from collections.abc import Iterator
from datetime import date

import polars as pl

from quant_assets.errors import HistoryError
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.domain import TrainingSettings

#: Status of a checkpoint with a model; the others had too little history.
FORECASTING = ("trained", "updated")


def is_training_month(month: date, cadence_months: int) -> bool:
    """Whether a checkpoint is trained at the end of the month of `month`.

    Months are counted by the calendar, not from the profile's first one: a cadence of 3 means March, June, September
    and December, 12 means December.
    """
    return _index(month) % cadence_months == 0


def newest_checkpoint(
    checkpoints: pl.DataFrame,
    month: date,
    settings: TrainingSettings,
    first_month: date,
    sector: str,
    dataset: str = CHECKPOINTS.name,
) -> pl.DataFrame | None:
    """Rows of the checkpoint that the predictions of a month use.

    Args:
        checkpoints: rows of one model and sector in the checkpoint dataset, of any months; those of `month` and later
            are ignored.
        month: any day of the month to predict.
        settings: cadence and greatest age.
        first_month: any day of the profile's first month; no checkpoint can be older.
        sector: slug, and the model if there are several, for the message.
        dataset: checkpoint dataset of the model, for the message.

    Returns:
        The rows of the newest checkpoint of an earlier month, trained or updated, sorted by horizon. None if there is
        no model yet: no training month has passed, or every training that is young enough had too little history.

    Raises:
        HistoryError: a checkpoint should exist but none is young enough; names the months to materialise.

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
        f"{settings.max_checkpoint_age_months} months ago; materialise {dataset} for "
        f"{', '.join(_name(index) for index in young)}"
    )


def usable_checkpoints(checkpoints: pl.DataFrame, month: date, settings: TrainingSettings) -> Iterator[pl.DataFrame]:
    """Checkpoints of earlier months that are young enough, newest first; arguments as in `newest_checkpoint`."""
    trained = young_checkpoints(checkpoints, month, settings).filter(pl.col("status").is_in(FORECASTING))
    for as_of in trained["as_of"].unique().sort(descending=True):
        yield trained.filter(pl.col("as_of") == as_of).sort("horizon")


def young_checkpoints(checkpoints: pl.DataFrame, month: date, settings: TrainingSettings) -> pl.DataFrame:
    """Rows of checkpoints of earlier months that are young enough, trained or not."""
    target = _index(month)
    index = pl.col("as_of").dt.year().cast(pl.Int64) * 12 + pl.col("as_of").dt.month().cast(pl.Int64)
    return checkpoints.filter(index.is_between(target - settings.max_checkpoint_age_months, target - 1))


def used_checkpoints(young: pl.DataFrame, predictions: pl.DataFrame) -> pl.DataFrame:
    """The checkpoints behind the forecasts of a month: one row per model, that of its shortest horizon.

    Args:
        young: `young_checkpoints` of the month.
        predictions: `model, horizon, model_version` of the forecasts.

    """
    return (
        young.filter(pl.col("status").is_in(FORECASTING))
        .join(predictions, on=["model", "horizon", "model_version"], how="semi")
        .sort("model", "as_of", "horizon", descending=[False, True, False])
        .unique("model", keep="first", maintain_order=True)
    )


def _index(month: date) -> int:
    return month.year * 12 + month.month


def _name(index: int) -> str:
    return f"{(index - 1) // 12:04d}-{(index - 1) % 12 + 1:02d}"
