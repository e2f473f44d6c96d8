"""Factor returns as Kenneth French publishes them: the text of a file read into a frame. No file is opened here.

His CSV files have lines of text, a line of names that begins with a comma, rows of a day (YYYYMMDD) or a month (YYYYMM)
in percent, and after them annual figures and a copyright; -99.99 and -999 stand for what is missing. The five-factor
files have the momentum factor apart: several files are joined.

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

#: The file's names of what is read, in lower case without signs, to ours.
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
#: Days from row to row, at the median, beyond which rows are of weeks.
_WEEK = 4


@dataclass(frozen=True)
class FactorReturns:
    """Returns of factors.

    Attributes:
        frequency: of the rows.
        rows: `period` (the day, or the first day of the month) and simple returns, 0.01 being 1 %, of those of
            `mkt_rf, smb, hml, rmw, cma, mom` that there are, and `rf`; null where missing. Sorted by period.
        origin: where they come from, in words.

    """

    frequency: Frequency
    rows: pl.DataFrame
    origin: str


def parse(text: str, name: str) -> FactorReturns:
    """Factor returns of the text of one file.

    Args:
        text: of the file, whole.
        name: of the file, for messages.

    Raises:
        SourceError: there is no line of names or no row, a figure is no number, a period stands twice, or rows are of
            weeks; names file and line.

    """
    lines = text.splitlines()
    start = next((place for place, line in enumerate(lines) if _names(line)), None)
    if start is None:
        raise SourceError(
            f"{name}: no line of names such as ',Mkt-RF,SMB,HML,RF' is in it; give a CSV of French's data library"
        )
    names = _names(lines[start])
    length, periods, rows = 0, list[str](), list[list[float | None]]()
    for number, line in enumerate(lines[start + 1 :], start + 2):
        period, *figures = (each.strip() for each in line.split(","))
        if not period.isdigit() or (length and len(period) != length) or len(period) not in _FORMS:
            if not periods and not line.strip():
                continue  # a blank line below the names
            break  # annual figures, a blank line, the copyright
        length = len(period)
        if len(figures) < len(names):
            raise SourceError(f"{name}, line {number}: {len(figures)} figures for {len(names)} names; mend the line")
        periods.append(period)
        rows.append([_figure(each, name, number) for each in figures[: len(names)]])
    if not rows:
        raise SourceError(f"{name}: no row of a day (YYYYMMDD) or month (YYYYMM) follows the line of names")
    frequency, form = _FORMS[length]
    known = {place: _NAMES[each] for place, each in enumerate(names) if each in _NAMES}
    frame = pl.DataFrame(
        {
            "period": pl.Series([each if length == 8 else f"{each}01" for each in periods], dtype=pl.String),
            **{
                ours: pl.Series([row[place] for row in rows], dtype=pl.Float64) / 100.0 for place, ours in known.items()
            },
        }
    )
    try:
        frame = frame.with_columns(pl.col("period").str.to_date(form)).sort("period")
    except pl.exceptions.InvalidOperationError:
        raise SourceError(f"{name}: a period is no day or month; mend the file") from None
    if frame["period"].is_duplicated().any():
        twice = frame.filter(pl.col("period").is_duplicated())["period"][0]
        raise SourceError(f"{name}: {twice} stands twice; remove one of the two rows")
    gap = frame["period"].diff().dt.total_days().median()
    if frequency == "daily" and isinstance(gap, float) and gap > _WEEK:
        raise SourceError(f"{name}: its rows are {gap:g} days apart; give the daily or the monthly file")
    return FactorReturns(frequency, frame, name)


def joined(given: Sequence[FactorReturns]) -> FactorReturns:
    """Several files as one; a factor that two of them have is the first one's.

    Raises:
        SourceError: they are of several frequencies; names them.

    """
    first = given[0]
    rows = first.rows
    for other in given[1:]:
        if other.frequency != first.frequency:
            raise SourceError(
                f"{first.origin} is {first.frequency} and {other.origin} {other.frequency}; give files of one frequency"
            )
        more = [name for name in other.rows.columns if name not in rows.columns]
        rows = rows.join(other.rows.select("period", *more), on="period", how="full", coalesce=True)
    return FactorReturns(first.frequency, rows.sort("period"), ", ".join(each.origin for each in given))


def _names(line: str) -> list[str]:
    """Names of a line of them, without signs and in lower case; none where it is none."""
    first, *rest = line.split(",")
    found = [re.sub(r"[^a-z]", "", each.lower()) for each in rest]
    return found if not first.strip() and any(each in _NAMES for each in found) else []


def _figure(text: str, name: str, number: int) -> float | None:
    try:
        value = float(text)
    except ValueError:
        raise SourceError(f"{name}, line {number}: '{text}' is no number; mend the line") from None
    return None if value in _MISSING else value
