"""The sector's equal-weight daily return: the benchmark of its backtest, and the base of its regime and betas."""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.containment import counted, marks
from quant_assets.market.panel import STALE_SESSIONS, FloatArray, Panel

#: Number of sessions before its own on which a return depends.
LOOKBACK = 1 + STALE_SESSIONS


def as_known(prices: pl.DataFrame) -> pl.DataFrame:
    """Closes of dataset prices that were part of the panel on their own date.

    Columns: `ticker, date, close`, and `listed` and `unexplained` if present.

    The earlier bars of a ticker that moved into the sector are left out, so that a range run and the run of an earlier
    month use the same rows.
    """
    return prices.filter(pl.col("panel_from") <= pl.col("date")).select(
        pl.col("ticker", "date", "close"), pl.selectors.by_name("listed", "unexplained", require_all=False)
    )


def counted_changes(panel: Panel) -> FloatArray:
    """Return of each name at each session; NaN without a bar, without a base, or if the return does not count.

    The base is the close before or, after a halt, the last close of the `STALE_SESSIONS` sessions before. So the
    session on which a halted name trades again has its whole return since; during the halt, and after a longer one, it
    is NaN. An unexplained step counts by the rule of `market.containment`. A return depends on the `LOOKBACK` sessions
    before its own.

    Args:
        panel: with `close` and `unexplained` (1 if so).

    Returns:
        float64 of the panel's shape; NaN at the first session.

    """
    close = panel["close"].T  # sessions x tickers
    positions = np.arange(len(panel.sessions))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(close), -1, positions), axis=0)[:-1]
    base = np.where(
        (last >= 0) & (positions[:-1] - last <= STALE_SESSIONS),
        np.take_along_axis(close, np.maximum(last, 0), axis=0),
        np.nan,
    )
    change = np.full(panel.shape, np.nan)
    change[:, 1:] = (close[1:] / base - 1.0).T
    return counted(change, panel["close"], panel["unexplained"] == 1.0)


def equal_weight_returns(prices: pl.DataFrame, universe: pl.DataFrame, sessions: NDArray[np.datetime64]) -> FloatArray:
    """Mean return of the sector's members, each with the same weight at the previous close.

    r_t = mean of the returns at t (`counted_changes`) of the members of session t-1 that have one.
    Sums are exactly rounded (`math.fsum`).

    Args:
        prices: dataset prices.
        universe: dataset universe (`ticker, date`).
        sessions: datetime64[D] of shape (n_sessions,), ascending, without a gap in the calendar, from `LOOKBACK` before
            the first return needed (or from the start of the history).

    Returns:
        float64 array of shape (n_sessions,); NaN at the first session and where no member has a return.

    """
    members = universe.select("ticker", "date", member=pl.lit(1.0))
    frame = (
        marks(as_known(prices))
        .select("ticker", "date", "close", "unexplained")
        .join(members, on=["ticker", "date"], how="full", coalesce=True)
    )
    panel = Panel.from_long(frame, sessions, ["close", "member", "unexplained"])
    change, member = counted_changes(panel).T[1:], panel["member"].T  # sessions x tickers
    among = (member[:-1] == 1.0) & np.isfinite(change)
    result = np.full(len(sessions), np.nan)
    for t in np.flatnonzero(among.any(axis=1)):
        values = change[t][among[t]].tolist()
        result[t + 1] = math.fsum(values) / len(values)
    return result
