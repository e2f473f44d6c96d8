"""Numbers in texts of files: which sign stands before the decimals and which between thousands, and what they are."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import polars as pl

#: Texts that stand for a missing number or date, in any case.
NULL_WORDS = ("", "null", "n/a", "na", "#n/a", "nan", "none", "nil", "nat", "-", "--", "—", ".", "..", "?")

Sign = Literal[".", ","]
_SUFFIXES = {"k": 1e3, "m": 1e6, "mio": 1e6, "b": 1e9, "bn": 1e9, "t": 1e12, "%": 0.01}


class Signs(NamedTuple):
    """How a file writes its numbers.

    Attributes:
        decimal: the sign before the decimals; None where the file does not tell.
        grouped: whether the other one stands between thousands.
        example: a value that does not tell it; empty where the file tells.

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
    """Whether a text stands for nothing, in columns of numbers and dates."""
    words = [*NULL_WORDS, *(word.strip().lower() for word in more)]
    return column.is_null() | column.str.strip_chars().str.to_lowercase().is_in(words)


def plain_numbers(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """What texts are if numbers are written as a computer writes them, and which are something else."""
    plain = texts.cast(pl.Float64, strict=False)
    return plain, texts.is_not_null() & ~plain.is_finite().fill_null(False)


def signs_of(columns: Sequence[pl.Series], given: Sign | None) -> Signs:
    """How the numbers of a file are written, by all values of its columns of numbers together.

    Args:
        columns: texts, of all columns; those that are plain everywhere tell something beside others alone.
        given: the sign before the decimals, where the settings say it.

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
    """The values of a column that have a comma or several points; of many, those that differ in what they tell."""
    found = column.filter(column.str.contains(r",|\..*\.").fill_null(False))
    if found.is_empty():
        return []
    plain = found.str.replace_all(r"[^0-9.,+-]", "").unique(maintain_order=True)
    # Which digits they are tells nothing, so that each shape is looked at once.
    return [*plain.filter(plain.str.replace_all("[1-9]", "1").is_first_distinct())]


def _has_decimal_point(columns: Sequence[pl.Series]) -> bool:
    """Whether a point stands before other than three digits, so that it is not between thousands."""
    return any(column.str.contains(r"^[^.,]*\d\.(?:\d{1,2}|\d{4,})(?:\D.*)?$").any() for column in columns)


def numbers(
    column: pl.Series, given: tuple[pl.Series, pl.Series], signs: Signs, nulls: Iterable[str]
) -> tuple[pl.Series, pl.Series]:
    """The numbers of a column of texts, and which of them are none although they stand for something.

    Spaces, apostrophes and signs of currency are left out, brackets mean less than nothing, and K, M, B, T and % after
    a number multiply it. Thousands have three digits each, else it is no number.

    Args:
        column: texts.
        given: `plain_numbers` of them.
        signs: how they are written.
        nulls: further words that stand for nothing.

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
