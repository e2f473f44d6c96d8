"""Crypto-currencies on the exchange's calendar: their values when sessions close.

A bar of the UTC day D ends at the midnight after it. At the close of session S (16:00 New York, earlier on some days)
the newest bar that has ended is that of S - 1, whose last trade is 17 to 21 hours old. Its close is the session's
value; the bar of S itself ends after the session's close and would be look-ahead.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import DatasetError
from quant_assets.market.calendar import closing_times
from quant_assets.market.panel import FloatArray

#: Largest age in days of the bar that gives a session's value.
STALE_DAYS = 4


def at_sessions(bars: pl.DataFrame, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """The value of each symbol at each session's close.

    Args:
        bars: `ticker, date, close` of UTC days, without repeats.
        sessions: datetime64[D] of shape (n_sessions,).

    Returns:
        `ticker, date, value, bar`, sorted by ticker and date; `bar` is the day of the bar. A session without a bar in
        the `STALE_DAYS` days before it is absent.

    Raises:
        DatasetError: a symbol has two bars on a day, or a close that is not positive.

    """
    repeated = bars.filter(pl.struct("ticker", "date").is_duplicated())
    if len(repeated):
        ticker, day = repeated.sort("ticker", "date").select("ticker", "date").row(0)
        raise DatasetError(f"{ticker} has two bars on {day}; keep one bar per crypto-currency and day")
    wrong = bars.filter(~(pl.col("close") > 0.0) | pl.col("close").is_null())
    if len(wrong):
        ticker, day, close = wrong.sort("ticker", "date").select("ticker", "date", "close").row(0)
        raise DatasetError(f"{ticker} has a close of {close} on {day}; remove the bar")
    ends = bars.select(
        "ticker", "close", bar="date", ended=pl.col("date").cast(pl.Datetime("us")) + pl.duration(days=1)
    )
    closes = pl.DataFrame({"date": sessions, "closed": closing_times(sessions)})
    grid = closes.join(bars.select("ticker").unique().sort("ticker"), how="cross").sort("closed", "ticker")
    values = grid.join_asof(
        ends.sort("ended"), left_on="closed", right_on="ended", by="ticker", check_sortedness=False
    ).filter(pl.col("date") - pl.col("bar") <= pl.duration(days=STALE_DAYS))
    return values.select("ticker", "date", value="close", bar="bar").sort("ticker", "date")


def sleeve_returns(
    bars: pl.DataFrame, coins: Mapping[str, Sequence[str]], sessions: NDArray[np.datetime64]
) -> FloatArray:
    """Return of an equal-weight sleeve of coins from session to session, weekends included.

    A coin's return is that of its first symbol with a value at both sessions: symbols are never compared with each
    other. A coin without a return is left out of the mean.

    Args:
        bars: as for `at_sessions`.
        coins: symbols by coin, in order of precedence.
        sessions: datetime64[D] of shape (n_sessions,).

    Returns:
        float64 of shape (n_sessions,), NaN at the first session and where no coin has a return.

    """
    return returns_at(at_sessions(bars, sessions), coins, sessions)


def returns_at(
    values: pl.DataFrame, coins: Mapping[str, Sequence[str]], sessions: NDArray[np.datetime64]
) -> FloatArray:
    """`sleeve_returns` from the result of `at_sessions`.

    Args:
        values: `ticker, date, value`; rows of other sessions are left out.
        coins: as for `sleeve_returns`.
        sessions: datetime64[D] of shape (n_sessions,).

    """
    values = values.filter(pl.col("date").is_in(pl.Series(sessions).implode()))
    by_coin = np.full((len(coins), len(sessions)), np.nan)
    for place, symbols in enumerate(coins.values()):
        for symbol in reversed(symbols):
            rows = values.filter(pl.col("ticker") == symbol)
            level = np.full(len(sessions), np.nan)
            level[np.searchsorted(sessions, rows["date"].to_numpy())] = rows["value"].to_numpy()
            returns = level[1:] / level[:-1] - 1.0
            by_coin[place, 1:] = np.where(np.isfinite(returns), returns, by_coin[place, 1:])
    known = np.isfinite(by_coin)
    count = known.sum(axis=0)
    total = np.where(known, by_coin, 0.0).sum(axis=0)
    means: FloatArray = np.divide(total, count, out=np.full(len(sessions), np.nan), where=count > 0)
    return means
