"""What an asset's rows follow from beside its inputs: the code its function reaches and the settings this code reads.

Both are derived from the source text, so that nobody keeps a list. In the wiring, `profile` is the `Profile` and
`settings` the `Settings`; what follows these names says which settings are used and which methods of the profile and
its source. A group of settings that is handed to a function counts as a whole.
"""

import ast
import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from quant_assets.dagster_internals import asset_function
from quant_assets.features.library import SETS
from quant_assets.partitions import month_offsets
from quant_assets.provenance.code import (
    PACKAGE,
    Chain,
    Module,
    Symbol,
    chains,
    digest,
    located,
    reached,
    register,
    templates,
)
from quant_assets.schemas import ON_DEMAND
from quant_assets.settings.loading import Settings
from quant_assets.settings.origin import ROOT, conf_dir
from quant_assets.settings.providers import FilesSettings
from quant_assets.settings.sectors import SECTORS

WIRING = (f"{PACKAGE}.assets", f"{PACKAGE}.audit.asset")

#: Where something is kept, shown or run, and until when: rows do not follow from it, or say themselves until when they are.
WITHOUT_EFFECT = ("profile", "data_dir", "storage", "as_of", "dagster", "launch", "partitions.end")

#: Parts of `files` that its source alone reads; whoever is handed the group gets rules for what the source gave.
_OF_THE_SOURCE = ("membership", "securities", "fundamentals", "macro")

_AUDITS = frozenset(dataset.name for dataset in ON_DEMAND)

_SOURCES = {
    "demo": Symbol(f"{PACKAGE}.sources.demo", "DemoSource"),
    "files": Symbol(f"{PACKAGE}.sources.files", "FilesSource"),
}


@dataclass(frozen=True)
class Version:
    """What an asset is computed by.

    Attributes:
        symbols: each definition that its function reaches, with a digest.
        paths: dotted names of the settings that it depends on.
        windows: first and last month of each input, relative to the partition's.
        reads_source: whether it asks the provider.
        reads_trials: whether it counts what has been tried.

    """

    symbols: Mapping[str, str]
    paths: tuple[str, ...]
    windows: Mapping[str, tuple[int, int]]
    reads_source: bool
    reads_trials: bool = False

    @cached_property
    def code(self) -> str:
        """One digest of the symbols."""
        return digest("\n".join(f"{name} {found}" for name, found in self.symbols.items()))

    def settings(self, dump: Mapping[str, Any], sector: str | None = None) -> dict[str, Any]:
        """The settings that a partition depends on, by dotted name.

        Of a setting by sector it is the partition's sector alone.
        """
        return chosen(dump, self.paths, sector)

    def describe(self, dump: Mapping[str, Any]) -> str:
        """`code_version` of the asset: both halves, so that the web UI shows which of them is new."""
        return f"code {self.code}, settings {digest(repr(self.settings(dump)))}"


def chosen(dump: Mapping[str, Any], paths: Iterable[str], sector: str | None = None) -> dict[str, Any]:
    """Values of dotted names, each leaf by its own name; a name that does not exist is left out."""
    found: dict[str, Any] = {}
    for path in paths:
        value: Any = dump
        for part in path.split("."):
            value = value.get(part, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        if value is not _ABSENT:
            found |= dict(_leaves(path, value, sector))
    return dict(sorted(found.items()))


_ABSENT = object()


def _leaves(path: str, value: Any, sector: str | None) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        yield path, value
        return
    for name, each in value.items():
        if f"{path}.{name}" not in WITHOUT_EFFECT and not (sector is not None and name in SECTORS and name != sector):
            yield from _leaves(f"{path}.{name}", each, sector)


def effective(settings: Settings) -> dict[str, Any]:
    """The settings as plain values, without those from which no rows follow."""
    return settings.model_dump(mode="json", exclude={name for name in WITHOUT_EFFECT if "." not in name})


def versions(settings: Settings, definitions: Iterable[dg.AssetsDefinition]) -> dict[str, Version]:
    """The version of each asset by name.

    Args:
        settings: of the profile; which source and features there are decides what is reached.
        definitions: the assets.

    """
    functions: dict[str, Any] = {}
    for definition in definitions:
        function: Any = asset_function(definition)
        functions.setdefault(f"{function.__module__}.{function.__qualname__}", function)
    walks, made = _walks(settings, functions), {}
    for definition in definitions:
        function = asset_function(definition)
        walk = walks[f"{function.__module__}.{function.__qualname__}"]
        symbols, paths = dict(walk.symbols), set(walk.paths)
        cells = (each.cell_contents for each in function.__closure__ or ())
        model = dict(zip(function.__code__.co_freevars, cells, strict=True)).get("model")
        if model is not None:  # a SQL model: its text and parameters
            symbols[f"sql.{model.name}"] = model.digest
            paths |= {path for name in model.parameters if (path := _path(tuple(name.split("__"))))}
        inputs = set(definition.keys_by_input_name.values())
        for spec in definition.specs:
            windows = {
                dep.asset_key.path[-1]: month_offsets(dep.partition_mapping)
                for dep in spec.deps
                if dep.asset_key in inputs
            }
            name = spec.key.path[-1]
            # The audit reaches the report's code, but runs it over trials of its own.
            reads_trials = walk.reads_trials and name not in _AUDITS
            made[name] = Version(
                dict(sorted(symbols.items())), tuple(sorted(paths)), windows, walk.reads_source, reads_trials
            )
    return made


def _walks(settings: Settings, functions: Mapping[str, Any]) -> dict[str, "_Walk"]:
    """What each function reaches.

    Kept beside Python's compiled files until a source file changes, since it takes half a second.
    """
    for name in settings.features.modules:
        register(name, conf_dir())
    package = ROOT / PACKAGE
    files = sorted({*package.glob("**/*.py"), *package.glob("*/templates/*")})
    choice = repr((settings.source, settings.features, sorted(functions)))
    state, file = _state(files), Path(__file__).parent / "__pycache__" / f"versions-{digest(choice)}.json"
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(file.read_text(encoding="utf-8"))
        # Of the user's files those count that were looked into, wherever they lie.
        if kept.pop("state") == state and kept.pop("own") == _own_state(kept.pop("modules")):
            return {name: _Walk(settings, **found) for name, found in kept.items()}
    own: dict[str, Path] = {}
    walks = {name: _Walk.of(settings, function, own) for name, function in functions.items()}
    with contextlib.suppress(OSError):  # where the code lies cannot always be written to
        plain = {name: each.plain() for name, each in walks.items()}
        file.parent.mkdir(exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_text(
            json.dumps({"state": state, "own": _own_state(own), "modules": sorted(own)} | plain), encoding="utf-8"
        )
        unfinished.replace(file)
    return walks


def _state(files: Iterable[Path]) -> str:
    return digest(repr([(str(each), found.st_mtime_ns, found.st_size) for each in files if (found := each.stat())]))


def _own_state(modules: Iterable[str]) -> str:
    """State of the files of modules of the user's, where they are found now."""
    paths = [path for name in sorted(modules) if (path := located(name)) is not None]
    return _state(each for path in paths for each in (path, *templates(path)))


class _Walk:
    """What one asset function reaches."""

    def __init__(
        self,
        settings: Settings,
        symbols: Mapping[str, str] | None = None,
        paths: Iterable[str] = (),
        *,
        reads_source: bool = False,
        reads_trials: bool = False,
    ) -> None:
        self._settings = settings
        self.symbols = symbols or {}
        self.paths = set(paths)
        self.reads_source = reads_source
        self.reads_trials = reads_trials

    @classmethod
    def of(cls, settings: Settings, function: Any, own: dict[str, Path]) -> "_Walk":
        walk = cls(settings)
        name = function.__qualname__.replace(".<locals>", "")
        walk.symbols = {
            str(each): found for each, found in reached([Symbol(function.__module__, name)], walk._rule, own).items()
        }
        return walk

    def plain(self) -> dict[str, Any]:
        return {
            "symbols": self.symbols,
            "paths": sorted(self.paths),
            "reads_source": self.reads_source,
            "reads_trials": self.reads_trials,
        }

    def _rule(self, where: Module, name: str, chain: Chain) -> list[Symbol] | None:
        outer = name.partition(".")[0]
        source = _SOURCES[self._settings.source]
        if (where.name, outer) == (source.module, source.name) and chain[:2] == ("self", "_settings"):
            return self.setting((self._settings.source, *chain[2:]))
        if (where.name, outer) == (f"{PACKAGE}.profile", "Profile") and chain[0] == "self":
            return self._profile(chain[1:])
        if not where.name.startswith(WIRING):
            return None
        if chain[0] == "profile":
            return self._profile(chain[1:])
        if chain[0] == "settings":
            return self.setting(chain[1:])
        for node in where.found(f"{outer}.{chain[0]}"):
            alias = _alias(node)
            if alias is not None:  # training = settings.training
                return self.setting((*alias, *chain[1:]))
        return None

    def _profile(self, chain: Chain) -> list[Symbol]:
        match chain:
            case ("settings", *rest):
                return self.setting(tuple(rest))
            case ("source", method, *_):
                self.reads_source = True
                source = _SOURCES[self._settings.source]
                return [
                    *self.setting(("source",)),
                    *self.setting(("partitions", "start")),
                    Symbol(source.module, f"{source.name}.{method}"),
                ]
            case ("trials", "trials", *_):
                self.reads_trials = True
                return [Symbol(f"{PACKAGE}.profile", "Profile.trials")]
            case ("features", *rest):
                return self._features(only_names=rest[:1] == ["names"])
            case ("months", "start"):
                return self.setting(("partitions", "start"))
            case ((("months" | "store" | "datasets" | "last_session" | "through" | "known_through"), *_)) | ():
                return []  # where rows are and until when they are, which each partition says itself
            case _:
                return [Symbol(f"{PACKAGE}.profile", f"Profile.{chain[0]}")]

    def _features(self, *, only_names: bool) -> list[Symbol]:
        found = self.setting(("features",))
        if only_names:
            return found
        found += [Symbol(f"{PACKAGE}.features.library", "FeatureLibrary")]
        found += [Symbol(SETS[name], "FEATURES") for name in self._settings.features.sets]
        for name in self._settings.features.modules:
            found.append(Symbol(name, "FEATURES"))
        return found

    def setting(self, chain: Chain) -> list[Symbol]:
        """Note the setting that a chain begins with."""
        path = _path(chain)
        if path == "files":
            self.paths |= {f"files.{name}" for name in FilesSettings.model_fields if name not in _OF_THE_SOURCE}
        elif path:
            self.paths.add(path)
        return []


def _path(chain: Chain) -> str:
    """The longest beginning of a chain that is a setting with an effect.

    The settings as a whole are handed around, and are not one.
    """
    path: list[str] = []
    model: Any = Settings
    for part in chain:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            break
        model = model.model_fields[part].annotation
        path.append(part)
    return ".".join(path) if path and path[0] not in WITHOUT_EFFECT else ""


def _alias(node: ast.AST) -> Chain | None:
    """The chain after `settings` where a name stands for a group of settings."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Attribute):
        return None
    found = next(chains(node.value), ())
    rest = found[1:] if found[:1] == ("profile",) else found
    return rest[1:] if rest[:1] == ("settings",) and len(rest) > 1 else None
