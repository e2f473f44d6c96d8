"""What a dataset and a column are, and how a frame is held against them.

The datasets themselves are in the other files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import polars as pl
from polars.datatypes import DataType, DataTypeClass

from quant_assets.errors import DatasetError
from quant_assets.grains import SECTOR_MONTHLY, Grain

#: `exact`: the same inputs, settings and code give the same rows, bit for bit. `trained`: a row names an artifact (in a
#: column that ends with `_file`) and its hash, and training it again may give another one: audit, `quant repro` and
#: the tests of ranges take the stored rows, or a small stand-in that goes through the same code.
Reproducibility = Literal["exact", "trained"]
#: Whose other tickers a value depends on.
Across = Literal["", "sector", "market"]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        dtype: Polars type.
        meaning: what a value says, for a reader who has only the file.
        unit: for example "USD", "1" (a ratio), "shares", "sessions"; empty for labels and dates.
        nullable: whether null (missing, not yet known, not enough history) is legal.
        ge, gt, le: inclusive lower, exclusive lower and inclusive upper bound.
        isin: the only legal values.
        across: whose other tickers a value depends on by its meaning; empty where a ticker's value follows from itself
            alone. Without other tickers the value changes, and `quant audit` lets it.
        anchored: why a value goes on depending on the first bar, however long ago; empty where it settles with the
            declared lookback.
        values: what values mean that do not say it themselves, by value.

    """

    dtype: DataTypeClass | DataType
    meaning: str
    unit: str = ""
    nullable: bool = False
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    isin: tuple[str, ...] | None = None
    across: Across = ""
    anchored: str = ""
    values: Mapping[str, str] = field(default_factory=dict, hash=False)


#: Gives, of a dataset, the same partitions as those of another one that are in hand.
Related = Callable[[str], pl.LazyFrame]


@dataclass(frozen=True)
class Reference:
    """Values that are there in another dataset too, in the same partition. Nulls pass.

    Attributes:
        columns: of the dataset that refers.
        dataset: name of the other one, which the asset reads.
        to: its columns, one for each of `columns`.

    """

    columns: tuple[str, ...]
    dataset: str
    to: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.columns)} is among {', '.join(self.to)} of the same partition of {self.dataset}"

    def absent(self, place: Sequence[str], frame: pl.DataFrame, related: Related) -> pl.DataFrame:
        """Rows whose values are not in the other dataset.

        Args:
            place: columns that tell the partition, `sector` and `month`.
            frame: rows of the dataset that refers, as they are loaded.
            related: asked for the other dataset where any row refers to it.

        """
        # Each value once, without the rows' other columns: a dataset of 25 years has each of them many times.
        names = [*place, *self.columns]
        given = frame.lazy().select(names).drop_nulls(self.columns).unique().collect()
        if given.is_empty():
            return frame.clear()
        there = related(self.dataset).select(*place, *self.to)
        lost = given.lazy().join(there, left_on=names, right_on=[*place, *self.to], how="anti").collect()
        return frame.join(lost, on=names, how="semi") if len(lost) else frame.clear()


@dataclass(frozen=True)
class Dataset:
    """One dataset.

    Attributes:
        name: asset name and folder name.
        meaning: one sentence.
        key: columns that identify a row within its sector (or within the whole, at month grain).
        dated_by: the date column whose month (or day, by the grain) is the row's partition.
        known_at: the date column that says when the row became known.
        columns: in file order, without those that are in the path (`sector`, `month`).
        grain: into which partitions it is cut.
        across: as of a column, for all of them and for which rows there are: what is chosen, counted or summed over
            tickers.
        anchored: as of a column, for all of them and for which rows there are.
        reproducibility: whether the rows come out the same again.
        said: columns of a ledger that tell what was said at the time: a partition that stands is never written again,
            and a run in which they come out otherwise is refused. Empty for every other dataset.
        unique: further sets of columns that identify a row as the key does.
        references: values that another dataset has too.

    """

    name: str
    meaning: str
    key: tuple[str, ...]
    dated_by: str
    known_at: str
    columns: Mapping[str, Column]
    grain: Grain = SECTOR_MONTHLY
    across: Across = ""
    anchored: str = ""
    reproducibility: Reproducibility = "exact"
    said: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    references: tuple[Reference, ...] = ()

    @cached_property
    def schema(self) -> pl.Schema:
        """Polars schema of a file."""
        return pl.Schema({name: column.dtype for name, column in self.columns.items()})

    @cached_property
    def loaded_schema(self) -> pl.Schema:
        """Schema of a loaded frame: `sector` (at sector grain) and `month`, then the file's columns."""
        return pl.Schema(dict.fromkeys(self.grain.levels, pl.String()) | dict(self.schema))

    @property
    def identity(self) -> list[str]:
        """Columns that identify a row among all sectors."""
        return [*self.grain.head, *self.key]

    @property
    def filtered(self) -> frozenset[str]:
        """Columns by which readers choose rows: what a row is of and when it was known, never its figures."""
        return frozenset((*self.key, self.dated_by, self.known_at))

    def empty(self) -> pl.DataFrame:
        """A frame without rows, `sector` included at sector grain."""
        return pl.DataFrame(schema=dict.fromkeys(self.grain.head, pl.String()) | dict(self.schema))

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Select the columns in order and sort by sector and key.

        Raises:
            DatasetError: a column is missing, of another dtype, or unknown.

        """
        expected = {**dict.fromkeys(self.grain.head, pl.String), **dict(self.schema)}
        found = frame.schema  # Polars makes it at every call
        missing = [name for name in expected if name not in found]
        extra = [name for name in found if name not in expected and name not in self.grain.levels]
        if missing or extra:
            raise DatasetError(
                f"dataset '{self.name}': missing columns {missing or 'none'}, unknown columns {extra or 'none'}; "
                "declare them in quant_assets/schemas or fix the asset"
            )
        wrong = [name for name, dtype in expected.items() if found[name] != dtype]
        if wrong:
            name = wrong[0]
            raise DatasetError(
                f"dataset '{self.name}': column '{name}' is {found[name]}, the schema says {expected[name]}"
            )
        frame, order = frame.select(list(expected)), self.identity
        # A second of CPU time for a million rows is saved where it can be.
        return frame if rises(frame, order) else frame.sort(order)


def rises(frame: pl.DataFrame, by: Sequence[str]) -> bool:
    """Whether each row's key, compared column by column, is greater than that of the row before.

    Then no key repeats either.
    """
    greater = pl.lit(False)
    for name in reversed(by):
        value, before = pl.col(name), pl.col(name).shift()
        greater = (value > before) | ((value == before) & greater)
    return bool(frame.lazy().select(greater.slice(1).fill_null(False).all()).collect().item())
