"""Registered, immutable versions of models in the store, and the pointers to the sectors' champions.

    artifacts/registry/versions/<name>/<version>/manifest.json and the model's files
    artifacts/registry/champions/<sector>.json

A version is named by its content. A pointer is one file that is replaced atomically. It also holds the earlier
champions with the days from which they count, so that past decisions keep their champion.
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

from quant_assets.errors import DatasetError, ModelFileError, SettingsError, UsageError
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

#: States of a signature, in words.
SIGNED: Mapping[Signature, str] = {
    "signed": "signed",
    "unsigned": f"unsigned: {KEY} is not set now, and was not set when this was written",
    "not checked": f"signed, not checked: {KEY} is not set",
}

#: Pattern of a name: it names a folder, and `@` separates it from the version.
_NAME = "[a-z0-9_]+"

_VERSIONS, _CHAMPIONS, _MANIFEST = "registry/versions", "registry/champions", "manifest.json"


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        name: of the model.
        version: first characters of the SHA-256 of its content.
        manifest: kind, features, horizons, hashes, and other facts of its registration.
        signature: state of the manifest's signature.

    """

    name: str
    version: str
    manifest: Mapping[str, Any]
    signature: Signature

    @property
    def said(self) -> str:
        """As commands take it."""
        return f"{self.name}@{self.version}"

    @property
    def worth(self) -> str:
        """Whether the manifest is signed, in words."""
        return SIGNED[self.signature]


@dataclass(frozen=True)
class Champion:
    """The model that a sector's picks use: a model of the settings, or `name@version`.

    Attributes:
        model: the champion.
        since: first day of decisions that use it.
        before: champions to roll back to, the newest last.
        history: champion and `since` of every change up to this one, so that a roll-back changes no past decision.

    """

    model: str
    since: date
    before: tuple[str, ...] = ()
    history: tuple[tuple[str, date], ...] = ()


class ModelVersions:
    """The registry of a store.

    Args:
        store: of the profile.
        key: for signing manifests; None for that of the environment, if set.
        type_of: returns the class of a kind, as in `load_model`.

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
        """Store a model permanently; the same content gives the same version, which is signed if it was not.

        Args:
            name: of the model.
            contents: of its files by name, including the listing of several files.
            model_file: the file, or the listing.
            facts: `kind`, `horizons`, `last_known_at` (ISO; the model forecasts only later days), and other facts.

        Raises:
            SettingsError: the name has invalid characters.
            DatasetError: a format is not allowed, or the model cannot be loaded; nothing is stored then.

        """
        if not re.fullmatch(_NAME, name):
            raise SettingsError(f"model name '{name}' has characters other than a to z, 0 to 9 and _; choose another")

        def content(each: str) -> bytes:
            if each not in contents:
                raise FileNotFoundError(errno.ENOENT, "listed, and not there", each)
            return contents[each]

        for each in contents:
            refuse_format(each)
        hashes = {each: sha256(content) for each, content in sorted(contents.items())}
        facts_and_hashes = {
            "name": name,
            "model_file": model_file,
            "model_sha256": hashes[model_file],
            "files": hashes,
            **facts,
        }
        version = sha256(json.dumps(facts_and_hashes, sort_keys=True, allow_nan=False).encode())[:VERSION_LENGTH]
        load_model(ModelSpec.of_manifest(facts_and_hashes, model_file, name), content, type_of=self._type_of)
        folder = f"{_VERSIONS}/{name}/{version}"
        manifest_file = f"{folder}/{_MANIFEST}"
        if not self._store.has_artifact(manifest_file):
            self._store.write_artifacts({f"{folder}/{each}": content for each, content in contents.items()})
            manifest = signed(facts_and_hashes | {"version": version}, self._key)  # last: it makes the version complete
            self._store.write_artifact(manifest_file, manifest)
        elif self._key is not None and self._store.read_artifact(manifest_file) == signed(
            facts_and_hashes | {"version": version}, None
        ):
            self._store.write_artifact(manifest_file, signed(facts_and_hashes | {"version": version}, self._key))
        return self.version(f"{name}@{version}")

    def versions(self, name: str | None = None) -> list[str]:
        """Registered versions as `name@version`, of one model or of all."""
        below = f"{_VERSIONS}/{name}" if name else _VERSIONS
        parts = [each.split("/") for each in self._store.artifacts(below) if each.endswith(f"/{_MANIFEST}")]
        return [f"{part[-3]}@{part[-2]}" for part in parts]

    def version(self, said: str) -> Version:
        """A registered version, its manifest checked.

        Raises:
            UsageError: it is not registered.
            ModelFileError: the manifest is missing, or was changed after signing.

        """
        name, _, version = said.partition("@")
        named = re.fullmatch(f"{_NAME}@{_NAME}", said) is not None
        if not named or said not in self.versions(name):
            if named and self._store.artifacts(f"{_VERSIONS}/{name}/{version}"):
                raise ModelFileError(
                    f"{_MANIFEST} of model {said} is missing; put it back, or register the model again"
                )
            raise UsageError(f"model {said} is not registered; registered are: {', '.join(self.versions()) or 'none'}")
        content = self._read(f"{_VERSIONS}/{name}/{version}/{_MANIFEST}")
        try:
            manifest, signature = read_signed(content, self._key, f"manifest of model {said}")
        except DatasetError as error:  # so that setting registry.fallback applies
            raise ModelFileError(str(error)) from None
        told = {key: value for key, value in manifest.items() if key != "version"}
        if sha256(json.dumps(told, sort_keys=True, allow_nan=False).encode())[:VERSION_LENGTH] != version:
            raise ModelFileError(
                f"manifest of model {said} was changed: it does not match its version; put it back or register it again"
            )
        return Version(name, version, manifest, signature)

    def load(self, said: str) -> tuple[FittedModel, Version]:
        """The model of a registered version; its files are verified first.

        Raises:
            SettingsError: see `version`.
            DatasetError: see `load_model`.

        """
        version = self.version(said)
        place = f"{_VERSIONS}/{version.name}/{version.version}/{version.manifest['model_file']}"
        spec = ModelSpec.of_manifest(version.manifest, place, version.name)
        return load_model(spec, self._read, type_of=self._type_of)[0], version

    def verify(self, said: str) -> Version:
        """A registered version, after checking that no file has changed.

        Raises:
            DatasetError: one has changed.

        """
        version = self.version(said)
        for name, expected in version.manifest["files"].items():
            if sha256(self._read(f"{_VERSIONS}/{version.name}/{version.version}/{name}")) != expected:
                raise ModelFileError(f"model {said}: file {name} was changed; register it again")
        return version

    def champion(self, sector: str) -> Champion | None:
        """The champion of a sector; None if no model was promoted."""
        name = f"{_CHAMPIONS}/{sector}.json"
        if not self._store.has_artifact(name):
            return None
        try:
            record = json.loads(self._store.read_artifact(name))
            history = tuple((str(model), date.fromisoformat(since)) for model, since in record["history"])
            return Champion(str(record["champion"]), history[-1][1], tuple(record["before"]), history)
        except (ValueError, KeyError, TypeError, IndexError):
            raise DatasetError(
                f"{self._store.artifact_url(name)} is not a record of a champion; remove it and promote one again"
            ) from None

    def champion_on(self, sector: str, as_of: date) -> str | None:
        """The model that the picks of a decision at `as_of` use; None if no model had been promoted by then."""
        champion = self.champion(sector)
        known = [model for model, since in champion.history if since <= as_of] if champion else []
        return known[-1] if known else None

    def promote(self, sector: str, model: str, on: date) -> Champion:
        """Make a model a sector's champion; the present one stays in the record.

        Args:
            sector: slug.
            model: of the settings, or `name@version`.
            on: last closed session at the promotion; earlier decisions use the previous champion. A version counts from
                the day after its last training label at the earliest.

        """
        now = self.champion(sector)
        if now is not None and now.model == model:
            return now
        known = self.version(model).manifest.get("last_known_at") if "@" in model else None
        since = on if known is None else max(on, date.fromisoformat(known) + timedelta(days=1))
        return self._point(sector, model, since, () if now is None else (*now.before, now.model), now)

    def roll_back(self, sector: str, on: date) -> Champion:
        """Restore the previous champion for decisions from `on` on.

        Raises:
            SettingsError: there is no previous one.

        """
        now = self.champion(sector)
        if now is None or not now.before:
            raise SettingsError(f"sector {sector} has no previous champion; promote a model instead")
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
    """The key of the environment; None if not set."""
    found = os.environ.get(KEY)
    return found.encode() if found else None


def files_at(path: Path) -> tuple[dict[str, bytes], str]:
    """Contents of a model's files by name, and the main one: the file, or `SHA256SUMS` of a folder.

    Raises:
        SettingsError: the file does not exist, or the folder has no listing.
        MissingModelError: a listed file is missing. Files that are not listed are ignored.

    """
    if path.is_dir():
        if not (path / LISTING).is_file():
            raise SettingsError(f"{path} has no {LISTING}; name the model's file, or list its files with sha256sum")
        content = (path / LISTING).read_bytes()
        names = [name for _, name in listed(content, f"model {path}")]
        if gone := [name for name in names if not (path / name).is_file()]:
            raise MissingModelError(f"{path / gone[0]} is missing, but {LISTING} lists it; put it back")
        return {LISTING: content} | {name: (path / name).read_bytes() for name in names}, LISTING
    if not path.is_file():
        raise SettingsError(f"{path} does not exist; name a model's file, or the folder of its files")
    return {f"model{path.suffix}": path.read_bytes()}, f"model{path.suffix}"
