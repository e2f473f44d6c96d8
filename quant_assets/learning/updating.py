"""Updates of a checkpoint between full trainings: what is fed, how the model before did on it, what is written.

An update takes the rows that became known since the checkpoint before, each of them once; nothing else decides it.
Files of models go into a folder that the caller gives, and are read by a function that it gives.

References:
    Dawid (1984), Statistical theory: the prequential approach, Journal of the Royal Statistical Society A 147(2): a
    model is judged on each part of the data before it learns from it.

"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.metadata import version
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
from quant_assets.learning.training import rows_of, seed_of, span, target_column, with_targets
from quant_assets.market.calendar import session_number
from quant_assets.settings.domain import TrainingSettings

Read = Callable[[str], bytes]


@dataclass(frozen=True)
class Stored:
    """One fit of a checkpoint that an update starts from.

    Attributes:
        rows: of the dataset of checkpoints, by horizon.
        manifests: by horizon.
        fitted: the model.
        training: the model as it was trained, before any update.
        training_files: of that model, name and content.

    """

    rows: Mapping[int, Mapping[str, Any]]
    manifests: Mapping[int, dict[str, Any]]
    fitted: FittedModel
    training: FittedModel
    training_files: Mapping[str, bytes]

    @property
    def known(self) -> date:
        """Latest `known_at` among the rows that were there: later ones are new to it."""
        found: date = max(row["last_known_at"] for row in self.rows.values())
        return found

    @property
    def first(self) -> dict[str, Any]:
        """A manifest: what is of the fit is the same for all horizons."""
        return self.manifests[self.fitted.horizons[0]]

    @property
    def fitted_through(self) -> date:
        """Latest `known_at` among the rows that it has learned from.

        At a training the rows that stopped or tuned the fit are later; the first update learns from them, too.
        """
        updated = self.first.get("updated")
        said = updated["fitted_through"] if updated else self.first["final"]["train"]["last_known_at"]
        return date.fromisoformat(said)

    @property
    def fitted_rows(self) -> int:
        """How many rows it has learned from."""
        updated = self.first.get("updated")
        return int(updated["fitted_rows"] if updated else self.first["final"]["train"]["rows"])

    @property
    def of_training(self) -> dict[str, Any]:
        """Where the model as it was trained is from."""
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
    """The fits of a model's checkpoint of the month before, of the horizons that are asked for.

    Args:
        before: rows of the dataset of checkpoints of that month; none where nothing is stored.
        learner: of the model.
        horizons: sessions from entry to exit.
        names: columns that the model sees, in order.
        read: gives the content of a file by its name.
        folder: an empty one, where files are put.

    Raises:
        ModelFileError: a file is missing or not the one that was written.
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
        if set(fitted.horizons) != set(rows):  # the settings ask for other horizons now: the next training has them
            continue
        found = Stored(rows, manifests, fitted, fitted, {})
        at = str(PurePosixPath(rows[fitted.horizons[0]]["manifest_file"]).parent)
        told = found.of_training
        kept = f"{at}/{told['model_file']}"
        contents = {told["model_file"]: read(kept)}
        if PurePosixPath(kept).name == LISTING:
            beside = PurePosixPath(told["model_file"]).parent
            for _, each in listed(contents[told["model_file"]], kept):
                contents[f"{beside}/{each}"] = read(f"{at}/{beside}/{each}")
        (place := folder / str(number) / "training").mkdir()
        fetch(told["model_file"], told["model_sha256"], contents.__getitem__, place)
        yield replace(found, training=learner.read(place, fitted.horizons), training_files=contents)


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
    """Let a model learn from the rows that became known since, and judge it on them before it does.

    The rows are those that a training at `as_of` might use; of these it is fed the ones that it has not learned from,
    and judged on the ones that `unseen` tells, whose returns share no session with those of rows that fitted, stopped
    or tuned it. So is the model as it was trained, which shows whether updates help. Residuals, calibration, interval
    and the reference that later rows are held against stay those of the training: they are from its folds and rows, and
    a drift is told against the training, or many small steps would hide it.

    Args:
        features: as of `train_checkpoint`, and so are the others.
        labels: as there.
        as_of: session of the update.
        settings: as there.
        learner: as there, with `updates`.
        stored: what is updated.
        names: as there.
        folder: takes the files.
        read: gives the content of a file by its name.

    Returns:
        One result for each horizon of the fit; where no rows became known, the model is as it was, and where there are
        none to judge it on, there are no metrics.

    """
    horizons = stored.fitted.horizons
    frame = rows_of(features, labels, as_of, settings, horizons, names)
    fed = frame.filter(pl.col("known_at") > stored.fitted_through)
    model = stored.fitted
    if len(fed):
        model = learner.update(model, _given(fed, settings, learner, horizons, names), stored.fitted_rows)
    label = "_".join(map(str, horizons))
    (place := folder / f"{learner.name}-{label}").mkdir(parents=True)
    model.write(place)
    files = ModelFiles.of(place, f"model_h{label}")
    paths = dict(files.paths)
    beside = dict(stored.training_files)
    if reference := stored.first["reference"]:
        at = PurePosixPath(stored.rows[horizons[0]]["manifest_file"]).parent
        beside[reference["file"]] = verified("reference", read(f"{at}/{reference['file']}"), reference["sha256"])
    for name, content in beside.items():
        (kept := folder / f"{learner.name}-{label}-before" / name).parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(content)
        paths.setdefault(name, kept)
    files = replace(files, paths=paths)
    through = max(stored.fitted_through, _last_known(fed) or stored.fitted_through)
    new = unseen(frame, stored.known, settings.embargo_sessions)
    judged = {"before": _judged(stored.fitted, new, names), "training": _judged(stored.training, new, names)}
    importances = model.importances().items()
    results = []
    for horizon in horizons:
        manifest = stored.manifests[horizon]
        earlier = manifest.get("updated", {}).get("judged", [])
        of_horizon = {name: of[horizon] for name, of in judged.items()}
        manifest |= {
            "as_of": as_of.isoformat(),
            "model_sha256": files.sha256,
            "feature_importance": {each: dict(zip(names, values, strict=True)) for each, values in importances},
            "metrics": of_horizon["before"],
            "data": span(frame),
            "libraries": {name: version(name) for name in (*learner.libraries, "numpy", "polars")},
            "updated": {
                "training": stored.of_training,
                "from": {
                    "as_of": stored.rows[horizon]["as_of"].isoformat(),
                    "model_sha256": stored.rows[horizon]["model_sha256"],
                },
                "fed": span(fed),
                "fitted_rows": stored.fitted_rows + len(fed),
                "fitted_through": through.isoformat(),
                "judged": [*earlier, {"as_of": as_of.isoformat(), "rows": span(new)} | of_horizon],
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
    """What updates were worth until a full training ends them: their model beside one that is trained in full.

    A training at `as_of` has seen the rows that became known since the checkpoint before, so it cannot be judged on
    them. So a model of the same settings is trained on the rows that the updated model could know (of the window of
    `as_of`, thus up to a month less), and both forecast the rows that are `unseen`, and so does the training that was
    updated, as it was.

    Args:
        features: as of `train_checkpoint`, and so are the others.
        labels: as there.
        as_of: session of the training.
        settings: as there.
        learner: as there.
        stored: the checkpoint of the month before, updated.
        scope: as there; part of the seed.
        names: as there.

    Returns:
        Plain values for the manifest, by horizon: metrics of `updated`, `full` and `training` over the `rows` that are
        unseen, null where there are none; what was `judged` at each update before. `full` is also null where the rows
        are too few to split.

    """
    horizons = stored.fitted.horizons
    frame = rows_of(features, labels, as_of, settings, horizons, names)
    new = unseen(frame, stored.known, settings.embargo_sessions)
    then = frame.filter(pl.col("known_at") <= stored.known)
    found = {"updated": _judged(stored.fitted, new, names), "training": _judged(stored.training, new, names)}
    found["full"] = dict.fromkeys(horizons)
    if len(new) and len(then) >= settings.min_rows:
        try:
            fold = purged_walk_forward(
                then["date"].to_numpy(), then["known_at"].to_numpy(), settings.folds, settings.embargo_sessions
            )[-1]
        except HistoryError:
            pass
        else:
            train, later = (
                _given(then.filter(pl.Series(mask)), settings, learner, horizons, names)
                for mask in (fold.train, fold.validation)
            )
            before = stored.rows[horizons[0]]["as_of"]
            full = learner.fit(train, later, seed_of(settings.seed, scope, before, "_".join(map(str, horizons))))
            found["full"] = _judged(full, new, names)
    return {
        horizon: {name: of[horizon] for name, of in found.items()}
        | {"rows": span(new), "judged": stored.manifests[horizon]["updated"]["judged"]}
        for horizon in horizons
    }


def unseen(rows: pl.DataFrame, known: date, embargo_sessions: int) -> pl.DataFrame:
    """Rows that a model may be judged on: of sessions after the last label that it knows, less the embargo.

    That a label became known later is not enough. It shares most of its sessions with labels that were fed, and a model
    that learned from these looks better on it than it is, the more so the longer the horizon: the labels of a horizon
    that is longer than the time between two updates are none of them unseen at the next one.

    Args:
        rows: with `date`.
        known: the latest `known_at` of the rows that fitted, stopped or tuned the model.
        embargo_sessions: as of `purged_walk_forward`.

    References:
        López de Prado (2018), Advances in Financial Machine Learning, section 7.4.

    """
    last = session_number(np.array([known], dtype="datetime64[D]"))[0] + embargo_sessions
    return rows.filter(pl.Series(session_number(rows["date"].to_numpy()) > last))


def with_comparison(trained: TrainedModel, found: Mapping[str, Any] | None) -> TrainedModel:
    """A training whose manifest tells what `against_updates` found of its horizon, where it did and there is one."""
    if found is None or trained.manifest is None:
        return trained
    manifest = json.loads(trained.manifest) | {"against_updates": dict(found)}
    text = json.dumps(manifest, sort_keys=True, indent=2, allow_nan=False) + "\n"
    return replace(trained, manifest=text.encode())


def _given(
    frame: pl.DataFrame,
    settings: TrainingSettings,
    learner: Learner[Any],
    horizons: Sequence[int],
    names: Sequence[str],
) -> Rows:
    return with_targets(Rows.of(frame, names, horizons), frame.drop(names), settings, learner.task)


def _judged(model: FittedModel, rows: pl.DataFrame, names: Sequence[str]) -> dict[int, dict[str, Any] | None]:
    """Metrics of forecasts of rows by horizon; None where there are no rows."""
    if rows.is_empty():
        return dict.fromkeys(model.horizons)
    found, outcomes = model.predict(Rows.of(rows, names)), rows.drop(names)
    return {
        horizon: asdict(evaluate(fold_forecasts(outcomes, target_column(horizon), found, column), horizon))
        for column, horizon in enumerate(model.horizons)
    }


def _last_known(rows: pl.DataFrame) -> date | None:
    found: date | None = rows["known_at"].max()  # type: ignore[assignment]
    return found


def _within(name: str, beside: str) -> str:
    """A file's name below the folder of another."""
    return str(PurePosixPath(name).relative_to(PurePosixPath(beside).parent))
