"""Conversion of columns of texts to our types (text, date, Float64); invalid rows are counted."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.formats import Reading
from quant_assets.sources.files_dates import read_days
from quant_assets.sources.files_lines import Table, place_of
from quant_assets.sources.files_numbers import is_null, numbers, plain_numbers, signs_of

#: Our columns that are texts or dates; all others are numbers.
TEXT = ("ticker", "sector", "series_id", "form", "company", "reason", "currency", "from", "to")
DAYS = (
    "date",
    "start_date",
    "end_date",
    "known_at",
    "last_session",
    "period",
    "released",
    "period_end",
    "published",
    "snapshot",
    "restated_on",
    "told_through",
)
#: Date columns in which a month or quarter means its last day; in the others its first, or as set.
ENDS = ("end_date", "known_at", "period_end", "published", "snapshot", "restated_on")
#: First column of lines below a table.
_BELOW = (
    r"(?i)^\W*(?:grand |sub)?(?:totals?|sum|average|mean|count|sources?|notes?|footnotes?|copyright|disclaimer|end)\b"
)
#: Largest share of refused rows; more mean that the file is read wrongly.
_BEARABLE = 0.2
_MANY = "the text that begins with '{}' has several lines because a quote is not closed; fix the file"

Given = Mapping[str, Sequence[str]]


class Values(NamedTuple):
    """Rows under our names and types, the detected format, and refused rows by reason."""

    rows: pl.DataFrame
    said: list[str]
    refused: dict[str, int]


class Origin(NamedTuple):
    """Names for messages: the file, its names of our columns, and the places of the rows."""

    file: str
    names: Given
    tables: Sequence[Table]
    tickers: pl.Series | None = None

    def column(self, ours: str, place: int) -> str:
        """For messages."""
        theirs = self.names.get(ours, ())
        return f"column '{theirs[place]}'" if place < len(theirs) else f"column for {ours}"

    def at(self, row: int, column: str, text: str) -> str:
        """Line, column and ticker of a value, for messages."""
        ticker = None if self.tickers is None else self.tickers[row]
        return f"{place_of(self.tables, row, text)}, {column}" + (f", ticker {ticker}" if ticker else "")


def typed(texts: pl.DataFrame, origin: Origin, reading: Reading, *, bars: bool) -> Values:
    """Convert texts to our columns.

    Rows without a readable date, or with an invalid number, are refused. Bars with an invalid number stay without a
    close, so that they are listed among the refused bars.

    Args:
        texts: columns `ours:0`, `ours:1` … for the file's columns of one of ours.
        origin: of the texts.
        reading: the format in the settings.
        bars: whether they are bars.

    Raises:
        SourceError: the format is ambiguous, or most rows are invalid. Names the column and the setting.

    """
    places: dict[str, list[str]] = {}
    for name in texts.columns:
        places.setdefault(name.rpartition(":")[0], []).append(name)
    if "ticker" in places:
        origin = origin._replace(tickers=_text(texts[places["ticker"][0]], "ticker", reading))
    said: list[str] = []
    told: list[tuple[str, str, pl.Series, pl.Series]] = []
    refused = {"total_line": _below(texts, places, bars=bars)}
    columns: dict[str, pl.Series] = {}
    figures = [name for ours, names in places.items() if ours not in (*TEXT, *DAYS) for name in names]
    plain = {name: plain_numbers(texts[name]) for name in figures}
    odd = any(rest.any() for _, rest in plain.values()) or reading.decimal is not None
    signs = signs_of([texts[name] for name in figures if odd], reading.decimal)
    if signs.decimal is None:
        raise SourceError(
            f"{origin.file}: whether {signs.example} has thousands or decimals is ambiguous; set in its mapping "
            "read: {decimal: '.'} or {decimal: ','}"
        )
    said += signs.shown
    for ours, names in places.items():
        if ours in TEXT:
            _closed(texts[names[0]], origin, origin.column(ours, 0))
            columns[ours] = _text(texts[names[0]], ours, reading)
            continue
        found = []
        for place, name in enumerate(names):
            where = origin.column(ours, place)
            if ours in DAYS:
                values, bad = _days(texts[name], origin, where, reading, ours, bars, said)
                reason = "not_a_date"
            else:
                values, bad = numbers(texts[name], plain[name], signs, reading.nulls)
                reason = "not_a_number"
                _bearable(texts[name], bad, origin, where, "no number")
            if bad.any():
                told.append((reason, where, texts[name], bad))
            refused[reason] = bad if reason not in refused else refused[reason] | bad
            found.append(values)
        columns[ours] = found[0] if len(found) == 1 else _together(found, days=ours in DAYS)
    rows = pl.DataFrame(columns)
    lost = refused["total_line"]
    if "not_a_date" in refused:
        refused["not_a_date"] &= ~lost
        lost |= refused["not_a_date"]
    if "not_a_number" in refused:
        refused["not_a_number"] &= ~lost
        if bars:
            rows = rows.with_columns(close=pl.when(~refused["not_a_number"]).then("close"))
        else:
            lost |= refused["not_a_number"]
    said += [line for each in told for line in _first(origin, *each, ~refused["total_line"])]
    counted = {reason: int(bad.sum()) for reason, bad in refused.items() if bad.any()}
    return Values(rows.filter(~lost) if lost.any() else rows, list(dict.fromkeys(said)), counted)


def _first(origin: Origin, reason: str, where: str, texts: pl.Series, bad: pl.Series, of_table: pl.Series) -> list[str]:
    """Where the first value of a column stands that could not be read, and its text."""
    rows = (bad & of_table).arg_true()
    return [f"first {reason}: {origin.at(rows[0], where, texts[rows[0]])}, '{texts[rows[0]]}'"] if len(rows) else []


def _below(texts: pl.DataFrame, places: Mapping[str, Sequence[str]], *, bars: bool) -> pl.Series:
    """Lines below the table, such as a total or the source, recognised by their first words; or bars without values."""
    words = [name for ours, names in places.items() if ours in (*TEXT, *DAYS) for name in names]
    first = pl.any_horizontal(pl.col(words).str.contains(_BELOW).fill_null(False))
    days = [name for ours, names in places.items() if ours in DAYS for name in names]
    rest = [name for ours, names in places.items() if ours not in TEXT for name in names]
    undated = ~pl.any_horizontal(pl.col(days).str.contains(r"\d{2}").fill_null(False)) if days else pl.lit(True)
    empty = pl.all_horizontal(is_null(pl.col(name)) for name in rest) if rest else pl.lit(False)
    return texts.select(below=(first | empty if bars else first) & undated).to_series()


def _text(texts: pl.Series, ours: str, reading: Reading) -> pl.Series:
    plain = texts.str.strip_chars()
    if ours == "ticker" and reading.ticker_suffix:
        plain = plain.str.strip_suffix(reading.ticker_suffix)
    return plain.set(plain == "", None)


def _days(
    texts: pl.Series, origin: Origin, column: str, reading: Reading, ours: str, bars: bool, said: list[str]
) -> tuple[pl.Series, pl.Series]:
    where = f"{origin.file}: {column}"
    distinct = texts.unique().drop_nulls()
    there = distinct.to_frame("text").filter(~is_null(pl.col("text"), reading.nulls)).to_series()
    if there.is_empty():
        return texts.clear(len(texts)).cast(pl.Date), pl.Series([False], dtype=pl.Boolean).new_from_index(0, len(texts))
    found = read_days(there, reading.dates, reading.zone, sessions=bars and ours == "date", ends=ours in ENDS)
    if found.undecided:
        raise SourceError(
            f"{where}: day and month of {found.undecided[0]} are ambiguous; set in its mapping "
            "read: {dates: day_first} or {dates: month_first}"
        )
    if found.strange:
        row = texts.is_in(pl.Series(found.strange).implode()).fill_null(False).arg_true()[0]
        usual = min(text for text, day in found.days.items() if day is not None)
        raise SourceError(
            f"{origin.file}: {origin.at(row, column, texts[row])}: '{texts[row]}' is not written like most dates of "
            f"the column ('{usual}', {found.form}; {len(found.strange)} of {len(found.days)} are not); write all "
            "of them as 2024-01-31: the order of day and month is not guessed row by row"
        )
    if found.form != "dates iso":
        said.append(found.form)
    days: dict[str, date | None] = {**found.days}
    if found.ambiguous:
        if len(found.ambiguous) > len(days) // 100:
            raise ambiguous_zone(where, found.ambiguous[0], days[found.ambiguous[0]])
        days |= dict.fromkeys(found.ambiguous)
    keys = pl.Series([*days], dtype=pl.String)
    values = texts.replace_strict(keys, pl.Series([*days.values()], dtype=pl.Date), default=None, return_dtype=pl.Date)
    unread = [text for text, day in days.items() if day is None]
    bad = texts.is_in(pl.Series(unread, dtype=pl.String).implode()).fill_null(False)
    _bearable(texts, bad, origin, column, "no date")
    return values, bad


def ambiguous_zone(where: str, stamp: str, day: date | None) -> SourceError:
    """The error for bars with times that may mean two sessions."""
    return SourceError(
        f"{where}: the session of the time stamp {stamp} is ambiguous ({day} by its own clock or New York's, "
        "but another day in other zones); set in its mapping read: {zone: …}, the zone of the bars' days, such as "
        "Europe/Berlin or America/New_York"
    )


def _bearable(texts: pl.Series, bad: pl.Series, origin: Origin, column: str, what: str) -> None:
    """Raise an error for a column with many invalid values: the mapping or the format is wrong."""
    count, there = int(bad.sum()), len(texts) - texts.null_count()
    if count:
        _closed(texts.set(~bad, None), origin, column)
    if count == 0 or (count < there and (count <= 3 or count <= _BEARABLE * there)):
        return
    row = bad.arg_true()[0]
    example = " ".join(texts[row].split())[:40]
    raise SourceError(
        f"{origin.file}: {origin.at(row, column, texts[row])}: '{example}' is {what}, nor are {count} of {there} "
        "values; fix the file, its columns or its `read` (separator, decimal, dates)"
    )


def _closed(texts: pl.Series, origin: Origin, column: str) -> None:
    """Raise an error for texts of several lines: they contain rows, because of an unclosed quote."""
    rows = texts.str.contains("\n", literal=True).fill_null(False).arg_true()
    if len(rows):
        text = texts[rows[0]]
        place = place_of(origin.tables, rows[0], text)
        raise SourceError(f"{origin.file}: {place}, {column}: {_MANY.format(text[:40].splitlines()[0])}")


def _together(columns: Sequence[pl.Series], *, days: bool) -> pl.Series:
    """The latest day, or the sum of the columns if any is not null."""
    every = [pl.lit(column) for column in columns]
    if days:
        return pl.select(pl.max_horizontal(every)).to_series()
    there = pl.any_horizontal(each.is_not_null() for each in every)
    return pl.select(pl.when(there).then(pl.sum_horizontal(every))).to_series()
