"""From labelled features to forecasts by sector and month: checkpoints and predictions."""

import tempfile
from collections.abc import Callable
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
from quant_assets.learning.reference import Reference, stored_reference
from quant_assets.market.panel import FloatArray
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
    deep = found.of(TRANSFORMER_CHECKPOINTS.name)
    # Inputs of forecasts, and of the comparison with the training rows.
    bars = {"prices": read(lookback(months_covering(found.bar_sessions)))} if found.bar_sessions else {}
    of_model = {"features": read(), **dict.fromkeys(found.checkpoints, age), **bars}
    own = [each.kind for name, each in found.learners.items() if name not in deep]
    trains: Callable[..., pl.DataFrame] = lightgbm_checkpoint
    inputs = {"features": window, "labels": window}
    if any(each.updates for each in found.learners.values()):
        trains, inputs = updated_checkpoint, inputs | {CHECKPOINTS.name: carried()}
    made = declared(
        profile,
        "learning",
        Asset(CHECKPOINTS.name, trains, inputs, kinds=own, pool=POOL),
        Asset("predictions", predictions, of_model, kinds=kinds, sized_by="features"),
        Asset("feature_drift", feature_drift, {**of_model, "predictions": read()}, sized_by="features"),
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
    """Train the checkpoints of every model in the training months and ordered months of the run."""
    if run.order is not None:
        orders.note(sector, *run.order)
    trainings = Trainings(run, sector, CHECKPOINTS.name, training.cadence_months, orders.months(sector))
    settings = training, predicting, models, library.names
    months = CheckpointMonths(trainings, *settings, trials.note_training, features, labels)
    return pl.concat([pl.DataFrame(schema=CHECKPOINTS.schema), *(months.trained(each) for each in trainings.due())])


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
    """As `lightgbm_checkpoint`; in the other months, update the models with this setting from the previous month."""
    if run.order is not None:
        orders.note(sector, *run.order)
    trainings = Trainings(run, sector, CHECKPOINTS.name, training.cadence_months, orders.months(sector))
    settings = training, predicting, models, library.names
    months = CheckpointMonths(trainings, *settings, trials.note_training, features, labels)
    decisions = {month_of(day): day for day in run.decisions}

    def step(month: str, before: pl.DataFrame) -> pl.DataFrame:
        if (as_of := decisions.get(month)) is None:
            return pl.DataFrame(schema=CHECKPOINTS.schema)
        return months.trained(as_of, before) if trainings.trains(as_of) else months.updated(as_of, before)

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
    prices: pl.LazyFrame | None = None,
    **checkpoints: pl.LazyFrame,
) -> pl.DataFrame:
    """Forecast each month with the newest earlier checkpoint of every model, and with the ensemble.

    `checkpoints` are the datasets of checkpoints; `prices` is needed if a model reads bars.
    """
    loaded: dict[tuple[str, ...], dict[int, LoadedModel]] = {}
    broken: dict[tuple[str, ...], str] = {}
    applies = Applicability.of(applicability, training.cadence_months)

    def load(name: str, chosen: pl.DataFrame) -> dict[int, LoadedModel]:
        files = name, *chosen["manifest_file"]
        if files not in loaded:
            rows, read = chosen.iter_rows(named=True), run.store.read_artifact
            with tempfile.TemporaryDirectory() as folder:
                loaded[files] = load_models(rows, models.learners[name], library.names, read, Path(folder))
        return loaded[files]

    def usable(
        name: str, checkpoints: pl.DataFrame, month: str, sector: str
    ) -> tuple[dict[int, LoadedModel], date | None, str]:
        """The newest readable checkpoint, its session, and a text on its files and the unreadable ones."""
        day, said = month_start(month), list[str]()
        said_of, dataset = f"{sector}, model {name}", models.learners[name].checkpoints
        if newest_checkpoint(checkpoints, day, training, month_start(start), said_of, dataset) is None:
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
            trained, distances = dict[str, date](), Distances(rows, bars)
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

    bars = {} if prices is None else {"prices": prices}
    result = run.by_sector(of_sector, (), features=features, **bars, **checkpoints)
    run.tell_predictions(result)
    return result


def feature_drift(
    run: Run,
    training: TrainingSettings,
    models: Models,
    features: pl.LazyFrame,
    predictions: pl.LazyFrame,
    prices: pl.LazyFrame | None = None,
    **checkpoints: pl.LazyFrame,
) -> pl.DataFrame:
    """Compare the model inputs of a month with the training rows of the checkpoint that forecast it."""
    schema = DATASETS["feature_drift"].schema

    def of_sector(
        sector: str,
        features: pl.DataFrame,
        predictions: pl.DataFrame,
        prices: pl.DataFrame | None = None,
        **trained_by: pl.DataFrame,
    ) -> pl.DataFrame:
        parts, checkpoints = [pl.DataFrame(schema=schema)], pl.concat(trained_by.values())
        for as_of in run.decisions:
            month = month_of(as_of)
            rows, used = (each.filter(MONTH.label("date") == month) for each in (features, predictions))
            bars = None if prices is None else Bars.between(prices, month_start(month), as_of, models.bar_sessions)
            chosen = used_checkpoints(young_checkpoints(checkpoints, month_start(month), training), used)
            inputs, found = Distances(rows, bars), dict[str, tuple[Reference, FloatArray]]()
            for row in chosen.iter_rows(named=True):
                if (reference := stored_reference(row, run.store.read_artifact)) is not None:
                    # As the training rows: a row that the model cannot use has no inputs at all, which is no drift.
                    values = inputs.usable(reference, models.learners[row["model"]])
                    found |= {row["model"]: (reference, values)} if len(values) else {}
            told = chosen.select("model", checkpoint="as_of", as_of=pl.lit(as_of))
            parts.append(feature_stability(found).join(told, on="model").select(list(schema)))
        return pl.concat(parts)

    asked = predictions.select("sector", "month", "date", "model", "horizon", "model_version").unique()
    bars = {} if prices is None else {"prices": prices}
    return run.by_sector(of_sector, (), features=features, predictions=asked, **bars, **checkpoints)
