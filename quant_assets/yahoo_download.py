"""Users' frames of `yfinance.download`: the Dagster type that checks them, and their conversion to bars.

Nothing is downloaded here; profile `live` collects by itself (`collectors.yahoo`). The result of `download` depends on
its arguments: two-level columns for several tickers, prices adjusted for dividends unless `auto_adjust=False`.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import polars as pl
from dagster_pandas import PandasColumn, create_dagster_pandas_dataframe_type
from dagster_pandas.constraints import DataFrameConstraint, DataFrameConstraintViolationException

from quant_assets.errors import SourceError
from quant_assets.io.whole_file import write_whole

#: Functions of dagster-pandas, which have no types.
_column: Any = PandasColumn
_violation: Any = DataFrameConstraintViolationException
_type_of: Any = create_dagster_pandas_dataframe_type

_PRICES = ("open", "high", "low", "close")
#: Our column names to yfinance's.
_NAMES = {
    "open": "Open",
    "high": "High",
    "low": "Low",
    "close": "Close",
    "adjusted_close": "Adj Close",
    "volume": "Volume",
    "dividend": "Dividends",
    "split_ratio": "Stock Splits",
}
_OPTIONAL = ("adjusted_close", "dividend", "split_ratio")


class _Rows(DataFrameConstraint):
    """At least one row, unique tickers and days, and no bar whose high is below its low."""

    def __init__(self) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            error_description="rows that no download has", markdown_description="a row per ticker and day"
        )

    def validate(self, dataframe: pd.DataFrame) -> None:
        """Raise if a frame breaks the rules.

        Raises:
            DataFrameConstraintViolationException: names ticker, day and problem.

        """
        if dataframe.empty:
            raise self._found("it has no row; yfinance returns such a frame for an unknown ticker or if Yahoo refuses")
        twice = dataframe[dataframe.duplicated(["ticker", "date"])]
        crossed = dataframe[dataframe["high"] < dataframe["low"]]
        for rows, what in ((twice, "is repeated"), (crossed, "has a high below its low")):
            if len(rows):
                row = rows.iloc[0]
                raise self._found(f"the bar of {row['ticker']} on {row['date']:%Y-%m-%d} {what}")

    def _found(self, what: str) -> DataFrameConstraintViolationException:
        error: DataFrameConstraintViolationException = _violation(
            constraint_name=self.name, constraint_description=what
        )
        return error


def _counted(bars: pd.DataFrame) -> Mapping[str, Any]:
    """Metadata of a frame for the web UI."""
    return {
        "rows": len(bars),
        "tickers": int(bars["ticker"].nunique()),
        "first": f"{bars['date'].min():%Y-%m-%d}",
        "last": f"{bars['date'].max():%Y-%m-%d}",
        "rows_without_a_close": int(bars["close"].isna().sum()),
    }


#: Type of the result of `bars_of`, for inputs or outputs of a user's own assets.
YAHOO_BARS: dg.DagsterType = _type_of(
    name="YahooBars",
    description="Bars of yfinance.download, a row for each ticker and day; prices in the listing's currency.",
    columns=[
        _column.string_column("ticker", non_nullable=True),
        _column.datetime_column("date", non_nullable=True),
        *(_column.float_column(name, min_value=1e-9) for name in _PRICES),
        _column.float_column("volume", min_value=0.0),
        _column.float_column("adjusted_close", min_value=1e-9, is_required=False),
        _column.float_column("dividend", min_value=0.0, is_required=False),
        _column.float_column("split_ratio", min_value=0.0, is_required=False),
    ],
    dataframe_constraints=[_Rows()],
    metadata_fn=_counted,
)


def bars_of(download: pd.DataFrame, ticker: str | None = None) -> pd.DataFrame:
    """Convert a frame of `yfinance.download` to a row per ticker and day (`YAHOO_BARS`), without rows without price.

    Args:
        download: unchanged: columns of names, or of names and tickers in either order; days in the index.
        ticker: for a frame without ticker names.

    Raises:
        SourceError: it lacks a column of prices or has no ticker; names the column and the remedy.

    """
    columns = download.columns
    if columns.nlevels == 1:
        if ticker is None:
            raise SourceError("the frame has no ticker; name it (bars_of(frame, ticker), --ticker)")
        tables = {ticker: download}
    else:
        fields = {name for name in _NAMES.values() if name not in ("Dividends", "Stock Splits")}
        level = next((each for each in range(columns.nlevels) if fields & set(columns.get_level_values(each))), None)
        if level is None or columns.nlevels != 2:
            raise SourceError(
                f"the frame has no columns {', '.join(sorted(fields))}; pass a result of yfinance.download"
            )
        named = columns.get_level_values(1 - level).unique()
        tables = {str(each): pd.DataFrame(download.xs(each, axis=1, level=1 - level)) for each in named}
    frames = [_bars(name, table) for name, table in tables.items()]
    return pd.concat(frames, ignore_index=True).sort_values(["ticker", "date"], ignore_index=True)


def _bars(ticker: str, table: pd.DataFrame) -> pd.DataFrame:
    lacks = [name for ours, name in _NAMES.items() if name not in table and ours not in _OPTIONAL]
    if lacks:
        raise SourceError(f"{ticker}: the frame has no column {lacks[0]}; pass a result of yfinance.download")
    values = {ours: table[name].astype("float64") for ours, name in _NAMES.items() if name in table}
    days = pd.DatetimeIndex(table.index)
    days = (days.tz_localize(None) if days.tz is not None else days).normalize()
    bars = pd.DataFrame({"ticker": ticker, "date": days, **{name: each.to_numpy() for name, each in values.items()}})
    return bars.dropna(subset=list(_PRICES), how="all")


def refuse_unsound(bars: pd.DataFrame) -> None:
    """Raise an error for bars that do not match the type.

    Raises:
        SourceError: names problem, place and remedy.

    """
    checked = YAHOO_BARS.type_check(None, bars)  # type: ignore[arg-type]
    if not checked.success:
        told = " ".join(str(checked.description).split())
        raise SourceError(f"the bars are not valid results of yfinance.download: {told}; download them again")


def read(path: Path, ticker: str | None = None) -> pd.DataFrame:
    """Bars of a file written from a frame of `download` by `to_csv` or `to_parquet`.

    Raises:
        SourceError: it cannot be read.

    """
    try:
        if path.suffix == ".parquet":
            return bars_of(pd.read_parquet(path), ticker)
        heads = pd.read_csv(path, header=None, nrows=2, dtype=str)
        several = str(heads.iloc[0, 0]) in ("Price", "Ticker")
        frame = pd.read_csv(path, header=[0, 1] if several else 0, index_col=0, parse_dates=True)
        # Below the names pandas writes the name of the index.
        frame = frame[frame.index.notna() & (frame.index.astype(str) != "Date")]
        frame.index = pd.to_datetime(frame.index)
    except (OSError, ValueError, ImportError) as error:
        told = " ".join(str(error).split())[:200]
        raise SourceError(f"{path}: {told}; write it with to_csv() or to_parquet()") from None
    return bars_of(frame, ticker)


def written(bars: pd.DataFrame, path: Path) -> dict[str, Any]:
    """Write bars as a price file of the provider `files`; returns the entry of `files.prices` to read it.

    Args:
        bars: `YAHOO_BARS`.
        path: of a Parquet file.

    Raises:
        SourceError: they do not match the type.

    """
    refuse_unsound(bars)
    content = io.BytesIO()
    pl.from_pandas(bars).with_columns(pl.col("date").cast(pl.Date)).write_parquet(content)
    write_whole(path, content.getvalue())
    entry: dict[str, Any] = {"file": path.name, "provider": "yahoo"}
    if "adjusted_close" in bars:
        return {**entry, "adjustment": "split_adjusted", "columns": {"adjusted_close": "adjusted_close"}}
    return {**entry, "adjustment": "total_return"}
