"""Tests declared in the comment header of a SQL model: grammar of the header, and rows that break a test.

A dataset's schema declares most blocking tests (nulls, legal values, `unique`, `references`). A header adds warnings
and tests of this model alone. It is the comment before the first line of SQL. A line `-- test:` declares a test that
blocks downstream assets, `-- warn:` one that warns; other lines are prose.

    -- test: not_null(as_of, members)
    -- test: unique(sector, as_of)
    -- test: accepted_values(regime: risk_on, risk_off)
    -- warn: relationships(ticker, as_of -> universe: ticker, date)

`unique` covers all rows of a run. `accepted_values` and `relationships` ignore nulls. `relationships` looks the values
up in the same partition of a dataset that the model reads.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from quant_assets.errors import SettingsError
from quant_assets.grains import SECTOR_MONTHLY
from quant_assets.reporting.pages import counted
from quant_assets.schemas import Dataset, Reference
from quant_assets.schemas.dataset import Related

_DECLARED = re.compile(r"--\s*(test|warn):\s*(\w+)\((.*)\)\s*")
#: Lines that look like a test: they must be valid, and be in the header.
_MEANT = re.compile(
    r"--\s*(test|warn)s?\b\s*:|--.*\b(not_null|unique|accepted_values|relationships)\s*\(", re.IGNORECASE
)
_FORMS = {
    "not_null": "not_null(column, …)",
    "unique": "unique(column, …)",
    "accepted_values": "accepted_values(column: value, …)",
    "relationships": "relationships(column, … -> dataset: column, …)",
}


@dataclass(frozen=True)
class DeclaredTest:
    """A test of a model's rows.

    Attributes:
        kind: one of not_null, unique, accepted_values, relationships.
        columns: of the model.
        blocking: whether a breach blocks downstream assets, or is a warning.
        values: legal values of the column (accepted_values).
        to: dataset and its columns that must have the values (relationships).

    """

    kind: str
    columns: tuple[str, ...]
    blocking: bool
    values: tuple[str, ...] = ()
    to: tuple[str, tuple[str, ...]] | None = None

    @property
    def name(self) -> str:
        """Name of the asset check."""
        return "_".join((self.kind, *self.columns, *(self.to or ())[:1]))

    @property
    def description(self) -> str:
        """Description of the asset check."""
        columns = ", ".join(self.columns)
        if self.to is not None:
            return str(Reference(self.columns, *self.to))
        phrases = {
            "not_null": "is never null",
            "unique": "does not repeat",
            "accepted_values": f"is one of {', '.join(self.values)}",
        }
        return f"{columns} {phrases[self.kind]}"

    def breaches(self, frame: pl.DataFrame, related: Related) -> list[str]:
        """Breaches of the test by a model's rows, with the number of rows and the first row.

        Args:
            frame: rows with `sector` (at sector grain) and `month`.
            related: returns the same partitions of a dataset.

        """
        shown = [name for name in ("sector", "month", *self.columns) if name in frame.columns]
        shown = list(dict.fromkeys(shown))
        messages = []
        for what, rows in self._broken(frame, related).items():
            if len(rows):
                messages.append(f"{what}: {counted(len(rows), 'row')}, first {rows.select(shown).row(0, named=True)}")
        return messages

    def _broken(self, frame: pl.DataFrame, related: Related) -> Mapping[str, pl.DataFrame]:
        columns = ", ".join(self.columns)
        if self.kind == "not_null":
            return {f"{name} is null": frame.filter(pl.col(name).is_null()) for name in self.columns}
        if self.kind == "unique":
            return {f"{columns} repeats": frame.filter(frame.select(self.columns).is_duplicated())}
        if self.to is None:
            wrong = ~pl.col(columns).cast(pl.String).is_in(self.values)
            return {f"{columns} is not one of {', '.join(self.values)}": frame.filter(wrong)}
        place = [name for name in SECTOR_MONTHLY.levels if name in frame.columns]
        absent = Reference(self.columns, *self.to).absent(place, frame, related)
        return {f"{columns} is not in {self.to[0]}": absent}


def declared_tests(path: Path, text: str, dataset: Dataset, reads: Mapping[str, Dataset]) -> tuple[DeclaredTest, ...]:
    """Tests in the header of a model.

    Args:
        path: the file, for messages.
        text: its content.
        dataset: that the model fills.
        reads: datasets that it reads, by name.

    Raises:
        SettingsError: a line is not a valid test, is below the header, or names a column, dataset or type that does not
            fit; names file and line.

    """
    tests: dict[str, DeclaredTest] = {}
    header = True
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        header &= not stripped or stripped.startswith("--")
        try:
            if not _MEANT.search(stripped):
                continue
            if not header:
                raise ValueError("a test must be in the comment before the first line of SQL")
            test = _parse(stripped)
            _fits(test, dataset, reads)
            if test.name in tests:
                raise ValueError(f"'{test.name}' is declared twice")
        except ValueError as error:
            raise SettingsError(f"{path}, line {number}: {error}") from None
        tests[test.name] = test
    return tuple(tests.values())


def _parse(line: str) -> DeclaredTest:
    declared = _DECLARED.fullmatch(line)
    if declared is None or declared[2] not in _FORMS:
        raise ValueError(
            f"'{line}' is not a test; write '-- test: …' or '-- warn: …' with one of {'; '.join(_FORMS.values())}"
        )
    severity, kind, inside = declared.groups()
    left, arrow, right = inside.partition("->" if kind == "relationships" else ":")
    columns, values = _listed(left), _listed(right) if kind == "accepted_values" else ()
    dataset, _, theirs = right.partition(":")
    to = (dataset.strip(), _listed(theirs)) if kind == "relationships" else None
    others = to[1] if to else values
    one_column = kind == "accepted_values" and len(columns) > 1
    uneven = kind == "relationships" and len(columns) != len(others)
    incomplete = kind in ("accepted_values", "relationships") and not others
    if not columns or one_column or uneven or incomplete or bool(arrow) != bool(others):
        raise ValueError(f"'{line}' is not a test; write it as {_FORMS[kind]}")
    return DeclaredTest(kind, columns, severity == "test", values, to)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(item.strip().strip("'\"") for item in text.split(",") if item.strip())


def _fits(test: DeclaredTest, dataset: Dataset, reads: Mapping[str, Dataset]) -> None:
    """Check a test against the schemas."""

    def dtypes(of: Dataset, names: Sequence[str]) -> list[pl.DataType]:
        unknown = [name for name in names if name not in of.loaded_schema]
        if unknown:
            raise ValueError(f"dataset '{of.name}' has no column '{unknown[0]}'; it has {', '.join(of.loaded_schema)}")
        return [of.loaded_schema[name] for name in names]

    ours = dtypes(dataset, test.columns)
    if test.to is None:
        return
    if test.to[0] not in reads:
        raise ValueError(
            f"relationships look into a dataset that the model reads ({', '.join(reads)}), not '{test.to[0]}'"
        )
    theirs = dtypes(reads[test.to[0]], test.to[1])
    if ours != theirs:
        raise ValueError(
            f"{', '.join(test.columns)} and {', '.join(test.to[1])} of {test.to[0]} are of different types: "
            f"{ours} and {theirs}"
        )
