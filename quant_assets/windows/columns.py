"""Rows of the universe from a panel, and the check that the panel has the history needed."""

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import HistoryError
from quant_assets.market.panel import BoolArray, Panel
from quant_assets.windows.declarations import Inputs


def check_sessions(
    what: str,
    prices: pl.DataFrame,
    universe: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    first_day: date,
    last_day: date,
    lookback: int,
) -> None:
    """Check that the sessions cover the lookback, as far as prices exist, and the last row.

    Raises:
        HistoryError: `sessions` start less than `lookback` sessions before the month of `first_day` although prices
            reach further back, or end before the last requested row.

    """
    before = int(np.searchsorted(sessions, np.datetime64(first_day.replace(day=1))))
    if before < lookback and (not len(sessions) or not prices.filter(pl.col("date") < sessions[0].item()).is_empty()):
        raise HistoryError(
            f"{what}: {before} sessions before {first_day:%Y-%m} are in the panel, {lookback} are needed and prices "
            "have them; load the declared lookback"
        )
    newest = universe.filter(pl.col("date").is_between(first_day, last_day))["date"].max()
    if isinstance(newest, date) and newest > sessions[-1].item():
        raise HistoryError(
            f"{what}: the universe has rows on {newest}, the sessions end on {sessions[-1]}; "
            "pass them up to the last row"
        )


def member_mask(panel: Panel, universe: pl.DataFrame, first_day: date, last_day: date) -> BoolArray:
    """Bool array of the panel's shape: true at the (ticker, date) of the universe from `first_day` to `last_day`."""
    members = universe.filter(pl.col("date").is_between(first_day, last_day))
    row, column = (
        panel.rows(members),
        np.searchsorted(panel.sessions, members["date"].to_numpy().astype("datetime64[D]")),
    )
    mask = np.zeros(panel.shape, dtype=np.bool_)
    mask[row[row >= 0], column[row >= 0]] = True
    return mask


def member_rows(panel: Panel, values: Inputs, universe: pl.DataFrame, first_day: date, last_day: date) -> pl.DataFrame:
    """Long frame of the values at the (ticker, date) of the universe that have a bar (a `close` in the panel).

    Returns:
        `ticker`, `date`, `close` and the values, NaN as null, sorted by ticker and date.

    """
    mask = member_mask(panel, universe, first_day, last_day) & ~np.isnan(panel["close"])
    row, column = np.nonzero(mask)  # by ticker, then by date
    return pl.DataFrame(
        {
            "ticker": pl.Series(panel.tickers, dtype=pl.String).gather(row),
            "date": pl.Series(panel.sessions[column], dtype=pl.Date),
        }
        | {
            name: pl.Series(array[mask], nan_to_null=True, dtype=pl.Float64)
            for name, array in {"close": panel["close"], **values}.items()
        }
    )
