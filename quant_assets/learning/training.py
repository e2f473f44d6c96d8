"""Training of checkpoints by any kind of model: rows, folds and manifests.

Model files go into a folder of the caller; there is no other I/O.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import DatasetError, HistoryError
from quant_assets.learning.bars import Bars
from quant_assets.learning.contributions import mean_contributions, sampled_contributions
from quant_assets.learning.model_files import ModelFiles
from quant_assets.learning.models.base import FittedModel, Learner, Task
from quant_assets.learning.out_of_fold import Judged, fold_forecasts, judge
from quant_assets.learning.reference import KeptReference, reference_of
from quant_assets.learning.rows import Rows
from quant_assets.learning.splits import BoolArray, Fold, purged_walk_forward, unseen_folds
from quant_assets.learning.targets import directions, fitted_target, said_target
from quant_assets.learning.trained import TrainedModel
from quant_assets.market.calendar import last_session_to, session_number, sessions
from quant_assets.market.containment import known
from quant_assets.settings.domain import PredictionSettings, TrainingSettings

#: Scope of a training on all sectors together, in place of a sector's slug.
MARKET = "market"


def train_checkpoint(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    as_of: date,
    settings: TrainingSettings,
    prediction_settings: PredictionSettings,
    learner: Learner[Any],
    horizons: Sequence[int],
    scope: str,
    names: Sequence[str],
    folder: Path,
    *,
    prices: pl.DataFrame | None = None,
) -> list[TrainedModel]:
    """Train a model for each horizon, or for all at once, on rows known at `as_of` minus the embargo.

    The rows are split by `purged_walk_forward`. Early stopping uses a fold's validation slice, never its test slice.
    The last fold's model is stored; the other folds' test slices give the metrics and the residuals behind
    `prediction_std`. Later rows, and rows known later, have no effect. A fit for all horizons uses the rows whose
    labels are known for all of them, from the latest `known_at` on. The reference with which later rows are compared
    (`learning.drift`) is that of the rows whose labels are known for the longest horizon.

    Args:
        features: dataset `features` of the scope; rows of any dates.
        labels: dataset `labels` of the scope; rows of any dates and horizons.
        as_of: session of the training; a day that is not a session counts as the session before.
        settings: window, sampling, folds, embargo and seed.
        prediction_settings: buckets of the residuals.
        learner: the kind of model and its parameters.
        horizons: sessions from entry to exit.
        scope: the sector's slug, or `MARKET` for the rows of all sectors; part of the seed and of the manifest.
        names: feature columns, in order; the manifest lists those that the kind reads.
        folder: folder for the model files.
        prices: dataset `prices` of the scope, for kinds that read windows of bars; rows of any dates.

    Returns:
        One result for each horizon, in the order of `horizons`; without a model if there are fewer than `min_rows` rows
        or they cannot be split.

    """
    compared, names, bars = (
        learner.compared_names(names),
        learner.inputs(names),
        _bars_of(prices, as_of, settings, learner),
    )
    fits = [tuple(horizons)] if learner.all_horizons else [(horizon,) for horizon in horizons]
    trained: dict[int, TrainedModel] = {}
    reference: KeptReference | None = None
    # The longest horizon first: its rows are known for all horizons, so they can share its reference.
    for fitted_horizons in sorted(fits, key=max, reverse=True):
        frame = rows_of(features, labels, as_of, settings, fitted_horizons, names)
        if learner.bar_sessions:
            frame = frame.filter(pl.Series(learner.usable(Rows.of(frame, names, bars=bars)), dtype=pl.Boolean))
        if reference is None and len(frame) >= settings.min_rows and learner.learns and compared:
            values = learner.compared(frame, compared, bars)
            seed = seed_of(settings.seed, scope, as_of, "reference")
            reference = reference_of(frame["date"], compared, values, settings, seed)
        shared = as_of, settings, prediction_settings, learner, fitted_horizons, scope, names, folder, reference, bars
        trained |= {item.horizon: item for item in _train(frame, *shared)}
    return [trained[horizon] for horizon in horizons]


def _bars_of(
    prices: pl.DataFrame | None, as_of: date, settings: TrainingSettings, learner: Learner[Any]
) -> Bars | None:
    """The bars from the start of the first training row's window to `as_of`; None if the kind reads no bars."""
    if not learner.bar_sessions:
        return None
    if prices is None:
        raise DatasetError(f"{learner.said} reads windows of bars, but dataset prices was not passed")
    first = training_start(as_of, settings.window_months)
    return Bars.between(prices, first, last_session_to(as_of), learner.bar_sessions)


def training_start(as_of: date, window_months: int) -> date:
    """First day of the training window: the first of the month `window_months` before the month of `as_of`."""
    index = as_of.year * 12 + as_of.month - 1 - window_months
    return date(index // 12, index % 12 + 1, 1)


def sampled_sessions(as_of: date, settings: TrainingSettings) -> NDArray[np.datetime64]:
    """Sessions that a training at `as_of` samples, by their number in the calendar: datetime64[D]."""
    days = sessions(training_start(as_of, settings.window_months), as_of)
    sampled: NDArray[np.datetime64] = days[session_number(days) % settings.sample_every_sessions == 0]
    return sampled


def training_rows(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    as_of: date,
    settings: TrainingSettings,
    horizon: int,
    names: Sequence[str],
) -> pl.DataFrame:
    """Rows that a training at `as_of` may use: known by then, and not `unexplained`.

    Sessions are sampled by their number in the calendar, so the sample does not depend on the range of loaded months.

    Returns:
        `ticker`, `date`, the features, `forward_return` and `known_at`, sorted by date and ticker.

    """
    cutoff = (
        int(session_number(np.array([last_session_to(as_of)], dtype="datetime64[D]"))[0]) - settings.embargo_sessions
    )
    sampled = pl.col("date").is_in(pl.Series(sampled_sessions(as_of, settings), dtype=pl.Date).implode())
    wanted = known(labels).filter((pl.col("horizon") == horizon) & sampled)
    in_time = session_number(wanted["known_at"].to_numpy()) <= cutoff
    return (
        wanted.filter(pl.Series(in_time, dtype=pl.Boolean))
        .select("ticker", "date", "forward_return", "known_at")
        .join(features.select("ticker", "date", *names), on=["ticker", "date"], how="inner", validate="1:1")
        .sort("date", "ticker")
    )


def rows_of(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    as_of: date,
    settings: TrainingSettings,
    horizons: tuple[int, ...],
    names: Sequence[str],
) -> pl.DataFrame:
    """`training_rows` with a target column per horizon; `known_at` is the latest of all horizons."""
    first, *other_rows = (training_rows(features, labels, as_of, settings, horizon, names) for horizon in horizons)
    if not other_rows:
        return first.rename({"forward_return": target_column(horizons[0])})
    joined, known_at = first.rename({"forward_return": target_column(horizons[0])}), [pl.col("known_at")]
    for horizon, rows in zip(horizons[1:], other_rows, strict=True):
        known_at.append(pl.col(f"known_at|{horizon}"))
        added = rows.select("ticker", "date", pl.col("forward_return").alias(target_column(horizon)), "known_at")
        joined = joined.join(added, on=["ticker", "date"], how="inner", validate="1:1", suffix=f"|{horizon}")
    return joined.with_columns(known_at=pl.max_horizontal(known_at)).sort("date", "ticker")


def with_targets(rows: Rows, outcomes: pl.DataFrame, settings: TrainingSettings, task: Task) -> Rows:
    """The rows with targets and outcomes, from the columns of their frame that are not features."""
    returns = [target_column(horizon) for horizon in rows.horizons]
    known = np.ascontiguousarray(outcomes.select(returns).to_numpy())
    if task == "classification":  # neither clipping nor ranks change the sign of a return
        fitted = [directions(outcomes, column, settings).to_numpy() for column in returns]
    elif settings.target == "raw" and settings.relative_to == "none":
        return replace(rows, targets=known)
    else:
        fitted = [fitted_target(outcomes, column, settings) for column in returns]
    return replace(rows, targets=np.stack(fitted, axis=1), outcomes=known)


def target_column(horizon: int) -> str:
    """Column of a horizon's forward returns; no feature can have this name."""
    return f"forward_return|{horizon}"


def _train(
    frame: pl.DataFrame,
    as_of: date,
    settings: TrainingSettings,
    prediction_settings: PredictionSettings,
    learner: Learner[Any],
    horizons: tuple[int, ...],
    scope: str,
    names: Sequence[str],
    folder: Path,
    reference: KeptReference | None,
    bars: Bars | None,
) -> list[TrainedModel]:
    """One fit, for one horizon or for several."""
    dates, known_at = frame["date"].to_numpy(), frame["known_at"].to_numpy()
    common = as_of, len(frame), frame["date"].min(), frame["known_at"].max()
    untrained = [TrainedModel(learner.name, learner.kind, as_of, horizon, *common[1:]) for horizon in horizons]  # type: ignore[arg-type]
    if len(frame) < settings.min_rows:
        return untrained
    try:
        folds = (
            purged_walk_forward(dates, known_at, settings.folds, settings.embargo_sessions)
            if learner.knows_until is None
            else unseen_folds(
                dates, known_at, np.datetime64(learner.knows_until), settings.folds, settings.embargo_sessions
            )
        )
    except HistoryError:  # a documented status of a checkpoint
        return untrained

    inputs, outcomes = Rows.of(frame, names, horizons, bars=bars), frame.drop(names)

    def rows(mask: BoolArray) -> Rows:
        # Targets of these rows alone: a target compares the names of a session, and a name whose label was known early
        # (it was delisted) must not be compared with labels that were not yet known.
        return with_targets(inputs.where(mask), outcomes.filter(pl.Series(mask)), settings, learner.task)

    label = "_".join(map(str, horizons))
    seed = seed_of(settings.seed, scope, as_of, label)
    tested: list[tuple[dict[str, Any], list[pl.DataFrame]]] = []
    importances, drawn = list[dict[str, list[float]]](), list[list[pl.DataFrame]]()
    for fold in folds[:-1]:
        test = rows(fold.test)
        model = learner.unknowing(test.dates.min().item()).fit(rows(fold.train), rows(fold.validation), seed)
        found, here = model.predict(test), outcomes.filter(pl.Series(fold.test))
        tests = [fold_forecasts(here, target_column(horizon), found, column) for column, horizon in enumerate(horizons)]
        tested.append((_entry(frame, fold, model) | {"test": span(frame, fold.test)}, tests))
        importances.append(model.importances())
        drawn.append(sampled_contributions(model, test, settings.shap_rows // (len(folds) - 1), seed))
    model = learner.fit(rows(folds[-1].train), rows(folds[-1].validation), seed)
    place = folder / f"{learner.name}-{label}"
    place.mkdir(parents=True)
    model.write(place)
    importances.append(model.importances())
    files = ModelFiles.of(place, f"model_h{label}")
    if reference:
        (folder / reference.name).write_bytes(reference.content)
        files = replace(files, paths=files.paths | {reference.name: folder / reference.name})
    shared = {
        "sector": scope,
        "as_of": as_of.isoformat(),
        "model_sha256": files.sha256,
        "model_format": learner.file_format,
        "target": said_target(settings, learner.task),
        "features": list(names),
        "feature_importance": {
            measure: dict(zip(names, values, strict=True)) for measure, values in importances[-1].items()
        },
        # Mean over the folds and the final fit: the importance in a single fit is noisy.
        "mean_importance": {
            measure: dict(zip(names, np.mean([each[measure] for each in importances], axis=0).tolist(), strict=True))
            for measure in importances[-1]
        },
        "settings": settings.model_dump(mode="json") | {learner.kind: learner.recorded()},
        "prediction_settings": prediction_settings.model_dump(mode="json"),
        "reference": dict(reference.entry) if reference else None,
        "seed": seed,
        "data": span(frame),
        "final": _entry(frame, folds[-1], model),
        "libraries": {name: version_of(name) for name in (*learner.libraries, "numpy", "polars")},
        **({"horizons": list(horizons)} if len(horizons) > 1 else {}),
    }
    judgements = [
        (result, judge([tests[column] for _, tests in tested], horizon, prediction_settings, settings.embargo_sessions))
        for column, (horizon, result) in enumerate(zip(horizons, untrained, strict=True))
    ]
    return [
        _result(shared, [entry for entry, _ in tested], result, files, judged, [each[column] for each in drawn if each])
        for column, (result, judged) in enumerate(judgements)
    ]


def _result(
    shared: dict[str, Any],
    folds: Sequence[dict[str, Any]],
    untrained: TrainedModel,
    files: ModelFiles,
    judged: Judged,
    drawn: Sequence[pl.DataFrame],
) -> TrainedModel:
    """The result of a fit for one horizon."""
    manifest = shared | {
        "horizon": untrained.horizon,
        "folds": [entry | {"metrics": asdict(each)} for entry, each in zip(folds, judged.folds, strict=True)],
        "metrics": asdict(judged.metrics),
        "contributions": mean_contributions(drawn),
        **judged.entries,
    }
    text = json.dumps(manifest, sort_keys=True, indent=2, allow_nan=False) + "\n"
    frames: dict[str, Any] = {"out_of_fold": judged.series, "contributions": pl.concat(drawn) if drawn else None}
    return replace(untrained, files=files, manifest=text.encode(), metrics=judged.metrics, **frames)


def _entry(frame: pl.DataFrame, fold: Fold, model: FittedModel) -> dict[str, Any]:
    spans = {"train": span(frame, fold.train), "validation": span(frame, fold.validation)}
    return spans | model.description()


def span(rows: pl.DataFrame, mask: BoolArray | None = None) -> dict[str, Any]:
    """Number of rows (where a mask is True) and their first and last dates, as plain values."""
    part = rows.select("date", "known_at")
    part = part if mask is None else part.filter(pl.Series(mask))
    ends = {"first_date": part["date"].min(), "last_date": part["date"].max(), "last_known_at": part["known_at"].max()}
    return {"rows": len(part)} | {
        name: value.isoformat() if isinstance(value, date) else None for name, value in ends.items()
    }


@cache
def version_of(distribution: str) -> str:
    """Installed version of a distribution; a process reads its metadata once, not in each of its fits."""
    return version(distribution)


def seed_of(seed: int, scope: str, as_of: date, horizons: str) -> int:
    """A seed that depends only on the setting and the partition: 31 bits, which every library accepts."""
    digest = hashlib.sha256(f"{seed}|{scope}|{as_of.isoformat()}|{horizons}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF
