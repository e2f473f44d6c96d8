"""The kinds of scorer, one file each, and how one is opened by its name; its library is imported then."""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from quant_assets.errors import SettingsError
from quant_assets.sentiment.scorers.base import Origin, Scorer


def kinds() -> tuple[str, ...]:
    """Names of the kinds; nothing is imported."""
    return tuple(sorted(each.name for each in pkgutil.iter_modules(__path__) if each.name not in _NO_KINDS))


#: Modules of the package that several kinds share.
_NO_KINDS = ("base", "linear", "tokens")


def open_scorer(origin: Origin) -> Scorer:
    """A scorer, once its files are verified.

    Raises:
        SettingsError: there is no such kind, or its library is not installed.
        ModelFileError: a file is missing, another one, or not what its kind reads.

    """
    made: Callable[[Origin], Scorer] = _module(origin.kind).open_scorer
    return made(origin)


def libraries(kind: str) -> tuple[str, ...]:
    """Distributions whose versions decide what a kind of scorer gives; they need not be installed.

    Raises:
        SettingsError: there is no such kind.

    """
    found: tuple[str, ...] = _module(kind).LIBRARIES
    return found


def installed(kind: str) -> str | None:
    """SHA-256 of what a kind reads of an installed package where nothing else says which files it must be.

    Raises:
        SettingsError: there is no such kind.

    """
    of_package: Callable[[], str | None] = getattr(_module(kind), "installed", lambda: None)
    return of_package()


def _module(kind: str) -> ModuleType:
    if kind not in kinds():
        raise SettingsError(f"there is no scorer '{kind}'; choose one of {', '.join(kinds())}")
    return import_module(f"{__name__}.{kind}")


def library(name: str, extra: str = "sentiment") -> object:
    """A module of an extra.

    Raises:
        SettingsError: it is not installed; says how it is.

    """
    try:
        return import_module(name)
    except ImportError as error:
        raise SettingsError(
            f"this scorer needs {name.partition('.')[0]} ({error}); install the extra {extra} "
            f"(pip install 'quant-assets[{extra}]')"
        ) from None
