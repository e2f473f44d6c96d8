"""From labelled features to forecasts by sector and month: checkpoints and predictions."""

import dagster as dg
import polars as pl

from quant_assets.assets.declare import dataset_asset, for_each_sector, read, readable, run_partitions
from quant_assets.learning.boosting import checkpoint_rows, train_checkpoint
from quant_assets.learning.checkpoints import is_training_month, newest_checkpoint
from quant_assets.learning.forecast import Model, forecast, load_model
from quant_assets.partitions import key, lag, lookback, month_of, month_start
from quant_assets.profile import Profile
from quant_assets.schemas import DATASETS

GROUP = "learning"


def learning_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the learning group."""
    settings = profile.settings
    training = settings.training
    first_month = month_start(profile.months.start)

    @dataset_asset(
        profile,
        "lightgbm_checkpoint",
        group=GROUP,
        kinds=["lightgbm"],
        ins={"features": read(lookback(training.window_months)), "labels": read(lookback(training.window_months))},
    )
    def lightgbm_checkpoint(
        context: dg.AssetExecutionContext, features: pl.LazyFrame, labels: pl.LazyFrame
    ) -> pl.DataFrame:
        run = run_partitions(context)
        decisions = [day for day in profile.decision_sessions(run) if is_training_month(day, training.cadence_months)]

        def of_sector(sector: str, features: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
            parts = [pl.DataFrame(schema=DATASETS["lightgbm_checkpoint"].schema)]
            for as_of in decisions:
                trained = train_checkpoint(
                    features,
                    labels,
                    as_of,
                    training,
                    settings.predictions,
                    settings.labels.horizons,
                    sector,
                    profile.features.names,
                )
                folder = f"lightgbm_checkpoint/{sector}/{month_of(as_of)}"
                for item in trained:
                    # The files first, the rows that name them when all of them are there.
                    if item.model_name and item.model and item.manifest_name and item.manifest:
                        profile.store.write_artifact(f"{folder}/{item.model_name}", item.model)
                        profile.store.write_artifact(f"{folder}/{item.manifest_name}", item.manifest)
                profile.trials.note_training(sector, trained)
                rows = checkpoint_rows(trained, folder)
                context.add_asset_metadata(
                    {
                        "metrics": dg.MetadataValue.md(_metrics_table(rows)),
                        "trained_on_rows": max(item.rows for item in trained),
                        **readable({f"rank_ic_{row['horizon']}": row["rank_ic"] for row in rows.iter_rows(named=True)}),
                    },
                    partition_key=key(sector, month_of(as_of)),
                )
                parts.append(rows)
            return pl.concat(parts)

        if not decisions:
            context.log.info(
                f"no training month among {', '.join(run.months)}: training.cadence_months is {training.cadence_months}"
            )
        return for_each_sector(run, "lightgbm_checkpoint", of_sector, features=features, labels=labels)

    @dataset_asset(
        profile,
        "predictions",
        group=GROUP,
        kinds=["lightgbm"],
        ins={"features": read(), "lightgbm_checkpoint": read(lag(training.max_checkpoint_age_months))},
    )
    def predictions(
        context: dg.AssetExecutionContext, features: pl.LazyFrame, lightgbm_checkpoint: pl.LazyFrame
    ) -> pl.DataFrame:
        run = run_partitions(context)
        loaded: dict[str, Model] = {}

        def model(row: dict[str, str]) -> Model:
            name = row["model_file"]
            if name not in loaded:
                loaded[name] = load_model(
                    profile.store.read_artifact(name),
                    row["model_sha256"],
                    profile.store.read_artifact(row["manifest_file"]),
                    row["manifest_sha256"],
                    name,
                    profile.features.names,
                )
            return loaded[name]

        def of_sector(sector: str, features: pl.DataFrame, lightgbm_checkpoint: pl.DataFrame) -> pl.DataFrame:
            parts = [pl.DataFrame(schema=DATASETS["predictions"].schema)]
            for month in run.months:
                rows = features.filter(pl.col("date").dt.strftime("%Y-%m") == month)
                chosen = newest_checkpoint(lightgbm_checkpoint, month_start(month), training, first_month, sector)
                named = "none yet: too little history" if chosen is None else ", ".join(chosen["model_file"])
                context.add_asset_metadata({"checkpoint": named}, partition_key=key(sector, month))
                if chosen is not None and len(rows):
                    models = {row["horizon"]: model(row) for row in chosen.iter_rows(named=True)}
                    parts.append(forecast(rows, models, settings.predictions))
            return pl.concat(parts)

        return for_each_sector(
            run, "predictions", of_sector, features=features, lightgbm_checkpoint=lightgbm_checkpoint
        )

    return [lightgbm_checkpoint, predictions]


def _metrics_table(rows: pl.DataFrame) -> str:
    """Metrics over the test folds by horizon as Markdown."""
    names = ("rmse", "mae", "r2", "direction_accuracy", "ic", "rank_ic")
    lines = ["| horizon | status | rows | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 3)]
    for row in rows.iter_rows(named=True):
        values = ["" if row[name] is None else f"{row[name]:.4f}" for name in names]
        lines.append(f"| {row['horizon']} | {row['status']} | {row['rows']} | " + " | ".join(values) + " |")
    return "\n".join(lines)
