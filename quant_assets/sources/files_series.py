"""Macro files whose columns are series: tables of FRED, and of ALFRED with a column per vintage.

Mapping of columns to series, and conversion to one row per series and period.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.economy import MacroFile
from quant_assets.sources.files_columns import MAPPING, Columns
from quant_assets.sources.files_found import Part

#: Default names of the column of periods.
_PERIODS = ("period", "observation_date", "date")
#: ALFRED's column of a vintage: the series, and the day on which the values were the newest.
_VINTAGE = re.compile(r".+_(?:19|20)\d{6}")
_SERIES, _OF_VINTAGE = "series ", "vintage "


def series_columns(of: MacroFile, part: Part, there: Sequence[str]) -> Columns | None:
    """The columns of one table under our names, including `period`; None if a column names the series.

    - A column `value` has one series: that of the file's name with {series}, else the only one of the settings, as in
      FRED's bulk files (DATE, VALUE).
    - Otherwise the other columns are series by name (observation_date, DGS10, UNRATE), or with the vintage in the name
      (GDPC1_20240125). Series that are not in the settings are not read.

    Args:
        of: the entry; without series, all are read.
        part: the table.
        there: its columns.

    Raises:
        SourceError: no column has any of the series, or a column of values is ambiguous; names the remedy.

    """
    plain = {re.sub(r"[\W_]", "", name).lower(): name for name in reversed(there)}
    if "series_id" in of.columns or "seriesid" in plain:
        return None
    found = (plain[name] for name in (each.replace("_", "") for each in _PERIODS) if name in plain)
    period = of.columns.get("period") or next(found, "period")
    value = of.columns.get("value") or plain.get("value")
    if value is not None and value not in of.series:
        stem = PurePosixPath(part.member or part.path.name).name.partition(".")[0].upper()
        alone = [*of.series] if len(of.series) == 1 else []
        name = part.ticker or next(iter(alone), stem if stem in of.series or not of.series else None)
        if name is None:
            raise SourceError(
                f"{of.file} has one column of values and may be of any of {', '.join(of.series)}; name one series in "
                f"its entry in {MAPPING}, or write {{series}} in the file's name"
            )
        told = {"released": of.columns["released"]} if "released" in of.columns else {}
        return {"period": period, f"{_SERIES}{name}": value, **told}
    names = [name for name in there if name != period]
    vintages = {name: name[:-9] for name in names if _VINTAGE.fullmatch(name)}
    if names and len(vintages) == len(names):
        wanted = {f"{_OF_VINTAGE}{name}": name for name in names if not of.series or vintages[name] in of.series}
    else:
        wanted = {f"{_SERIES}{name}": name for name in names if not of.series or name in of.series}
    if not wanted:
        raise SourceError(
            f"{of.file} has no column 'series_id', nor one for any of the series {', '.join(of.series)}; it has "
            f"{', '.join(there)}; fix the file or its columns in {MAPPING}"
        )
    return {"period": period, **wanted}


def one_row_each(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of `series_columns` with `series_id`, `period`, `value` and, if given, `released`.

    Empty cells in a table of several series are no observations, as frequencies differ.
    """
    columns = rows.collect_schema().names()
    series = [name for name in columns if name.startswith((_SERIES, _OF_VINTAGE))]
    kept = [name for name in columns if name not in series]
    long = rows.unpivot(series, index=kept, variable_name="series_id", value_name="value")
    if series[0].startswith(_OF_VINTAGE):
        named = pl.col("series_id").str.strip_prefix(_OF_VINTAGE)
        long = long.with_columns(series_id=named.str.head(-9), released=named.str.tail(8).str.to_date("%Y%m%d"))
    long = long.with_columns(pl.col("series_id").str.strip_prefix(_SERIES))
    return long.filter(pl.col("value").is_not_null()) if len(series) > 1 else long
