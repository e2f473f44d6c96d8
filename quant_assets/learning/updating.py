"""Updates of a checkpoint between full trainings: new rows, evaluation of the previous model, manifests.

An update depends only on the previous checkpoint and the rows that became known since, each of them used once. The
caller provides the folder for model files and the function that reads them.

References:
    Dawid (1984), Statistical theory: the prequential approach, Journal of the Royal Statistical Society A 147(2): a
    model is evaluated on new data before it learns from them.

"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl

from quant_assets.errors import HistoryError
from quant_assets.learning.checkpoints import FORECASTING
from quant_assets.learning.forecast import load_models
from quant_assets.learning.metrics import Metrics, evaluate
from quant_assets.learning.model_files import LISTING, ModelFiles, fetch, listed, verified
from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.out_of_fold import fold_forecasts
from quant_assets.learning.rows import Rows
from quant_assets.learning.splits import purged_walk_forward
from quant_assets.learning.trained import TrainedModel
from quant_assets.learning.training import rows_of, seed_of, span, target_column, version_of, with_targets
from quant_assets.market.calendar import session_number
from quant_assets.settings.domain import TrainingSettings

Read = Callable[[str], bytes]


@dataclass(frozen=True)
class Stored:
    """One fit of a checkpoint that an update starts from.

    Attributes:
        rows: rows of the checkpoint dataset, by horizon.
        manifests: manifests, by horizon.
        fitted: the model.
        training: the model as trained, before any update.
        training_files: names and contents of that model's files.

    """

    rows: Mapping[int, Mapping[str, Any]]
    manifests: Mapping[int, dict[str, Any]]
    fitted: FittedModel
    training: FittedModel
    training_files: Mapping[str, bytes]

    @property
    def known(self) -> date:
        """Latest `known_at` among its rows: later rows are new."""
        latest: date = max(row["last_known_at"] for row in self.rows.values())
        return latest

    @property
    def first(self) -> dict[str, Any]:
        """The manifest of the first horizon, for values common to all horizons of the fit."""
        return self.manifests[self.fitted.horizons[0]]

    @property
    def fitted_through(self) -> date:
        """Latest `known_at` among the rows that it was fitted on.

        The validation rows of a training are later; the first update learns from them, too.
        """
        updated = self.first.get("updated")
        through = updated["fitted_through"] if updated else self.first["final"]["train"]["last_known_at"]
        return date.fromisoformat(through)

    @property
    def fitted_rows(self) -> int:
        """Number of rows that it was fitted on."""
        updated = self.first.get("updated")
        return int(updated["fitted_rows"] if updated else self.first["final"]["train"]["rows"])

    @property
    def of_training(self) -> dict[str, Any]:
        """Session, file and SHA-256 of the model as trained."""
        if updated := self.first.get("updated"):
            return dict(updated["training"])
        row = self.rows[self.fitted.horizons[0]]
        return {
            "as_of": row["as_of"].isoformat(),
            "model_file": _within(row["model_file"], row["manifest_file"]),
            "model_sha256": row["model_sha256"],
        }


def stored_fits(
    before: pl.DataFrame,
    learner: Learner[Any],
    horizons: Sequence[int],
    names: Sequence[str],
    read: Read,
    folder: Path,
) -> Iterator[Stored]:
    """The fits of a model's checkpoint of the month before, for the given horizons.

    Args:
        before: rows of the checkpoint dataset of that month; may be empty.
        learner: the model's learner.
        horizons: sessions from entry to exit.
        names: input columns of the model, in order.
        read: returns the content of a file by its name.
        folder: an empty folder for files.

    Raises:
        ModelFileError: a file is missing or has changed.
        DatasetError: the model is of another kind or was trained on other features.

    """
    own = before.filter(
        pl.col("model") == learner.name, pl.col("status").is_in(FORECASTING), pl.col("horizon").is_in(list(horizons))
    )
    for number, files in enumerate(own["model_file"].unique(maintain_order=True)):
        rows = {row["horizon"]: row for row in own.filter(pl.col("model_file") == files).iter_rows(named=True)}
        (place := folder / str(number) / "before").mkdir(parents=True)
        loaded = load_models(rows.values(), learner, names, read, place)
        manifests = {
            horizon: json.loads(verified("manifest", read(row["manifest_file"]), row["manifest_sha256"]))
            for horizon, row in rows.items()
        }
        fitted = next(iter(loaded.values())).fitted
        if set(fitted.horizons) != set(rows):  # the settings have other horizons now: left to the next training
            continue
        stored = Stored(rows, manifests, fitted, fitted, {})
        manifest_folder = str(PurePosixPath(rows[fitted.horizons[0]]["manifest_file"]).parent)
        training = stored.of_training
        model_file = f"{manifest_folder}/{training['model_file']}"
        contents = {training["model_file"]: read(model_file)}
        if PurePosixPath(model_file).name == LISTING:
            beside = PurePosixPath(training["model_file"]).parent
            for _, file in listed(contents[training["model_file"]], model_file):
                contents[f"{beside}/{file}"] = read(f"{manifest_folder}/{beside}/{file}")
        (place := folder / str(number) / "training").mkdir()
        fetch(training["model_file"], training["model_sha256"], contents.__getitem__, place)
        yield replace(stored, training=learner.read(place, fitted.horizons), training_files=contents)


def update_checkpoint(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    as_of: date,
    settings: TrainingSettings,
    learner: Learner[Any],
    stored: Stored,
    names: Sequence[str],
    folder: Path,
    read: Read,
) -> list[TrainedModel]:
    """Update a model with rows that became known since its last fit, after evaluating it on unseen rows.

    Of the rows that a training at `as_of` may use, the update takes those that the model was not fitted on. It is
    evaluated on the `unseen` ones, whose returns share no session with those of rows used for fitting, early stopping
    or tuning; so is the model as trained, which shows whether updates help. Residuals, calibration, interval and
    reference stay those of the training: they come from its folds and rows, and many small steps would hide a drift
    that is not measured from the training.

    Args:
        features: as in `train_checkpoint`.
        labels: as in `train_checkpoint`.
        as_of: session of the update.
        settings: as in `train_checkpoint`.
        learner: as in `train_checkpoint`, with `updates`.
        stored: the fit to update.
        names: as in `train_checkpoint`.
        folder: folder for the files.
        read: returns the content of a file by its name.

    Returns:
        One result for each horizon of the fit; without new rows the model is unchanged, and without unseen rows there
        are no metrics.

    """
    horizons = stored.fitted.horizons
    frame = rows_of(features, labels, as_of, settings, horizons, names)
    new_rows = frame.filter(pl.col("known_at") > stored.fitted_through)
    model = stored.fitted
    if len(new_rows):
        model = learner.update(model, _model_rows(new_rows, settings, learner, horizons, names), stored.fitted_rows)
    label = "_".join(map(str, horizons))
    (place := folder / f"{learner.name}-{label}").mkdir(parents=True)
    model.write(place)
    files = ModelFiles.of(place, f"model_h{label}")
    paths = dict(files.paths)
    others = dict(stored.training_files)
    if reference := stored.first["reference"]:
        base = PurePosixPath(stored.rows[horizons[0]]["manifest_file"]).parent
        others[reference["file"]] = verified("reference", read(f"{base}/{reference['file']}"), reference["sha256"])
    for name, content in others.items():
        (target := folder / f"{learner.name}-{label}-before" / name).parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        paths.setdefault(name, target)
    files = replace(files, paths=paths)
    through = max(stored.fitted_through, _last_known(new_rows) or stored.fitted_through)
    tested = unseen(frame, stored.known, settings.embargo_sessions)
    judged = {"before": _judged(stored.fitted, tested, names), "training": _judged(stored.training, tested, names)}
    importances = model.importances().items()
    results = []
    for horizon in horizons:
        manifest = stored.manifests[horizon]
        earlier = manifest.get("updated", {}).get("judged", [])
        of_horizon = {name: of[horizon] for name, of in judged.items()}
        manifest |= {
            "as_of": as_of.isoformat(),
            "model_sha256": files.sha256,
            "feature_importance": {measure: dict(zip(names, values, strict=True)) for measure, values in importances},
            "metrics": of_horizon["before"],
            "data": span(frame),
            "libraries": {name: version_of(name) for name in (*learner.libraries, "numpy", "polars")},
            "updated": {
                "training": stored.of_training,
                "from": {
                    "as_of": stored.rows[horizon]["as_of"].isoformat(),
                    "model_sha256": stored.rows[horizon]["model_sha256"],
                },
                "fed": span(new_rows),
                "fitted_rows": stored.fitted_rows + len(new_rows),
                "fitted_through": through.isoformat(),
                "judged": [*earlier, {"as_of": as_of.isoformat(), "rows": span(tested)} | of_horizon],
            },
        }
        text = json.dumps(manifest, sort_keys=True, indent=2, allow_nan=False) + "\n"
        results.append(
            TrainedModel(
                learner.name,
                learner.kind,
                as_of,
                horizon,
                len(frame),
                frame["date"].min(),  # type: ignore[arg-type]
                max(stored.known, _last_known(frame) or stored.known),
                updated=True,
                files=files,
                manifest=text.encode(),
                metrics=None if of_horizon["before"] is None else Metrics(**of_horizon["before"]),
            )
        )
    return results


def against_updates(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    as_of: date,
    settings: TrainingSettings,
    learner: Learner[Any],
    stored: Stored,
    scope: str,
    names: Sequence[str],
) -> dict[int, dict[str, Any]]:
    """Compare an updated model with a full training on the same rows, when a full training replaces it.

    The training at `as_of` uses the rows that became known since the checkpoint before, so it cannot be evaluated on
    them. Instead a model of the same settings is trained on the rows that the updated model could know (of the window
    of `as_of`, so up to a month less). This model, the updated one and the original training forecast the `unseen`
    rows.

    Args:
        features: as in `train_checkpoint`.
        labels: as in `train_checkpoint`.
        as_of: session of the training.
        settings: as in `train_checkpoint`.
        learner: as in `train_checkpoint`.
        stored: the updated checkpoint of the month before.
        scope: as in `train_checkpoint`; part of the seed.
        names: as in `train_checkpoint`.

    Returns:
        Plain values for the manifest, by horizon: metrics of `updated`, `full` and `training` over the unseen `rows`,
        null without any; the evaluations `judged` of earlier updates. `full` is also null if there are too few rows to
        split.

    """
    horizons = stored.fitted.horizons
    frame = rows_of(features, labels, as_of, settings, horizons, names)
    tested = unseen(frame, stored.known, settings.embargo_sessions)
    known = frame.filter(pl.col("known_at") <= stored.known)
    metrics = {"updated": _judged(stored.fitted, tested, names), "training": _judged(stored.training, tested, names)}
    metrics["full"] = dict.fromkeys(horizons)
    if len(tested) and len(known) >= settings.min_rows:
        try:
            fold = purged_walk_forward(
                known["date"].to_numpy(), known["known_at"].to_numpy(), settings.folds, settings.embargo_sessions
            )[-1]
        except HistoryError:
            pass
        else:
            train, later = (
                _model_rows(known.filter(pl.Series(mask)), settings, learner, horizons, names)
                for mask in (fold.train, fold.validation)
            )
            before = stored.rows[horizons[0]]["as_of"]
            full = learner.fit(train, later, seed_of(settings.seed, scope, before, "_".join(map(str, horizons))))
            metrics["full"] = _judged(full, tested, names)
    return {
        horizon: {name: of[horizon] for name, of in metrics.items()}
        | {"rows": span(tested), "judged": stored.manifests[horizon]["updated"]["judged"]}
        for horizon in horizons
    }


def unseen(rows: pl.DataFrame, known: date, embargo_sessions: int) -> pl.DataFrame:
    """Rows for the evaluation of a model: sessions after the last label that it knows, plus the embargo.

    A label that became known later is not enough: it shares most of its sessions with labels used in fitting, which
    makes the model look better than it is, the more so the longer the horizon. If the horizon is longer than the time
    between two updates, no label is unseen at the next update.

    Args:
        rows: rows with `date`.
        known: latest `known_at` of the rows used for fitting, early stopping or tuning.
        embargo_sessions: as in `purged_walk_forward`.

    References:
        López de Prado (2018), Advances in Financial Machine Learning, section 7.4.

    """
    last = session_number(np.array([known], dtype="datetime64[D]"))[0] + embargo_sessions
    return rows.filter(pl.Series(session_number(rows["date"].to_numpy()) > last))


def with_comparison(trained: TrainedModel, found: Mapping[str, Any] | None) -> TrainedModel:
    """The training with the result of `against_updates` in its manifest; unchanged without result or manifest."""
    if found is None or trained.manifest is None:
        return trained
    manifest = json.loads(trained.manifest) | {"against_updates": dict(found)}
    text = json.dumps(manifest, sort_keys=True, indent=2, allow_nan=False) + "\n"
    return replace(trained, manifest=text.encode())


def _model_rows(
    frame: pl.DataFrame,
    settings: TrainingSettings,
    learner: Learner[Any],
    horizons: Sequence[int],
    names: Sequence[str],
) -> Rows:
    return with_targets(Rows.of(frame, names, horizons), frame.drop(names), settings, learner.task)


def _judged(model: FittedModel, rows: pl.DataFrame, names: Sequence[str]) -> dict[int, dict[str, Any] | None]:
    """Metrics of the forecasts by horizon; None without rows."""
    if rows.is_empty():
        return dict.fromkeys(model.horizons)
    forecasts, outcomes = model.predict(Rows.of(rows, names)), rows.drop(names)
    return {
        horizon: asdict(evaluate(fold_forecasts(outcomes, target_column(horizon), forecasts, column), horizon))
        for column, horizon in enumerate(model.horizons)
    }


def _last_known(rows: pl.DataFrame) -> date | None:
    latest: date | None = rows["known_at"].max()  # type: ignore[assignment]
    return latest


def _within(name: str, beside: str) -> str:
    """A file's name relative to the folder of another file."""
    return str(PurePosixPath(name).relative_to(PurePosixPath(beside).parent))
