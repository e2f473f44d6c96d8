"""Reads answers in JSON: every field must be present and of its type, or the answer counts as broken."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from quant_assets.collectors.answers import Broken
from quant_assets.collectors.http import Received
from quant_assets.collectors.tables import Table

#: Exceptions from reading an answer of another shape than documented.
SHAPE_ERRORS = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
    OverflowError,
    pl.exceptions.PolarsError,
)

#: Our columns to the possible field names, one of which must be present: providers rename their fields.
Fields = Mapping[str, tuple[str, ...]]


def decoded(received: Received) -> Any:
    """The JSON of an answer, or `Broken` if it is not JSON."""
    try:
        return json.loads(received.body)
    except (ValueError, RecursionError):
        return Broken(f"status {received.status}, not JSON: {received.shown}")


def broken(error: Exception, received: Received) -> Broken:
    """`Broken` for an answer of another shape, with the error."""
    return Broken(f"{str(error).strip(chr(39))}; it begins {received.shown}")


def field(row: Mapping[str, Any], *names: str) -> Any:
    """The field of a row under the first of the names that is present.

    Raises:
        KeyError: it has none of them; names the present fields.

    """
    for name in names:
        if name in row:
            return row[name]
    raise KeyError(f"no field {names[0]} in a row with {', '.join(map(str, list(row)[:12]))}")


def number(value: Any) -> float | None:
    """A finite number, also if written as text; None for null.

    Raises:
        ValueError, TypeError: it is not a number.

    """
    if value is None:
        return None
    if isinstance(value, bool):
        raise TypeError(f"{value} is no number")
    result = float(value)
    if not math.isfinite(result):
        raise ValueError(f"{value} is no number")
    return result


def day(value: Any) -> date | None:
    """A day; None for null and for an empty text.

    Raises:
        ValueError: it is not a day.

    """
    return date.fromisoformat(str(value)[:10]) if value else None


def text(value: Any) -> str | None:
    """A text; None for null."""
    return None if value is None else str(value)


def moment(value: Any) -> datetime | None:
    """A time with its zone, in UTC; None for null.

    Raises:
        ValueError: it is not a time with a zone.

    """
    if not value:
        return None
    result = datetime.fromisoformat(str(value))
    if result.tzinfo is None:
        raise ValueError(f"{value} is a time without its zone")
    return result.astimezone(UTC)


def seconds(value: Any) -> datetime:
    """A time given as seconds since 1970, in UTC.

    Raises:
        ValueError, TypeError: it is not a number.

    """
    count = number(value)
    if count is None:
        raise ValueError("null is no time")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=count)


def rows(
    answers: Sequence[Mapping[str, Any]], table: Table, fields: Fields, *, blank: Sequence[str] = (), **same: Any
) -> pl.DataFrame:
    """Rows of a table. A row that does not name its fact is left out, unless there is no other row.

    Args:
        answers: rows of an answer.
        table: the table.
        fields: field names of the columns that an answer has; each is read as its column's type.
        blank: text columns that may be missing, and are then empty.
        same: values of the columns that are the same in every row.

    Returns:
        The table's columns; those in neither `fields` nor `same` are null.

    Raises:
        KeyError, TypeError, ValueError: a field is missing, or has another type.

    """
    if not isinstance(answers, list):
        raise TypeError("no list of rows")
    values = [
        {
            **same,
            **{ours: _READERS[table.schema[ours].base_type()](field(row, *theirs)) for ours, theirs in fields.items()},
        }
        for row in answers
    ]
    frame = pl.DataFrame(values, schema=table.schema, orient="row").with_columns(pl.col(blank).fill_null(""))
    named = frame.drop_nulls(table.key)
    if len(frame) and not len(named):
        raise ValueError(f"no row has {', '.join(table.key)}")
    return named


_READERS: dict[Any, Callable[[Any], Any]] = {
    pl.Float64: number,
    pl.Date: day,
    pl.String: text,
    pl.Datetime: moment,
}
