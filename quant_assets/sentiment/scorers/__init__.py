"""The kinds of scorer, one file each, and the function that opens one by name and imports its library."""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from quant_assets.errors import SettingsError
from quant_assets.sentiment.scorers.base import Origin, Scorer


def kinds() -> tuple[str, ...]:
    """Names of the kinds, without importing them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NO_KINDS))


#: Modules of the package that several kinds share.
_NO_KINDS = ("base", "linear", "tokens")


def open_scorer(origin: Origin) -> Scorer:
    """Open a scorer, after its files are verified.

    Raises:
        SettingsError: there is no such kind, or its library is not installed.
        ModelFileError: a file is missing, has another hash, or is not readable by its kind.

    """
    build: Callable[[Origin], Scorer] = _module(origin.kind).open_scorer
    return build(origin)


def libraries(kind: str) -> tuple[str, ...]:
    """Distributions whose versions determine the scores of a kind; they need not be installed.

    Raises:
        SettingsError: there is no such kind.

    """
    distributions: tuple[str, ...] = _module(kind).LIBRARIES
    return distributions


def installed(kind: str) -> str | None:
    """SHA-256 of the installed files that a kind reads, where no setting specifies it.

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
    """Import a module of an extra.

    Raises:
        SettingsError: it is not installed; names the extra.

    """
    try:
        return import_module(name)
    except ImportError as error:
        raise SettingsError(
            f"this scorer needs {name.partition('.')[0]} ({error}); install the extra {extra} "
            f"(pip install 'quant-assets[{extra}]')"
        ) from None
