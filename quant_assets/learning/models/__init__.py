"""The kinds of model, one file each, and their lookup by name. The settings choose which are trained."""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from quant_assets.errors import SettingsError
from quant_assets.learning.models.base import Learner


@dataclass(frozen=True)
class Models:
    """The models of a profile, in the order of the settings.

    Attributes:
        learners: learners by name.
        kinds: kinds by name as in the settings: `module:Class` for the user's own.
        horizons: horizons of each model in sessions.

    """

    learners: Mapping[str, Learner[Any]]
    kinds: Mapping[str, str]
    horizons: Mapping[str, tuple[int, ...]]

    def of(self, checkpoints: str) -> tuple[str, ...]:
        """Names of the models with this checkpoint dataset."""
        return tuple(name for name, learner in self.learners.items() if learner.checkpoints == checkpoints)

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoint datasets of all models."""
        return tuple(dict.fromkeys(learner.checkpoints for learner in self.learners.values()))

    @property
    def bar_sessions(self) -> int:
        """Longest window of bars of any model in sessions, a row's own included; 0 if none reads bars."""
        return max(learner.bar_sessions for learner in self.learners.values())

    @property
    def pretraining_cadences(self) -> tuple[int, ...]:
        """Months between pre-trainings of the market's encoder, for each model that starts from one."""
        return tuple(learner.pretraining_cadence for learner in self.learners.values() if learner.pretraining_cadence)

    @property
    def directions(self) -> tuple[str, ...]:
        """Names of the models that are fitted to the direction of returns."""
        return tuple(name for name, learner in self.learners.items() if learner.task == "classification")


def kinds() -> dict[str, str]:
    """The package's kinds by name, each as `module:name` of its class; nothing is imported."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")
    return {name: f"{__name__}.{name}:LEARNER" for name in names}


def learner_type(kind: str, module: ModuleType | None = None) -> type[Learner[Any]]:
    """The class of a kind. Its module is imported, the library behind it is not.

    Args:
        kind: name of one of the package's kinds, or `module:Class` of the user's own.
        module: module of the user's own kind; imported by its name where None.

    Raises:
        SettingsError: there is no such kind, or it is not a learner; lists the kinds.

    """
    where, _, name = kinds().get(kind, kind).partition(":")
    learner = getattr(module or import_module(where), name, None) if name else None
    if not (isinstance(learner, type) and issubclass(learner, Learner)):
        raise SettingsError(
            f"there is no kind of model '{kind}'; kinds are {', '.join(kinds())}, or module:Class of your own, a "
            "subclass of quant_assets.learning.models.base.Learner"
        )
    return learner
