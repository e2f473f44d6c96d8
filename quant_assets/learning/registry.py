"""Loading of model files: verified before they are opened, and cached. No storage here."""

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

#: Suffixes of formats that hold only numbers and text, whose readers execute nothing.
SAFE_FORMATS = (".txt", ".json", ".ubj", ".npz", ".npy", ".safetensors", ".onnx")

#: Suffixes of formats whose readers may execute code in the file; torch's are always read with `weights_only`.
EXECUTING_FORMATS = (".pkl", ".pickle", ".joblib", ".skops", ".pt", ".pth", ".ckpt")

#: Greatest number of loaded models.
KEPT_MODELS = 64

Signature = Literal["signed", "unsigned", "not checked"]

_LOG = logging.getLogger(__name__)
_SIGNATURE = "signature"


class UnknownKindError(SettingsError, ValueError):
    """There is no such kind of model; lists the kinds."""


class MissingModelError(ModelFileError, FileNotFoundError):
    """A model's file is missing; names it."""


@dataclass(frozen=True)
class ModelSpec:
    """Location and expected properties of a model.

    Attributes:
        path: path of the file, or of the SHA256SUMS that lists several.
        kind: name of a kind, or `module:Class` of the user's own, for which `load_model` needs `type_of`.
        name: name of the model, for messages.
        sha256: SHA-256 of the file at `path`; without it, the file is loaded unverified, with a warning.
        features: features that the model must have, in order; any if empty.
        horizons: sessions ahead that it forecasts, in order.
        parameters: parameters of the kind that its files do not contain.
        executing_formats: suffixes of `EXECUTING_FORMATS` that may be opened.

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
    def of_manifest(cls, manifest: Mapping[str, Any], path: str, name: str) -> Self:
        """The spec of a model from its manifest; trusted types of a pickle are not taken from it."""
        parameters = {
            parameter: value
            for parameter, value in manifest.get("parameters", {}).items()
            if parameter != "trusted_types"
        }
        features, horizons = tuple(manifest.get("features", ())), tuple(manifest["horizons"])
        return cls(path, manifest["kind"], name, manifest["model_sha256"], features, horizons, parameters)


T = TypeVar("T")


class Loaded(Generic[T]):
    """A least-recently-used cache of at most `bound` loaded objects.

    Keys are hashes of contents, so that a replaced file is another entry.
    """

    def __init__(self, bound: int) -> None:
        self._bound, self._entries, self._lock = bound, OrderedDict[Hashable, T](), threading.RLock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, load: Callable[[], T]) -> T:
        """The entry of a key, loaded at the first call by one thread only."""
        with self._lock:
            if key not in self._entries:
                entry = load()
                self._entries[key] = entry
                while len(self._entries) > self._bound:
                    self._entries.popitem(last=False)
            self._entries.move_to_end(key)
            return self._entries[key]


#: The models loaded in this process.
LOADED: Loaded[FittedModel] = Loaded(KEPT_MODELS)


def packaged(kind: str) -> type[Learner[Any]]:
    """The class of one of the package's kinds; never imports a module that a file names.

    Raises:
        UnknownKindError: there is no such kind.

    """
    if kind not in kinds():
        raise UnknownKindError(
            f"there is no kind of model '{kind}'; kinds are {', '.join(kinds())}, or module:Class of your own, as the "
            "kind of a model in the settings"
        )
    return learner_type(kind)


def load_model(
    spec: ModelSpec,
    read: Callable[[str], bytes] | None = None,
    loaded: Loaded[FittedModel] = LOADED,
    type_of: Callable[[str], type[Learner[Any]]] = packaged,
) -> tuple[FittedModel, str]:
    """Load a model: check its format, then its hash, and only then open it.

    Args:
        spec: location and expected properties.
        read: returns the content of a file by its name; local files where None.
        loaded: cache of models.
        type_of: returns the class of a kind; it may import modules named in the settings, never those of a manifest.

    Returns:
        The model and the SHA-256 of the file at `spec.path`.

    Raises:
        UnknownKindError: there is no such kind.
        MissingModelError: the file, or one that it lists, is missing.
        ModelFileError: a file has another hash or is truncated; names it and the remedy.
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
                "the file was changed or truncated; restore the original, or register it as a new version"
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
                        f"model {said} is not {learner.file_format} ({type(error).__name__}: {why}); it is truncated "
                        "or of another kind: restore the original"
                    ) from error

        key = checksum, spec.kind, spec.horizons, json.dumps(dict(spec.parameters), sort_keys=True)
        model = loaded.get(key, opened)
    except FileNotFoundError as error:
        raise MissingModelError(f"model {said}: {error.filename or spec.path} is missing; restore it") from None
    if spec.features and model.features != spec.features:
        unexpected = [name for name in model.features if name not in set(spec.features)]
        raise DatasetError(
            f"model {said} has {len(model.features)} features, {len(spec.features)} are expected"
            + (f"; unexpected are {', '.join(unexpected[:5])}" if unexpected else ", or the same in another order")
        )
    return model, checksum


def refuse_format(path: str, executing: tuple[str, ...] = ()) -> None:
    """Refuse a file whose format is not allowed, before it is read.

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
            f"model {path}: opening a {suffix} file can execute code in it, so it is refused; save the model as "
            f"{', '.join(SAFE_FORMATS)}, or name {suffix} in executing_formats if you trust its source"
        )
    raise DatasetError(
        f"model {path}: format '{suffix}' is unknown; formats are {', '.join((*SAFE_FORMATS, *EXECUTING_FORMATS))}"
    )


def signed(manifest: Mapping[str, Any], key: bytes | None) -> bytes:
    """A manifest as canonical JSON with its HMAC-SHA-256 signature; null without a key."""
    rest = {name: value for name, value in manifest.items() if name != _SIGNATURE}
    signature = None if key is None else hmac.new(key, _canonical(rest), hashlib.sha256).hexdigest()
    text = json.dumps(rest | {_SIGNATURE: signature}, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def read_signed(content: bytes, key: bytes | None, said: str) -> tuple[dict[str, Any], Signature]:
    """Read a manifest and check its signature.

    Args:
        content: bytes of `signed`.
        key: key of the environment; None without one.
        said: name of the manifest, for messages.

    Raises:
        DatasetError: it is not a manifest, was changed after signing or signed with another key, or is not signed
            though there is a key.

    """
    try:
        manifest = json.loads(content)
        signature = manifest.pop(_SIGNATURE)
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DatasetError(f"{said} is not a manifest, or is truncated; register the model again") from None
    if signature is None:
        if key is not None:
            raise DatasetError(
                f"{said} is not signed, though there is a key: it may have been changed and its signature removed; "
                "write it again with the key if you know that it is intact"
            )
        return manifest, "unsigned"
    if key is None:
        return manifest, "not checked"
    if not hmac.compare_digest(str(signature), hmac.new(key, _canonical(manifest), hashlib.sha256).hexdigest()):
        raise DatasetError(f"{said} was changed after signing, or signed with another key")
    return manifest, "signed"


def _canonical(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
