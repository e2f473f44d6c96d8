"""A pre-training as a unit of work, like `training_unit`: from bars to an encoder."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets import catalogue
from quant_assets.assets.training_unit import shown
from quant_assets.learning.deep.training_context import Tell, remove_states, training_at
from quant_assets.learning.model_files import VERSION_LENGTH, sha256
from quant_assets.learning.models.base import Learner
from quant_assets.learning.models.transformer import refuse_without_torch
from quant_assets.learning.observing import is_observed
from quant_assets.runtime.launch import Folders, Launcher, Unit
from quant_assets.settings.domain import ModelSettings

_BARS, _FACTS, _FILE, _MANIFEST = "bars.arrow", "facts.json", "encoder.ckpt", "manifest.json"
_DATES = ("first_date", "last_date")


@dataclass(frozen=True)
class Pretrained:
    """Result of a pre-training.

    Attributes:
        content: of the encoder's file; None if the history was too short.
        manifest: as JSON; None if the history was too short.
        facts: columns of dataset `transformer_pretrained`.

    """

    content: bytes | None
    manifest: bytes | None
    facts: Mapping[str, Any]

    @property
    def sha256(self) -> str | None:
        """Of the file."""
        return sha256(self.content) if self.content else None

    @property
    def version(self) -> str | None:
        """First characters of the hash."""
        digest = self.sha256
        return digest[:VERSION_LENGTH] if digest else None

    @property
    def file_name(self) -> str:
        """Name under which the file is kept."""
        return f"encoder-{self.version}.ckpt"

    @property
    def manifest_sha256(self) -> str | None:
        """Of the manifest."""
        return sha256(self.manifest) if self.manifest else None

    @property
    def manifest_name(self) -> str:
        """Name under which the manifest is kept."""
        return f"manifest-{(self.manifest_sha256 or '')[:VERSION_LENGTH]}.json"


def pretrain(
    launcher: Launcher,
    kind: str,
    bars: pl.DataFrame,
    as_of: date,
    learner: Learner[Any],
    seed: int,
    folder: Path,
    kept: Path | None,
    tell: Tell,
) -> Pretrained:
    """Pre-train an encoder, wherever `launcher` runs it.

    Args:
        launcher: where it runs.
        kind: of the model, as the settings name it.
        bars: dataset prices of every sector, with `sector`.
        as_of: session of the training; nothing later is used.
        learner: of kind `transformer`.
        seed: of the settings.
        folder: takes the files; it is empty.
        kept: folder of the states to resume a killed training from.
        tell: receives lines of progress.

    """
    devices = launcher.processes if learner.on_device else 0
    launcher, kept = launcher.on(0 if is_observed() else devices), kept or folder / "kept"
    folders = Folders(folder / "inputs", folder / "outputs")
    for each in folders:
        each.mkdir()
    bars.write_ipc(folders.inputs / _BARS)
    parameters = learner.parameters.model_dump(mode="json")
    arguments = {
        "as_of": as_of.isoformat(),
        "model": {"name": learner.name, "settings": {"kind": kind, "parameters": parameters}},
        "seed": seed,
        "kept": str(kept),
    }
    unit = Unit.of(pretrain_unit, arguments, folders, devices, "market")
    if launcher.here:
        with training_at(kept, tell):
            unit.carry_out()
    else:
        launcher.launch(unit)
    remove_states(kept)
    facts = json.loads((folders.outputs / _FACTS).read_text(encoding="utf-8"))
    facts |= {each: facts[each] and date.fromisoformat(facts[each]) for each in _DATES}
    file = folders.outputs / _FILE
    if not file.exists():
        return Pretrained(None, None, facts)
    return Pretrained(file.read_bytes(), (folders.outputs / _MANIFEST).read_bytes(), facts)


def pretrain_unit(inputs: Path, outputs: Path, *, as_of: str, model: dict[str, Any], seed: int, kept: str) -> None:
    """The unit's function; with several processes, the first one's result counts."""
    from quant_assets.learning.deep.training_context import current_training

    refuse_without_torch(f"model {model['name']}")
    from quant_assets.learning.transformer.pretraining import pretrained

    learner = catalogue.learner(model["name"], ModelSettings.model_validate(model["settings"]))
    outer = current_training()
    with training_at(Path(kept), outer.tell if outer.folder is not None else shown):
        result = pretrained(
            pl.read_ipc(inputs / _BARS), date.fromisoformat(as_of), learner.parameters, seed, model["name"]
        )
    if os.environ.get("RANK", "0") != "0":
        return
    if result.content is not None and result.manifest is not None:
        (outputs / _FILE).write_bytes(result.content)
        (outputs / _MANIFEST).write_text(result.manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    plain = {name: each.isoformat() if isinstance(each, date) else each for name, each in result.facts.items()}
    (outputs / _FACTS).write_text(json.dumps(plain), encoding="utf-8")
