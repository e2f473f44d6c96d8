"""Where a row stands in its file, for messages. A file is looked through again only where it has a mistake."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from quant_assets.sources.files_found import Part
from quant_assets.sources.files_text import Layout, decoded


class Table(NamedTuple):
    """One file of those whose rows stand below each other.

    Attributes:
        part: the file, or the member of an archive.
        layout: of its text; None of JSON.
        names: of the columns that were read.
        where: columns and the value that a row must have.
        rows: that were read and have these values.

    """

    part: Part
    layout: Layout | None
    names: Sequence[str]
    where: Mapping[str, str]
    rows: int


def place_of(tables: Sequence[Table], row: int, text: str) -> str:
    """The line of a row and, of several, its file; counted by rows where the line cannot be told.

    Args:
        tables: in the order of the rows.
        row: of all of them together, from 0.
        text: one of the row's values.

    """
    at = 0
    while row >= tables[at].rows:
        row, at = row - tables[at].rows, at + 1
    table = tables[at]
    of = f" of {table.part.name}" if len(tables) > 1 else ""
    line = None if table.layout is None or table.layout.wide else _line(table, table.layout, row, text)
    return f"row {row + 1} below the head{of}" if line is None else f"line {line}{of}"


def line_with(part: Part, layout: Layout, values: Mapping[str, str], where: Mapping[str, str]) -> int | None:
    """The line of the first row with these values, from 1; None where there is none or it cannot be told.

    Args:
        part: the file.
        layout: of its text.
        values: by the file's names of columns, without the space around them.
        where: as in `Table`.

    """
    if layout.wide:
        return None
    places = {name: layout.names.index(name) for name in values}
    try:
        for line, cells in _rows(Table(part, layout, [*values], where, 0), layout):
            if all(place < len(cells) and cells[place].strip() == values[name] for name, place in places.items()):
                return line
    except (UnicodeError, csv.Error):
        pass
    return None


def _line(table: Table, layout: Layout, row: int, text: str) -> int | None:
    """The line in which the row begins, from 1; None where another reading finds another row there."""
    try:
        for number, (line, cells) in enumerate(_rows(table, layout)):
            if number == row:
                return line if text in cells else None
    except (UnicodeError, csv.Error):
        pass
    return None


def _rows(table: Table, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of the rows that are read."""
    places = {name: place for place, name in enumerate(layout.names)}
    lines = io.StringIO(decoded(table.part, layout), newline="")
    for _ in range(layout.skipped):
        lines.readline()
    reader = csv.reader(lines, delimiter=layout.separator)
    ended = 0
    for cells in reader:
        line, ended = layout.skipped + ended + 1, reader.line_num
        given = cells + [""] * (len(places) - len(cells))
        commented = layout.comments and given[0].startswith("#")
        too_many = any(cell.strip() for cell in cells[len(places) :])
        blank = not any(given[places[name]].strip() for name in table.names)
        left_out = any(given[places[name]] != value for name, value in table.where.items())
        if not (commented or too_many or blank or left_out):
            yield line, cells
