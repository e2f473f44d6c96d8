"""Forecasts from stored checkpoints: checked loading of a model, and its output as a forecast distribution."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_assets.errors import DatasetError
from quant_assets.learning.boosting import VERSION_LENGTH, feature_matrix, predict
from quant_assets.learning.residuals import ResidualBuckets
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import PredictionSettings

if TYPE_CHECKING:
    import lightgbm as lgb


@dataclass(frozen=True)
class Model:
    """A model that passed the checks of `load_model`.

    Attributes:
        booster: LightGBM's booster.
        version: first characters of the model's SHA-256.
        features: columns in the order of training.
        residuals: standard deviation of the forecast error.

    """

    booster: lgb.Booster
    version: str
    features: tuple[str, ...]
    residuals: ResidualBuckets


def load_model(
    model: bytes, model_sha256: str, manifest: bytes, manifest_sha256: str, name: str, features: Sequence[str]
) -> Model:
    """Read a checkpoint's files after verifying that they are the ones the dataset names.

    Args:
        model: content of the model file.
        model_sha256: SHA-256 that dataset `lightgbm_checkpoint` records for it.
        manifest: content of the manifest file.
        manifest_sha256: SHA-256 recorded for it.
        name: model file, for messages.
        features: columns that will be handed to the model, in order.

    Raises:
        DatasetError: a hash differs, the manifest belongs to another model, or the model was trained on other features.

    """
    import lightgbm as lgb

    for what, content, expected in (("model", model, model_sha256), ("manifest", manifest, manifest_sha256)):
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise DatasetError(
                f"{what} of checkpoint {name} has SHA-256 {found[:VERSION_LENGTH]}…, its dataset records "
                f"{expected[:VERSION_LENGTH]}…; the file was changed: "
                "materialise lightgbm_checkpoint of its month again"
            )
    described = json.loads(manifest)
    if described["model_sha256"] != model_sha256:
        raise DatasetError(
            f"the manifest of checkpoint {name} describes another model; "
            "materialise lightgbm_checkpoint of its month again"
        )
    booster = lgb.Booster(model_str=model.decode())
    trained = booster.feature_name()
    if not list(features) == described["features"] == trained:
        raise DatasetError(
            f"checkpoint {name} was trained on {_listed(trained, features)}, the features are "
            f"{_listed(features, trained)}; materialise lightgbm_checkpoint of its month again, or set features.sets "
            "and features.modules as they were"
        )
    return Model(
        booster, model_sha256[:VERSION_LENGTH], tuple(features), ResidualBuckets.from_manifest(described["residuals"])
    )


def _listed(names: Sequence[str], others: Sequence[str]) -> str:
    """How many features there are, and which of them the others do not have."""
    own = [name for name in names if name not in set(others)]
    shown = ", ".join(own[:5]) + (f" … and {len(own) - 5} more" if len(own) > 5 else "")
    return f"{len(names)} ({shown or ('none of its own' if len(names) != len(others) else 'in another order')})"


def forecast(features: pl.DataFrame, models: Mapping[int, Model], settings: PredictionSettings) -> pl.DataFrame:
    """Forecast the forward return of every row and horizon.

    The forecast distribution is normal around the prediction with the standard deviation of the out-of-fold residuals
    of the prediction's bucket: prob_up = Phi(prediction / prediction_std), clipped to min_probability and 1 -
    min_probability. A row's values do not depend on the other rows.

    Args:
        features: dataset `features` of one sector.
        models: checkpoint of each horizon; a horizon without one gets no rows.
        settings: clipping.

    Returns:
        Dataset `predictions` (without `sector`), sorted by ticker, date and horizon.

    Raises:
        DatasetError: a feature is missing.

    """
    from scipy.special import ndtr

    schema = DATASETS["predictions"].schema
    parts = [pl.DataFrame(schema=schema)]
    for horizon, model in sorted(models.items()):
        missing = [name for name in model.features if name not in features.columns]
        if missing:
            raise DatasetError(
                f"features lack the columns {', '.join(missing[:5])} of model {model.version}; "
                "materialise features again"
            )
        prediction = predict(model.booster, feature_matrix(features, model.features))
        std = model.residuals.std_of(prediction)
        prob_up = np.clip(ndtr(prediction / std), settings.min_probability, 1 - settings.min_probability)
        parts.append(
            features.select("ticker", "date").with_columns(
                pl.lit(horizon, pl.Int32).alias("horizon"),
                pl.Series("prediction", prediction, dtype=pl.Float64),
                pl.Series("prediction_std", std, dtype=pl.Float64),
                pl.Series("prob_up", prob_up, dtype=pl.Float64),
                pl.Series("confidence", np.abs(2 * prob_up - 1), dtype=pl.Float64),
                pl.lit("lightgbm").alias("model"),
                pl.lit(model.version).alias("model_version"),
            )
        )
    return pl.concat(parts).select(list(schema)).sort("ticker", "date", "horizon")
