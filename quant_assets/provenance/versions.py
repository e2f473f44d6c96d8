"""What an asset's rows follow from beside its inputs: the code its function reaches and the settings that it is handed.

The code is derived from the source text, the settings, the provider and the model inputs from the annotations of the
function's parameters (`asset_functions`) and from what the function uses of them, so that nobody keeps a list and no
name matters. A group of settings that is handed on counts as a whole.
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

from quant_assets.asset_functions import Parameter, Run, groups, parameters
from quant_assets.dagster_internals import asset_function
from quant_assets.features.library import SETS, FeatureLibrary
from quant_assets.learning.models import kinds
from quant_assets.provenance.code import (
    PACKAGE,
    Chain,
    Module,
    Symbol,
    digest,
    located,
    reached,
    register,
    templates,
)
from quant_assets.settings.loading import Settings
from quant_assets.settings.origin import ROOT, conf_dir
from quant_assets.settings.providers import PROVIDERS
from quant_assets.settings.sectors import SECTORS
from quant_assets.trial_log import TrialLog

#: Where something is kept, shown or run, and until when: no rows follow from it, or they say until when they are.
WITHOUT_EFFECT = ("profile", "data_dir", "storage", "as_of", "dagster", "launch", "partitions.end")


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
        definitions: the assets, as `assets.declare` makes them.

    """
    assets = [asset_function(each).asset for each in definitions]  # type: ignore[attr-defined]
    walks, made = _walks(settings, {_name(each.compute): each.compute for each in assets}), {}
    for asset in assets:
        walk = walks[_name(asset.compute)]
        windows = asset.windows
        symbols = {**walk.symbols, **asset.follows}
        symbols |= {
            f"reads.{name}": digest(repr((window, asset.reads[name].metadata))) for name, window in windows.items()
        }
        paths = {*walk.paths, *asset.settings}
        for name in asset.names:
            made[name] = Version(
                dict(sorted(symbols.items())), tuple(sorted(paths)), windows, walk.reads_source, walk.reads_trials
            )
    return made


def _name(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _walks(settings: Settings, functions: Mapping[str, Any]) -> dict[str, "_Walk"]:
    """What each function reaches.

    Kept beside Python's compiled files until a source file changes, since it takes half a second.
    """
    kinds = {each.kind.partition(":")[0] for each in settings.models.values() if ":" in each.kind}
    for name in (*settings.features.modules, *sorted(kinds)):
        register(name, conf_dir())
    package = ROOT / PACKAGE
    files = sorted({*package.glob("**/*.py"), *package.glob("*/templates/*")})
    choice = repr((settings.source, settings.features, settings.models, sorted(functions)))
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
    """What one asset function reaches: definitions by what it calls, settings and provider by what it is handed."""

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
        handed = parameters(function)
        start = [Symbol(function.__module__, function.__qualname__)]
        found = reached(start, walk._inside_source, own, lambda chain: walk._handed(handed.get(chain[0]), chain[1:]))
        walk.symbols = {str(each): digest for each, digest in found.items()}
        return walk

    def plain(self) -> dict[str, Any]:
        return {
            "symbols": self.symbols,
            "paths": sorted(self.paths),
            "reads_source": self.reads_source,
            "reads_trials": self.reads_trials,
        }

    def _handed(self, parameter: Parameter | None, used: Chain) -> list[Symbol]:
        """What a parameter leads to, by what is used of it; one that is handed on counts as a whole."""
        match parameter and parameter.kind:
            case "setting":
                self._note(*parameter.path.split("."), *used)  # type: ignore[union-attr]
            case "run":
                return [Symbol(Run.__module__, ".".join([Run.__name__, *used[:1]]))]
            case "source":
                self.reads_source = True
                self._note("source")
                self._note("partitions", "start")
                source = _provider(self._settings)
                return [Symbol(source.module, ".".join([source.name, *used[:1]]))]
            case "features":
                self._note("features")
                if used[:1] == ("names",):  # only which features there are, not how they are computed
                    return []
                sets = [SETS[name] for name in self._settings.features.sets]
                library = Symbol(FeatureLibrary.__module__, FeatureLibrary.__name__)
                return [library, *(Symbol(name, "FEATURES") for name in [*sets, *self._settings.features.modules])]
            case "models":
                self._note("models")
                self._note("labels", "horizons")
                found = (kinds().get(each.kind, each.kind).partition(":") for each in self._settings.models.values())
                return [Symbol(module, name) for module, _, name in found]
            case "trials" if used[:1] == ("trials",):
                self.reads_trials = True
                return [Symbol(TrialLog.__module__, f"{TrialLog.__name__}.trials")]
            case "profile":
                self.paths |= {name for name in Settings.model_fields if name not in WITHOUT_EFFECT}
        return []

    def _inside_source(self, where: Module, name: str, chain: Chain) -> list[Symbol] | None:
        """The settings that the provider's class keeps from its constructor: which of them a method uses."""
        source, outer = _provider(self._settings), name.partition(".")[0]
        if (where.name, outer) != (source.module, source.name) or chain[0] != "self" or len(chain) < 2:
            return None
        group = _kept_settings(where, outer).get(chain[1])
        if group is None:
            return None
        self._note(*group.split("."), *chain[2:])
        return []

    def _note(self, *chain: str) -> None:
        """Note the setting that a chain begins with."""
        path = _path(chain)
        if path:
            self.paths.add(path)


def _provider(settings: Settings) -> Symbol:
    module, _, name = PROVIDERS[settings.source].partition(":")
    return Symbol(module, name)


def _kept_settings(where: Module, name: str) -> dict[str, str]:
    """Attributes of a class in which its constructor keeps a group of settings, by the annotation of its parameter."""
    types = {group.__name__: path for group, path in groups().items()}
    found: dict[str, str] = {}
    for init in where.found(f"{name}.__init__"):
        named = {
            each.arg: types[each.annotation.id]
            for each in ast.walk(init)
            if isinstance(each, ast.arg) and isinstance(each.annotation, ast.Name) and each.annotation.id in types
        }
        for each in ast.walk(init):
            if isinstance(each, ast.Assign) and isinstance(each.value, ast.Name) and each.value.id in named:
                found |= {at.attr: named[each.value.id] for at in each.targets if isinstance(at, ast.Attribute)}
    return found


def _path(chain: Chain) -> str:
    """The longest beginning of a chain that is a setting with an effect."""
    path: list[str] = []
    model: Any = Settings
    for part in chain:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            break
        model = model.model_fields[part].annotation
        path.append(part)
    return ".".join(path) if path and path[0] not in WITHOUT_EFFECT else ""
