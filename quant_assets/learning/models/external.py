"""A model that was trained elsewhere, from a file in one of the formats of `learning.external_formats`.

It learns nothing here. Its figures are those of sessions after `trained_until`, the last one that it may know anything
of; before there are such sessions it has no checkpoint. The file's hash is verified before anything is opened, and what
was read is kept in the checkpoint, so that the file may go.
"""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from quant_assets.errors import DatasetError
from quant_assets.learning.external_formats import FORMATS, Activation, Asked
from quant_assets.learning.model_files import VERSION_LENGTH, sha256
from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.settings.group import SettingsGroup

#: What is said of the file, beside it.
_SAID = "external.json"

Format = Literal["lightgbm", "xgboost", "onnx", "safetensors", "state_dict", "skops", "pickle"]


class Parameters(SettingsGroup):
    """The file and what it takes.

    Attributes:
        path: of the file, whole or from the working directory; `~` is the home folder.
        sha256: of its content; another content is refused unopened.
        format: one of these, whatever the file's name.
        features: names of the model's inputs, in its order, among those of `features.*`.
        trained_until: the last session that its training, tuning and choice may have seen, labels included.
        trusted_types: of a pickle every class and function that it may name, as `module.name`, of a skops file those
            that skops does not know. A trusted one is called by whoever wrote the file: list none whose arguments could
            do harm.
        activation: between the layers of safetensors or a state dict, where there are several.

    """

    path: str = Field(min_length=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    format: Format
    features: tuple[str, ...] = Field(min_length=1)
    trained_until: date
    trusted_types: tuple[str, ...] = ()
    activation: Activation | None = None

    @field_validator("trusted_types")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if "." not in each or "*" in each:
                raise ValueError(f"'{each}' is no module.name; patterns trust what nobody has looked at")
        return value


class External(FittedModel):
    """The content of a file as a model of rows with other features beside its own."""

    def __init__(
        self, content: bytes, said: dict[str, Any], trusted: tuple[str, ...], horizons: tuple[int, ...], origin: str
    ) -> None:
        self.content, self.said, self.horizons, self.origin = content, said, horizons, origin
        self.features = tuple(said["given"])
        missing = [name for name in said["features"] if name not in self.features]
        if missing:
            raise DatasetError(f"{origin}: there are no features {', '.join(missing)}; add their set to features.sets")
        self._columns = [self.features.index(name) for name in said["features"]]
        asked = Asked(tuple(said["features"]), trusted, said.get("activation"), origin)
        self._ask = FORMATS[said["format"]][1](content, asked)

    def _predict(self, rows: Rows) -> Distribution:
        found = self._ask(np.ascontiguousarray(rows.matrix[:, self._columns]))
        if found.shape != (len(rows),):
            raise DatasetError(
                f"{self.origin}: it gave values of shape {found.shape} for {len(rows)} rows, not one each"
            )
        return Distribution(found.astype(np.float64)[:, None])

    def save(self, folder: Path) -> None:
        """The file as it was read, and what is said of it."""
        (folder / _file(self.said)).write_bytes(self.content)
        (folder / _SAID).write_text(json.dumps(self.said, sort_keys=True, indent=1) + "\n", encoding="utf-8")

    def description(self) -> dict[str, Any]:
        """Format and hash of the file, and until when it was trained."""
        kept = ("format", "sha256", "trained_until")
        return {name: self.said[name] for name in kept} | {"inputs": list(self.said["features"])}


class ExternalLearner(Learner[Parameters]):
    """Takes the model as it is."""

    kind = "external"
    file_format = "as it came, and JSON"
    missing = "learned"
    exact = True
    learns = False
    parameters_type = Parameters

    @property
    def knows_until(self) -> date:
        """The last session that it may know anything of."""
        return self.parameters.trained_until

    def _fit(self, rows: Rows, validation: Rows, seed: int) -> External:
        """The file; rows and seed have no part in it."""
        settings = self.parameters
        path = Path(settings.path).expanduser()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DatasetError(
                f"{self.said}: {path} cannot be read ({error.strerror}); mend models.{self.name}.parameters.path"
            ) from None
        found = sha256(content)
        if found != settings.sha256:
            raise DatasetError(
                f"{self.said}: {path} has SHA-256 {found[:VERSION_LENGTH]}…, models.{self.name}.parameters.sha256 says "
                f"{settings.sha256[:VERSION_LENGTH]}…; it was not opened: restore it, or write its hash"
            )
        said = settings.model_dump(mode="json", include={"format", "sha256", "features", "trained_until"})
        beside = {} if settings.activation is None else {"activation": settings.activation}
        given = said | beside | {"given": list(rows.features)}
        return External(content, given, settings.trusted_types, rows.horizons, self.said)

    def load(self, folder: Path, horizons: tuple[int, ...]) -> External:
        """The file of a checkpoint; which types of a pickle are trusted is what the settings say now."""
        said = json.loads((folder / _SAID).read_text(encoding="utf-8"))
        content = (folder / _file(said)).read_bytes()
        return External(content, said, self.parameters.trusted_types, horizons, self.said)


def _file(said: Mapping[str, Any]) -> str:
    """Name under which the file is kept."""
    return f"model{FORMATS[said['format']][0]}"


LEARNER = ExternalLearner
