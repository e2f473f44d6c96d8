"""How unexplained price steps count in averages and fits over many names, and in the value of a holding.

`market.adjustment` decides which steps are unexplained; dataset prices marks them.

The rule
--------
At its close, such a step may be an unflagged split, a bad print or real. An error upwards is unbounded (a missed
reverse split of 1:75 is +7,400 %, or +620 % for a sector of twelve names); an error downwards ends at -100 %. And
failing companies must count: averages that leave out falls are averages of survivors. So

- a rise is unknown: the name is left out on that session, like a name without a bar;
- a fall counts, except for the part that reverses rises left out in the `REVERSAL_SESSIONS` sessions before, because
  the reversal proves that they were errors: the fall is unknown if the price stays above its level before the rises,
  and else counts from that level.

Both use only data known at the step's own close. The cost: a real rise is missing from the averages, and after a false
fall the rise back does not count.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from quant_assets.market.panel import STALE_SESSIONS, BoolArray, FloatArray, IntArray

#: Sessions before a fall that must contain the whole step of a rise which it reverses. A bad print lasts a few days at
#: most, and averages of returns look back this far for a base anyway.
REVERSAL_SESSIONS = 1 + STALE_SESSIONS


class Contained(NamedTuple):
    """Unexplained steps whose counted return differs from the step, in order of row and session.

    Attributes:
        row: position of the name in the panel, int64 of shape (n_steps,).
        session: position of the session, of that shape.
        counted: the return that counts instead, float64 of that shape; NaN if it is unknown.

    """

    row: IntArray
    session: IntArray
    counted: FloatArray


def known(labels: pl.DataFrame) -> pl.DataFrame:
    """Rows of dataset labels that count in averages, ranks and fits: those that are not `unexplained`."""
    return marks(labels).filter(~pl.col("unexplained"))


def marks(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of prices or labels with the column `unexplained`, added as false if it is absent."""
    return rows if "unexplained" in rows.columns else rows.with_columns(unexplained=pl.lit(False))


def marked_members(prices: pl.DataFrame, universe: pl.DataFrame) -> pl.DataFrame:
    """Sorted `ticker, date` of the members' unexplained bars.

    Args:
        prices: dataset prices; bars from before a ticker was in the panel do not count.
        universe: dataset universe (`ticker, date`).

    """
    bars = marks(prices).filter("unexplained", pl.col("panel_from") <= pl.col("date")).select("ticker", "date")
    return bars.join(universe.select("ticker", "date"), on=["ticker", "date"], how="semi").sort("ticker", "date")


def contained(close: FloatArray, unexplained: BoolArray) -> Contained:
    """The unexplained steps of a panel whose counted return differs from the step.

    A step goes from one bar of the panel to the next. A result depends on the step and the `REVERSAL_SESSIONS` sessions
    before its own.

    Args:
        close: adjusted closes, float64 of shape (n_tickers, n_sessions), NaN without a bar.
        unexplained: bool of that shape.

    """
    steps: list[tuple[int, int, float]] = []
    for row, session in np.argwhere(unexplained).tolist():
        step, counted = counted_step(close[row], unexplained[row], session, 0)
        if not np.isnan(step) and counted != step:
            steps.append((row, session, counted))
    rows, sessions, counted_returns = np.array(steps, dtype=np.float64).reshape(-1, 3).T
    return Contained(rows.astype(np.int64), sessions.astype(np.int64), counted_returns)


def counted_step(close: FloatArray, unexplained: BoolArray, at: int, since: int) -> tuple[float, float]:
    """Return of one name's unexplained step, and the return that counts (NaN if it is unknown).

    Args:
        close: of shape (n_sessions,).
        unexplained: of that shape.
        at: session of the step.
        since: rises whose step begins before this session are ignored.

    """
    since = max(since, at - REVERSAL_SESSIONS)
    bars = np.flatnonzero(~np.isnan(close[: at + 1]))
    if len(bars) < 2 or bars[-1] != at:
        return np.nan, np.nan
    above = 1.0  # the price over its level before the rises that were left out
    for before, bar in zip(bars[:-1].tolist(), bars[1:].tolist(), strict=True):
        if not unexplained[bar] or (before < since and bar != at):
            continue
        step, risen = close[bar] / close[before] - 1.0, above > 1.0
        above *= close[bar] / close[before]
        if step >= 0.0 or above >= 1.0:
            counted = np.nan
        else:
            counted, above = (above - 1.0 if risen else step), 1.0
    return float(step), float(counted)


def counted(change: FloatArray, close: FloatArray, unexplained: BoolArray) -> FloatArray:
    """Returns as they count in averages, NaN if unknown.

    Args:
        change: return since the name's bar before, float64 of shape (n_tickers, n_sessions).
        close: adjusted closes of that shape.
        unexplained: bool of that shape.

    """
    steps = contained(close, unexplained)
    if not len(steps.row):
        return change
    result = change.copy()
    result[steps.row, steps.session] = np.where(np.isnan(change[steps.row, steps.session]), np.nan, steps.counted)
    return result
