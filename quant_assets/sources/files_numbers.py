"""Numbers in texts of files: detection of decimal and thousands separators, and parsing."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import polars as pl

#: Texts that stand for a missing number or date, in any case.
NULL_WORDS = ("", "null", "n/a", "na", "#n/a", "nan", "none", "nil", "nat", "-", "--", "—", ".", "..", "?")

Sign = Literal[".", ","]
_SUFFIXES = {"k": 1e3, "m": 1e6, "mio": 1e6, "b": 1e9, "bn": 1e9, "t": 1e12, "%": 0.01}


class Signs(NamedTuple):
    """The number format of a file.

    Attributes:
        decimal: decimal separator; None if ambiguous.
        grouped: whether the other sign separates thousands.
        example: an ambiguous value; empty if the format is clear.

    """

    decimal: Sign | None
    grouped: bool
    example: str

    @property
    def shown(self) -> list[str]:
        """For people."""
        found = ["decimal comma"] if self.decimal == "," else []
        return [*found, f"{'point' if self.decimal == ',' else 'comma'} between thousands"] if self.grouped else found


def is_null(column: pl.Expr, more: Iterable[str] = ()) -> pl.Expr:
    """Whether a text means null, in columns of numbers and dates."""
    words = [*NULL_WORDS, *(word.strip().lower() for word in more)]
    return column.is_null() | column.str.strip_chars().str.to_lowercase().is_in(words)


def plain_numbers(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The numbers of texts in plain format, and whether a text has another format."""
    plain = texts.cast(pl.Float64, strict=False)
    return plain, texts.is_not_null() & ~plain.is_finite().fill_null(False)


def signs_of(columns: Sequence[pl.Series], given: Sign | None) -> Signs:
    """The number format of a file, from all values of its numeric columns.

    Args:
        columns: texts of all numeric columns, plain ones included.
        given: decimal separator of the settings, if set.

    """
    texts = [each for column in columns for each in _with_signs(column)]
    if given is not None:
        return Signs(given, any(("." if given == "," else ",") in text for text in texts), "")
    if not texts:
        return Signs(".", False, "")
    comma, point, undecided = False, _has_decimal_point(columns), ""
    for text in texts:
        last_comma, last_point = text.rfind(","), text.rfind(".")
        if last_comma >= 0 and last_point >= 0:
            comma, point = comma or last_comma > last_point, point or last_point > last_comma
        elif text.count(",") > 1:
            point = True
        elif text.count(".") > 1:
            comma = True
        else:
            whole, decimals = text[:last_comma].lstrip("+-"), text[last_comma + 1 :]
            if len(decimals) == 3 and whole not in ("", "0") and len(whole) <= 3:
                undecided = undecided or text
            else:
                comma = True
    if comma and not point:
        return Signs(",", any("." in text for text in texts), "")
    if point or not undecided:
        return Signs(".", True, "")
    return Signs(None, False, undecided)


def _with_signs(column: pl.Series) -> list[str]:
    """The values of a column with a comma or several points, one per shape."""
    found = column.filter(column.str.contains(r",|\..*\.").fill_null(False))
    if found.is_empty():
        return []
    plain = found.str.replace_all(r"[^0-9.,+-]", "").unique(maintain_order=True)
    # Digits do not matter, so one value per shape suffices.
    return [*plain.filter(plain.str.replace_all("[1-9]", "1").is_first_distinct())]


def _has_decimal_point(columns: Sequence[pl.Series]) -> bool:
    """Whether a point precedes other than three digits, so that it is no thousands separator."""
    return any(column.str.contains(r"^[^.,]*\d\.(?:\d{1,2}|\d{4,})(?:\D.*)?$").any() for column in columns)


def numbers(
    column: pl.Series, given: tuple[pl.Series, pl.Series], signs: Signs, nulls: Iterable[str]
) -> tuple[pl.Series, pl.Series]:
    """The numbers of a column of texts, and whether a text is neither a number nor null.

    Spaces, apostrophes and currency signs are ignored, brackets mean negative, and suffixes K, M, B, T and % multiply.
    Groups of thousands must have three digits.

    Args:
        column: texts.
        given: `plain_numbers` of them.
        signs: number format.
        nulls: further words that mean null.

    """
    plain, rest = given
    none = pl.Series([False], dtype=pl.Boolean).new_from_index(0, len(column))
    if signs.decimal != "." or signs.grouped:
        plain, rest = plain.clear(len(plain)), column.is_not_null()
    if not rest.any():
        return plain, none
    texts = column.filter(rest)
    distinct = texts.unique()
    known = pl.DataFrame({"text": distinct}).select(
        "text", missing=is_null(pl.col("text"), nulls), value=_number(pl.col("text"), signs)
    )
    found = pl.DataFrame({"text": texts}).join(known, on="text", how="left", maintain_order="left")
    places = rest.arg_true()
    values = plain.scatter(places, pl.select(pl.when(~found["missing"]).then(found["value"])).to_series())
    return values, none.scatter(places, ~found["missing"] & found["value"].is_null())


def _number(column: pl.Expr, signs: Signs) -> pl.Expr:
    decimal, thousands = ("\\.", ",") if signs.decimal == "." else (",", "\\.")
    text = column.str.strip_chars().str.replace_all(r"[\s'’\x{a0}\x{202f}$€£¥]", "").str.to_lowercase()
    text = text.str.replace(r"^\((.*)\)$", "-$1")
    suffix = text.str.extract("([kmbt]|mio|bn|%)$", 1)
    body = text.str.replace("([kmbt]|mio|bn|%)$", "")
    whole = rf"\d{{1,3}}(?:{thousands}\d{{2,3}})*{thousands}\d{{3}}|\d+"
    form = rf"^[+-]?(?:(?:{whole})(?:{decimal}\d*)?|{decimal}\d+)(?:e[+-]?\d+)?$"
    plain = body.str.replace_all(thousands, "").str.replace(decimal, ".")
    factor = suffix.replace_strict(_SUFFIXES, default=1.0, return_dtype=pl.Float64).fill_null(1.0)
    return pl.when(body.str.contains(form)).then(plain).cast(pl.Float64, strict=False) * factor
