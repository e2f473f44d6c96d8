"""How a model file becomes a model: verified before it is opened, and loaded once. No storage here."""

import hashlib
import hmac
import json
import logging
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Generic, Literal, Self, TypeVar

from quant_assets.errors import DatasetError, ModelFileError, SettingsError
from quant_assets.learning.model_files import LISTING, VERSION_LENGTH, fetch, listed, sha256
from quant_assets.learning.models import kinds, learner_type
from quant_assets.learning.models.base import FittedModel, Learner

#: Suffixes of formats that hold numbers and text, and of which no reader executes anything.
SAFE_FORMATS = (".txt", ".json", ".ubj", ".npz", ".npy", ".safetensors", ".onnx")

#: Suffixes of formats whose readers may execute what a file says; torch's are read with `weights_only` alone.
EXECUTING_FORMATS = (".pkl", ".pickle", ".joblib", ".skops", ".pt", ".pth", ".ckpt")

#: Models that stay loaded.
KEPT_MODELS = 64

Signature = Literal["signed", "unsigned", "not checked"]

_LOG = logging.getLogger(__name__)
_SIGNATURE = "signature"


class UnknownKindError(SettingsError, ValueError):
    """There is no such kind of model; names those that there are."""


class MissingModelError(ModelFileError, FileNotFoundError):
    """A model's file is not there; names it."""


@dataclass(frozen=True)
class ModelSpec:
    """Where a model is and what it must be.

    Attributes:
        path: of the file, or of the SHA256SUMS that lists several.
        kind: name of a kind, or `module:Class` of one's own, which `load_model` must be given.
        name: of the model, for messages.
        sha256: of the file at `path`; where it is not told, the file is loaded unverified, which is logged.
        features: that the model must have, in order; any where empty.
        horizons: sessions ahead that it forecasts, in order.
        parameters: of the kind, where its files alone do not tell them.
        executing_formats: suffixes of `EXECUTING_FORMATS` that may be opened all the same.

    """

    path: str
    kind: str
    name: str = ""
    sha256: str | None = None
    features: tuple[str, ...] = ()
    horizons: tuple[int, ...] = (1,)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    executing_formats: tuple[str, ...] = ()

    @classmethod
    def of_manifest(cls, told: Mapping[str, Any], path: str, name: str) -> Self:
        """What a manifest says that the model at a path is; it does not say which types of a pickle are trusted."""
        parameters = {each: value for each, value in told.get("parameters", {}).items() if each != "trusted_types"}
        features, horizons = tuple(told.get("features", ())), tuple(told["horizons"])
        return cls(path, told["kind"], name, told["model_sha256"], features, horizons, parameters)


T = TypeVar("T")


class Loaded(Generic[T]):
    """What has been loaded, at most `bound` of it: what was not asked for the longest time goes first.

    Keys are hashes of contents, so that a file which was replaced is another entry.
    """

    def __init__(self, bound: int) -> None:
        self._bound, self._found, self._lock = bound, OrderedDict[Hashable, T](), threading.RLock()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: Hashable, load: Callable[[], T]) -> T:
        """What stands under a key, loaded when it is asked for the first time, by one thread alone."""
        with self._lock:
            if key not in self._found:
                found = load()
                self._found[key] = found
                while len(self._found) > self._bound:
                    self._found.popitem(last=False)
            self._found.move_to_end(key)
            return self._found[key]


#: Of this process.
LOADED: Loaded[FittedModel] = Loaded(KEPT_MODELS)


def packaged(kind: str) -> type[Learner[Any]]:
    """The class of one of the package's kinds; a module that a file names is not imported.

    Raises:
        UnknownKindError: there is no such kind.

    """
    if kind not in kinds():
        raise UnknownKindError(
            f"there is no kind of model '{kind}'; kinds are {', '.join(kinds())}, or module:Class of your own that a "
            "model of the settings has as its kind"
        )
    return learner_type(kind)


def load_model(
    spec: ModelSpec,
    read: Callable[[str], bytes] | None = None,
    loaded: Loaded[FittedModel] = LOADED,
    type_of: Callable[[str], type[Learner[Any]]] = packaged,
) -> tuple[FittedModel, str]:
    """Load a model: its format is looked at first, then its hash, and only then is it opened.

    Args:
        spec: where it is and what it must be.
        read: gives the content of a file by its name; local files where None.
        loaded: models that need not be loaded again.
        type_of: the class of a kind; it may import what the settings name, never what a manifest alone names.

    Returns:
        The model and the SHA-256 of the file at `spec.path`.

    Raises:
        UnknownKindError: there is no such kind.
        MissingModelError: the file, or one of those that it lists, is not there.
        ModelFileError: a file has another hash or is cut off; names it and the remedy.
        DatasetError: the format is not allowed, or the model has other features.

    """
    content_of = read or (lambda name: Path(name).read_bytes())
    said = f"{spec.name or 'model'} ({spec.path})"
    learner = type_of(spec.kind)(spec.name or spec.kind, spec.parameters)
    refuse_format(spec.path, spec.executing_formats)
    try:
        content = content_of(spec.path)
        checksum = sha256(content)
        if spec.sha256 is None:
            _LOG.warning("model %s has no recorded SHA-256: it is loaded unverified", said)
        elif checksum != spec.sha256:
            raise ModelFileError(
                f"model {said} has SHA-256 {checksum[:VERSION_LENGTH]}…, {spec.sha256[:VERSION_LENGTH]}… is recorded: "
                "the file was changed or cut off; put the original back, or register it as a new version"
            )
        for _, name in listed(content, f"model {said}") if PurePosixPath(spec.path).name == LISTING else ():
            refuse_format(name, spec.executing_formats)

        def opened() -> FittedModel:
            with tempfile.TemporaryDirectory() as folder:
                fetch(spec.path, checksum, content_of, Path(folder))
                try:
                    return learner.read(Path(folder), spec.horizons)
                except Exception as error:
                    why = " ".join(str(error).split())[:120]
                    raise ModelFileError(
                        f"model {said} is no {learner.file_format} ({type(error).__name__}: {why}); it is cut off or "
                        "of another kind: put the original back"
                    ) from error

        key = checksum, spec.kind, spec.horizons, json.dumps(dict(spec.parameters), sort_keys=True)
        model = loaded.get(key, opened)
    except FileNotFoundError as error:
        raise MissingModelError(f"model {said}: {error.filename or spec.path} is not there; put it back") from None
    if spec.features and model.features != spec.features:
        lacking = [name for name in model.features if name not in set(spec.features)]
        raise DatasetError(
            f"model {said} has {len(model.features)} features, {len(spec.features)} are expected"
            + (f"; not expected are {', '.join(lacking[:5])}" if lacking else ", or the same in another order")
        )
    return model, checksum


def refuse_format(path: str, executing: tuple[str, ...] = ()) -> None:
    """Refuse a file whose format is not on the list, before anything of it is read.

    Raises:
        DatasetError: names the formats.

    """
    suffix = PurePosixPath(path).suffix.lower()
    if PurePosixPath(path).name == LISTING or suffix in SAFE_FORMATS:
        return
    if suffix in EXECUTING_FORMATS:
        if suffix in executing:
            return
        raise DatasetError(
            f"model {path}: opening a {suffix} file can execute what it says, so it is refused; save the model as "
            f"{', '.join(SAFE_FORMATS)}, or name {suffix} in executing_formats if you trust where it comes from"
        )
    raise DatasetError(
        f"model {path}: format '{suffix}' is not on the list; it is {', '.join((*SAFE_FORMATS, *EXECUTING_FORMATS))}"
    )


def signed(manifest: Mapping[str, Any], key: bytes | None) -> bytes:
    """A manifest as canonical JSON with its signature: HMAC-SHA-256 over the rest; null where there is no key."""
    rest = {name: value for name, value in manifest.items() if name != _SIGNATURE}
    found = None if key is None else hmac.new(key, _canonical(rest), hashlib.sha256).hexdigest()
    text = json.dumps(rest | {_SIGNATURE: found}, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def read_signed(content: bytes, key: bytes | None, said: str) -> tuple[dict[str, Any], Signature]:
    """A manifest and what its signature is worth.

    Args:
        content: what `signed` gave.
        key: of the environment; None where there is none.
        said: what it is, for messages.

    Raises:
        DatasetError: it is no manifest, or was changed after it had been signed, or signed with another key, or there
            is a key and it is not signed.

    """
    try:
        manifest = json.loads(content)
        signature = manifest.pop(_SIGNATURE)
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DatasetError(f"{said} is no manifest, or is cut off; register the model again") from None
    if signature is None:
        if key is not None:
            raise DatasetError(
                f"{said} is not signed, though there is a key: whoever changed it may have left the signature out; "
                "write it again with the key if you know that it is whole"
            )
        return manifest, "unsigned"
    if key is None:
        return manifest, "not checked"
    if not hmac.compare_digest(str(signature), hmac.new(key, _canonical(manifest), hashlib.sha256).hexdigest()):
        raise DatasetError(f"{said} was changed after it had been signed, or signed with another key")
    return manifest, "signed"


def _canonical(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
