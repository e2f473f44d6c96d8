"""Body of `quant features`: all declared indicators and features of a profile, as a table or as Markdown."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.markup import escape
from rich.table import Table

from quant_assets.catalogue import library
from quant_assets.cli.screen import counted
from quant_assets.errors import SettingsError
from quant_assets.features.library import SETS, FeatureLibrary
from quant_assets.settings.loading import Settings
from quant_assets.signals.indicators import all_declared
from quant_assets.windows.declarations import Declared

#: Name of the set of indicators.
INDICATORS = "indicators"


class Line(NamedTuple):
    """One indicator or feature; `lookback` (before the first session of a row's month) and `lag` are in sessions."""

    name: str
    set: str
    inputs: str
    lookback: int
    unit: str
    lag: int
    meaning: str
    source: str


def documented(settings: Settings, only: str | None = None) -> list[Line]:
    """The indicators and features of a profile; the user's own modules are audited first.

    Args:
        settings: of the profile.
        only: one set or module; a ready-made set need not be in the profile.

    Raises:
        SettingsError: the set does not exist, or a feature is not valid.

    """
    features = library(settings)
    features.audit_own()
    lines = [_line(indicator, INDICATORS, lookback) for indicator, lookback in all_declared(settings.indicators)]
    lines += _lines(features, settings)
    if only is None:
        return lines
    sets = dict.fromkeys((*(line.set for line in lines), *SETS))
    if only not in sets:
        raise SettingsError(f"set '{only}' does not exist; choose one of {', '.join(sets)}")
    if only not in {line.set for line in lines}:  # a ready-made set may read the sets of the profile
        added = settings.features.model_copy(update={"sets": (*settings.features.sets, only)})
        lines = _lines(library(settings.model_copy(update={"features": added})), settings)
    return [line for line in lines if line.set == only]


def _lines(features: FeatureLibrary, settings: Settings) -> list[Line]:
    shown = (*features.features, *features.market, *features.breadth)
    return [
        _line(
            feature, features.group(feature), max(feature.lookback, features.lookback(feature, settings.fundamentals))
        )
        for feature in shown
    ]


def _line(declared: Declared[object], group: str, lookback: int) -> Line:
    inputs = ", ".join(declared.inputs)
    return Line(declared.name, group, inputs, lookback, declared.unit, declared.lag, declared.meaning, declared.source)


def as_markdown(lines: Sequence[Line]) -> str:
    """The lines as a Markdown table."""
    rows = [
        Line._fields,
        ["---"] * len(Line._fields),
        *([str(value).replace("|", "\\|") for value in line] for line in lines),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def output(lines: Sequence[Line]) -> Iterator[str | Table]:
    """A table of each set for the screen; inputs and source stand below the meaning."""
    for name in dict.fromkeys(line.set for line in lines):
        of_set = [line for line in lines if line.set == name]
        table = Table("name")
        for heading in ("lookback", "lag"):
            table.add_column(heading, justify="right")
        table.add_column("unit")
        table.add_column("meaning, inputs and source", overflow="fold")
        for line in of_set:
            sentences = (line.meaning, f"inputs: {line.inputs}", line.source)
            text = "\n".join(filter(None, sentences))
            table.add_row(*(escape(str(value)) for value in (line.name, line.lookback, line.lag, line.unit, text)))
        yield f"set {name}: {counted(len(of_set), 'column')}"
        yield table
