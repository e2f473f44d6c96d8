"""Tables made from a provider's raw answers: a row for each version of a fact, with when that version was fetched.

`collected/<provider>/<table>/000007.parquet`, parts that are written once. A part counts when `made.json` names it,
which is replaced last and also says how far the journal has been read: a crash leaves the tables as they were, and the
answers that they lack are read again. Everything in here can be made again from the raw store: beside what is there, in
parts with higher numbers that `anew.json` names, which replaces `made.json` when all of it has been read.
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

#: When a version was fetched, the last column of every table.
FETCHED_AT = "fetched_at"

#: Which parts count, and those of tables that are being made again.
_MADE, _ANEW = "made.json", "anew.json"


@dataclass(frozen=True)
class Table:
    """A kind of facts.

    Attributes:
        name: of its folder.
        schema: columns without `fetched_at`.
        key: columns that name a fact; the others are its values.
        precision: values that are known no better than another column of the row says (the largest error); one that
            differs by less says the same. Those columns alone are no reason for another version.
        of: what its facts tell: the `market`, what a provider is `missing`, or what it was `asked`.

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
    """What new answers did to a table.

    Attributes:
        table: its name.
        new: facts that it did not have.
        revised: the versions that replace others, with the columns of the table.
        of: what the table's facts tell.

    """

    table: str
    new: int
    revised: pl.DataFrame
    of: str = "market"


class Tables:
    """The tables of one provider.

    Args:
        root: folder of the profile's tables.
        provider: name, which is that of its folder.
        tables: that it has.

    """

    def __init__(self, root: Path, provider: str, tables: Sequence[Table]) -> None:
        self._folder, self._tables = root / provider, {table.name: table for table in tables}
        self._file = self._folder / _MADE

    @property
    def read_through(self) -> Position:
        """Up to where the journal has been read."""
        return self._made()[0]

    def versions(self, name: str, through: datetime | None = None) -> pl.DataFrame:
        """Every version of every fact, in the order in which they were fetched.

        Args:
            name: of the table.
            through: what was fetched later is left out.

        Raises:
            SourceError: a part is missing or cannot be read; names it.

        """
        table = self._tables[name]
        parts = [self._read(table, number) for number in self._made()[1].get(name, ())]
        found = pl.concat([table.stored.to_frame(), *parts])
        return found if through is None else found.filter(pl.col(FETCHED_AT) <= through)

    def newest(self, name: str, through: datetime | None = None) -> pl.DataFrame:
        """The newest version of every fact, by its key."""
        table = self._tables[name]
        found = self.versions(name, through).unique(table.key, keep="last", maintain_order=True)
        return found.sort(table.key)

    def append(self, rows: Mapping[str, pl.DataFrame], read_through: Position) -> list[Change]:
        """Append versions; of a fact whose newest version says the same nothing is kept. All of it or nothing.

        Args:
            rows: by table, in the order in which they were fetched, with `fetched_at`.
            read_through: up to where the journal has been read when these are there.

        Returns:
            What changed, for each table with rows.

        """
        _, parts = self._made()
        changes = []
        for name, given in rows.items():
            table = self._tables[name]
            versions = given.select(*table.stored).cast(table.stored)
            # Of a long history only those facts that are told of again.
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
        """Name, size and time of change of each part: as long as they are the same, so is what the tables hold."""
        found = []
        for name, numbers in sorted(self._made()[1].items()):
            for path in (self._path(self._tables[name], number) for number in numbers):
                about = path.stat() if path.exists() else None
                found.append(f"{name}/{path.name} {about and (about.st_size, about.st_mtime_ns)}")
        return found

    def anew(self) -> "Tables":
        """The same tables before the first answer. These stay as they are until those `replace` them."""
        found = Tables(self._folder.parent, self._folder.name, tuple(self._tables.values()))
        found._file = self._folder / _ANEW
        begin = {name: 1 + max(self._there(name), default=-1) for name in self._tables}
        found._name(("", 0), {name: range(first, first) for name, first in begin.items()})
        return found

    def replace(self) -> None:
        """Let these, which were begun anew, count from now on, and remove the parts that do not."""
        _, parts = self._made()
        write_whole(self._folder / _MADE, self._file.read_bytes())
        self._file.unlink()
        self._file = self._folder / _MADE
        for name, table in self._tables.items():
            for number in self._there(name):
                if number not in parts.get(name, ()):
                    self._path(table, number).unlink()

    def _there(self, name: str) -> list[int]:
        """Numbers of all parts that are in the folder, whether they count or not."""
        return [int(path.stem) for path in (self._folder / name).glob("[0-9]*.parquet")]

    def _name(self, read_through: Position, parts: Mapping[str, range]) -> None:
        """Say which parts count."""
        told = {name: [each.start, each.stop] for name, each in parts.items()}
        write_whole(self._file, json.dumps({"read_through": read_through, "parts": told}, indent=1).encode())

    def _made(self) -> tuple[Position, dict[str, range]]:
        try:
            found = json.loads(self._file.read_bytes())
            day, lines = found["read_through"]
            # Those that were never made again were told by their count.
            parts = {
                name: range(*told) if isinstance(told, list) else range(told) for name, told in found["parts"].items()
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
            found = pl.read_parquet(path, use_statistics=False)
        except (OSError, pl.exceptions.PolarsError):
            raise SourceError(f"{path} is missing or cut off; quant collect replay makes the tables again") from None
        if found.schema != table.stored:
            raise SourceError(f"{path} has other columns than this version; quant collect replay makes it again")
        return found

    def _write(self, table: Table, number: int, rows: pl.DataFrame) -> None:
        content = io.BytesIO()
        rows.write_parquet(content)
        write_whole(self._path(table, number), content.getvalue())


def _differing(table: Table, before: pl.DataFrame, given: pl.DataFrame) -> tuple[pl.DataFrame, Change]:
    """The versions that say something else than the one before them, and what they change."""
    key, values = list(table.key), table.values
    every = pl.concat([before.with_columns(_given=False), given.with_columns(_given=True)])
    # Within a fact in the order of collection; a stable sort keeps what is stored before what is given.
    every = every.sort([*key, FETCHED_AT], maintain_order=True)
    first = pl.int_range(pl.len()).over(key) == 0
    same = pl.all_horizontal(pl.lit(value=True), *(_says_the_same(table, name) for name in values))
    kept = every.filter(pl.col("_given") & (first | ~same)).with_columns(_new=pl.lit(value=False))
    new = every.filter(pl.col("_given") & first)
    revised = kept.join(new.select(*key, FETCHED_AT), on=[*key, FETCHED_AT], how="anti", nulls_equal=True)
    added = kept.select(*table.stored).sort(FETCHED_AT, maintain_order=True)
    return added, Change(table.name, len(new), revised.select(*table.stored), table.of)


def _says_the_same(table: Table, name: str) -> pl.Expr:
    """Whether a value is that of the version before it, as far as the two are known. A null beside a null is."""
    value, before = pl.col(name), pl.col(name).shift(1).over(table.key)
    if name not in table.precision:
        return value.eq_missing(before)
    error = pl.col(table.precision[name])
    within = (value - before).abs() <= pl.max_horizontal(error, error.shift(1).over(table.key), pl.lit(0.0))
    return value.eq_missing(before) | within.fill_null(value=False)
