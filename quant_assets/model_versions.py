"""Registered versions of models in the store, which never change, and the pointer to each sector's champion.

    artifacts/registry/versions/<name>/<version>/manifest.json and the model's files
    artifacts/registry/champions/<sector>.json

A version is named by its content. A pointer is one file that is replaced as a whole, with those before it in it, and
the day since which each counts: a decision before that follows whoever was the champion then.
"""

import errno
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from quant_assets.errors import DatasetError, ModelFileError, SettingsError
from quant_assets.io.store import DatasetStore
from quant_assets.learning.model_files import LISTING, VERSION_LENGTH, listed, sha256
from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.registry import (
    MissingModelError,
    ModelSpec,
    Signature,
    load_model,
    packaged,
    read_signed,
    refuse_format,
    signed,
)

#: Environment variable of the key that manifests are signed with.
KEY = "QUANT_MODEL_KEY"

#: What a signature is worth, in words.
SIGNED: Mapping[Signature, str] = {
    "signed": "signed",
    "unsigned": f"unsigned: {KEY} is not set, nor was it when this was written",
    "not checked": f"signed, not checked: {KEY} is not set",
}

#: What a name may be: it is that of a folder, and `@` parts it from its version.
_NAME = "[a-z0-9_]+"

_VERSIONS, _CHAMPIONS, _MANIFEST = "registry/versions", "registry/champions", "manifest.json"


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        name: of the model.
        version: first characters of the SHA-256 of what it is.
        manifest: kind, features, horizons, hashes, and what else was told when it was registered.
        signature: what the manifest's signature is worth.

    """

    name: str
    version: str
    manifest: Mapping[str, Any]
    signature: Signature

    @property
    def said(self) -> str:
        """As a command takes it."""
        return f"{self.name}@{self.version}"

    @property
    def worth(self) -> str:
        """Whether the manifest is signed, in words."""
        return SIGNED[self.signature]


@dataclass(frozen=True)
class Champion:
    """Whose forecasts a sector's picks follow: a model of the settings, or `name@version`.

    Attributes:
        model: the champion.
        since: day from which on decisions follow it.
        before: champions that a roll-back goes to, the newest last.
        history: champion and `since` of every change up to this one, so that a roll-back rewrites no past decision.

    """

    model: str
    since: date
    before: tuple[str, ...] = ()
    history: tuple[tuple[str, date], ...] = ()


class ModelVersions:
    """The registry of a store.

    Args:
        store: of the profile.
        key: that manifests are signed with; that of the environment where None, and none where there is none.
        type_of: the class of a kind, as of `load_model`.

    """

    def __init__(
        self,
        store: DatasetStore,
        key: bytes | None = None,
        type_of: Callable[[str], type[Learner[Any]]] = packaged,
    ) -> None:
        self._store, self._type_of = store, type_of
        self._key = key or signing_key()

    def register(self, name: str, contents: Mapping[str, bytes], model_file: str, facts: Mapping[str, Any]) -> Version:
        """Keep a model for good; the same content a second time is the same version, signed if it was not.

        Args:
            name: of the model.
            contents: of its files by name, its listing among them where there are several.
            model_file: the file, or the listing.
            facts: `kind`, `horizons`, `last_known_at` (ISO; of days up to it the model is not asked), and what else
                there is to know.

        Raises:
            SettingsError: the name has other characters than a model of the settings may have.
            DatasetError: a format is not allowed, or the model cannot be loaded; nothing is kept then.

        """
        if not re.fullmatch(_NAME, name):
            raise SettingsError(f"model name '{name}' is not made of a to z, 0 to 9 and _; choose another")

        def content(each: str) -> bytes:
            if each not in contents:
                raise FileNotFoundError(errno.ENOENT, "listed, and not there", each)
            return contents[each]

        for each in contents:
            refuse_format(each)
        hashes = {each: sha256(content) for each, content in sorted(contents.items())}
        told = {"name": name, "model_file": model_file, "model_sha256": hashes[model_file], "files": hashes, **facts}
        version = sha256(json.dumps(told, sort_keys=True, allow_nan=False).encode())[:VERSION_LENGTH]
        load_model(ModelSpec.of_manifest(told, model_file, name), content, type_of=self._type_of)
        folder = f"{_VERSIONS}/{name}/{version}"
        kept = f"{folder}/{_MANIFEST}"
        if not self._store.has_artifact(kept):
            self._store.write_artifacts({f"{folder}/{each}": content for each, content in contents.items()})
            manifest = signed(told | {"version": version}, self._key)  # last: it is what makes the files count
            self._store.write_artifact(kept, manifest)
        elif self._key is not None and self._store.read_artifact(kept) == signed(told | {"version": version}, None):
            self._store.write_artifact(kept, signed(told | {"version": version}, self._key))
        return self.version(f"{name}@{version}")

    def versions(self, name: str | None = None) -> list[str]:
        """Registered versions as `name@version`, of one model or of all."""
        below = f"{_VERSIONS}/{name}" if name else _VERSIONS
        parts = [each.split("/") for each in self._store.artifacts(below) if each.endswith(f"/{_MANIFEST}")]
        return [f"{part[-3]}@{part[-2]}" for part in parts]

    def version(self, said: str) -> Version:
        """A registered version, its manifest checked.

        Raises:
            SettingsError: there is none.
            ModelFileError: the manifest is gone, or was changed after it had been signed.

        """
        name, _, version = said.partition("@")
        named = re.fullmatch(f"{_NAME}@{_NAME}", said) is not None
        if not named or said not in self.versions(name):
            if named and self._store.artifacts(f"{_VERSIONS}/{name}/{version}"):
                raise ModelFileError(
                    f"{_MANIFEST} of model {said} is missing; put it back, or register the model again"
                )
            raise SettingsError(f"model {said} is not registered; there are: {', '.join(self.versions()) or 'none'}")
        content = self._read(f"{_VERSIONS}/{name}/{version}/{_MANIFEST}")
        try:
            manifest, signature = read_signed(content, self._key, f"manifest of model {said}")
        except DatasetError as error:  # so that the setting registry.fallback decides what stands in for it
            raise ModelFileError(str(error)) from None
        told = {key: value for key, value in manifest.items() if key != "version"}
        if sha256(json.dumps(told, sort_keys=True, allow_nan=False).encode())[:VERSION_LENGTH] != version:
            raise ModelFileError(f"manifest of model {said} was changed: a version is named by what it says")
        return Version(name, version, manifest, signature)

    def load(self, said: str) -> tuple[FittedModel, Version]:
        """The model of a registered version; its files are verified first.

        Raises:
            SettingsError: as of `version`.
            DatasetError: as of `load_model`.

        """
        found = self.version(said)
        place = f"{_VERSIONS}/{found.name}/{found.version}/{found.manifest['model_file']}"
        spec = ModelSpec.of_manifest(found.manifest, place, found.name)
        return load_model(spec, self._read, type_of=self._type_of)[0], found

    def verify(self, said: str) -> Version:
        """A registered version of which every file is the one that was registered.

        Raises:
            DatasetError: one is not.

        """
        found = self.version(said)
        for name, expected in found.manifest["files"].items():
            if sha256(self._read(f"{_VERSIONS}/{found.name}/{found.version}/{name}")) != expected:
                raise ModelFileError(f"model {said}: file {name} was changed; register it again")
        return found

    def champion(self, sector: str) -> Champion | None:
        """Whose forecasts a sector's picks follow; None where nobody was promoted."""
        name = f"{_CHAMPIONS}/{sector}.json"
        if not self._store.has_artifact(name):
            return None
        try:
            found = json.loads(self._store.read_artifact(name))
            history = tuple((str(model), date.fromisoformat(since)) for model, since in found["history"])
            return Champion(str(found["champion"]), history[-1][1], tuple(found["before"]), history)
        except (ValueError, KeyError, TypeError, IndexError):
            raise DatasetError(
                f"{self._store.artifact_url(name)} is no record of a champion; remove it and promote one again"
            ) from None

    def champion_on(self, sector: str, as_of: date) -> str | None:
        """Whose forecasts the picks of a decision at `as_of` follow; None where nobody had been promoted by then."""
        found = self.champion(sector)
        known = [model for model, since in found.history if since <= as_of] if found else []
        return known[-1] if known else None

    def promote(self, sector: str, model: str, on: date) -> Champion:
        """Make a model a sector's champion; the one that is stays in the record.

        Args:
            sector: slug.
            model: of the settings, or `name@version`.
            on: last closed session when it is promoted; decisions before it follow the champion before. A version
                counts no earlier than the day after the last label that it was trained on.

        """
        now = self.champion(sector)
        if now is not None and now.model == model:
            return now
        known = self.version(model).manifest.get("last_known_at") if "@" in model else None
        since = on if known is None else max(on, date.fromisoformat(known) + timedelta(days=1))
        return self._point(sector, model, since, () if now is None else (*now.before, now.model), now)

    def roll_back(self, sector: str, on: date) -> Champion:
        """Make the champion before the champion again, for decisions from `on` on.

        Raises:
            SettingsError: there was none.

        """
        now = self.champion(sector)
        if now is None or not now.before:
            raise SettingsError(f"sector {sector} has no champion before the present one; promote a model instead")
        return self._point(sector, now.before[-1], on, now.before[:-1], now)

    def _point(self, sector: str, model: str, since: date, before: tuple[str, ...], now: Champion | None) -> Champion:
        history = (*(now.history if now else ()), (model, since))
        told = {"before": before, "champion": model, "history": [(each, day.isoformat()) for each, day in history]}
        self._store.write_artifact(f"{_CHAMPIONS}/{sector}.json", f"{json.dumps(told, indent=2)}\n".encode())
        return Champion(model, since, before, history)

    def _read(self, name: str) -> bytes:
        try:
            return self._store.read_artifact(name)
        except DatasetError as error:
            raise ModelFileError(str(error)) from None


def signing_key() -> bytes | None:
    """The key of the environment; None where there is none."""
    found = os.environ.get(KEY)
    return found.encode() if found else None


def files_at(path: Path) -> tuple[dict[str, bytes], str]:
    """Content of a model's files by name, and which of them stands for all: a file, or a folder with `SHA256SUMS`.

    Raises:
        SettingsError: there is no such file, or the folder has no listing.
        MissingModelError: a file is listed and is not there. What is not listed is left where it is.

    """
    if path.is_dir():
        if not (path / LISTING).is_file():
            raise SettingsError(f"{path} has no {LISTING}; name the model's file, or list its files with sha256sum")
        content = (path / LISTING).read_bytes()
        names = [name for _, name in listed(content, f"model {path}")]
        if gone := [name for name in names if not (path / name).is_file()]:
            raise MissingModelError(f"{path / gone[0]} is not there, {LISTING} lists it; put it back")
        return {LISTING: content} | {name: (path / name).read_bytes() for name in names}, LISTING
    if not path.is_file():
        raise SettingsError(f"{path} is not there; name a model's file, or the folder of its files")
    return {f"model{path.suffix}": path.read_bytes()}, f"model{path.suffix}"
