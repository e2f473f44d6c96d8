"""Who was in the index, session by session, and in which sector as known at the time."""

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.placement import panel_tickers, sector_on

__all__ = ["members", "panel_tickers", "unclassified"]


def members(membership: pl.DataFrame, snapshots: pl.DataFrame, sector: str, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """Index members of a sector on each session (dataset `universe`).

    Args:
        membership: `ticker`, `start_date`, `end_date` (both included, null while a member).
        snapshots: `ticker`, `sector`, `known_at`; the newest not after the date counts, and the first one before it too.
        sector: slug.
        sessions: datetime64[D] of shape (n_sessions,).

    Returns:
        `ticker`, `date`, `sector_assumed` (true before the ticker's first snapshot), sorted by ticker and date.

    """
    ever = snapshots.filter(pl.col("sector") == sector)["ticker"]
    days = _days(membership.filter(pl.col("ticker").is_in(ever.implode())), sessions)
    there = sector_on(days, snapshots, sessions).filter(pl.col("sector") == sector)
    return there.select("ticker", "date", sector_assumed=pl.col("date") < pl.col("assumed_until"))


def unclassified(membership: pl.DataFrame, snapshots: pl.DataFrame, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """Index members on these sessions that no snapshot classifies, and that every sector's universe therefore lacks.

    Returns:
        `ticker`, `first_date`, `last_date` (sessions, of the ticker's intervals taken together), sorted by ticker.

    """
    without = membership.filter(~pl.col("ticker").is_in(snapshots["ticker"].implode()))
    found = _days(without, sessions).group_by("ticker").agg(first_date=pl.col("date").min(), last_date=pl.col("date").max())
    return found.sort("ticker")


def _days(membership: pl.DataFrame, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """One row for each member and session, sorted by ticker and date."""
    every = pl.Series(sessions, dtype=pl.Date)
    first = pl.Series(every.search_sorted(membership["start_date"], side="left"))
    after = every.search_sorted(membership["end_date"].fill_null(date.max), side="right")
    spread = membership.select("ticker", position=pl.int_ranges(first, pl.Series(after))).explode("position", empty_as_null=False)
    dates = every.gather(spread["position"])
    return spread.select("ticker", date=dates).unique().sort("ticker", "date")
