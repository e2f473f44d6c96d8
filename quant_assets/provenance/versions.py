"""Versions of assets: the code that an asset's function reaches, and the settings that it gets.

The code is derived from the source text. Settings, provider and features are derived from the annotations of the
function's parameters (`asset_functions`) and from their use in the function, so no list must be maintained. A group of
settings that is passed on counts as a whole.
"""

import ast
import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import dagster as dg

from quant_assets.asset_functions import Parameter, Run, parameters
from quant_assets.dagster_internals import asset_function
from quant_assets.features.library import SETS, FeatureLibrary
from quant_assets.learning.models import Models, kinds, learner_type
from quant_assets.provenance.code import (
    PACKAGE,
    Chain,
    Module,
    Symbol,
    bases,
    definition,
    digest,
    located,
    module,
    reached,
    register,
    templates,
)
from quant_assets.schemas import TRANSFORMER_CHECKPOINTS, TRANSFORMER_PRETRAINED
from quant_assets.settings.loading import Settings
from quant_assets.settings.origin import ROOT, conf_dir
from quant_assets.settings.paths import WITHOUT_EFFECT, chosen, groups, with_effect
from quant_assets.settings.providers import PROVIDERS
from quant_assets.training_orders import TrainingOrders
from quant_assets.trial_log import TrialLog, TrialPaths

#: Datasets of one kind of model only, which do not depend on the settings of other models.
_DEEP = frozenset({TRANSFORMER_PRETRAINED.name, TRANSFORMER_CHECKPOINTS.name})


@dataclass(frozen=True)
class Version:
    """The code and settings of an asset.

    Attributes:
        symbols: digests of the definitions that its function reaches.
        paths: dotted names of the settings that it depends on.
        windows: first and last month of each input, relative to the partition's month.
        reads_source: whether it reads from the provider.
        reads_trials: whether it reads the trial log.
        notes: the method of the trial log with which it records trials; empty if it does not.
        reads_orders: whether it depends on ordered trainings.

    """

    symbols: Mapping[str, str]
    paths: tuple[str, ...]
    windows: Mapping[str, tuple[int, int]]
    reads_source: bool
    reads_trials: bool = False
    notes: str = ""
    reads_orders: bool = False

    @cached_property
    def code(self) -> str:
        """One digest of the symbols."""
        return digest("\n".join(f"{name} {found}" for name, found in self.symbols.items()))

    def settings(self, dump: Mapping[str, Any], sector: str | None = None) -> dict[str, Any]:
        """The settings that a partition depends on, by dotted name.

        For a setting by sector, only the partition's sector counts.
        """
        return chosen(dump, self.paths, sector)

    def describe(self, dump: Mapping[str, Any]) -> str:
        """`code_version` of the asset, with separate code and settings, so that the web UI shows which one changed."""
        return f"code {self.code}, settings {digest(repr(self.settings(dump)))}"


def versions(settings: Settings, definitions: Iterable[dg.AssetsDefinition]) -> dict[str, Version]:
    """The version of each asset by name.

    Args:
        settings: of the profile; its source and features affect the reached definitions.
        definitions: the assets of `assets.declare`.

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
        if _DEEP.intersection(asset.names) and "models" in paths:
            paths = paths - {"models"} | _deep_models(settings)
        for name in asset.names:
            made[name] = Version(
                dict(sorted(symbols.items())),
                tuple(sorted(paths)),
                windows,
                walk.reads_source,
                walk.reads_trials,
                walk.notes,
                walk.reads_orders,
            )
    return made


def _deep_models(settings: Settings) -> set[str]:
    """Settings of the models that fill `_DEEP`: trainings take hours, and must not depend on other models."""
    own = (TRANSFORMER_CHECKPOINTS.name, None)
    return {
        f"models.{name}"
        for name, each in settings.models.items()
        if (None if ":" in each.kind else learner_type(each.kind).checkpoints) in own
    }


def trial_paths(found: Mapping[str, Version], across: Iterable[str]) -> TrialPaths:
    """Settings that define each kind of trial: of the assets that record one, and of their upstream.

    Args:
        found: the version of each asset.
        across: assets that span sectors.

    """
    spanning = set(across)

    def deciding(notes: str, *, spans: bool) -> tuple[str, ...]:
        waiting = [name for name, each in found.items() if each.notes == notes and (name in spanning) == spans]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += [each for each in found[name].windows if each in found]
        return tuple(sorted({path for name in seen for path in found[name].paths}))

    return TrialPaths(
        deciding("note_training", spans=False),
        deciding("note_backtest", spans=False),
        deciding("note_backtest", spans=True),
    )


def _name(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _walks(settings: Settings, functions: Mapping[str, Any]) -> dict[str, "_Walk"]:
    """The definitions that each function reaches.

    Cached beside Python's compiled files until a source file changes, since it takes half a second.
    """
    kinds = {each.kind.partition(":")[0] for each in settings.models.values() if ":" in each.kind}
    for name in (*settings.features.modules, *sorted(kinds)):
        register(name, conf_dir())
    package = ROOT / PACKAGE
    files = sorted({*package.glob("**/*.py"), *package.glob("*/templates/*")})
    # What `_Walk._handed` looks at, and no more: another parameter of a model leads to the same definitions.
    models = sorted({each.kind for each in settings.models.values()})
    choice = repr((settings.source, settings.features, models, sorted(functions)))
    state, file = _state(files), Path(__file__).parent / "__pycache__" / f"versions-{digest(choice)}.json"
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(file.read_text(encoding="utf-8"))
        # Of the user's files, the ones that were read count, wherever they are.
        if kept.pop("state") == state and kept.pop("own") == _own_state(kept.pop("modules")):
            return {name: _Walk(settings, **found) for name, found in kept.items()}
    own: dict[str, Path] = {}
    walks = {name: _Walk.of(settings, function, own) for name, function in functions.items()}
    with contextlib.suppress(OSError):  # the code's folder may be read-only
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
    """State of the files of the user's modules, at their current places."""
    paths = [path for name in sorted(modules) if (path := located(name)) is not None]
    return _state(each for path in paths for each in (path, *templates(path)))


class _Walk:
    """The dependencies of an asset function: definitions by its calls, settings and provider by its parameters."""

    def __init__(
        self,
        settings: Settings,
        symbols: Mapping[str, str] | None = None,
        paths: Iterable[str] = (),
        *,
        reads_source: bool = False,
        reads_trials: bool = False,
        notes: str = "",
        reads_orders: bool = False,
    ) -> None:
        self._settings = settings
        self.symbols = symbols or {}
        self.paths = set(paths)
        self.reads_source = reads_source
        self.reads_trials = reads_trials
        self.notes = notes
        self.reads_orders = reads_orders

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
            "notes": self.notes,
            "reads_orders": self.reads_orders,
        }

    def _handed(self, parameter: Parameter | None, used: Chain) -> list[Symbol]:
        """The targets of a parameter, by its used attributes; a parameter that is passed on counts as a whole."""
        match parameter and parameter.kind:
            case "setting":
                self._note(*parameter.path.split("."), *used)  # type: ignore[union-attr]
            case "run":
                members = used[:1] or tuple(name for name in vars(Run) if not name.startswith("tell"))
                return [Symbol(Run.__module__, f"{Run.__name__}.{name}") for name in members]
            case "source":
                self.reads_source = True
                self._note("source")
                self._note("partitions", "start")
                source = _provider(self._settings)
                # The provider's construction affects all of its answers.
                members = ("of", "__init__", *used[:1])
                for chain in _made_from(source):
                    self._note(*chain)
                whole = [] if used else [source]
                return [*whole, *(Symbol(source.module, f"{source.name}.{name}") for name in members)]
            case "features":
                self._note("features")
                if used[:1] == ("names",):  # only the names of the features, not their computation
                    return []
                sets = [SETS[name] for name in self._settings.features.sets]
                library = Symbol(FeatureLibrary.__module__, FeatureLibrary.__name__)
                return [library, *(Symbol(name, "FEATURES") for name in [*sets, *self._settings.features.modules])]
            case "models":
                self._note("models")
                self._note("labels", "horizons")
                found = (kinds().get(each.kind, each.kind).partition(":") for each in self._settings.models.values())
                chosen_by = Symbol(learner_type.__module__, learner_type.__name__)
                # Methods are code; fields are data.
                asked = [f"{Models.__name__}.{used[0]}"] if used else [Models.__name__]
                own = [] if used and used[0] in {each.name for each in fields(Models)} else asked
                return [
                    chosen_by,
                    *(Symbol(Models.__module__, name) for name in own),
                    *(Symbol(module, name) for module, _, name in found),
                ]
            case "trials" if used[:1] == ("trials",):
                self.reads_trials = True
                return [Symbol(TrialLog.__module__, f"{TrialLog.__name__}.trials")]
            case "trials" if used:
                self.notes = used[0]
            case "orders" if used:
                self.reads_orders = True
                return [Symbol(TrainingOrders.__module__, f"{TrainingOrders.__name__}.{used[0]}")]
            case "profile":
                self.paths |= {name for name in Settings.model_fields if name not in WITHOUT_EFFECT}
        return []

    def _inside_source(self, where: Module, name: str, chain: Chain) -> list[Symbol] | None:
        """The settings in attributes of the provider's class that a method uses."""
        if (
            chain[0] != "self"
            or len(chain) < 2
            or name.endswith(".__init__")
            or where.name not in (_provider(self._settings).module, *_of_sources())
        ):
            return None
        group = _kept_settings(where, name.partition(".")[0]).get(chain[1])
        if group is None:
            return None
        self._note(*group.split("."), *chain[2:])
        return []

    def _note(self, *chain: str) -> None:
        """Note the setting that a chain begins with."""
        path = with_effect(chain)
        if path:
            self.paths.add(path)


def _provider(settings: Settings) -> Symbol:
    module, _, name = PROVIDERS[settings.source].partition(":")
    return Symbol(module, name)


def _made_from(source: Symbol) -> list[Chain]:
    """The settings that a provider's constructor uses itself."""
    where = module(source.module)
    if where is None or not where.found(f"{source.name}.__init__"):
        return []
    groups_of = _groups_taken(where, source.name)
    used = definition(where, f"{source.name}.__init__").parameters
    return [(*groups_of[root].split("."), *rest) for root, *rest in used if root in groups_of and rest]


@cache
def _of_sources() -> frozenset[str]:
    """Modules of the package's providers."""
    folder = ROOT / PACKAGE / "sources"
    return frozenset(f"{PACKAGE}.sources.{path.stem}" for path in folder.glob("*.py"))


def _groups_taken(where: Module, name: str) -> dict[str, str]:
    """Parameters of a class's constructor that are groups of settings, by their annotation."""
    types = {group.__name__: path for group, path in groups().items()}
    return {
        each.arg: types[each.annotation.id]
        for init in where.found(f"{name}.__init__")
        for each in ast.walk(init)
        if isinstance(each, ast.arg) and isinstance(each.annotation, ast.Name) and each.annotation.id in types
    }


def _kept_settings(where: Module, name: str) -> dict[str, str]:
    """Attributes of a class in which its constructor stores a group of settings, by the parameter's annotation."""
    found: dict[str, str] = {}
    for base in bases(where, name):
        above = module(base.module)
        found |= _kept_settings(above, base.name) if above is not None else {}
    for init in where.found(f"{name}.__init__"):
        named = _groups_taken(where, name)
        for each in ast.walk(init):
            if isinstance(each, ast.Assign) and isinstance(each.value, ast.Name) and each.value.id in named:
                found |= {at.attr: named[each.value.id] for at in each.targets if isinstance(at, ast.Attribute)}
    return found
