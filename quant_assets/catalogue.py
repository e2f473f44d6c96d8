"""The catalogue of a profile: its features and models, the user's own among them, and its datasets, from the settings.

The IO manager, asset checks, column schemas and descriptions in the web UI and the dataset reference derive from it.
"""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from quant_assets.errors import SettingsError
from quant_assets.features.cross_section import CrossSection
from quant_assets.features.library import SETS, FeatureLibrary, ready_made
from quant_assets.learning.models import Models, kinds, learner_type
from quant_assets.learning.models.base import Learner
from quant_assets.learning.registry import packaged
from quant_assets.own_sql import own_datasets
from quant_assets.schemas import CHECKPOINTS, DATASETS, TRANSFORMER_CHECKPOINTS, TRANSFORMER_PRETRAINED, Dataset
from quant_assets.settings.domain import ModelSettings
from quant_assets.settings.loading import Settings
from quant_assets.settings.origin import conf_dir
from quant_assets.signals import indicators
from quant_assets.windows.declarations import Declared, Feature

#: Datasets with declared columns are inserted before these, in topological order.
_INDICATORS_BEFORE, _FEATURES_BEFORE = "candidates", "labels"


def library(settings: Settings) -> FeatureLibrary:
    """The features of a profile.

    Raises:
        SettingsError: a set or module does not exist, cannot be loaded, or its features do not fit together; names it
            and the remedy.

    """
    groups = {name: ready_made(name) for name in settings.features.sets}
    for name in settings.features.modules:
        if name in SETS:
            raise SettingsError(f"features.modules: '{name}' is the name of a ready-made set; rename the module")
        groups[name] = own_features(name)
    return FeatureLibrary(groups)


def models(settings: Settings) -> Models:
    """The models of a profile."""
    return Models(
        {name: learner(name, each) for name, each in settings.models.items()},
        {name: each.kind for name, each in settings.models.items()},
        {name: each.horizons or settings.labels.horizons for name, each in settings.models.items()},
    )


def learner(name: str, settings: ModelSettings) -> Learner[Any]:
    """A model by its settings; the library behind it is not loaded.

    Raises:
        SettingsError: its kind does not exist, has no such parameter or offers no updates; names it and the remedy.

    """
    kind = _kind(settings.kind, f"models.{name}.kind")
    if settings.update and settings.task_type not in kind.updated:
        offered = [each for each in kinds() if settings.task_type in learner_type(each).updated]
        raise SettingsError(
            f"setting models.{name}.update is true; kind {settings.kind} offers no updates of a {settings.task_type}, "
            f"{' and '.join(offered)} do: leave it out, or take one of these kinds"
        )
    return kind(name, settings.parameters, settings.task_type, settings.update)


def kind_of(settings: Settings) -> Callable[[str], type[Learner[Any]]]:
    """A function that returns the class of a kind by name: the package's kinds, and the kinds of a profile's models.

    The function raises a SettingsError for any other kind, because a manifest must not import arbitrary code.
    """
    own = {each.kind: f"models.{name}.kind" for name, each in settings.models.items()}
    return lambda kind: _kind(kind, own[kind]) if kind in own else packaged(kind)


def _kind(kind: str, setting: str) -> type[Learner[Any]]:
    where, own, _ = kind.partition(":")
    return learner_type(kind, _own_module(setting, where) if own else None)


def own_features(name: str) -> tuple[Declared[object], ...]:
    """`FEATURES` of a user's module: `<name>.py` in the settings' folder, else a module of that name on PYTHONPATH.

    Raises:
        SettingsError: the module is missing, cannot be imported, or has no list `FEATURES` of features.

    """
    module = _own_module("features.modules", name)
    features = getattr(module, "FEATURES", None)
    if (
        not isinstance(features, list | tuple)
        or not features
        or not all(isinstance(each, Feature | CrossSection) for each in features)
    ):
        raise SettingsError(
            f"features.modules: module '{name}' ({module.__file__}) needs FEATURES, "
            "a list of quant_assets.windows.declarations.Feature or of results of "
            "quant_assets.features.cross_section.compared"
        )
    return tuple(features)


def _own_module(setting: str, name: str) -> ModuleType:
    """A user's module that a setting names."""
    path = conf_dir() / f"{name.replace('.', '/')}.py"
    try:
        return _module_at(path) if path.is_file() else importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            what = f"is neither {path} nor importable from PYTHONPATH; add the file, or fix {setting} in {conf_dir()}"
        else:
            what = (
                f"({path if path.is_file() else 'from PYTHONPATH'}) cannot be imported "
                f"({type(error).__name__}: {error}); fix it"
            )
        raise SettingsError(f"{setting}: module '{name}' {' '.join(what.split())}") from error


def _module_at(path: Path) -> ModuleType:
    """A module loaded from its file, because two profiles' folders may have modules of the same name."""
    spec = importlib.util.spec_from_file_location(f"quant_conf_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python module")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def datasets(settings: Settings, features: FeatureLibrary) -> dict[str, Dataset]:
    """Every dataset of a profile by name, in the order of the flow."""
    # Checkpoints of a nondeterministic kind are never trained again: their stored files are used.
    trained_models = models(settings)
    exact = all(trained_models.learners[name].exact for name in trained_models.of(CHECKPOINTS.name))
    checkpoints = CHECKPOINTS if exact else replace(CHECKPOINTS, reproducibility="trained")
    deep = (TRANSFORMER_PRETRAINED, TRANSFORMER_CHECKPOINTS) if trained_models.of(TRANSFORMER_CHECKPOINTS.name) else ()
    declared = {
        _INDICATORS_BEFORE: (indicators.dataset(settings.indicators),),
        _FEATURES_BEFORE: (features.dataset, *features.market_datasets),
    }
    ordered: list[Dataset] = []
    for dataset in DATASETS.values():
        ordered += declared.get(dataset.name, ())
        ordered += (checkpoints, *deep) if dataset is CHECKPOINTS else (dataset,)
    of_package = {dataset.name: dataset for dataset in ordered}
    return of_package | {dataset.name: dataset for dataset in own_datasets(settings, of_package)}
