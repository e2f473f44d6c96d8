"""Forecasts from stored checkpoints: verified loading of models, and forecast distributions."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from quant_assets.errors import DatasetError, ModelFileError
from quant_assets.learning.bars import Bars
from quant_assets.learning.calibration import UNCALIBRATED, Calibration, Interval, stated_probability
from quant_assets.learning.drift import Applicability, Distances
from quant_assets.learning.model_files import VERSION_LENGTH, fetch, verified
from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.reference import Reference, kept_reference
from quant_assets.learning.residuals import ResidualBuckets
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.learning.splits import BoolArray
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import PredictionSettings


@dataclass(frozen=True)
class LoadedModel:
    """A model that passed the checks of `load_models`, for one horizon.

    Attributes:
        name: name of the model.
        fitted: the model; the horizons of one fit share it.
        version: first characters of the model's SHA-256.
        residuals: standard deviation of the forecast error, for models without their own.
        calibration: calibration of the probability of a rise.
        interval: interval around a prediction; None for a checkpoint without one.
        as_of: session of its training; an update does not make it younger.
        reference: summary of its training rows; None without one (`kept_reference`).
        learner: learner that trained it; None for a model trained elsewhere, which has no reference.

    """

    name: str
    fitted: FittedModel
    version: str
    residuals: ResidualBuckets
    calibration: Calibration = UNCALIBRATED
    interval: Interval | None = None
    as_of: date | None = None
    reference: Reference | None = None
    learner: Learner[Any] | None = None


def load_models(
    rows: Iterable[Mapping[str, Any]],
    learner: Learner[Any],
    features: Sequence[str],
    read: Callable[[str], bytes],
    folder: Path,
) -> dict[int, LoadedModel]:
    """Verify and load the files of a model's checkpoints.

    Args:
        rows: rows of the checkpoint dataset for one model and training, one for each horizon.
        learner: learner that trained them.
        features: features of the profile, in order; the kind selects its inputs.
        read: returns the content of a file by its name.
        folder: an empty folder for the files; not needed afterwards.

    Returns:
        The model of each horizon.

    Raises:
        ModelFileError: a file is missing or has another hash, or the manifest belongs to another model.
        DatasetError: the model is of another kind or was trained on other features.

    """

    def content(name: str) -> bytes:
        try:
            return read(name)
        except DatasetError as error:
            raise ModelFileError(str(error)) from None

    fitted: dict[str, FittedModel] = {}
    loaded: dict[int, LoadedModel] = {}
    features = learner.inputs(features)
    for row in rows:
        name, again = row["model_file"], f"materialise {learner.checkpoints} of its month again"
        shown = name.rpartition("/")[2]
        if row["kind"] != learner.kind:
            raise DatasetError(
                f"checkpoint {shown} of model {learner.name} is of kind {row['kind']}, the settings say "
                f"{learner.kind}; {again}, or give the new model a name of its own"
            )
        manifest = verified(f"manifest of checkpoint {shown}", content(row["manifest_file"]), row["manifest_sha256"])
        entries = json.loads(manifest)
        if entries["model_sha256"] != row["model_sha256"]:
            raise ModelFileError(f"the manifest of checkpoint {shown} describes another model; {again}")
        if name not in fitted:
            place = folder / str(len(fitted))
            place.mkdir()
            fetch(name, row["model_sha256"], content, place)
            horizons = entries.get("horizons", [entries["horizon"]])
            fitted[name] = learner.read(place, tuple(horizons))
        trained = fitted[name].features
        if not tuple(features) == tuple(entries["features"]) == trained:
            raise DatasetError(
                f"checkpoint {shown} was trained on {_listed(trained, features)}, the features are "
                f"{_listed(features, trained)}; {again}, or set features.sets and features.modules as they were"
            )
        loaded[row["horizon"]] = LoadedModel(
            learner.name,
            fitted[name],
            row["model_sha256"][:VERSION_LENGTH],
            ResidualBuckets.from_manifest(entries["residuals"]),
            Calibration.from_manifest(entries.get("calibration")),
            Interval.from_manifest(entries.get("interval")),
            date.fromisoformat(updated["training"]["as_of"]) if (updated := entries.get("updated")) else row["as_of"],
            kept_reference(entries, row["manifest_file"], content),
            learner,
        )
    return loaded


def _listed(names: Sequence[str], others: Sequence[str]) -> str:
    """Number of features, and those that the others do not have."""
    own = [name for name in names if name not in set(others)]
    shown = ", ".join(own[:5]) + (f" … and {len(own) - 5} more" if len(own) > 5 else "")
    return f"{len(names)} ({shown or ('none of its own' if len(names) != len(others) else 'in another order')})"


def forecast(
    features: pl.DataFrame,
    models: Mapping[int, LoadedModel],
    settings: PredictionSettings,
    applicability: Applicability | None = None,
    distances: Distances | None = None,
    bars: Bars | None = None,
) -> pl.DataFrame:
    """Forecast the forward return of every row and horizon.

    The forecast distribution is normal around the prediction, with the model's own standard deviation, or else that of
    the out-of-fold residuals in the prediction's bucket. prob_up is Phi(prediction / prediction_std), or the model's
    own probability, calibrated on the test folds of the training and clipped to min_probability and 1 -
    min_probability. A row's values do not depend on the other rows. A row unlike the training rows is marked, not left
    out.

    Args:
        features: dataset `features` of one sector.
        models: checkpoint of each horizon; a horizon without one gets no rows.
        settings: clipping.
        applicability: where the forecasts apply; without it these columns are null.
        distances: cache of distances of the same rows, shared between models.
        bars: bars of the rows, for models that read windows of bars; a row without a full window gets no forecast from
            such a model.

    Returns:
        Dataset `predictions` (without `sector`) of one model, sorted by ticker, date and horizon.

    Raises:
        DatasetError: a feature is missing.

    """
    schema = DATASETS["predictions"].schema
    parts = [pl.DataFrame(schema=schema)]
    forecasts: dict[int, tuple[BoolArray, Distribution]] = {}
    columns = set(features.columns)  # once: the property builds a new list at every access
    rows: dict[tuple[str, ...], Rows] = {}
    distances = distances or Distances(features, bars)
    for horizon, model in sorted(models.items()):
        missing = [name for name in model.fitted.features if name not in columns]
        if missing:
            raise DatasetError(
                f"features lack the columns {', '.join(missing[:5])} of model {model.version}; "
                "materialise features again"
            )
        if id(model.fitted) not in forecasts:
            names = model.fitted.features
            if names not in rows:
                rows[names] = Rows.of(features, names, bars=bars)
            usable = model.fitted.usable(rows[names])
            usable_rows = rows[names] if usable.all() else rows[names].where(usable)
            forecasts[id(model.fitted)] = usable, model.fitted.predict(usable_rows)
        (usable, distribution), column = forecasts[id(model.fitted)], model.fitted.horizons.index(horizon)
        of_model = features.select("ticker", "date").filter(pl.Series(usable, dtype=pl.Boolean))
        prediction = np.ascontiguousarray(distribution.mean[:, column])
        std = (
            model.residuals.std_of(prediction)
            if distribution.std is None
            else np.ascontiguousarray(distribution.std[:, column])
        )
        own = None if distribution.prob_up is None else np.ascontiguousarray(distribution.prob_up[:, column])
        rises = model.calibration.of(stated_probability(prediction, std, own))
        prob_up = np.clip(rises, settings.min_probability, 1 - settings.min_probability)
        width = model.interval.width if model.interval else None
        reach = pl.lit(width, pl.Float64) * pl.col("prediction_std")
        unlike, expires = np.full(len(of_model), np.nan), None
        if applicability is not None:
            if model.reference is not None and model.learner is not None:
                unlike = distances.to(model.reference, model.learner)[usable]
            expires = applicability.expiry(model.as_of) if model.as_of else None
        parts.append(
            of_model.with_columns(
                pl.lit(horizon, pl.Int32).alias("horizon"),
                pl.Series("prediction", prediction, dtype=pl.Float64),
                pl.Series("prediction_std", std, dtype=pl.Float64),
                pl.Series("prob_up", prob_up, dtype=pl.Float64),
                pl.Series("confidence", np.abs(2 * prob_up - 1), dtype=pl.Float64),
                pl.lit(model.name).alias("model"),
                pl.lit(model.version).alias("model_version"),
                pl.Series("dissimilarity", unlike, dtype=pl.Float64, nan_to_null=True),
                pl.lit(expires, pl.Date).alias("expires"),
            )
            .with_columns(
                prediction_lower=pl.col("prediction") - reach,
                prediction_upper=pl.col("prediction") + reach,
                in_range=applicability.in_range if applicability else pl.lit(None, pl.Boolean),
            )
            .select(list(schema))
        )
    return pl.concat(parts).sort("ticker", "date", "horizon")
