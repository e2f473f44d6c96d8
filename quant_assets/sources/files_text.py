"""Tables of delimited text files: lines, columns and names. Values are not parsed here."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from unicodedata import category

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.formats import Reading
from quant_assets.sources.files_found import Part

#: Size of the beginning of a file that is inspected first.
_HEAD_BYTES, _HEAD_LINES = 65_536, 60
#: First bytes of workbooks, even if named .csv: archives, or Microsoft's compound files.
_OF_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_SEPARATORS = {",": ",", ";": ";", "\t": "tab", "|": "|"}
_DATA = re.compile(r"\d{4}-\d{1,2}-\d{1,2}.*|(?:19|20)\d{6}|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}")
_FIELDS = {"open", "high", "low", "close", "adj close", "volume"}


class Layout(NamedTuple):
    """The layout of a table in a text.

    Attributes:
        encoding: of the text.
        separator: of its columns.
        skipped: lines before the first row, including the names.
        names: of its columns, unique.
        comments: whether lines that begin with # are comments.
        wide: field and ticker of each column, if the header has several lines; else empty.
        said: detected format, for people.

    """

    encoding: str
    separator: str
    skipped: int
    names: tuple[str, ...]
    comments: bool
    wide: tuple[tuple[str, str], ...]
    said: tuple[str, ...]


class EmptyFileError(SourceError):
    """A file without a line, as in archives of many tickers."""


class Texts(NamedTuple):
    """Rows of texts, and the number of refused lines by reason."""

    rows: pl.DataFrame
    refused: dict[str, int]


def layout_of(part: Part, reading: Reading) -> Layout:
    """Detect the layout from the beginning of a file.

    Raises:
        EmptyFileError: it has no line.
        SourceError: it cannot be decompressed, or is not text.

    """
    head, whole = _head(part)
    if head.startswith(_OF_WORKBOOKS):
        raise SourceError(
            f"{part.name} is not text but an archive or a workbook (Excel); unpack it, or save its sheet as CSV"
        )
    encoding, said = _encoding(head, reading.encoding)
    text = head.decode(encoding, errors="replace").lstrip("\ufeff")
    if _is_binary(text):
        raise SourceError(
            f"{part.name} is no table: binary data, or text that is not UTF-8, UTF-16 or Latin-1; remove it, or save "
            "it as UTF-8"
        )
    lines = text.splitlines()
    lines = (lines if whole or len(lines) < 2 else lines[:-1])[:_HEAD_LINES]
    if not any(line.strip() for line in lines):
        raise EmptyFileError(f"{part.name} is empty; download it again or remove it")
    header_comment = _commented_header(lines)
    comments = any(line.startswith("#") for line in lines) and not header_comment
    table = [(place, line) for place, line in enumerate(lines) if line.strip() and not (comments and line[0] == "#")]
    separator = reading.separator or _separator([line for _, line in table])
    rows = [
        (place, [cell.strip() for cell in row]) for (place, _), row in zip(table, _split(table, separator), strict=True)
    ]
    width = Counter(len(row) for _, row in rows).most_common(1)[0][0]
    at = next(number for number, (_, row) in enumerate(rows) if len(row) == width)
    if at and len(rows[at - 1][1]) == width - 1 and not any(row[-1] for _, row in rows[at:] if len(row) == width):
        at, width = at - 1, width - 1  # rows end with a separator, the names do not
    levels = _header_rows([row for _, row in rows[at : at + 4]], reading.header_rows)
    header = [(row + [""] * width)[:width] for _, row in rows[at : at + levels]]
    first = rows[at + levels - 1][0] + 1 if levels else rows[at][0]
    if separator != ",":
        said.append(f"separator {_SEPARATORS[separator]}")
    if rows[at][0]:
        said.append(f"{rows[at][0]} lines before the names")
    if comments:
        said.append("lines with # left out")
    wide: tuple[tuple[str, str], ...] = ()
    if levels == 0:
        names = [f"column_{place}" for place in range(1, width + 1)]
        said.append("no line of names: columns are column_1, column_2 …")
    elif levels == 1:
        names = _once([name.lstrip("#").strip() if header_comment else name for name in header[0]])
    else:
        wide = _wide(header)
        names = [f"column_{place}" for place in range(1, width + 1)]
        said.append(f"{levels} lines of names: one table per ticker, {len({ticker for _, ticker in wide[1:]})} tickers")
    return Layout(encoding, separator, first, tuple(names), comments, wide, tuple(said))


def columns_of(layout: Layout) -> list[str]:
    """Names of the columns that `texts_of` can return."""
    if layout.wide:
        return list(dict.fromkeys([layout.wide[0][0], "Ticker", *(field for field, _ in layout.wide[1:])]))
    return list(layout.names)


def texts_of(part: Part, layout: Layout, names: Sequence[str]) -> Texts:
    """All rows of some columns.

    Raises:
        SourceError: it cannot be read.

    """
    wanted = list(layout.names) if layout.wide else list(names)
    try:
        rows, refused = _read(part, layout, wanted)
    except (pl.exceptions.PolarsError, OSError, UnicodeError, csv.Error) as error:
        raise SourceError(
            f"{part.name} cannot be read: {str(error).strip().splitlines()[0]}; fix the file, or set its format "
            "in `read` (separator, encoding, header_rows)"
        ) from None
    if layout.wide:
        rows = _long(rows, layout.wide).select(names)
    blank = pl.all_horizontal(pl.all().is_null() | (pl.all().str.strip_chars() == ""))
    filled = rows.filter(~blank)
    if len(filled) < len(rows):
        refused = {**refused, "blank": len(rows) - len(filled)}
    return Texts(filled, refused)


def _head(part: Part) -> tuple[bytes, bool]:
    """The beginning of a file, and whether that is the whole file."""
    if part.member or part.path.suffix.lower() in (".gz", ".bz2"):
        content = part.content()
        return content[:_HEAD_BYTES], len(content) <= _HEAD_BYTES
    try:
        with part.path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            return head, not file.read(1)
    except OSError as error:
        raise SourceError(f"{part.path} cannot be read: {error.strerror}; fix its permissions") from None


def _encoding(head: bytes, given: str | None) -> tuple[str, list[str]]:
    if given is not None:
        return given, [f"encoding {given}"]
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return name, ["UTF-16"] if name == "utf-16" else []
    if head[1:200:2].count(0) > len(head[1:200:2]) // 2:
        return "utf-16-le", ["UTF-16"]
    if head[0:200:2].count(0) > len(head[0:200:2]) // 2:
        return "utf-16-be", ["UTF-16"]
    return ("utf-8", []) if _decodes(head, "utf-8") else (_latin(head), ["encoding Latin-1"])


def _is_binary(text: str) -> bool:
    """Whether more than a fiftieth of the characters are none that a text has: one byte in nine of packed data is."""
    looked = text[:4096]
    strange = sum(category(sign) in ("Cc", "Cn", "Co", "Cs") and sign not in "\t\r\n\f\v\x1a" for sign in looked)
    return strange * 50 > len(looked)


def _decodes(head: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _latin(content: bytes) -> str:
    """cp1252 if possible: it has letters where Latin-1 has control characters, but five undefined bytes."""
    return "cp1252" if _decodes(content, "cp1252") else "latin-1"


def _commented_header(lines: Sequence[str]) -> bool:
    """Whether the names are in a line that begins with #, directly above the rows."""
    marked = [place for place, line in enumerate(lines) if line.startswith("#")]
    if marked != [0] or len(lines) < 2:
        return False
    separator = _separator(lines)
    names, row = (next(csv.reader([line], delimiter=separator)) for line in lines[:2])
    return len(names) == len(row) > 1 and not _is_data(names) and _is_data(row)


def _separator(lines: Sequence[str]) -> str:
    """The separator that gives most lines the same number of columns, and most columns."""

    def fit(separator: str) -> tuple[float, int]:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=separator))
        width, count = max(((width, count) for width, count in widths.items()), key=lambda each: (each[1], each[0]))
        return (count / widths.total(), width) if width > 1 else (0.0, 1)

    return max(_SEPARATORS, key=fit)


def _split(table: Sequence[tuple[int, str]], separator: str) -> list[list[str]]:
    """Cells by line. Quoted texts over several lines are rare, and are read correctly later."""
    return [next(csv.reader([line], delimiter=separator), []) for _, line in table]


def _is_data(row: Sequence[str]) -> bool:
    return any(_DATA.fullmatch(cell.strip().strip('"')) for cell in row)


def _header_rows(rows: Sequence[Sequence[str]], given: int | None) -> int:
    if given is not None:
        return min(given, len(rows))
    if _is_data(rows[0]):
        return 0
    stacked = len(rows) > 2 and len({len(row) for row in rows[:3]}) == 1 and rows[2][0] and not any(rows[2][1:])
    stacked = stacked and not any(_is_data(row) for row in rows[1:3])
    if stacked and any({cell.lower() for cell in row} & _FIELDS for row in rows[:2]):
        return 3
    return 1


def _wide(header: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """Field and ticker of each column; for the first, which has the dates, its name and an empty ticker."""
    above, below = header[0], header[1]
    fields_above = sum(cell.lower() in _FIELDS for cell in above) >= sum(cell.lower() in _FIELDS for cell in below)
    fields, tickers = (above, below) if fields_above else (below, above)
    first = header[2][0] if len(header) > 2 else below[0]
    return ((first or "Date", ""), *zip(fields[1:], tickers[1:], strict=True))


def _long(rows: pl.DataFrame, wide: Sequence[tuple[str, str]]) -> pl.DataFrame:
    """One row per date and ticker with any value."""
    fields = list(dict.fromkeys(field for field, _ in wide[1:]))
    tables = []
    for ticker in dict.fromkeys(ticker for _, ticker in wide[1:]):
        place = {field: f"column_{at}" for at, (field, of) in enumerate(wide, start=1) if of == ticker and at > 1}
        own = rows.select(
            pl.col("column_1").alias(wide[0][0]),
            pl.lit(ticker).alias("Ticker"),
            *((pl.col(place[field]) if field in place else pl.lit(None, pl.String)).alias(field) for field in fields),
        )
        tables.append(own.filter(pl.any_horizontal(pl.col(fields).is_not_null())))
    return pl.concat(tables)


def _once(names: Sequence[str]) -> list[str]:
    unique: list[str] = []
    for place, name in enumerate(names, start=1):
        plain = name or f"column_{place}"
        unique.append(plain if plain not in unique else f"{plain}_{place}")
    return unique


def _read(part: Part, layout: Layout, names: list[str]) -> tuple[pl.DataFrame, dict[str, int]]:
    direct = layout.encoding in ("utf-8", "utf-8-sig") and not part.member
    direct = direct and part.path.suffix.lower() not in (".gz", ".bz2")
    try:
        if direct:
            return _parsed(part.path.as_posix(), layout, names), {}
    except pl.exceptions.PolarsError:
        pass  # not UTF-8 after its beginning, or lines of other lengths: handled below
    text = decoded(part, layout)
    try:
        return _parsed(io.BytesIO(text.encode()), layout, names), {}
    except pl.exceptions.PolarsError:
        return _line_by_line(text, layout, names)


def decoded(part: Part, layout: Layout) -> str:
    """The whole text of a file; bytes that are not UTF-8 after its beginning are read as Latin-1.

    Raises:
        UnicodeDecodeError: the file is not in the other encoding that its beginning is in.

    """
    content = part.content()
    try:
        text = content.decode(layout.encoding)
    except UnicodeDecodeError:
        if layout.encoding not in ("utf-8", "utf-8-sig"):
            raise
        text = content.decode(_latin(content))
    return text.removeprefix("\ufeff")


def _parsed(source: str | io.BytesIO, layout: Layout, names: list[str]) -> pl.DataFrame:
    places = [f"column_{layout.names.index(name) + 1}" for name in names]
    return pl.read_csv(
        source,
        has_header=False,
        glob=False,
        schema={f"column_{place}": pl.String for place in range(1, len(layout.names) + 1)},
        columns=places,
        separator=layout.separator,
        skip_lines=layout.skipped,
        comment_prefix="#" if layout.comments else None,
    ).select(pl.col(place).alias(name) for place, name in zip(places, names, strict=True))


def _line_by_line(text: str, layout: Layout, names: list[str]) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows with at most as many columns as names; the others are counted."""
    width, kept, refused = len(layout.names), [], 0
    lines = io.StringIO(text, newline="")
    for _ in range(layout.skipped):
        lines.readline()
    for row in csv.reader(lines, delimiter=layout.separator):
        if layout.comments and row and row[0].startswith("#"):
            continue
        if len(row) > width and any(cell.strip() for cell in row[width:]):
            refused += 1
        else:
            kept.append([cell or None for cell in row[:width]] + [None] * (width - len(row)))
    if refused > len(kept):
        raise csv.Error(f"{refused} of {refused + len(kept)} rows have more columns than the {width} names")
    rows = pl.DataFrame(kept, schema=dict.fromkeys(layout.names, pl.String), orient="row")
    return rows.select(names), {"too_many_columns": refused} if refused else {}
