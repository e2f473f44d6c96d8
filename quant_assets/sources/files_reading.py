"""Reading one file of the `files` provider.

The columns that its mapping in the settings names come under our names and types.

An error names the file, the column and the remedy.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.providers import FundamentalFile, MacroFile, MembershipFile, PriceFile, SecuritiesFile

#: Where the user mends a mapping.
MAPPING = "conf/profiles/files.yaml"

_TEXT = ("ticker", "sector", "series_id", "form", "company", "currency")
_DAYS = (
    "date",
    "start_date",
    "end_date",
    "known_at",
    "period",
    "released",
    "period_end",
    "published",
    "snapshot",
    "restated_on",
)

Columns = Mapping[str, str | tuple[str, ...]]
File = PriceFile | MembershipFile | SecuritiesFile | FundamentalFile | MacroFile


def scan(folder: Path, of: File, columns: Columns) -> pl.LazyFrame:
    """Our columns of a file, lazily: texts, dates and Float64.

    Raises:
        SourceError: the file or a column is missing, or a column has another type; names it and the remedy.

    """
    file, where = of.file, of.where if isinstance(of, PriceFile) else {}
    path = folder / file
    if not path.is_file():
        raise SourceError(
            f"{path} is missing; put it there, set QUANT_DATA_DIR to the folder that has it, "
            f"or remove it from {MAPPING}"
        )
    if path.suffix not in (".parquet", ".csv"):
        raise SourceError(f"{path} is neither .parquet nor .csv; convert it or mend {MAPPING}")
    found = (
        pl.scan_csv(path, infer_schema=False, glob=False)
        if path.suffix == ".csv"
        else pl.scan_parquet(path, glob=False)
    )
    try:
        schema = found.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(_unreadable(file, error)) from None
    for name in [*(name for names in columns.values() for name in _several(names)), *where]:
        if name not in schema:
            raise SourceError(
                f"{file} has no column '{name}'; it has {', '.join(schema)}; mend the file or its columns in {MAPPING}"
            )
    for name, value in where.items():
        found = found.filter(pl.col(name) == value)
    return found.select(_column(file, ours, _several(theirs), schema) for ours, theirs in columns.items())


def collect(frame: pl.LazyFrame, file: str) -> pl.DataFrame:
    """The rows of a file.

    Raises:
        SourceError: it cannot be read.

    """
    try:
        return frame.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(_unreadable(file, error)) from None


def named(columns: Columns, names: Iterable[str]) -> dict[str, str | tuple[str, ...]]:
    """The file's names of columns that must be there: ours where the settings name no other."""
    return {name: columns.get(name, name) for name in names}


def optional(columns: Columns, names: Iterable[str]) -> dict[str, str | tuple[str, ...]]:
    """The file's names of columns that are read only if the settings name them."""
    return {name: columns[name] for name in names if name in columns}


def _column(file: str, ours: str, theirs: Sequence[str], schema: pl.Schema) -> pl.Expr:
    """A column of the file under our name and type.

    Of several it is the latest day, or the sum where any of them is there.
    """
    wanted = "text" if ours in _TEXT else "a date" if ours in _DAYS else "a number"
    for name in theirs:
        dtype = schema[name]
        fits = {
            "text": isinstance(dtype, pl.String | pl.Categorical | pl.Enum),
            "a date": dtype in (pl.Date, pl.Datetime),
            "a number": dtype.is_numeric(),
        }
        if not fits[wanted] and not (file.endswith(".csv") and dtype == pl.String):
            raise SourceError(
                f"{file}: column '{name}' is {dtype}, but {ours} needs {wanted}; convert it or mend {MAPPING}"
            )
    if wanted == "text":
        return pl.col(theirs[0]).cast(pl.String).alias(ours)
    if wanted == "a date":
        days = (
            pl.col(name).str.to_date("%Y-%m-%d") if schema[name] == pl.String else pl.col(name).cast(pl.Date)
            for name in theirs
        )
        return pl.max_horizontal(days).alias(ours)
    numbers = [pl.col(name).cast(pl.Float64) for name in theirs]
    if len(numbers) == 1:
        return numbers[0].alias(ours)
    there = pl.any_horizontal(number.is_not_null() for number in numbers)
    return pl.when(there).then(pl.sum_horizontal(numbers)).alias(ours)


def _several(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _unreadable(file: str, error: Exception) -> str:
    return f"{file} cannot be read: {str(error).strip().splitlines()[0]}; mend the file or its columns in {MAPPING}"
