"""From labelled features to forecasts by sector and month: checkpoints and predictions."""

from typing import Annotated

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run, Setting
from quant_assets.assets.declare import Asset, declared, read
from quant_assets.features.library import FeatureLibrary
from quant_assets.learning.boosting import checkpoint_rows, train_checkpoint
from quant_assets.learning.checkpoints import is_training_month, newest_checkpoint
from quant_assets.learning.forecast import Model, forecast, load_model
from quant_assets.partitions import lag, lookback, month_of, month_start
from quant_assets.profile import Profile
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import PredictionSettings, TrainingSettings
from quant_assets.trial_log import TrialLog


def learning_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the learning group."""
    training = profile.settings.training
    window, age = read(lookback(training.window_months)), read(lag(training.max_checkpoint_age_months))
    return declared(
        profile,
        "learning",
        Asset("lightgbm_checkpoint", lightgbm_checkpoint, {"features": window, "labels": window}, kinds=["lightgbm"]),
        Asset("predictions", predictions, {"features": read(), "lightgbm_checkpoint": age}, kinds=["lightgbm"]),
    )


def lightgbm_checkpoint(
    run: Run,
    sector: str,
    training: TrainingSettings,
    predicting: PredictionSettings,
    horizons: Annotated[tuple[int, ...], Setting("labels.horizons")],
    library: FeatureLibrary,
    trials: TrialLog,
    features: pl.DataFrame,
    labels: pl.DataFrame,
) -> pl.DataFrame:
    """Train the checkpoints of the training months among the run's months."""
    decisions = [day for day in run.decisions if is_training_month(day, training.cadence_months)]
    if not decisions:
        run.tell_log(f"no training month among {', '.join(run.months)}: {training.cadence_months=}")
    parts = [pl.DataFrame(schema=DATASETS["lightgbm_checkpoint"].schema)]
    for as_of in decisions:
        trained = train_checkpoint(features, labels, as_of, training, predicting, horizons, sector, library.names)
        folder = f"lightgbm_checkpoint/{sector}/{month_of(as_of)}"
        for item in trained:
            # The files first, the rows that name them when all of them are there.
            if item.model_name and item.model and item.manifest_name and item.manifest:
                run.store.write_artifact(f"{folder}/{item.model_name}", item.model)
                run.store.write_artifact(f"{folder}/{item.manifest_name}", item.manifest)
        trials.note_training(sector, trained)
        rows = checkpoint_rows(trained, folder)
        run.tell(
            sector,
            month_of(as_of),
            {
                "metrics": dg.MetadataValue.md(_metrics_table(rows)),
                "trained_on_rows": max(item.rows for item in trained),
            },
        )
        parts.append(rows)
    return pl.concat(parts)


def predictions(
    run: Run,
    training: TrainingSettings,
    predicting: PredictionSettings,
    start: Annotated[str, Setting("partitions.start")],
    library: FeatureLibrary,
    features: pl.LazyFrame,
    lightgbm_checkpoint: pl.LazyFrame,
) -> pl.DataFrame:
    """Forecast each month by the newest checkpoint of an earlier one."""
    loaded: dict[str, Model] = {}

    def model(row: dict[str, str]) -> Model:
        name = row["model_file"]
        if name not in loaded:
            loaded[name] = load_model(
                run.store.read_artifact(name),
                row["model_sha256"],
                run.store.read_artifact(row["manifest_file"]),
                row["manifest_sha256"],
                name,
                library.names,
            )
        return loaded[name]

    def of_sector(sector: str, features: pl.DataFrame, lightgbm_checkpoint: pl.DataFrame) -> pl.DataFrame:
        parts = [pl.DataFrame(schema=DATASETS["predictions"].schema)]
        for month in run.months:
            rows = features.filter(pl.col("date").dt.strftime("%Y-%m") == month)
            chosen = newest_checkpoint(lightgbm_checkpoint, month_start(month), training, month_start(start), sector)
            named = "none yet: too little history" if chosen is None else ", ".join(chosen["model_file"])
            run.tell(sector, month, {"checkpoint": named})
            if chosen is not None and len(rows):
                models = {row["horizon"]: model(row) for row in chosen.iter_rows(named=True)}
                parts.append(forecast(rows, models, predicting))
        return pl.concat(parts)

    return run.by_sector(of_sector, features=features, lightgbm_checkpoint=lightgbm_checkpoint)


def _metrics_table(rows: pl.DataFrame) -> str:
    """Metrics over the test folds by horizon as Markdown."""
    names = ("rmse", "mae", "r2", "direction_accuracy", "ic", "rank_ic")
    lines = ["| horizon | status | rows | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 3)]
    for row in rows.iter_rows(named=True):
        values = ["" if row[name] is None else f"{row[name]:.4f}" for name in names]
        lines.append(f"| {row['horizon']} | {row['status']} | {row['rows']} | " + " | ".join(values) + " |")
    return "\n".join(lines)
