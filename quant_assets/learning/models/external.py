"""A model that was trained elsewhere, from a file: LightGBM text, XGBoost JSON, or a pickle of trusted types.

It learns nothing here. Its figures are those of sessions after `trained_until`, the last one that it may know anything
of; before there are such sessions it has no checkpoint. The file's hash is verified before anything is opened, and what
was read is kept in the checkpoint, so that the file may go.
"""

import json
import pickle
from collections.abc import Callable
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from quant_assets.errors import DatasetError
from quant_assets.learning.model_files import VERSION_LENGTH, sha256
from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.market.panel import FloatArray
from quant_assets.settings.group import SettingsGroup

#: Name under which a model keeps the file, by its format, and what is said of it.
_FILES = {"lightgbm": "model.txt", "xgboost": "model.json", "pickle": "model.pkl"}
_SAID = "external.json"

Format = Literal["lightgbm", "xgboost", "pickle"]
Predict = Callable[[FloatArray], FloatArray]


class Parameters(SettingsGroup):
    """The file and what it takes.

    Attributes:
        path: of the file, whole or from the working directory; `~` is the home folder.
        sha256: of its content; another content is refused unopened.
        format: one of these, whatever the file's name.
        features: names of the model's inputs, in its order, among those of `features.*`.
        trained_until: the last session that its training, tuning and choice may have seen, labels included.
        trusted_types: of a pickle: every class and function that it may name, as `module.name`. A trusted one is called
            by whoever wrote the file: list none whose arguments could do harm.

    """

    path: str = Field(min_length=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    format: Format
    features: tuple[str, ...] = Field(min_length=1)
    trained_until: date
    trusted_types: tuple[str, ...] = ()

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
        self._ask = _OPEN[said["format"]](content, tuple(said["features"]), trusted, origin)

    def _predict(self, rows: Rows) -> Distribution:
        found = self._ask(np.ascontiguousarray(rows.matrix[:, self._columns]))
        if found.shape != (len(rows),):
            raise DatasetError(
                f"{self.origin}: it gave values of shape {found.shape} for {len(rows)} rows, not one each"
            )
        return Distribution(found.astype(np.float64)[:, None])

    def save(self, folder: Path) -> None:
        """The file as it was read, and what is said of it."""
        (folder / _FILES[self.said["format"]]).write_bytes(self.content)
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
        given = said | {"given": list(rows.features)}
        return External(content, given, settings.trusted_types, rows.horizons, self.said)

    def load(self, folder: Path, horizons: tuple[int, ...]) -> External:
        """The file of a checkpoint; which types of a pickle are trusted is what the settings say now."""
        said = json.loads((folder / _SAID).read_text(encoding="utf-8"))
        content = (folder / _FILES[said["format"]]).read_bytes()
        return External(content, said, self.parameters.trusted_types, horizons, self.said)


def _lightgbm(content: bytes, features: tuple[str, ...], trusted: tuple[str, ...], origin: str) -> Predict:
    import lightgbm as lgb

    try:
        booster = lgb.Booster(model_str=content.decode("utf-8"))
    except (lgb.basic.LightGBMError, UnicodeDecodeError, ValueError) as error:
        raise DatasetError(f"{origin}: the file is no LightGBM text ({error})") from None
    _same_inputs(tuple(booster.feature_name()), features, "Column_", origin)
    return lambda matrix: np.asarray(booster.predict(matrix, num_threads=1))


def _xgboost(content: bytes, features: tuple[str, ...], trusted: tuple[str, ...], origin: str) -> Predict:
    import xgboost as xgb

    booster = xgb.Booster({"nthread": 1})
    try:
        json.loads(content)
        booster.load_model(bytearray(content))
    except (xgb.core.XGBoostError, ValueError) as error:
        raise DatasetError(f"{origin}: the file is no XGBoost JSON ({str(error).splitlines()[0]})") from None
    _same_inputs(tuple(booster.feature_names or ()) or booster.num_features(), features, "", origin)
    names = booster.feature_names
    return lambda matrix: np.asarray(booster.predict(xgb.DMatrix(matrix, feature_names=names, nthread=1)))


def _pickle(content: bytes, features: tuple[str, ...], trusted: tuple[str, ...], origin: str) -> Predict:
    class Restricted(pickle.Unpickler):
        """Finds what is trusted and nothing else."""

        def find_class(self, module: str, name: str) -> Any:
            if f"{module}.{name}" not in trusted:
                raise DatasetError(
                    f"{origin}: the pickle names {module}.{name}, which is none of trusted_types; nothing of it was "
                    "called. Add it there only if you know who wrote the file"
                )
            return super().find_class(module, name)

    try:
        estimator = Restricted(BytesIO(content)).load()
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        ImportError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        raise DatasetError(f"{origin}: the file is no pickle that can be read ({error})") from None
    if not callable(getattr(estimator, "predict", None)):
        raise DatasetError(f"{origin}: {type(estimator).__name__} has no predict; pickle the estimator itself")
    _same_inputs(getattr(estimator, "n_features_in_", len(features)), features, "", origin)
    # A row at a time: of several at once the products' rounding would depend on their number.
    return lambda matrix: np.array([np.ravel(estimator.predict(row[None]))[0] for row in matrix], dtype=np.float64)


_OPEN: dict[str, Callable[[bytes, tuple[str, ...], tuple[str, ...], str], Predict]] = {
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "pickle": _pickle,
}


def _same_inputs(of_the_file: tuple[str, ...] | int, features: tuple[str, ...], unnamed: str, origin: str) -> None:
    """Refuse a file whose inputs are not those that the settings list.

    Args:
        of_the_file: names of its inputs in order, or how many there are where it has none.
        features: of the settings.
        unnamed: what begins the names that its library gives inputs without names.
        origin: for the message.

    Raises:
        DatasetError: they are others; lists them.

    """
    if isinstance(of_the_file, tuple) and not all(unnamed and name.startswith(unnamed) for name in of_the_file):
        if of_the_file != features:
            raise DatasetError(
                f"{origin}: the file's inputs are {', '.join(of_the_file)}, in this order; "
                f"parameters.features are {', '.join(features)}"
            )
        return
    count = of_the_file if isinstance(of_the_file, int) else len(of_the_file)
    if count != len(features):
        raise DatasetError(f"{origin}: the file has {count} inputs, parameters.features are {len(features)}")


LEARNER = ExternalLearner
