"""A model that was trained elsewhere, from a file in one of the formats of `learning.external_formats`.

It is not trained here. It is evaluated on sessions after `trained_until`, the last one that it may know; before there
are such sessions it has no checkpoint. The file's hash is verified before it is opened, and its content is copied into
the checkpoint, so the file may be deleted afterwards.
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

#: Description of the file, stored with it.
_SAID = "external.json"

Format = Literal["lightgbm", "xgboost", "onnx", "safetensors", "state_dict", "skops", "pickle"]


class Parameters(SettingsGroup):
    """The file and how to read it.

    Attributes:
        path: path of the file, absolute or relative to the working directory; `~` is the home folder.
        sha256: SHA-256 of its content; a file with another one is not opened.
        format: its format, whatever its name.
        features: names of the model's inputs, in its order, among those of `features.*`.
        trained_until: the last session that its training, tuning and selection may have used, labels included.
        trusted_types: every class and function, as `module.name`, that a pickle may name, or a skops file beyond the
            types that skops trusts. The file can call them with any arguments: list none that could do harm.
        activation: between the layers of safetensors or a state dict with several layers.

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
        for name in value:
            if "." not in name or "*" in name:
                raise ValueError(f"'{name}' is not a module.name; patterns are not allowed, list every type")
        return value


class External(FittedModel):
    """A model from the content of a file; rows may have more features than it reads."""

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
        forecasts = self._ask(np.ascontiguousarray(rows.matrix[:, self._columns]))
        if forecasts.shape != (len(rows),):
            raise DatasetError(
                f"{self.origin}: it returned values of shape {forecasts.shape} for {len(rows)} rows, not one per row"
            )
        return Distribution(forecasts.astype(np.float64)[:, None])

    def save(self, folder: Path) -> None:
        """The unchanged file, and its description."""
        (folder / _file(self.said)).write_bytes(self.content)
        (folder / _SAID).write_text(json.dumps(self.said, sort_keys=True, indent=1) + "\n", encoding="utf-8")

    def description(self) -> dict[str, Any]:
        """Format and hash of the file, and `trained_until`."""
        names = ("format", "sha256", "trained_until")
        return {name: self.said[name] for name in names} | {"inputs": list(self.said["features"])}


class ExternalLearner(Learner[Parameters]):
    """Loads the model without training."""

    kind = "external"
    file_format = "as it came, and JSON"
    missing = "learned"
    exact = True
    learns = False
    parameters_type = Parameters

    @property
    def knows_until(self) -> date:
        """The last session that the model may know."""
        return self.parameters.trained_until

    def _fit(self, rows: Rows, validation: Rows, seed: int) -> External:
        """Load the file; rows and seed are not used."""
        settings = self.parameters
        path = Path(settings.path).expanduser()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DatasetError(
                f"{self.said}: {path} cannot be read ({error.strerror}); fix models.{self.name}.parameters.path"
            ) from None
        digest = sha256(content)
        if digest != settings.sha256:
            raise DatasetError(
                f"{self.said}: {path} has SHA-256 {digest[:VERSION_LENGTH]}…, models.{self.name}.parameters.sha256 is "
                f"{settings.sha256[:VERSION_LENGTH]}…; it was not opened: restore the file, or correct the hash"
            )
        said = settings.model_dump(mode="json", include={"format", "sha256", "features", "trained_until"})
        optional = {} if settings.activation is None else {"activation": settings.activation}
        description = said | optional | {"given": list(rows.features)}
        return External(content, description, settings.trusted_types, rows.horizons, self.said)

    def load(self, folder: Path, horizons: tuple[int, ...]) -> External:
        """Load the file of a checkpoint; the trusted types are those of the current settings."""
        said = json.loads((folder / _SAID).read_text(encoding="utf-8"))
        content = (folder / _file(said)).read_bytes()
        return External(content, said, self.parameters.trusted_types, horizons, self.said)


def _file(said: Mapping[str, Any]) -> str:
    """Name of the stored file."""
    return f"model{FORMATS[said['format']][0]}"


LEARNER = ExternalLearner
