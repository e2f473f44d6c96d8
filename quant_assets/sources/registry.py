"""Creation of a profile's provider by name, completed with empty frames for kinds of data that it lacks.

Names and classes are in `settings.providers.PROVIDERS`, beside the providers' settings.
"""

from collections.abc import Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.providers import PROVIDERS
from quant_assets.sources.base import (
    CRYPTO,
    INDICES,
    MACRO,
    NEWS,
    STATEMENTS,
    WITHOUT,
    Bars,
    Crypto,
    Indices,
    Macro,
    News,
    Provider,
    Reads,
    Reporting,
    Source,
    Statements,
    Universe,
)

#: Metadata name of a source's unused rows, and prefix of the names of its files.
LEFT_OUT, _READ = "left_out", "read "


class Terms(NamedTuple):
    """A profile's terms for any provider, in addition to the provider's own settings.

    Attributes:
        profile: its name, for messages.
        start: first day of its months.
        data_dir: the user's folder of files; None if not set.
        undated_after: days after the end of its period on which a statement without a day of publication counts as
            published.
        file: YAML file of the profile, for messages.

    """

    profile: str
    start: date
    data_dir: Path | None
    undated_after: int
    file: str = "the profile's file"


def open_source(name: str, settings: Any, terms: Terms) -> Source:
    """Create the provider of a profile by its `of(settings, terms)`.

    Args:
        name: one of `PROVIDERS`.
        settings: the provider's own group; None without one.
        terms: of the profile.

    Raises:
        SourceError: it lacks a kind of data that every profile needs, or its own requirements are missing.

    """
    return completed(class_of(name).of(settings, terms), terms.profile, terms.file)


def class_of(name: str) -> Any:
    """The class of a provider: one of `PROVIDERS`."""
    module, _, made_by = PROVIDERS[name].partition(":")
    return getattr(import_module(module), made_by)


def completed(given: Provider, profile: str, file: str = "") -> Source:
    """The provider, completed with empty frames for optional kinds of data; itself if it has them all.

    Args:
        given: the provider.
        profile: its name, for messages.
        file: YAML file of the profile, for messages [default: by its name in conf/profiles].

    Raises:
        SourceError: it lacks a kind that every profile needs.

    """
    if isinstance(given, Source):
        return given
    for kind in (Universe, Bars):
        lacks = [method for method in _methods(kind) if not hasattr(given, method)]
        if lacks:
            made_by = f"{type(given).__module__}.{type(given).__name__}"
            raise SourceError(
                f"profile '{profile}' needs {kind.__name__.lower()}, but its provider {made_by} has no "
                f"{' and no '.join(lacks)}; add it (see quant_assets/sources/base.py), or set another source in "
                f"{file or f'conf/profiles/{profile}.yaml'} (one of {', '.join(PROVIDERS)})"
            )
    return _Completed(given)


def as_given(source: Source) -> Provider:
    """The original provider, without the empty frames for kinds of data that it lacks."""
    return source.given if isinstance(source, _Completed) else source


def said_absent(source: Source, *kinds: type) -> dict[str, str]:
    """The kinds of data, of these or all, that a source lacks, with the consequences.

    Returns:
        Sentences by metadata name.

    """
    return {
        _absent(kind): f"provider '{source.name}' has no {kind.__name__.lower()}: {WITHOUT[kind]}"
        for kind in kinds or WITHOUT
        if isinstance(source, _Completed) and not isinstance(source.given, kind)
    }


def said_read(source: Source, *kinds: str) -> dict[str, str]:
    """A source's reports on the files that it read: sentences by metadata name.

    Args:
        source: of the profile; without files, the result is empty.
        kinds: of files, as in its settings.

    """
    given = as_given(source)
    reports = given.told() if isinstance(given, Reads) else []
    return {f"{_READ}{each.file}": each.shown for each in reports if each.kind in kinds}


def said_left_out(source: Source, *kinds: str) -> list[str]:
    """Sentences on a source's unused rows, one per reason.

    Args:
        source: of the profile; if it uses all rows, the result is empty.
        kinds: of files, as in its settings [default: all].

    """
    given = as_given(source)
    return given.left_out(*kinds) if isinstance(given, Reporting) else []


def speaks_of_source(name: str) -> bool:
    """Whether metadata of this name describe a source or its files as a whole, including later days."""
    return name == LEFT_OUT or name.startswith(_READ) or name in {_absent(kind) for kind in WITHOUT}


def _absent(kind: type) -> str:
    return f"no_{kind.__name__.lower()}"


def _methods(kind: type) -> list[str]:
    return [name for name, value in vars(kind).items() if callable(value) and not name.startswith("_")]


class _Completed:
    """A provider, with empty frames for kinds of data that it lacks."""

    def __init__(self, given: Provider) -> None:
        self.given = given
        self.name = given.name
        self.sector_snapshots, self.membership = given.sector_snapshots, given.membership
        self.bars, self.held, self.delistings = given.bars, given.held, given.delistings

    def statements(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        given = self.given
        return given.statements(tickers, through) if isinstance(given, Statements) else STATEMENTS.to_frame()

    def macro(self, through: date) -> pl.DataFrame:
        return self.given.macro(through) if isinstance(self.given, Macro) else MACRO.to_frame()

    def news(self, tickers: Sequence[str], start: date, through: date) -> pl.DataFrame:
        given = self.given
        return given.news(tickers, start, through) if isinstance(given, News) else NEWS.to_frame()

    def crypto(self, through: date) -> pl.DataFrame:
        return self.given.crypto(through) if isinstance(self.given, Crypto) else CRYPTO.to_frame()

    def indices(self, through: date) -> pl.DataFrame:
        return self.given.indices(through) if isinstance(self.given, Indices) else INDICES.to_frame()
