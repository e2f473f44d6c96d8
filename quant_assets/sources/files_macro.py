"""Macro series of one file of the `files` provider.

Its observations, and when they are assumed to be known.
"""

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.economy import MacroFile, MacroSeries
from quant_assets.sources.base import MACRO
from quant_assets.sources.files_columns import MAPPING, Columns, named, optional
from quant_assets.sources.files_evidence import series_of
from quant_assets.sources.files_reading import collect

#: Most days of a period.
_LENGTHS = {"daily": 1, "weekly": 7, "monthly": 31, "quarterly": 92, "annual": 366}
_APART = {
    "weekly": "an observation a week",
    "monthly": "an observation a month",
    "quarterly": "an observation a quarter",
    "annual": "an observation a year or fewer",
}
#: Up to so many observations do not show the length of their periods.
_FEW = 2


def macro_of(
    files: Sequence[MacroFile], scan: Callable[[MacroFile, Columns], pl.LazyFrame], *, strict: bool
) -> pl.DataFrame:
    """Observations of all files, see `observations`; `scan` reads columns of one file."""
    frames = [MACRO.to_frame()]
    for file in files:
        columns = named(file.columns, ("series_id", "period", "value")) | optional(file.columns, ("released",))
        if not file.series and "released" not in file.columns:
            raise SourceError(
                f"{file.file} has neither series with their lags nor a column for released; name one in {MAPPING}"
            )
        scanned = scan(file, columns)
        if file.series:
            scanned = scanned.filter(pl.col("series_id").is_in(list(file.series)))
        frames.append(observations(file, collect(scanned, file.file), strict=strict))
    return pl.concat(frames).sort("series_id", "period", "released")


def observations(file: MacroFile, frame: pl.DataFrame, *, strict: bool = True) -> pl.DataFrame:
    """Observations of one file; of several releases of a period, those that changed its value or withdrew it (null).

    Args:
        file: entry in the settings.
        frame: `series_id`, `period`, `value` and, if the file has it, `released`.
        strict: whether a missing series, or one with longer periods than in the settings, is an error.

    Returns:
        The columns of `MACRO`.

    Raises:
        SourceError: such a series, or a row with neither release nor lag; names the file and the series.

    """
    if strict:
        _refuse_absent(file, frame)
        _refuse_frequent(file, frame)
        _refuse_undated(file, frame)
    if "released" not in frame.columns:
        frame = frame.with_columns(released=pl.lit(None, pl.Date))
    told = pl.col("period").is_not_null() & pl.any_horizontal(pl.col("value", "released").is_not_null())
    frame = frame.filter(told).with_columns(
        frequency=pl.col("series_id").replace_strict(
            _of_series(file.series, "frequency"), default="daily", return_dtype=pl.String
        ),
        lag=pl.col("series_id").replace_strict(_of_series(file.series, "lag_days"), default=0, return_dtype=pl.Int64),
    )
    lasts = (last_day_of("period", pl.col("frequency")) - pl.col("period")).dt.total_days()
    return (
        frame.with_columns(
            lag_days=(lasts + pl.col("lag")).cast(pl.Int32),
            released=last_day_of("released", pl.lit(file.vintage)).cast(pl.Date),
        )
        .sort("series_id", "period", "released")
        .filter(pl.col("value").ne_missing(pl.col("value").shift().over("series_id", "period")))
        .select(list(MACRO))
    )


def last_day_of(start: str, frequency: pl.Expr) -> pl.Expr:
    """Last day of the period that starts on a day.

    For daily and weekly frequencies, the day itself.
    """
    lengths = {"monthly": "1mo", "quarterly": "3mo", "annual": "1y"}
    months = frequency.replace_strict(lengths, default="1d", return_dtype=pl.String)
    return pl.col(start).dt.offset_by(months).dt.offset_by("-1d")


def _refuse_absent(file: MacroFile, frame: pl.DataFrame) -> None:
    """Raise an error for a file that lacks a series of the settings.

    Raises:
        SourceError: it lacks one; names the file and the series.

    """
    absent = sorted(set(file.series) - set(frame["series_id"]))
    if absent:
        raise SourceError(f"{file.file} has no series '{absent[0]}'; add it to the file or remove it from {MAPPING}")


def _refuse_frequent(file: MacroFile, frame: pl.DataFrame) -> None:
    """Raise an error for periods longer than in the settings: their values would be known before their ends.

    Raises:
        SourceError: names the file, the series and both frequencies.

    """
    found = series_of(frame.select("series_id", "period"))
    several = frame.group_by("series_id").agg(pl.col("period").n_unique()).filter(pl.col("period") > _FEW)["series_id"]
    for name in sorted(set(several) & file.series.keys()):
        stated, actual = file.series[name].frequency, str(found.get(name, {"frequency": "annual"})["frequency"])
        if _LENGTHS[actual] > _LENGTHS[stated]:
            raise SourceError(
                f"{file.file}: series '{name}' has {_APART[actual]}, but {MAPPING} says {stated}: "
                f"write frequency: {actual} there, or fix the file"
            )


def _refuse_undated(file: MacroFile, frame: pl.DataFrame) -> None:
    """Raise an error for values with neither a release nor a lag.

    Raises:
        SourceError: names the file, the series and the period.

    """
    if file.series:
        return
    undated = frame.filter(pl.col("released").is_null() & pl.col("value").is_not_null()).sort("series_id", "period")
    if len(undated):
        row = undated.row(0, named=True)
        raise SourceError(
            f"{file.file}: series '{row['series_id']}' has no {file.columns['released']} for {row['period']}; add the "
            f"day, or name the series with its lag in {MAPPING}"
        )


def _of_series(series: Mapping[str, MacroSeries], field: str) -> dict[str, str | int]:
    return {name: getattr(setting, field) for name, setting in series.items()}
