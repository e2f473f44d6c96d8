"""The training of a sector's LightGBM checkpoint as a unit of work: frames go in as Arrow files, models come out."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.learning.boosting import TrainedModel, train_checkpoint
from quant_assets.learning.metrics import Metrics
from quant_assets.runtime.launch import Launcher, Unit, unit_folders
from quant_assets.settings.domain import PredictionSettings, TrainingSettings

_FEATURES, _LABELS = "features.arrow", "labels.arrow"
_FACTS, _MODEL, _MANIFEST, _OUT_OF_FOLD = "facts.json", "model.txt", "manifest.json", "out_of_fold.arrow"


def train(
    launcher: Launcher,
    features: pl.DataFrame,
    labels: pl.DataFrame,
    as_of: date,
    settings: TrainingSettings,
    prediction_settings: PredictionSettings,
    horizons: Sequence[int],
    sector: str,
    names: Sequence[str],
) -> list[TrainedModel]:
    """What `train_checkpoint` gives for the same arguments, byte by byte, wherever `launcher` runs it.

    Raises:
        QuantError: the training failed, or its process died.

    """
    if launcher.here:
        return train_checkpoint(features, labels, as_of, settings, prediction_settings, horizons, sector, names)
    with unit_folders() as folders:
        features.write_ipc(folders.inputs / _FEATURES)
        labels.write_ipc(folders.inputs / _LABELS)
        arguments = {
            "as_of": as_of.isoformat(),
            "settings": settings.model_dump(mode="json"),
            "prediction_settings": prediction_settings.model_dump(mode="json"),
            "horizons": list(horizons),
            "sector": sector,
            "names": list(names),
        }
        launcher.launch(Unit.of(train_unit, arguments, folders))
        return [_read(folders.outputs / f"h{horizon}", as_of, horizon) for horizon in horizons]


def train_unit(
    inputs: Path,
    outputs: Path,
    *,
    as_of: str,
    settings: dict[str, Any],
    prediction_settings: dict[str, Any],
    horizons: list[int],
    sector: str,
    names: list[str],
) -> None:
    """The unit's function: `train_checkpoint` over the files of `inputs`, a folder in `outputs` for each horizon."""
    trained = train_checkpoint(
        pl.read_ipc(inputs / _FEATURES),
        pl.read_ipc(inputs / _LABELS),
        date.fromisoformat(as_of),
        TrainingSettings.model_validate(settings),
        PredictionSettings.model_validate(prediction_settings),
        horizons,
        sector,
        names,
    )
    for item in trained:
        _write(outputs / f"h{item.horizon}", item)


def _write(folder: Path, item: TrainedModel) -> None:
    folder.mkdir()
    facts = {
        "rows": item.rows,
        "first_date": item.first_date.isoformat() if item.first_date else None,
        "last_known_at": item.last_known_at.isoformat() if item.last_known_at else None,
        "metrics": asdict(item.metrics) if item.metrics else None,
    }
    (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
    for name, content in ((_MODEL, item.model), (_MANIFEST, item.manifest)):
        if content is not None:
            (folder / name).write_bytes(content)
    if item.out_of_fold is not None:
        item.out_of_fold.write_ipc(folder / _OUT_OF_FOLD)


def _read(folder: Path, as_of: date, horizon: int) -> TrainedModel:
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    first, known = (facts[name] and date.fromisoformat(facts[name]) for name in ("first_date", "last_known_at"))
    there = (folder / _MODEL).exists()
    return TrainedModel(
        as_of,
        horizon,
        facts["rows"],
        first,
        known,
        (folder / _MODEL).read_bytes() if there else None,
        (folder / _MANIFEST).read_bytes() if there else None,
        Metrics(**facts["metrics"]) if there else None,
        pl.read_ipc(folder / _OUT_OF_FOLD) if there else None,
    )
