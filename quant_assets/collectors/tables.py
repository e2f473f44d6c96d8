"""Tables made from a provider's raw answers: a row for each version of a fact, with the time of its collection.

`collected/<provider>/<table>/000007.parquet` are parts that are written once. A part counts if `made.json` names it.
This file is replaced last and also says how far the journal has been read: a crash leaves the tables as they were, and
the missing answers are read again. All tables can be made again from the raw store: beside the existing ones, in parts
with higher numbers that `anew.json` names, which replaces `made.json` when all answers have been read.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import polars as pl

from quant_assets.collectors.raw_store import Position
from quant_assets.errors import SourceError
from quant_assets.io.whole_file import write_whole

#: Time at which a version was fetched, the last column of every table.
FETCHED_AT = "fetched_at"

#: Files that name the parts that count, and the parts of tables that are being made again.
_MADE, _ANEW = "made.json", "anew.json"


@dataclass(frozen=True)
class Table:
    """A table of facts of one kind.

    Attributes:
        name: name of its folder.
        schema: columns without `fetched_at`.
        key: columns that name a fact; the others are its values.
        precision: columns whose largest error is in another column of the row; a value that differs by less counts as
            equal. The error columns alone are no reason for another version.
        of: subject of its facts: the `market`, data that a provider is `missing`, or the requests (`asked`).

    """

    name: str
    schema: pl.Schema
    key: tuple[str, ...]
    precision: Mapping[str, str] = field(default_factory=dict)
    of: Literal["market", "missing", "asked"] = "market"

    @property
    def stored(self) -> pl.Schema:
        """Columns of a part."""
        return pl.Schema({**self.schema, FETCHED_AT: pl.Datetime("us", "UTC")})

    @property
    def values(self) -> list[str]:
        """Columns that a version may change."""
        return [name for name in self.schema if name not in self.key and name not in self.precision.values()]


@dataclass(frozen=True)
class Change:
    """Effect of new answers on a table.

    Attributes:
        table: its name.
        new: facts that it did not have.
        revised: the versions that replace others, with the columns of the table.
        of: subject of the table's facts.

    """

    table: str
    new: int
    revised: pl.DataFrame
    of: str = "market"


class Tables:
    """The tables of one provider.

    Args:
        root: folder of the profile's tables.
        provider: name of the provider and its folder.
        tables: its tables.

    """

    def __init__(self, root: Path, provider: str, tables: Sequence[Table]) -> None:
        self._folder, self._tables = root / provider, {table.name: table for table in tables}
        self._file = self._folder / _MADE

    @property
    def read_through(self) -> Position:
        """Position up to which the journal has been read."""
        return self._made()[0]

    def versions(self, name: str, through: datetime | None = None) -> pl.DataFrame:
        """Every version of every fact, in the order in which they were fetched.

        Args:
            name: of the table.
            through: leave out what was fetched later.

        Raises:
            SourceError: a part is missing or cannot be read; names it.

        """
        table = self._tables[name]
        parts = [self._read(table, number) for number in self._made()[1].get(name, ())]
        versions = pl.concat([table.stored.to_frame(), *parts])
        return versions if through is None else versions.filter(pl.col(FETCHED_AT) <= through)

    def newest(self, name: str, through: datetime | None = None) -> pl.DataFrame:
        """The newest version of every fact, by its key."""
        table = self._tables[name]
        newest = self.versions(name, through).unique(table.key, keep="last", maintain_order=True)
        return newest.sort(table.key)

    def append(self, rows: Mapping[str, pl.DataFrame], read_through: Position) -> list[Change]:
        """Append versions; a version equal to the newest one of its fact is not stored. All or nothing.

        Args:
            rows: by table, in the order in which they were fetched, with `fetched_at`.
            read_through: position up to which the journal has been read with these rows.

        Returns:
            The changes, for each table with rows.

        """
        _, parts = self._made()
        changes = []
        for name, frame in rows.items():
            table = self._tables[name]
            versions = frame.select(*table.stored).cast(table.stored)
            # Of a long history only the facts in the new rows.
            of_these = self.versions(name).join(versions, on=table.key, how="semi", nulls_equal=True)
            before = of_these.unique(table.key, keep="last", maintain_order=True)
            added, change = _differing(table, before, versions)
            changes.append(change)
            if len(added):
                of_table = parts.get(name, range(0))
                self._write(table, of_table.stop, added)
                parts[name] = range(of_table.start, of_table.stop + 1)
        self._name(read_through, parts)
        return changes

    def state(self) -> list[str]:
        """Name, size and time of change of each part: while these are the same, so are the tables."""
        lines = []
        for name, numbers in sorted(self._made()[1].items()):
            for path in (self._path(self._tables[name], number) for number in numbers):
                about = path.stat() if path.exists() else None
                lines.append(f"{name}/{path.name} {about and (about.st_size, about.st_mtime_ns)}")
        return lines

    def anew(self) -> "Tables":
        """The same tables before the first answer. The present ones stay until the new ones `replace` them."""
        tables = Tables(self._folder.parent, self._folder.name, tuple(self._tables.values()))
        tables._file = self._folder / _ANEW
        begin = {name: 1 + max(self._there(name), default=-1) for name in self._tables}
        tables._name(("", 0), {name: range(first, first) for name, first in begin.items()})
        return tables

    def replace(self) -> None:
        """Make these tables, begun by `anew`, the current ones, and remove the parts that no longer count."""
        _, parts = self._made()
        write_whole(self._folder / _MADE, self._file.read_bytes())
        self._file.unlink()
        self._file = self._folder / _MADE
        for name, table in self._tables.items():
            for number in self._there(name):
                if number not in parts.get(name, ()):
                    self._path(table, number).unlink()

    def _there(self, name: str) -> list[int]:
        """Numbers of all parts in the folder, whether they count or not."""
        return [int(path.stem) for path in (self._folder / name).glob("[0-9]*.parquet")]

    def _name(self, read_through: Position, parts: Mapping[str, range]) -> None:
        """Name the parts that count."""
        numbers = {name: [part.start, part.stop] for name, part in parts.items()}
        write_whole(self._file, json.dumps({"read_through": read_through, "parts": numbers}, indent=1).encode())

    def _made(self) -> tuple[Position, dict[str, range]]:
        try:
            state = json.loads(self._file.read_bytes())
            day, lines = state["read_through"]
            # Parts of tables that were never made again were stored as their count.
            parts = {
                name: range(*span) if isinstance(span, list) else range(span) for name, span in state["parts"].items()
            }
            return (str(day), int(lines)), parts
        except FileNotFoundError:
            return ("", 0), {}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SourceError(f"{self._file} cannot be read; quant collect replay makes the tables again") from None

    def _path(self, table: Table, number: int) -> Path:
        return self._folder / table.name / f"{number:06d}.parquet"

    def _read(self, table: Table, number: int) -> pl.DataFrame:
        path = self._path(table, number)
        try:
            part = pl.read_parquet(path, use_statistics=False)
        except (OSError, pl.exceptions.PolarsError):
            raise SourceError(f"{path} is missing or cut off; quant collect replay makes the tables again") from None
        if part.schema != table.stored:
            raise SourceError(f"{path} has other columns than this version; quant collect replay makes it again")
        return part

    def _write(self, table: Table, number: int, rows: pl.DataFrame) -> None:
        content = io.BytesIO()
        rows.write_parquet(content)
        write_whole(self._path(table, number), content.getvalue())


def _differing(table: Table, before: pl.DataFrame, rows: pl.DataFrame) -> tuple[pl.DataFrame, Change]:
    """The versions that differ from the version before them, and the changes."""
    key, values = list(table.key), table.values
    every = pl.concat([before.with_columns(_given=False), rows.with_columns(_given=True)])
    # In the order of collection within a fact; a stable sort keeps stored versions before new ones.
    every = every.sort([*key, FETCHED_AT], maintain_order=True)
    first = pl.int_range(pl.len()).over(key) == 0
    same = pl.all_horizontal(pl.lit(value=True), *(_says_the_same(table, name) for name in values))
    changed = every.filter(pl.col("_given") & (first | ~same)).with_columns(_new=pl.lit(value=False))
    new = every.filter(pl.col("_given") & first)
    revised = changed.join(new.select(*key, FETCHED_AT), on=[*key, FETCHED_AT], how="anti", nulls_equal=True)
    added = changed.select(*table.stored).sort(FETCHED_AT, maintain_order=True)
    return added, Change(table.name, len(new), revised.select(*table.stored), table.of)


def _says_the_same(table: Table, name: str) -> pl.Expr:
    """Whether a value equals that of the version before it, within their precision. Two nulls are equal."""
    value, before = pl.col(name), pl.col(name).shift(1).over(table.key)
    if name not in table.precision:
        return value.eq_missing(before)
    error = pl.col(table.precision[name])
    within = (value - before).abs() <= pl.max_horizontal(error, error.shift(1).over(table.key), pl.lit(0.0))
    return value.eq_missing(before) | within.fill_null(value=False)
