"""The operations report by sector and month: figures as rows, page as an artifact, picture in the web UI."""

import base64

import dagster as dg
import polars as pl

from quant_assets.assets.declare import dataset_asset, for_each_sector, read, readable, run_partitions
from quant_assets.partitions import key, lookback, month_of, shift_month
from quant_assets.profile import Profile
from quant_assets.reporting.ops_report import figures, preview_png, render
from quant_assets.reporting.report_data import ReportFrames, gather
from quant_assets.schemas import DATASETS

GROUP = "operations"
_HISTORY = (
    "candidates",
    "weights",
    "backtest",
    "predictions",
    "labels",
    "regime_state",
    "lightgbm_checkpoint",
    "quarantine",
)
_OF_THE_MONTH = ("absences", "universe_coverage", "track_record")
#: Figures that the web UI plots, with their window before their name.
_TOLD = ("total_return", "sharpe", "deflated_sharpe", "max_drawdown", "rank_ic")


def operations_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the operations group."""
    settings = profile.settings
    # The plots show the track that exists: months before the first run are not computed for the sake of a picture.
    back = read(
        lookback(settings.report.history_months - 1 + settings.training.max_checkpoint_age_months), absent="before"
    )

    @dataset_asset(
        profile,
        "ops_report",
        group=GROUP,
        kinds=["html"],
        ins=dict.fromkeys(_HISTORY, back) | dict.fromkeys(_OF_THE_MONTH, read()),
    )
    def ops_report(
        context: dg.AssetExecutionContext,
        candidates: pl.LazyFrame,
        weights: pl.LazyFrame,
        backtest: pl.LazyFrame,
        predictions: pl.LazyFrame,
        labels: pl.LazyFrame,
        regime_state: pl.LazyFrame,
        lightgbm_checkpoint: pl.LazyFrame,
        quarantine: pl.LazyFrame,
        absences: pl.LazyFrame,
        universe_coverage: pl.LazyFrame,
        track_record: pl.LazyFrame,
    ) -> pl.DataFrame:
        run = run_partitions(context)
        horizon = settings.weights.horizon
        market = "Simulated market" if settings.source == "demo" else None

        def of_sector(sector: str, **frames: pl.DataFrame) -> pl.DataFrame:
            parts = [pl.DataFrame(schema=DATASETS["ops_report"].schema)]
            content = ReportFrames(
                checkpoint=frames.pop("lightgbm_checkpoint"), coverage=frames.pop("universe_coverage"), **frames
            )
            # Each report counts what had been tried by its own as_of; what it found in the log is recorded beside its
            # inputs.
            trials = profile.trials.trials(
                sector, shift_month(run.months[0], 1 - settings.report.history_months), run.months[-1]
            )
            for as_of in profile.decision_sessions(run):
                report = gather(sector, as_of, content, settings.report, horizon, trials, settings.statistics)
                name = f"ops_report/{sector}/{month_of(as_of)}/report.html"
                profile.store.write_artifact(name, render(report, market))
                picture = base64.b64encode(preview_png(report)).decode()
                rows = figures(report).with_columns(report_file=pl.lit(name))
                told = rows.filter(pl.col("metric").is_in(_TOLD)).select("metric", "window", "value").rows()
                context.add_asset_metadata(
                    {
                        "report": dg.MetadataValue.md(f"![equity against benchmark](data:image/png;base64,{picture})"),
                        "page": profile.store.artifact_url(name),
                        **readable({f"{window}_{metric}": value for metric, window, value in told}),
                    },
                    partition_key=key(sector, month_of(as_of)),
                )
                parts.append(rows.select(parts[0].columns))
            return pl.concat(parts)

        return for_each_sector(
            run,
            "ops_report",
            of_sector,
            candidates=candidates,
            weights=weights,
            backtest=backtest,
            predictions=predictions.filter(pl.col("horizon") == horizon),
            labels=labels.filter(pl.col("horizon") == horizon),
            regime_state=regime_state,
            lightgbm_checkpoint=lightgbm_checkpoint,
            quarantine=quarantine,
            absences=absences,
            universe_coverage=universe_coverage,
            track_record=track_record,
        )

    return [ops_report]
