"""What a step that nothing explains counts for where many names are averaged or fitted, and in a holding's value.

Which steps are unexplained is told by dataset prices, and decided in `market.adjustment`.

The rule
--------
At its close nobody can say whether such a step is a split that nobody flagged, a bad print or the truth. An error
upwards has no bound (a missed reverse split of 1:75 is +7,400 %, which in a sector of twelve names is +620 % for the
sector); downwards it ends at -100 %. And a company that fails must count: whoever leaves falls out averages the
survivors. So

- a rise is unknown: the name is left out that session, like one without a bar;
- a fall counts as it is, but not as far as it takes back rises that were left out in the `REVERSAL_SESSIONS` sessions
  before, which proves them to have been errors: it is unknown where the price stays above where it was before them, and
  counts from there on where it goes below.

Both follow from what was known at the step's own close. A rise that turns out to be real is lost to the averages; it is
the price of a rule that looks at nothing later. A false fall counts, and the rise back does not.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from quant_assets.market.panel import STALE_SESSIONS, BoolArray, FloatArray, IntArray

#: Sessions before a fall in which the whole of a rise's step must lie to be taken back by it. A bad print lasts a day
#: or a few, and this is how far an average of returns looks back for a base anyway.
REVERSAL_SESSIONS = 1 + STALE_SESSIONS


class Contained(NamedTuple):
    """Unexplained steps that do not count as they are, in order of row and session.

    Attributes:
        row: place of the name in the panel, int64 of shape (n_steps,).
        session: place of the session, of that shape.
        counted: the return that counts instead, float64 of that shape; NaN where it is unknown.

    """

    row: IntArray
    session: IntArray
    counted: FloatArray


def known(labels: pl.DataFrame) -> pl.DataFrame:
    """Rows of dataset labels that count where many are averaged, ranked or fitted: those that are not `unexplained`."""
    return marks(labels).filter(~pl.col("unexplained"))


def marks(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of prices or labels with `unexplained`; false throughout where they do not say."""
    return rows if "unexplained" in rows.columns else rows.with_columns(unexplained=pl.lit(False))


def marked_members(prices: pl.DataFrame, universe: pl.DataFrame) -> pl.DataFrame:
    """`ticker, date` of the members' unexplained bars, sorted by them.

    Args:
        prices: dataset prices; bars from before a ticker was in the panel are no member's.
        universe: dataset universe (`ticker, date`).

    """
    bars = marks(prices).filter("unexplained", pl.col("panel_from") <= pl.col("date")).select("ticker", "date")
    return bars.join(universe.select("ticker", "date"), on=["ticker", "date"], how="semi").sort("ticker", "date")


def contained(close: FloatArray, unexplained: BoolArray) -> Contained:
    """The unexplained steps of a panel that do not count as they are.

    A step leads to a bar from the one before in the panel; a panel's first bar has none. A result depends on the step
    and the `REVERSAL_SESSIONS` sessions before its own.

    Args:
        close: adjusted closes, float64 of shape (n_tickers, n_sessions), NaN without a bar.
        unexplained: bool of that shape.

    """
    found: list[tuple[int, int, float]] = []
    for row, session in np.argwhere(unexplained).tolist():
        step, counted = counted_step(close[row], unexplained[row], session, 0)
        if not np.isnan(step) and counted != step:
            found.append((row, session, counted))
    rows, sessions, counted_returns = np.array(found, dtype=np.float64).reshape(-1, 3).T
    return Contained(rows.astype(np.int64), sessions.astype(np.int64), counted_returns)


def counted_step(close: FloatArray, unexplained: BoolArray, at: int, since: int) -> tuple[float, float]:
    """Return of one name's unexplained step and what of it counts, NaN where it is unknown.

    Args:
        close: of shape (n_sessions,).
        unexplained: of that shape.
        at: session of the step.
        since: rises whose step begins before this session are not looked for.

    """
    since = max(since, at - REVERSAL_SESSIONS)
    bars = np.flatnonzero(~np.isnan(close[: at + 1]))
    if len(bars) < 2 or bars[-1] != at:
        return np.nan, np.nan
    above = 1.0  # the price over where it was before the rises that were left out
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
    """Returns as they count in averages, NaN where they are unknown.

    Args:
        change: return of each bar from the name's bar before, float64 of shape (n_tickers, n_sessions).
        close: adjusted closes of that shape.
        unexplained: bool of that shape.

    """
    found = contained(close, unexplained)
    if not len(found.row):
        return change
    result = change.copy()
    result[found.row, found.session] = np.where(np.isnan(change[found.row, found.session]), np.nan, found.counted)
    return result
