"""Reading of all files of the `files` provider into our column names and types.

Errors name the file, the column and the remedy. `files_text` splits texts into columns, `files_values` parses values.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.economy import MacroFile
from quant_assets.settings.formats import Reading
from quant_assets.settings.providers import FundamentalFile, PriceFile
from quant_assets.sources.files_adjusted import with_dividends
from quant_assets.sources.files_columns import KINDS, MAPPING, Columns, File, named, resolved, undated, where_of
from quant_assets.sources.files_dates import Stamp, days_of_stamps, read_days
from quant_assets.sources.files_found import TABLES, WORKBOOKS, Part, parts, workbook
from quant_assets.sources.files_json import json_texts
from quant_assets.sources.files_lines import Table, line_with
from quant_assets.sources.files_read import FileRead
from quant_assets.sources.files_series import one_row_each, series_columns
from quant_assets.sources.files_text import EmptyFileError, Layout, Texts, columns_of, layout_of, texts_of
from quant_assets.sources.files_values import DAYS, ENDS, TEXT, Origin, Values, ambiguous_zone, typed

_FILE = "__file"


class Reader:
    """Files of one folder. A text is decoded once, unless its files change; Parquet is read lazily."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._texts: dict[object, tuple[object, pl.DataFrame]] = {}
        self._stamps: dict[object, pl.Expr] = {}
        self._told: dict[str, FileRead] = {}
        #: Schemas of Parquet files, for entries with several.
        self._schemas: dict[object, object] = {}

    def told(self) -> list[FileRead]:
        """Reports on the files decoded so far."""
        return list(self._told.values())

    def scan(self, of: File, columns: Columns) -> pl.LazyFrame:
        """Our columns of a file, lazily: texts, dates and Float64.

        Raises:
            SourceError: the file or a column is missing, has another type or cannot be read; names it and the remedy.

        """
        found = parts(self._folder, of.file, of.apart)
        if not found:
            raise SourceError(
                f"{self._folder / of.file} is missing; put it there, set QUANT_DATA_DIR to the folder that has it, "
                f"or remove it from {MAPPING}"
            )
        kinds = {part.kind for part in found}
        if (
            "" in kinds
            or (len(kinds) > 1 and "parquet" in kinds)
            or any(part.kind == "parquet" and part.member for part in found)
        ):
            wrong = next((part for part in found if not part.kind), found[0])
            if wrong.path.suffix.lower() in WORKBOOKS:
                raise workbook(wrong.name)
            raise SourceError(
                f"{wrong.path} is neither .parquet nor .csv nor another table ({', '.join(TABLES)}; "
                f"texts also as .gz, .bz2 or in a .zip; Parquet by itself); convert it or fix {MAPPING}"
            )
        if isinstance(of, MacroFile):
            own = [series_columns(of, part, columns_in(part, of.read)) for part in found]
            if any(own):
                return self._series(of, found, own, columns)
        rows = self._given(of, found, columns)
        if isinstance(of, FundamentalFile) and of.read.scale != 1.0:
            figures = [name for name in columns if name not in (*TEXT, *DAYS)]
            rows = rows.with_columns(pl.col(figures) * of.read.scale)
        if isinstance(of, PriceFile):
            rows = _of_member(of, rows)  # before dividends are derived from consecutive bars
        return with_dividends(rows, of) if isinstance(of, PriceFile) and "adjusted_close" in columns else rows

    def place_of(self, of: File, values: Mapping[str, str]) -> str:
        """The line of the first row with these values by our names, for messages (`line 3, `); empty if unknown."""
        for part in parts(self._folder, of.file, of.apart):
            if part.kind == "text":
                try:
                    layout = layout_of(part, of.read)
                except EmptyFileError:
                    continue
                names, _ = resolved(of, named(of.columns, values), columns_of(layout), part)
                told = {theirs[0]: values[ours] for ours, theirs in names.items()}
                line = line_with(part, layout, told, where_of(of))
                if line is not None:
                    return f"line {line}{'' if of.file == part.name else f' of {part.name}'}, "
        return ""

    def _given(self, of: File, found: Sequence[Part], columns: Columns) -> pl.LazyFrame:
        parquet = found[0].kind == "parquet"
        return self._parquet(of, found, columns) if parquet else self._decoded(of, found, columns).lazy()

    def _series(
        self, of: MacroFile, found: Sequence[Part], own: Sequence[Columns | None], columns: Columns
    ) -> pl.LazyFrame:
        """Macro series of tables with different columns, a row per series and period."""
        tables = []
        for part, theirs in zip(found, own, strict=True):
            each = of if len(found) == 1 else of.model_copy(update={"file": part.name})
            rows = self._given(each, [part], columns if theirs is None else theirs)
            tables.append(rows if theirs is None else one_row_each(rows))
        return pl.concat(tables, how="diagonal")

    def _parquet(self, of: File, found: Sequence[Part], columns: Columns) -> pl.LazyFrame:
        alike = [self._parquet_alike(of, each, columns) for each in self._alike(found)]
        said = dict.fromkeys(each for _, _, told in alike for each in told)
        if said:
            count = sum(collect(given.select(pl.len()), of.file).item() for _, given, _ in alike)
            self._tell(of, found, said, (count, count), {})
        return pl.concat([rows.select(list(columns)) for rows, _, _ in alike]) if len(alike) > 1 else alike[0][0]

    def _alike(self, found: Sequence[Part]) -> list[list[Part]]:
        """The tables grouped by columns and types: whole numbers in one file may be floats in another one."""
        if len(found) == 1:
            return [[*found]]
        groups: dict[object, list[Part]] = {}
        for part, state in zip(found, _state(found)[1], strict=True):
            if (part, state) not in self._schemas:
                try:
                    self._schemas[part, state] = tuple(pl.read_parquet_schema(part.path).items())
                except (pl.exceptions.PolarsError, OSError) as error:
                    raise SourceError(_unreadable(part.name, error)) from None
            groups.setdefault(self._schemas[part, state], []).append(part)
        return [*groups.values()]

    def _parquet_alike(
        self, of: File, found: Sequence[Part], columns: Columns
    ) -> tuple[pl.LazyFrame, pl.LazyFrame, list[str]]:
        """Our columns of tables with the same columns, all of their rows, and notes."""
        many = len(found) > 1 or found[0].ticker is not None
        paths, named = [part.path for part in found], _FILE if many else None
        scanned = pl.scan_parquet(paths if many else paths[0], glob=False, include_file_paths=named)
        try:
            schema = scanned.collect_schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise SourceError(_unreadable(of.file, error)) from None
        names, said = resolved(of, columns, [name for name in schema if name != _FILE], found[0])
        chosen = []
        for ours, theirs in names.items():
            if ours in DAYS:
                days = [self._day(of, found, scanned, name, schema[name], ours) for name in theirs]
                chosen.append(pl.max_horizontal(days).alias(ours) if len(days) > 1 else days[0].alias(ours))
            else:
                chosen.append(_column(of.file, ours, theirs, schema))
        if "ticker" in columns and "ticker" not in names:
            chosen.append(_told_ticker(of, found))
        elif of.read.ticker_suffix and "ticker" in columns:
            chosen = [
                each.str.strip_suffix(of.read.ticker_suffix) if each.meta.output_name() == "ticker" else each
                for each in chosen
            ]
        if undated(columns, names):
            chosen.append(pl.lit(None, pl.Date).alias("published"))
        given = _left_by_where(of, scanned)
        return given.select(chosen), given, said

    def _tell(
        self, of: File, found: Sequence[Part], said: Iterable[str], rows: tuple[int, int], refused: Mapping[str, int]
    ) -> None:
        shown = f"{of.file} where {where_of(of)}" if where_of(of) else of.file
        self._told[shown] = FileRead(KINDS[type(of)], shown, len(found), tuple(said), *rows, refused)

    def _day(
        self, of: File, found: Sequence[Part], scanned: pl.LazyFrame, name: str, dtype: pl.DataType, ours: str
    ) -> pl.Expr:
        """The day of a column's values."""
        if dtype in (pl.Date, pl.Null):
            return pl.col(name).cast(pl.Date)
        if not isinstance(dtype, pl.Datetime) and (
            of.read.dates is None or not (dtype == pl.String or dtype.is_integer())
        ):
            raise SourceError(
                f"{of.file}: column '{name}' is {dtype}, but {ours} needs a date; convert it, fix {MAPPING}, or set "
                "the date format in its mapping, such as read: {dates: iso}"
            )
        key = (of.file, of.read, name, ours, _state(found))
        if key not in self._stamps:
            self._stamps[key] = _stamped(of, scanned, name, dtype, ours)
        return self._stamps[key]

    def _decoded(self, of: File, found: Sequence[Part], columns: Columns) -> pl.DataFrame:
        key = (of.file, of.read, tuple(where_of(of).items()), tuple(columns.items()))
        state = _state(found)
        if key not in self._texts or self._texts[key][0] != state:
            # The cache is not used for another file of the same name.
            values = _values(of, found, columns)
            self._texts[key] = state, values.rows
            count = len(values.rows) + sum(values.refused.values())
            if isinstance(of, PriceFile):
                count -= values.refused.get("not_a_number", 0)
            self._tell(of, found, values.said, (count, len(values.rows)), values.refused)
        return self._texts[key][1]


def columns_in(part: Part, reading: Reading) -> list[str]:
    """Names of the columns of one table.

    Raises:
        SourceError: it cannot be read.

    """
    if part.kind == "text":
        return columns_of(layout_of(part, reading))
    if part.kind != "parquet":
        return json_texts(part).rows.columns
    try:
        return list(pl.read_parquet_schema(part.path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(_unreadable(part.name, error)) from None


def collect(frame: pl.LazyFrame, file: str) -> pl.DataFrame:
    """The rows of a file.

    Raises:
        SourceError: it cannot be read.

    """
    try:
        return frame.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(_unreadable(file, error)) from None


def _left_by_where(of: File, rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.filter(*(pl.col(name) == value for name, value in where_of(of).items()))


def _of_member(file: PriceFile, rows: pl.LazyFrame) -> pl.LazyFrame:
    """The bars without those in `not_the_member`."""
    for symbol, span in file.not_the_member.items():
        strange = (pl.col("ticker") == symbol) & pl.col("date").is_between(span.first, span.last)
        rows = rows.filter(~strange.fill_null(False))  # rows without ticker or date are refused elsewhere
    return rows


def _state(found: Sequence[Part]) -> tuple[tuple[Part, ...], tuple[object, ...]]:
    """State of the tables' files, which changes with them."""
    stats = {part.path: part.path.stat() for part in found}
    return tuple(found), tuple(
        (stats[part.path].st_ino, stats[part.path].st_mtime_ns, stats[part.path].st_size) for part in found
    )


def _values(of: File, found: Sequence[Part], columns: Columns) -> Values:
    """All rows of one or several files of texts, some of which may be empty."""

    def of_part(part: Part) -> _Taken | EmptyFileError:
        try:
            return _of_part(of, part, columns)
        except EmptyFileError as error:
            return error

    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        every = list(pool.map(of_part, found))
    read = [each for each in every if not isinstance(each, EmptyFileError)]
    if not read:
        raise next(each for each in every if isinstance(each, EmptyFileError))
    empty = [part.name for part, each in zip(found, every, strict=True) if isinstance(each, EmptyFileError)]
    origin = Origin(of.file, read[0].names, [each.table for each in read])
    said = [*dict.fromkeys(said for each in read for said in each.said)]
    said += [f"{len(empty)} empty files, {empty[0]} the first"] if empty else []
    refused: dict[str, int] = {}
    for each in read:
        for reason, count in each.texts.refused.items():
            refused[reason] = refused.get(reason, 0) + count
    together = pl.concat([each.texts.rows for each in read])
    values = typed(together, origin, of.read, bars=isinstance(of, PriceFile))
    return Values(values.rows.select(list(columns)), [*said, *values.said], {**refused, **values.refused})


class _Taken(NamedTuple):
    """Texts of one table under our names, the file's names, notes, and the places of the rows."""

    texts: Texts
    names: dict[str, tuple[str, ...]]
    said: list[str]
    table: Table


def _of_part(of: File, part: Part, columns: Columns) -> _Taken:
    said: list[str] = []
    layout: Layout | None = None
    wanted: dict[str, None] = {}
    if part.kind == "text":
        layout = layout_of(part, of.read)
        said += layout.said
        names, more = resolved(of, columns, columns_of(layout), part)
        wanted = dict.fromkeys([*(name for each in names.values() for name in each), *where_of(of)])
        texts = texts_of(part, layout, [*wanted])
    else:
        texts = json_texts(part)
        names, more = resolved(of, columns, texts.rows.columns, part)
    rows = texts.rows
    rows = rows.filter(*(pl.col(name) == value for name, value in where_of(of).items()))
    table = Table(part, layout, [*wanted], where_of(of), len(rows))
    chosen = [pl.col(name).alias(f"{ours}:{place}") for ours, each in names.items() for place, name in enumerate(each)]
    if "ticker" in columns and "ticker" not in names:
        chosen.append(pl.lit(of.read.ticker or part.ticker, pl.String).alias("ticker:0"))
    if undated(columns, names):
        chosen.append(pl.lit(None, pl.String).alias("published:0"))
    return _Taken(Texts(rows.select(chosen), texts.refused), names, [*said, *more], table)


def _told_ticker(of: File, found: Sequence[Part]) -> pl.Expr:
    if of.read.ticker is not None:
        return pl.lit(of.read.ticker).alias("ticker")
    names = {str(part.path): part.ticker for part in found}
    return pl.col(_FILE).replace_strict(names, return_dtype=pl.String).alias("ticker")


def _stamped(of: File, scanned: pl.LazyFrame, name: str, dtype: pl.DataType, ours: str) -> pl.Expr:
    """The days of a column of time stamps, texts or whole numbers, each of its values having been looked at."""
    column = pl.col(name)
    where = f"{of.file}: column '{name}'"
    sessions = isinstance(of, PriceFile) and ours == "date"
    if not isinstance(dtype, pl.Datetime):
        distinct = collect(scanned.select(column.cast(pl.String).unique()), of.file).to_series().drop_nulls()
        found = read_days(distinct, of.read.dates, of.read.zone, sessions=sessions, ends=ours in ENDS)
        wrong = next((text for text, day in found.days.items() if day is None), None)
        if wrong is not None:
            raise SourceError(f"{where}: '{wrong}' is no date by read: {{dates: {of.read.dates}}}; fix {MAPPING}")
        if found.ambiguous:
            raise ambiguous_zone(where, found.ambiguous[0], found.days[found.ambiguous[0]])
        return column.cast(pl.String).replace_strict(dict(found.days), default=None, return_dtype=pl.Date)
    clock = column.dt.replace_time_zone(None)
    looked_at = scanned if of.read.zone is not None else scanned.filter(clock.dt.time() != time(0))
    distinct = collect(looked_at.select(column.unique()), of.file).to_series().drop_nulls()
    if distinct.is_empty():
        return clock.dt.date()
    stamps: dict[str, Stamp] = {}
    for moment in distinct:
        offset: timedelta | None = moment.utcoffset()
        stamps[f"{moment.replace(tzinfo=None)}{f' {dtype.time_zone}' if dtype.time_zone else ''}"] = Stamp(
            moment.replace(tzinfo=None), offset
        )
    found = days_of_stamps(stamps, of.read.zone, sessions=sessions)
    if found.ambiguous:
        raise ambiguous_zone(where, found.ambiguous[0], found.days[found.ambiguous[0]])
    days = pl.Series([found.days[stamp] for stamp in stamps], dtype=pl.Date)
    return column.replace_strict(distinct, days, default=clock.dt.date(), return_dtype=pl.Date)


def _column(file: str, ours: str, theirs: Sequence[str], schema: pl.Schema) -> pl.Expr:
    """A text or number of a Parquet file under our name and type; of several numbers the sum where any is there."""
    wanted = "text" if ours in TEXT else "a number"
    for name in theirs:
        dtype = schema[name]
        fits = isinstance(dtype, pl.String | pl.Categorical | pl.Enum) if wanted == "text" else dtype.is_numeric()
        if not fits and dtype != pl.Null:
            raise SourceError(
                f"{file}: column '{name}' is {dtype}, but {ours} needs {wanted}; convert it or fix {MAPPING}"
            )
    if wanted == "text":
        return pl.col(theirs[0]).cast(pl.String).alias(ours)
    numbers = [pl.col(name).cast(pl.Float64) for name in theirs]
    if len(numbers) == 1:
        return numbers[0].alias(ours)
    there = pl.any_horizontal(number.is_not_null() for number in numbers)
    return pl.when(there).then(pl.sum_horizontal(numbers)).alias(ours)


def _unreadable(file: str, error: Any) -> str:
    return f"{file} cannot be read: {str(error).strip().splitlines()[0]}; fix the file or its columns in {MAPPING}"
