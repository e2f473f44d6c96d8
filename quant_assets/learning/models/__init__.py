"""The kinds of model, one file each, and how one is found by its name. Which of them are trained is in the settings."""

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
        learners: by name.
        kinds: of each, as the settings name it: `module:Class` where it is the user's own.
        horizons: sessions ahead that each is trained for.

    """

    learners: Mapping[str, Learner[Any]]
    kinds: Mapping[str, str]
    horizons: Mapping[str, tuple[int, ...]]

    def of(self, checkpoints: str) -> tuple[str, ...]:
        """Those whose trainings fill a dataset."""
        return tuple(name for name, each in self.learners.items() if each.checkpoints == checkpoints)

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The datasets that trainings fill."""
        return tuple(dict.fromkeys(each.checkpoints for each in self.learners.values()))

    @property
    def bar_sessions(self) -> int:
        """Sessions up to a row's own whose bars any of the forecasts may follow from; 0 where none reads bars."""
        return max(each.bar_sessions for each in self.learners.values())

    @property
    def pretraining_cadences(self) -> tuple[int, ...]:
        """Months between the pre-trainings of the market's encoders, of the models that begin from one."""
        return tuple(each.pretraining_cadence for each in self.learners.values() if each.pretraining_cadence)

    @property
    def directions(self) -> tuple[str, ...]:
        """Those that are fitted to whether a return is positive."""
        return tuple(name for name, each in self.learners.items() if each.task == "classification")


def kinds() -> dict[str, str]:
    """The package's kinds by name, each as `module:name` of its class; nothing is imported."""
    names = sorted(each.name for each in pkgutil.iter_modules(__path__) if each.name != "base")
    return {name: f"{__name__}.{name}:LEARNER" for name in names}


def learner_type(kind: str, module: ModuleType | None = None) -> type[Learner[Any]]:
    """The class of a kind. Its module is imported, the library behind it is not.

    Args:
        kind: name of one of the package's kinds, or `module:Class` of the user's own.
        module: that of the user's own; imported by its name where None.

    Raises:
        SettingsError: there is no such kind, or what has its name is no learner; names the kinds.

    """
    where, _, name = kinds().get(kind, kind).partition(":")
    found = getattr(module or import_module(where), name, None) if name else None
    if not (isinstance(found, type) and issubclass(found, Learner)):
        raise SettingsError(
            f"there is no kind of model '{kind}'; kinds are {', '.join(kinds())}, or module:Class of your own, a "
            "subclass of quant_assets.learning.models.base.Learner"
        )
    return found
