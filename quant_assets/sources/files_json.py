"""Tables in JSON: a list of records, records by ticker or by date, columns, pandas' formats, JSON lines."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.sources.files_found import Part
from quant_assets.sources.files_text import Texts

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}.*|\d{8}|\d{12,13}")
_PLACE = re.compile(r"\d{1,7}")
_NAMES = ("columns", "column_names", "index", "data", "schema")

Record = dict[str, Any]


def json_texts(part: Part) -> Texts:
    """All rows of a file, with values as texts.

    Raises:
        SourceError: it is not JSON, or of an unknown format.

    """
    text = _decoded(part)
    lines = part.kind == "json lines"
    refused = 0
    try:
        if lines:
            found: Any = []
            for line in text.splitlines():
                if line.strip():
                    found.append(_parsed(line))
        else:
            found = _parsed(text)
    except json.JSONDecodeError as error:
        try:  # JSON lines with suffix .json
            found = [_parsed(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError:
            raise SourceError(f"{part.name} is not JSON: {error}; download it again") from None
    records = _records(found)
    if records is None:
        raise SourceError(
            f"{part.name} has no table: write a list of records, records by ticker, columns, or one record per line"
        )
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {name: pl.Series([_text(record.get(name)) for record in records], dtype=pl.String) for name in names}
    return Texts(pl.DataFrame(columns), {"blank": refused} if refused else {})


def _decoded(part: Part) -> str:
    content = part.content()
    for encoding in ("utf-8-sig", "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252", "latin-1"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes everything")


def _parsed(text: str) -> Any:
    return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _records(found: Any) -> list[Record] | None:
    if isinstance(found, list):
        return _of_list(found)
    return _of_mapping(found) if isinstance(found, Mapping) and found else None


def _of_list(found: Sequence[Any]) -> list[Record] | None:
    if all(isinstance(each, Mapping) for each in found):
        return [dict(each) for each in found]
    if found and all(isinstance(each, list) for each in found) and all(isinstance(name, str) for name in found[0]):
        return [dict(zip(found[0], row, strict=False)) for row in found[1:]]
    return None


def _of_mapping(found: Mapping[str, Any]) -> list[Record] | None:
    if "data" in found and any(name in found for name in _NAMES if name != "data"):
        return _split(found)
    values = [*found.values()]
    if all(isinstance(each, list) for each in values):
        if all(all(isinstance(record, Mapping) for record in each) for each in values):
            return [{"ticker": key, **record} for key, each in found.items() for record in each]
        if len({len(each) for each in values}) == 1 and not any(isinstance(each[0], list) for each in values if each):
            return [dict(zip(found, row, strict=True)) for row in zip(*values, strict=True)]
    if all(isinstance(each, Mapping) for each in values):
        return _of_mappings(found)
    return _unwrapped(found)


def _split(found: Mapping[str, Any]) -> list[Record] | None:
    """Separate names and rows, as written by pandas (`split`, `table`) and Quandl."""
    data, names = found["data"], found.get("columns", found.get("column_names"))
    if isinstance(data, list) and names and all(isinstance(row, list) for row in data):
        plain = [name["name"] if isinstance(name, Mapping) else str(name) for name in names]
        index = found.get("index") or [None] * len(data)
        named = [dict(zip(plain, row, strict=False)) for row in data]
        dated = all(isinstance(key, str) and _DAY.fullmatch(key) for key in index) and "date" not in plain
        return [{"date": key, **row} for key, row in zip(index, named, strict=True)] if dated else named
    return _records(data)


def _of_mappings(found: Mapping[str, Mapping[str, Any]]) -> list[Record] | None:
    keys = [*found]
    scalars = all(not isinstance(value, list | Mapping) for each in found.values() for value in each.values())
    if scalars and all(_DAY.fullmatch(key) for key in keys):
        return [{"date": key, **each} for key, each in found.items()]
    if scalars and all(_PLACE.fullmatch(key) for key in keys):
        return [dict(each) for each in found.values()]
    inner = list(dict.fromkeys(key for each in found.values() for key in each))
    if scalars and all(_PLACE.fullmatch(key) for key in inner):
        return [{name: each.get(key) for name, each in found.items()} for key in inner]
    if scalars and all(_DAY.fullmatch(key) for key in inner):
        return [{"date": key, **{name: each.get(key) for name, each in found.items()}} for key in inner]
    if scalars and len({frozenset(each) for each in found.values()}) == 1:
        return [{"ticker": key, **each} for key, each in found.items()]
    tables = {key: _of_mapping(each) if each else [] for key, each in found.items()}
    if all(rows is not None for rows in tables.values()) and not scalars:
        return [{"ticker": key, **row} for key, rows in tables.items() for row in rows or []]
    return _unwrapped(found)


def _unwrapped(found: Mapping[str, Any]) -> list[Record] | None:
    """One table among metadata, whose scalars apply to every row."""
    holders = {key: each for key, each in found.items() if isinstance(each, list | Mapping) and each}
    tables = {key: rows for key, each in holders.items() if (rows := _records(each)) and len(rows[0]) > 1}
    if len(tables) > 1:
        longest = max(tables.values(), key=len)
        tables = {key: rows for key, rows in tables.items() if rows is longest}
    constants = {key: each for key, each in found.items() if not isinstance(each, list | Mapping)}
    return [{**constants, **row} for rows in tables.values() for row in rows] or None
