"""From labelled features to forecasts by sector and month: checkpoints and predictions."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run, Setting
from quant_assets.assets.checkpoint_months import CheckpointMonths
from quant_assets.assets.declare import Asset, carried, declared, read
from quant_assets.assets.trainings import Trainings
from quant_assets.assets.transformer import transformer_trainings
from quant_assets.errors import ModelFileError
from quant_assets.features.library import FeatureLibrary
from quant_assets.grains import MONTH
from quant_assets.learning.bars import Bars
from quant_assets.learning.checkpoints import (
    newest_checkpoint,
    usable_checkpoints,
    used_checkpoints,
    young_checkpoints,
)
from quant_assets.learning.drift import Applicability, Distances, feature_stability
from quant_assets.learning.ensemble import combined, judged_by
from quant_assets.learning.forecast import LoadedModel, forecast, load_models
from quant_assets.learning.models import Models
from quant_assets.learning.reference import stored_reference
from quant_assets.partitions import lag, lookback, month_end, month_of, month_start, months_covering
from quant_assets.profile import Profile
from quant_assets.runtime.devices import POOL
from quant_assets.schemas import CHECKPOINTS, DATASETS, TRANSFORMER_CHECKPOINTS
from quant_assets.settings.domain import PredictionSettings, TrainingSettings
from quant_assets.settings.model_use import ApplicabilitySettings, RegistrySettings
from quant_assets.training_orders import TrainingOrders
from quant_assets.trial_log import TrialLog


def learning_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the learning group."""
    training, found = profile.settings.training, profile.models
    kinds = [each.kind for each in found.learners.values()]
    window, age = read(lookback(training.window_months)), read(lag(training.max_checkpoint_age_months))
    of_model = {"features": read(), **dict.fromkeys(found.checkpoints, age)}
    forecasts = Asset("predictions", predictions, of_model, kinds=kinds, sized_by="features")
    if deep := found.of(TRANSFORMER_CHECKPOINTS.name):
        of_model |= {"prices": read(lookback(months_covering(found.bar_sessions)))}
        both = CHECKPOINTS.name in of_model
        of_both = predictions_with_transformer if both else predictions_of_transformer
        forecasts = Asset("predictions", of_both, of_model, kinds=kinds, sized_by="features")
    own = [each.kind for name, each in found.learners.items() if name not in deep]
    trains: Callable[..., pl.DataFrame] = lightgbm_checkpoint
    inputs = {"features": window, "labels": window}
    if any(each.updates for each in found.learners.values()):
        trains, inputs = updated_checkpoint, inputs | {CHECKPOINTS.name: carried()}
    made = declared(
        profile,
        "learning",
        Asset(CHECKPOINTS.name, trains, inputs, kinds=own, pool=POOL),
        forecasts,
        Asset(
            "feature_drift",
            feature_drift,
            {"features": read(), CHECKPOINTS.name: age, "predictions": read()},
            sized_by="features",
        ),
    )
    return [*made, *(transformer_trainings(profile) if deep else ())]


def lightgbm_checkpoint(
    run: Run,
    sector: str,
    training: TrainingSettings,
    predicting: PredictionSettings,
    models: Models,
    library: FeatureLibrary,
    trials: TrialLog,
    orders: TrainingOrders,
    features: pl.LazyFrame,
    labels: pl.LazyFrame,
) -> pl.DataFrame:
    """Train the checkpoints of every model in the training months among the run's months, and in those ordered."""
    if run.order is not None:
        orders.note(sector, *run.order)
    told = Trainings(run, sector, CHECKPOINTS.name, training.cadence_months, orders.months(sector))
    settings = training, predicting, models, library.names
    months = CheckpointMonths(told, *settings, trials.note_training, features, labels)
    return pl.concat([pl.DataFrame(schema=CHECKPOINTS.schema), *(months.trained(each) for each in told.due())])


def updated_checkpoint(
    run: Run,
    sector: str,
    training: TrainingSettings,
    predicting: PredictionSettings,
    models: Models,
    library: FeatureLibrary,
    trials: TrialLog,
    orders: TrainingOrders,
    features: pl.LazyFrame,
    labels: pl.LazyFrame,
    lightgbm_checkpoint: pl.DataFrame,
) -> pl.DataFrame:
    """The same, and in the other months update the models whose settings say so, each from the month before."""
    if run.order is not None:
        orders.note(sector, *run.order)
    told = Trainings(run, sector, CHECKPOINTS.name, training.cadence_months, orders.months(sector))
    settings = training, predicting, models, library.names
    months = CheckpointMonths(told, *settings, trials.note_training, features, labels)
    decisions = {month_of(day): day for day in run.decisions}

    def step(month: str, before: pl.DataFrame) -> pl.DataFrame:
        if (as_of := decisions.get(month)) is None:
            return pl.DataFrame(schema=CHECKPOINTS.schema)
        return months.trained(as_of, before) if told.trains(as_of) else months.updated(as_of, before)

    return run.walked(lightgbm_checkpoint.select(list(CHECKPOINTS.schema)), step)


def predictions(
    run: Run,
    training: TrainingSettings,
    predicting: PredictionSettings,
    applicability: ApplicabilitySettings,
    registry: RegistrySettings,
    start: Annotated[str, Setting("partitions.start")],
    max_daily_ic: Annotated[float, Setting("promotion.max_daily_ic")],
    models: Models,
    library: FeatureLibrary,
    features: pl.LazyFrame,
    lightgbm_checkpoint: pl.LazyFrame,
) -> pl.DataFrame:
    """Forecast each month by every model's newest checkpoint of an earlier one, and by all of them together."""
    given = training, predicting, applicability, registry, start, max_daily_ic
    return _forecasts(run, *given, models, library.names, features, {CHECKPOINTS.name: lightgbm_checkpoint}, None)


def predictions_with_transformer(
    run: Run,
    training: TrainingSettings,
    predicting: PredictionSettings,
    applicability: ApplicabilitySettings,
    registry: RegistrySettings,
    start: Annotated[str, Setting("partitions.start")],
    max_daily_ic: Annotated[float, Setting("promotion.max_daily_ic")],
    models: Models,
    library: FeatureLibrary,
    features: pl.LazyFrame,
    lightgbm_checkpoint: pl.LazyFrame,
    transformer_checkpoint: pl.LazyFrame,
    prices: pl.LazyFrame,
) -> pl.DataFrame:
    """The same where models that read windows of bars are among them."""
    given = training, predicting, applicability, registry, start, max_daily_ic
    trained = {CHECKPOINTS.name: lightgbm_checkpoint, TRANSFORMER_CHECKPOINTS.name: transformer_checkpoint}
    return _forecasts(run, *given, models, library.names, features, trained, prices)


def predictions_of_transformer(
    run: Run,
    training: TrainingSettings,
    predicting: PredictionSettings,
    applicability: ApplicabilitySettings,
    registry: RegistrySettings,
    start: Annotated[str, Setting("partitions.start")],
    max_daily_ic: Annotated[float, Setting("promotion.max_daily_ic")],
    models: Models,
    library: FeatureLibrary,
    features: pl.LazyFrame,
    transformer_checkpoint: pl.LazyFrame,
    prices: pl.LazyFrame,
) -> pl.DataFrame:
    """The same where all models read windows of bars."""
    given = training, predicting, applicability, registry, start, max_daily_ic
    trained = {TRANSFORMER_CHECKPOINTS.name: transformer_checkpoint}
    return _forecasts(run, *given, models, library.names, features, trained, prices)


def _forecasts(
    run: Run,
    training: TrainingSettings,
    predicting: PredictionSettings,
    applicability: ApplicabilitySettings,
    registry: RegistrySettings,
    start: str,
    max_daily_ic: float,
    models: Models,
    names: Sequence[str],
    features: pl.LazyFrame,
    trained_by: Mapping[str, pl.LazyFrame],
    prices: pl.LazyFrame | None,
) -> pl.DataFrame:
    """The forecasts of all models, whichever datasets their checkpoints are in."""
    loaded: dict[tuple[str, ...], dict[int, LoadedModel]] = {}
    broken: dict[tuple[str, ...], str] = {}
    applies = Applicability.of(applicability, training.cadence_months)

    def load(name: str, chosen: pl.DataFrame) -> dict[int, LoadedModel]:
        files = name, *chosen["manifest_file"]
        if files not in loaded:
            rows, read = chosen.iter_rows(named=True), run.store.read_artifact
            with tempfile.TemporaryDirectory() as folder:
                loaded[files] = load_models(rows, models.learners[name], names, read, Path(folder))
        return loaded[files]

    def usable(
        name: str, checkpoints: pl.DataFrame, month: str, sector: str
    ) -> tuple[dict[int, LoadedModel], date | None, str]:
        """The newest checkpoint that can be read, its session, and its files in words with what could not be."""
        day, said = month_start(month), list[str]()
        if newest_checkpoint(checkpoints, day, training, month_start(start), f"{sector}, model {name}") is None:
            return {}, None, ""
        for chosen in usable_checkpoints(checkpoints, day, training):
            files = name, *chosen["manifest_file"]
            try:
                if files in broken:
                    raise ModelFileError(broken[files])
                found = load(name, chosen)
            except ModelFileError as error:
                if registry.fallback == "refuse":
                    raise
                broken[files] = str(error)
                said.append(f"not usable: {error}")
                run.tell_log(f"{sector} {month}, model {name}: {said[-1]}", warning=True)
            else:
                return found, chosen["as_of"][0], ", ".join(dict.fromkeys([*said, *chosen["model_file"]]))
        return {}, None, ", ".join(said)

    def bars_of(month: str, prices: pl.DataFrame) -> Bars:
        last = min(month_end(month), run.through)
        return Bars.between(prices, month_start(month), last, models.bar_sessions)

    def of_sector(
        sector: str, features: pl.DataFrame, prices: pl.DataFrame | None = None, **trained_by: pl.DataFrame
    ) -> pl.DataFrame:
        parts = [pl.DataFrame(schema=DATASETS["predictions"].schema)]
        checkpoints = pl.concat(trained_by.values())
        for month in run.months:
            bars = None if prices is None else bars_of(month, prices)
            rows, used, given = features.filter(MONTH.label("date") == month), list[str](), list[pl.DataFrame]()
            trained, distances = dict[str, date](), Distances(rows)
            for name in models.learners:
                found, as_of, said = usable(name, checkpoints.filter(pl.col("model") == name), month, sector)
                used += [said] if said else []
                if as_of is not None and len(rows):
                    trained[name] = as_of
                    given.append(forecast(rows, found, predicting, applies, distances, bars))
            young = young_checkpoints(checkpoints, month_start(month), training)
            parts += [*given, combined(given, judged_by(young, trained, max_daily_ic), predicting)]
            named = ", ".join(dict.fromkeys(used)) or "none yet: too little history"
            run.tell(sector, month, {"checkpoint": named})
        return pl.concat(parts)

    given = {"features": features, **trained_by, **({} if prices is None else {"prices": prices})}
    result = run.by_sector(of_sector, (), **given)
    run.tell_predictions(result)
    return result


def feature_drift(
    run: Run,
    training: TrainingSettings,
    features: pl.LazyFrame,
    lightgbm_checkpoint: pl.LazyFrame,
    predictions: pl.LazyFrame,
) -> pl.DataFrame:
    """Hold each month's features against the training rows of the checkpoints that forecast it."""
    schema = DATASETS["feature_drift"].schema

    def of_sector(
        sector: str, features: pl.DataFrame, lightgbm_checkpoint: pl.DataFrame, predictions: pl.DataFrame
    ) -> pl.DataFrame:
        parts = [pl.DataFrame(schema=schema)]
        for as_of in run.decisions:
            month = month_of(as_of)
            rows, used = (each.filter(MONTH.label("date") == month) for each in (features, predictions))
            young = young_checkpoints(lightgbm_checkpoint, month_start(month), training)
            chosen = used_checkpoints(young, used)
            found = {
                row["model"]: reference
                for row in chosen.iter_rows(named=True)
                if (reference := stored_reference(row, run.store.read_artifact))
            }
            told = chosen.select("model", checkpoint="as_of", as_of=pl.lit(as_of))
            parts.append(feature_stability(rows, found).join(told, on="model").select(list(schema)))
        return pl.concat(parts)

    asked = predictions.select("sector", "month", "date", "model", "horizon", "model_version").unique()
    return run.by_sector(of_sector, features=features, lightgbm_checkpoint=lightgbm_checkpoint, predictions=asked)
