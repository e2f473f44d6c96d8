"""Features, labels, trainings and forecasts over the markets of `synthetic_rare`, wired as the assets wire them."""

import tempfile
from pathlib import Path

import polars as pl

from quant_assets.backtest.factor_summary import summaries
from quant_assets.backtest.factors import complete_after, factor_statistics
from quant_assets.features.features import features
from quant_assets.features.labels import forward_sessions, labels
from quant_assets.features.library import FeatureLibrary
from quant_assets.learning.checkpoints import newest_checkpoint, used_checkpoints, young_checkpoints
from quant_assets.learning.drift import drifted, feature_stability
from quant_assets.learning.forecast import forecast, load_models
from quant_assets.learning.reference import stored_reference
from quant_assets.learning.trained import checkpoint_rows
from quant_assets.learning.training import train_checkpoint
from quant_assets.partitions import month_end, month_of, month_range, month_start, months_covering
from quant_assets.schemas import CHECKPOINTS, DATASETS
from quant_assets.settings.model_use import DriftSettings
from quant_assets_tests.synthetic_rare import START
from quant_assets_tests.synthetic_rare_reads import (
    APPLIES,
    CANDIDATES,
    FACTOR_MONTHS,
    LABELS,
    LEARNER,
    LIBRARY,
    MIN_NAMES,
    PREDICTIONS,
    STATEMENTS,
    TRAINING,
    Compute,
    Months,
    Reads,
)


def features_of(library: FeatureLibrary, read: Reads, months: Months) -> pl.DataFrame:
    """Dataset features with any features."""
    before = months_covering(library.price_lookback(STATEMENTS))
    carried = read("price_peaks", 1).filter(pl.col("as_of") < month_start(months.last))
    return features(
        read("prices", before),
        carried,
        read("fundamentals", STATEMENTS.lookback_months),
        read("universe", months_covering(library.universe_lookback)),
        library,
        STATEMENTS,
        months.sessions(before),
        months.first_day,
        months.last_day,
        read("sentiment", months_covering(library.news_lookback)) if library.news else None,
        read("macro", months_covering(library.macro_lookback)) if library.economy else None,
    )


def _features(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    return features_of(LIBRARY, read, months)


def _labels(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    after = months_covering(forward_sessions(LABELS))
    return labels(
        read("prices", 0, after),
        read("delistings", 0, after),
        read("universe"),
        LABELS,
        months.sessions(0, after),
        months.last_session,
        months.first_day,
        months.last_day,
    )


def _factor_statistics(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    before = months_covering(complete_after(max(LABELS.horizons), LABELS.entry_lag))
    return factor_statistics(
        read("features", before),
        LIBRARY.names,
        read("indicators", before),
        read("predictions", before),
        read("labels", before),
        months.sessions(before),
        months.first_day,
        months.decisions,
        LABELS,
        CANDIDATES,
        MIN_NAMES,
    )


def _factor_tear_sheet(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    sheets = summaries(read("factor_statistics", FACTOR_MONTHS - 1), months.decisions, FACTOR_MONTHS)
    rows = [pl.DataFrame(schema=DATASETS["factor_tear_sheet"].schema)]
    return pl.concat([*rows, *(sheet.rows.with_columns(page_file=pl.lit("page")) for sheet in sheets)])


def _checkpoints(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    """A training at each decision; its files are kept beside what is stored."""
    parts, before = [pl.DataFrame(schema=CHECKPOINTS.schema)], TRAINING.window_months
    for as_of in months.decisions:
        history = Reads(read.stored, Months(month_of(as_of), month_of(as_of), months.last_session), sector)
        with tempfile.TemporaryDirectory() as folder:
            trained = train_checkpoint(
                history("features", before),
                history("labels", before),
                as_of,
                TRAINING,
                PREDICTIONS,
                LEARNER,
                LABELS.horizons,
                sector,
                LIBRARY.names,
                Path(folder),
            )
            for item in trained:
                if item.files and item.manifest:
                    read.stored.files |= {
                        f"{sector}/{name}": path.read_bytes() for name, path in item.files.paths.items()
                    }
                    read.stored.files[f"{sector}/{item.manifest_name}"] = item.manifest
            parts.append(checkpoint_rows(trained, sector))
    return pl.concat(parts)


def _predictions(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    parts = [pl.DataFrame(schema=DATASETS["predictions"].schema)]
    checkpoints = read(CHECKPOINTS.name, TRAINING.max_checkpoint_age_months)
    for month in month_range(months.first, months.last):
        rows = read("features").filter(pl.col("date").is_between(month_start(month), month_end(month)))
        chosen = newest_checkpoint(checkpoints, month_start(month), TRAINING, START, sector)
        if chosen is not None and len(rows):
            with tempfile.TemporaryDirectory() as folder:
                kept = chosen.iter_rows(named=True), LEARNER, LIBRARY.names, read.stored.files.__getitem__
                parts.append(forecast(rows, load_models(*kept, Path(folder)), PREDICTIONS, APPLIES))
    return pl.concat(parts)


def _feature_drift(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    schema = DATASETS["feature_drift"].schema
    parts = [pl.DataFrame(schema=schema)]
    checkpoints = read(CHECKPOINTS.name, TRAINING.max_checkpoint_age_months)
    for as_of in months.decisions:
        of_month = pl.col("date").is_between(month_start(month_of(as_of)), as_of)
        rows, forecasts = (read(name).filter(of_month) for name in ("features", "predictions"))
        used = used_checkpoints(young_checkpoints(checkpoints, as_of, TRAINING), forecasts)
        files = read.stored.files.__getitem__
        references = {row["model"]: stored_reference(row, files) for row in used.iter_rows(named=True)}
        moved = feature_stability(
            {model: (each, LEARNER.compared(rows, each.features, None)) for model, each in references.items()}
        )
        told = used.select("model", checkpoint="as_of", as_of=pl.lit(as_of))
        parts.append(moved.join(told, on="model").select(list(schema)))
        drifted(moved, forecasts, DriftSettings())
    return pl.concat(parts)


#: By sector, in the order in which they read each other.
LEARNING: dict[str, Compute] = {
    "features": _features,
    "labels": _labels,
    CHECKPOINTS.name: _checkpoints,
    "predictions": _predictions,
    "feature_drift": _feature_drift,
}

#: After the indicators and forecasts.
FACTORS: dict[str, Compute] = {
    "factor_statistics": _factor_statistics,
    "factor_tear_sheet": _factor_tear_sheet,
}
