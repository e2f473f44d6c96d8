"""The training of a checkpoint as a unit of work: from Arrow files to models and their facts."""

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets import catalogue
from quant_assets.errors import SettingsError
from quant_assets.learning.deep.training_context import Tell, remove_states, training_at
from quant_assets.learning.metrics import Metrics
from quant_assets.learning.model_files import ModelFiles
from quant_assets.learning.models.base import Learner
from quant_assets.learning.observing import is_observed
from quant_assets.learning.trained import TrainedModel
from quant_assets.learning.training import train_checkpoint
from quant_assets.runtime.launch import Folders, Launcher, Unit
from quant_assets.settings.domain import ModelSettings, PredictionSettings, TrainingSettings

_LOG = logging.getLogger(__name__)

_FEATURES, _LABELS, _PRICES = "features.arrow", "labels.arrow", "prices.arrow"
_FACTS, _MANIFEST = "facts.json", "manifest.json"
#: Optional frames of a result, one file each.
_FRAMES = ("out_of_fold", "contributions")
_DATES = ("as_of", "first_date", "last_known_at")


def train(
    launcher: Launcher,
    kind: str,
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
    kept: Path | None = None,
    tell: Tell = _LOG.info,
) -> list[TrainedModel]:
    """Run `train_checkpoint` where `launcher` runs it, with the same result byte by byte.

    The audit observes the fits of its own process, so observed trainings run there.

    Args:
        launcher: where it runs.
        kind: of the model, as the settings name it.
        features: as of `train_checkpoint`, and so are the others.
        labels: as there.
        as_of: as there.
        settings: as there.
        prediction_settings: as there.
        learner: as there.
        horizons: as there.
        scope: as there.
        names: as there.
        folder: as there; it is empty.
        prices: as there.
        kept: folder of the states to resume a killed training from, if its kind can; of this training only.
        tell: receives lines of progress; from another process they come as its output.

    Raises:
        SettingsError: the launcher has several processes, and the kind does not support them.
        QuantError: the training failed, or its process died.

    """
    devices = launcher.processes if learner.on_device else 0
    launcher = launcher.on(0 if is_observed() else devices)
    if launcher.here or is_observed():
        options = settings, prediction_settings, learner, horizons, scope, names, folder
        with training_at(None if is_observed() else kept, tell):
            trained = train_checkpoint(features, labels, as_of, *options, prices=prices)
        if kept is not None and not is_observed():
            remove_states(kept)
        return trained
    if launcher.processes > 1 and not learner.distributed:
        raise SettingsError(
            f"launch.processes is {launcher.processes}, and model {learner.name} of kind {kind} trains in one process: "
            "set launch.processes to 1 (QUANT__LAUNCH__PROCESSES), or launch.kind to subprocess (QUANT__LAUNCH__KIND)"
        )
    folders = Folders(folder / "inputs", folder / "outputs")
    for each in folders:
        each.mkdir()
    features.write_ipc(folders.inputs / _FEATURES)
    labels.write_ipc(folders.inputs / _LABELS)
    if prices is not None:
        prices.write_ipc(folders.inputs / _PRICES)
    kept = kept or folder / "kept"  # several processes share it
    arguments = {
        "as_of": as_of.isoformat(),
        "settings": settings.model_dump(mode="json"),
        "prediction_settings": prediction_settings.model_dump(mode="json"),
        "model": {
            "name": learner.name,
            "settings": {
                "kind": kind,
                "parameters": _plain(learner),
                "task_type": learner.task,
                "update": learner.updates,
            },
        },
        "horizons": list(horizons),
        "scope": scope,
        "names": list(names),
        "kept": str(kept),
    }
    launcher.launch(Unit.of(train_unit, arguments, folders, devices, scope))
    remove_states(kept)
    return [_read(folders.outputs, f"h{horizon}") for horizon in horizons]


def train_unit(
    inputs: Path,
    outputs: Path,
    *,
    as_of: str,
    settings: dict[str, Any],
    prediction_settings: dict[str, Any],
    model: dict[str, Any],
    horizons: list[int],
    scope: str,
    names: list[str],
    kept: str,
) -> None:
    """The unit's function: `train_checkpoint` over the files of `inputs`, a folder in `outputs` for each horizon.

    With several processes, the first one's result counts.
    """
    if (rank := os.environ.get("RANK", "0")) != "0":
        outputs = outputs / f"rank{rank}"
        outputs.mkdir()
    files = outputs / "files"
    files.mkdir()
    with training_at(Path(kept), shown):
        trained = train_checkpoint(
            pl.read_ipc(inputs / _FEATURES),
            pl.read_ipc(inputs / _LABELS),
            date.fromisoformat(as_of),
            TrainingSettings.model_validate(settings),
            PredictionSettings.model_validate(prediction_settings),
            catalogue.learner(model["name"], ModelSettings.model_validate(model["settings"])),
            horizons,
            scope,
            names,
            files,
            prices=pl.read_ipc(path) if (path := inputs / _PRICES).exists() else None,
        )
    for item in trained:
        _write(outputs, f"h{item.horizon}", item)


def shown(line: str) -> None:
    """Report to the step through this process's output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _plain(learner: Learner[Any]) -> dict[str, Any]:
    found: dict[str, Any] = learner.parameters.model_dump(mode="json")
    return found


def _write(outputs: Path, name: str, item: TrainedModel) -> None:
    folder = outputs / name
    folder.mkdir()
    facts: dict[str, Any] = {each: getattr(item, each) for each in ("model", "kind", "horizon", "rows")}
    facts |= {each: day.isoformat() if (day := getattr(item, each)) else None for each in _DATES}
    if item.files is not None and item.metrics is not None and item.manifest is not None:
        paths = {kept: path.relative_to(outputs).as_posix() for kept, path in item.files.paths.items()}
        facts["files"] = {"sha256": item.files.sha256, "name": item.files.name, "paths": paths}
        facts["metrics"] = asdict(item.metrics)
        (folder / _MANIFEST).write_bytes(item.manifest)
    for each in _FRAMES:
        if (frame := getattr(item, each)) is not None:
            frame.write_ipc(folder / f"{each}.arrow")
    (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _read(outputs: Path, name: str) -> TrainedModel:
    folder = outputs / name
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    facts |= {each: facts[each] and date.fromisoformat(facts[each]) for each in _DATES}
    files, metrics = facts.pop("files", None), facts.pop("metrics", None)
    if files is None:
        return TrainedModel(**facts)
    frames: dict[str, Any] = {
        each: pl.read_ipc(path) for each in _FRAMES if (path := folder / f"{each}.arrow").exists()
    }
    paths = {kept: outputs / path for kept, path in files["paths"].items()}
    return TrainedModel(
        **facts,
        files=ModelFiles(files["sha256"], files["name"], paths),
        manifest=(folder / _MANIFEST).read_bytes(),
        metrics=Metrics(**metrics),
        **frames,
    )
