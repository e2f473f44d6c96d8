"""The sector's equal-weight daily return: the benchmark of its backtest and the input of its regime."""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.panel import FloatArray, Panel


def as_known(prices: pl.DataFrame) -> pl.DataFrame:
    """Closes of dataset prices that were part of the panel on their own date: `ticker, date, close`.

    The earlier bars of a ticker that moved into the sector are left out, so that a range run and the run of an earlier
    month see the same rows.
    """
    return prices.filter(pl.col("panel_from") <= pl.col("date")).select("ticker", "date", "close")


def equal_weight_returns(prices: pl.DataFrame, universe: pl.DataFrame, sessions: NDArray[np.datetime64]) -> FloatArray:
    """Mean return of the sector's members, each with the same weight at the previous close.

    r_t = mean over i of close_{i,t} / close_{i,t-1} - 1, over the members of session t-1 that have a bar at both sessions. A name
    without one of the bars is left out of that session. Sums are exactly rounded (`math.fsum`).

    Args:
        prices: dataset prices.
        universe: dataset universe (`ticker, date`).
        sessions: datetime64[D] of shape (n_sessions,), ascending, without a gap in the calendar.

    Returns:
        float64 array of shape (n_sessions,); NaN at the first session and where no member has both bars.

    """
    members = universe.select("ticker", "date", member=pl.lit(1.0))
    frame = as_known(prices).join(members, on=["ticker", "date"], how="full", coalesce=True)
    panel = Panel.from_long(frame, sessions, ["close", "member"])
    close, member = panel["close"].T, panel["member"].T  # sessions x tickers
    change = close[1:] / close[:-1] - 1.0
    counted = (member[:-1] == 1.0) & np.isfinite(change)
    result = np.full(len(sessions), np.nan)
    for t in np.flatnonzero(counted.any(axis=1)):
        values = change[t][counted[t]].tolist()
        result[t + 1] = math.fsum(values) / len(values)
    return result
