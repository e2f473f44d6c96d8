"""Parses factor returns in Kenneth French's format: the text of a file into a frame. No file is opened here.

His CSV files have lines of text, a header line that begins with a comma, rows of a day (YYYYMMDD) or a month (YYYYMM)
in percent, and after them annual figures and a copyright; -99.99 and -999 mean missing. The five-factor files do not
include the momentum factor: several files are joined.

References:
    https://mba.tuck.dartmouth.edu/pages/faculty/ken.french/data_library.html

"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from quant_assets.errors import SourceError

Frequency = Literal["daily", "monthly"]

#: Our names by the file's column names, in lower case without signs.
_NAMES = {
    "mktrf": "mkt_rf",
    "smb": "smb",
    "hml": "hml",
    "rmw": "rmw",
    "cma": "cma",
    "rf": "rf",
    "mom": "mom",
    "umd": "mom",
    "wml": "mom",
}
_MISSING = (-99.99, -999.0)
_FORMS: dict[int, tuple[Frequency, str]] = {8: ("daily", "%Y%m%d"), 6: ("monthly", "%Y%m%d")}
#: Median distance between rows, in days, above which the file is taken to be weekly.
_WEEK = 4


@dataclass(frozen=True)
class FactorReturns:
    """Returns of factors.

    Attributes:
        frequency: daily or monthly.
        rows: `period` (the day, or the first day of the month), simple returns (0.01 is 1 %) of the present ones of
            `mkt_rf, smb, hml, rmw, cma, mom`, and `rf`; null where missing. Sorted by period.
        origin: their source, in words.

    """

    frequency: Frequency
    rows: pl.DataFrame
    origin: str


def parse(text: str, name: str) -> FactorReturns:
    """Factor returns from the text of one file.

    Args:
        text: of the whole file.
        name: name of the file, for messages.

    Raises:
        SourceError: there is no header line or no row, a figure is not a number, a period is listed twice, or rows are
            weekly; names file and line.

    """
    lines = text.splitlines()
    start = next((place for place, line in enumerate(lines) if _names(line)), None)
    if start is None:
        raise SourceError(
            f"{name}: it has no header line such as ',Mkt-RF,SMB,HML,RF'; give a CSV of French's data library"
        )
    names = _names(lines[start])
    length, periods, rows = 0, list[str](), list[list[float | None]]()
    for number, line in enumerate(lines[start + 1 :], start + 2):
        period, *figures = (field.strip() for field in line.split(","))
        if not period.isdigit() or (length and len(period) != length) or len(period) not in _FORMS:
            if not periods and not line.strip():
                continue  # a blank line below the header
            break  # annual figures, a blank line, the copyright
        length = len(period)
        if len(figures) < len(names):
            raise SourceError(f"{name}, line {number}: {len(figures)} figures for {len(names)} names; fix the line")
        periods.append(period)
        rows.append([_figure(figure, name, number) for figure in figures[: len(names)]])
    if not rows:
        raise SourceError(f"{name}: no row of a day (YYYYMMDD) or month (YYYYMM) follows the header line")
    frequency, form = _FORMS[length]
    known = {place: _NAMES[column] for place, column in enumerate(names) if column in _NAMES}
    frame = pl.DataFrame(
        {
            "period": pl.Series([period if length == 8 else f"{period}01" for period in periods], dtype=pl.String),
            **{
                ours: pl.Series([row[place] for row in rows], dtype=pl.Float64) / 100.0 for place, ours in known.items()
            },
        }
    )
    try:
        frame = frame.with_columns(pl.col("period").str.to_date(form)).sort("period")
    except pl.exceptions.InvalidOperationError:
        raise SourceError(f"{name}: a period is not a day or month; fix the file") from None
    if frame["period"].is_duplicated().any():
        twice = frame.filter(pl.col("period").is_duplicated())["period"][0]
        raise SourceError(f"{name}: {twice} is listed twice; remove one of the two rows")
    gap = frame["period"].diff().dt.total_days().median()
    if frequency == "daily" and isinstance(gap, float) and gap > _WEEK:
        raise SourceError(f"{name}: its rows are {gap:g} days apart; give the daily or the monthly file")
    return FactorReturns(frequency, frame, name)


def joined(parts: Sequence[FactorReturns]) -> FactorReturns:
    """Several files as one; a factor in two files is taken from the first.

    Raises:
        SourceError: the files have several frequencies; names them.

    """
    first = parts[0]
    rows = first.rows
    for part in parts[1:]:
        if part.frequency != first.frequency:
            raise SourceError(
                f"{first.origin} is {first.frequency} and {part.origin} {part.frequency}; give files of one frequency"
            )
        more = [name for name in part.rows.columns if name not in rows.columns]
        rows = rows.join(part.rows.select("period", *more), on="period", how="full", coalesce=True)
    return FactorReturns(first.frequency, rows.sort("period"), ", ".join(part.origin for part in parts))


def _names(line: str) -> list[str]:
    """Names of a header line, without signs and in lower case; empty for other lines."""
    first, *rest = line.split(",")
    names = [re.sub(r"[^a-z]", "", name.lower()) for name in rest]
    return names if not first.strip() and any(name in _NAMES for name in names) else []


def _figure(text: str, name: str, number: int) -> float | None:
    try:
        value = float(text)
    except ValueError:
        raise SourceError(f"{name}, line {number}: '{text}' is not a number; fix the line") from None
    return None if value in _MISSING else value
