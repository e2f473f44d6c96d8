"""The sector's equal-weight daily return.

It is the benchmark of the sector's backtest, and what its regime and its members' betas are measured on.
"""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.containment import counted, marks
from quant_assets.market.panel import STALE_SESSIONS, FloatArray, Panel

#: Sessions before its own that a return depends on.
LOOKBACK = 1 + STALE_SESSIONS


def as_known(prices: pl.DataFrame) -> pl.DataFrame:
    """Closes of dataset prices that were part of the panel on their own date.

    Columns: `ticker, date, close`, and `listed` and `unexplained` where they are there.

    The earlier bars of a ticker that moved into the sector are left out, so that a range run and the run of an earlier
    month see the same rows.
    """
    return prices.filter(pl.col("panel_from") <= pl.col("date")).select(
        pl.col("ticker", "date", "close"), pl.selectors.by_name("listed", "unexplained", require_all=False)
    )


def counted_changes(panel: Panel) -> FloatArray:
    """Return of each name at each session, NaN where it has no bar or no base, or where the return does not count.

    The base is the close before or, of a name that was halted then, its last one of the `STALE_SESSIONS` sessions
    before. So the session on which a halted name trades again counts its whole return since; until then, and after a
    longer halt, it is NaN. A step that nothing explains counts by the rule of `market.containment`. A return depends on
    the `LOOKBACK` sessions before its own.

    Args:
        panel: with `close` and `unexplained` (1 where it is).

    Returns:
        float64 of the panel's shape; NaN at the first session.

    """
    close = panel["close"].T  # sessions x tickers
    every = np.arange(len(panel.sessions))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(close), -1, every), axis=0)[:-1]
    base = np.where(
        (last >= 0) & (every[:-1] - last <= STALE_SESSIONS),
        np.take_along_axis(close, np.maximum(last, 0), axis=0),
        np.nan,
    )
    change = np.full(panel.shape, np.nan)
    change[:, 1:] = (close[1:] / base - 1.0).T
    return counted(change, panel["close"], panel["unexplained"] == 1.0)


def equal_weight_returns(prices: pl.DataFrame, universe: pl.DataFrame, sessions: NDArray[np.datetime64]) -> FloatArray:
    """Mean return of the sector's members, each with the same weight at the previous close.

    r_t = mean over i of the return of name i at t (`counted_changes`), over the members of session t-1 that have one.
    Sums are exactly rounded (`math.fsum`).

    Args:
        prices: dataset prices.
        universe: dataset universe (`ticker, date`).
        sessions: datetime64[D] of shape (n_sessions,), ascending, without a gap in the calendar, from `LOOKBACK` before
            the first return that is wanted (or from where history begins).

    Returns:
        float64 array of shape (n_sessions,); NaN at the first session and where no member counts.

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
