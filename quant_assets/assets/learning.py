"""From labelled features to forecasts by sector and month: checkpoints and predictions."""

import tempfile
from pathlib import Path

import dagster as dg
import polars as pl

from quant_assets.assets.declare import dataset_asset, for_each_sector, read, run_partitions
from quant_assets.learning.checkpoints import is_training_month, newest_checkpoint
from quant_assets.learning.forecast import LoadedModel, forecast, load_models
from quant_assets.learning.training import checkpoint_rows, train_checkpoint
from quant_assets.partitions import key, lag, lookback, month_of, month_start
from quant_assets.profile import Profile
from quant_assets.schemas import CHECKPOINTS, DATASETS

GROUP = "learning"


def learning_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the learning group."""
    settings = profile.settings
    training = settings.training
    first_month = month_start(profile.months.start)
    kinds = sorted({each.kind for each in profile.models.values()})

    @dataset_asset(
        profile,
        CHECKPOINTS.name,
        group=GROUP,
        kinds=kinds,
        ins={"features": read(lookback(training.window_months)), "labels": read(lookback(training.window_months))},
    )
    def lightgbm_checkpoint(
        context: dg.AssetExecutionContext, features: pl.LazyFrame, labels: pl.LazyFrame
    ) -> pl.DataFrame:
        run = run_partitions(context)
        decisions = [day for day in profile.decision_sessions(run) if is_training_month(day, training.cadence_months)]

        def of_sector(sector: str, features: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
            parts = [pl.DataFrame(schema=CHECKPOINTS.schema)]
            for as_of in decisions:
                kept = f"{CHECKPOINTS.name}/{sector}/{month_of(as_of)}"
                made = []
                for name, learner in profile.models.items():
                    with tempfile.TemporaryDirectory() as folder:
                        trained = train_checkpoint(
                            features,
                            labels,
                            as_of,
                            training,
                            settings.predictions,
                            learner,
                            settings.models[name].horizons or settings.labels.horizons,
                            sector,
                            profile.features.names,
                            Path(folder),
                        )
                        # The files first, the rows that name them when all of them are there.
                        for item in trained:
                            if item.files and item.manifest_name and item.manifest:
                                for file, path in item.files.paths.items():
                                    profile.store.write_artifact(f"{kept}/{file}", path.read_bytes())
                                profile.store.write_artifact(f"{kept}/{item.manifest_name}", item.manifest)
                    profile.trials.note_training(sector, trained)
                    made += trained
                rows = checkpoint_rows(made, kept)
                context.add_asset_metadata(
                    {
                        "metrics": dg.MetadataValue.md(_metrics_table(rows)),
                        "trained_on_rows": max(item.rows for item in made),
                    },
                    partition_key=key(sector, month_of(as_of)),
                )
                parts.append(rows)
            return pl.concat(parts)

        if not decisions:
            context.log.info(
                f"no training month among {', '.join(run.months)}: training.cadence_months is {training.cadence_months}"
            )
        return for_each_sector(run, CHECKPOINTS.name, of_sector, features=features, labels=labels)

    @dataset_asset(
        profile,
        "predictions",
        group=GROUP,
        kinds=kinds,
        ins={"features": read(), CHECKPOINTS.name: read(lag(training.max_checkpoint_age_months))},
    )
    def predictions(
        context: dg.AssetExecutionContext, features: pl.LazyFrame, lightgbm_checkpoint: pl.LazyFrame
    ) -> pl.DataFrame:
        run = run_partitions(context)
        loaded: dict[tuple[str, ...], dict[int, LoadedModel]] = {}

        def models(name: str, chosen: pl.DataFrame) -> dict[int, LoadedModel]:
            files = tuple(chosen["manifest_file"])
            if files not in loaded:
                with tempfile.TemporaryDirectory() as folder:
                    loaded[files] = load_models(
                        chosen.iter_rows(named=True),
                        profile.models[name],
                        profile.features.names,
                        profile.store.read_artifact,
                        Path(folder),
                    )
            return loaded[files]

        def of_sector(sector: str, features: pl.DataFrame, lightgbm_checkpoint: pl.DataFrame) -> pl.DataFrame:
            parts = [pl.DataFrame(schema=DATASETS["predictions"].schema)]
            for month in run.months:
                rows = features.filter(pl.col("date").dt.strftime("%Y-%m") == month)
                named: list[str] = []
                for name in profile.models:
                    trained = lightgbm_checkpoint.filter(pl.col("model") == name)
                    chosen = newest_checkpoint(trained, month_start(month), training, first_month, sector)
                    named += [] if chosen is None else chosen["model_file"].to_list()
                    if chosen is not None and len(rows):
                        parts.append(forecast(rows, models(name, chosen), settings.predictions))
                said = ", ".join(dict.fromkeys(named)) or "none yet: too little history"
                context.add_asset_metadata({"checkpoint": said}, partition_key=key(sector, month))
            return pl.concat(parts)

        return for_each_sector(
            run, "predictions", of_sector, features=features, lightgbm_checkpoint=lightgbm_checkpoint
        )

    return [lightgbm_checkpoint, predictions]


def _metrics_table(rows: pl.DataFrame) -> str:
    """Metrics over the test folds by model and horizon as Markdown."""
    names = ("rmse", "mae", "r2", "direction_accuracy", "ic", "rank_ic")
    head = ("model", "horizon", "status", "rows", *names)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows.iter_rows(named=True):
        values = ["" if row[name] is None else f"{row[name]:.4f}" for name in names]
        lines.append(
            f"| {row['model']} | {row['horizon']} | {row['status']} | {row['rows']} | " + " | ".join(values) + " |"
        )
    return "\n".join(lines)
