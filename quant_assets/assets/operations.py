"""The operations report by sector and month: figures as rows, page as an artifact, newest pictures in the web UI."""

import base64
from typing import Annotated, Any

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run, Setting, readable
from quant_assets.assets.declare import PICTURED_MONTHS, Asset, declared, newest_keys, read
from quant_assets.partitions import key, lookback, month_of, shift_month
from quant_assets.profile import Profile
from quant_assets.reporting.ops_report import figures, preview_png, render
from quant_assets.reporting.report_data import ReportFrames, gather
from quant_assets.schemas import DATASETS
from quant_assets.settings.results import ReportSettings, StatisticsSettings
from quant_assets.trial_log import TrialLog

_HISTORY = (
    "candidates",
    "weights",
    "backtest",
    "predictions",
    "labels",
    "regime_state",
    "quarantine",
    "price_events",
)

#: Figures that the web UI plots, with their window before their name.
_TOLD = ("total_return", "sharpe", "deflated_sharpe", "max_drawdown", "rank_ic")


def operations_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the operations group."""
    settings = profile.settings
    # The plots show the existing track: earlier months are not computed for a picture.
    months = settings.report.history_months - 1 + settings.training.max_checkpoint_age_months
    reads = dict.fromkeys((*_HISTORY, *profile.models.checkpoints), read(lookback(months), absent="before"))
    reads |= dict.fromkeys(("absences", "universe_coverage", "track_record"), read())
    return declared(profile, "operations", Asset("ops_report", ops_report, reads, kinds=["html"]))


def ops_report(
    run: Run,
    sector: str,
    settings: ReportSettings,
    statistics: StatisticsSettings,
    horizon: Annotated[int, Setting("weights.horizon")],
    model: Annotated[str, Setting("weights.model")],
    source: Annotated[str, Setting("source")],
    index: Annotated[str, Setting("backtest.benchmark")],
    trials: TrialLog,
    candidates: pl.DataFrame,
    weights: pl.DataFrame,
    backtest: pl.DataFrame,
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    regime_state: pl.DataFrame,
    quarantine: pl.DataFrame,
    price_events: pl.DataFrame,
    absences: pl.DataFrame,
    universe_coverage: pl.DataFrame,
    track_record: pl.DataFrame,
    **checkpoints: pl.DataFrame,
) -> pl.DataFrame:
    """The report of each month: figures as rows, the page as an artifact."""
    content = ReportFrames(
        candidates=candidates,
        weights=weights,
        backtest=backtest,
        predictions=predictions.filter((pl.col("horizon") == horizon) & (pl.col("model") == model)),
        labels=labels.filter(pl.col("horizon") == horizon),
        regime_state=regime_state,
        checkpoint=pl.concat(checkpoints.values()),
        quarantine=quarantine,
        absences=absences,
        coverage=universe_coverage,
        track_record=track_record,
        price_events=price_events,
        versions=predictions.filter(pl.col("date").is_in(run.decisions))
        .select("date", "model", "model_version", "horizon")
        .unique(),
    )
    # A report counts the trials up to its own as_of; the log entries are recorded with its inputs.
    tried = trials.trials(sector, shift_month(run.months[0], 1 - settings.history_months), run.months[-1])
    parts, pictured = [pl.DataFrame(schema=DATASETS["ops_report"].schema)], newest_keys(run.partitions, PICTURED_MONTHS)
    for as_of in run.decisions:
        report = gather(sector, as_of, content, settings, horizon, tried, statistics, index)
        name = f"ops_report/{sector}/{month_of(as_of)}/report.html"
        run.store.write_artifact(name, render(report, "Simulated market" if source == "demo" else None))
        rows = figures(report).with_columns(report_file=pl.lit(name))
        told = rows.filter(pl.col("metric").is_in(_TOLD)).select("metric", "window", "value").rows()
        run.tell_page(sector, month_of(as_of), name)
        shown: dict[str, Any] = readable({f"{window}_{metric}": value for metric, window, value in told})
        if key(sector, month_of(as_of)) in pictured:
            picture = base64.b64encode(preview_png(report)).decode()
            shown["report"] = dg.MetadataValue.md(f"![equity against benchmark](data:image/png;base64,{picture})")
        run.tell(sector, month_of(as_of), shown)
        parts.append(rows.select(parts[0].columns))
    return pl.concat(parts)
