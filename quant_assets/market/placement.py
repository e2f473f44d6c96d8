"""Assignment of rows to sector panels by date, from sector snapshots."""

from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market import calendar


def session_from(day: str, sessions: NDArray[np.datetime64]) -> pl.Expr:
    """First session on or after a date column's value; null after the last session."""
    dates = pl.Series(sessions, dtype=pl.Date)
    return pl.col(day).map_batches(lambda days: _first_from(days, dates), return_dtype=pl.Date)


def _first_from(days: pl.Series, sessions: pl.Series) -> pl.Series:
    position = sessions.search_sorted(days, side="left")
    return sessions.gather(
        pl.select(pl.when(days.is_not_null() & (position < len(sessions))).then(position)).to_series()
    )


def spells(snapshots: pl.DataFrame, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """Sector of each ticker, as spells that start at a session.

    The newest snapshot not after the date counts; one dated on a day without trading counts from the next session. A
    ticker's first snapshot is assumed for the time before it, so its first spell starts at the first session; after a
    rename, the new symbol's first spell starts on the day of the rename, in the sector of that day.

    Args:
        snapshots: `ticker`, `sector`, `known_at`, `since` (`sources.base.SECTOR_SNAPSHOTS`).
        sessions: datetime64[D] of shape (n_sessions,) from the start of the profile on.

    Returns:
        `ticker`, `sector`, `first` (session), `assumed_until` (Date of the first snapshot; only the ticker's first
        spell has rows before it), sorted by ticker and first.

    """
    placed = _begun(snapshots, sessions).with_columns(first=pl.max_horizontal("first", _start(sessions)))
    kept = placed.unique(["ticker", "first"], keep="last", maintain_order=True)
    return kept.select("ticker", "sector", "first", "assumed_until")


def _begun(snapshots: pl.DataFrame, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """The snapshots that count at a session, sorted by ticker and day, with that session (`first`) and `assumed_until`.

    `first` may lie before the first of the sessions: at the snapshot's own session, or long ago for a ticker's first
    snapshot.
    """
    ever = pl.lit(date.min if len(sessions) else None, pl.Date)
    if len(sessions) and not snapshots.is_empty():
        earliest = snapshots.select(pl.min_horizontal(pl.col("known_at").min(), pl.col("since").min())).item()
        sessions = np.concatenate([calendar.sessions(earliest, sessions[0].item() - timedelta(days=1)), sessions])
    known = snapshots.sort("ticker", "known_at", maintain_order=True)
    first = pl.when(pl.col("ticker").is_first_distinct()).then(ever).otherwise(session_from("known_at", sessions))
    begun = session_from("since", sessions)
    return (
        known.with_columns(
            first=pl.when(pl.col("since").is_null())
            .then(first)
            .when(begun.is_not_null())
            .then(pl.max_horizontal(first, begun)),
            assumed_until=pl.col("known_at").first().over("ticker"),
        )
        .drop_nulls("first")
        .unique(["ticker", "first"], keep="last", maintain_order=True)
    )


def _start(sessions: NDArray[np.datetime64]) -> pl.Expr:
    return pl.lit(sessions[0].item() if len(sessions) else None, pl.Date)


def entries(snapshots: pl.DataFrame, sector: str, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """The session from which a ticker is in the sector's panel: the first on which it belonged to the sector.

    A ticker that leaves the sector stays in its panel, so that labels and backtests have its prices. One that left
    before the first session is in the panel from there: which tickers are in it does not depend on where the history
    starts.

    Returns:
        `ticker`, `entered`, sorted by ticker; tickers that never belonged are absent.

    """
    own = _begun(snapshots, sessions).filter(pl.col("sector") == sector)
    return own.group_by("ticker").agg(entered=pl.max_horizontal(pl.col("first").min(), _start(sessions))).sort("ticker")


def place(
    rows: pl.DataFrame, snapshots: pl.DataFrame, sector: str, sessions: NDArray[np.datetime64], dated: str
) -> pl.DataFrame:
    """Filter the rows of the sector's panel and add the session from which they are part of it.

    Args:
        rows: any frame with `ticker` and the date column `dated`.
        snapshots: `ticker`, `sector`, `known_at`.
        sector: slug of the panel's sector.
        sessions: datetime64[D] of shape (n_sessions,) from the start of the profile on.
        dated: the column with the date on which a row became known.

    Returns:
        The rows with `panel_from`: the row's own date or, if later, the session at which the ticker entered the panel.

    """
    entered = entries(snapshots, sector, sessions)
    own = rows.filter(pl.col("ticker").is_in(entered["ticker"].implode()))
    since = (
        pl.col("ticker").replace_strict(entered["ticker"], entered["entered"], return_dtype=pl.Date)
        if len(entered)
        else pl.lit(None, pl.Date)
    )
    return own.with_columns(panel_from=pl.max_horizontal(dated, since))


def of_tickers(rows: pl.DataFrame, tickers: Iterable[str]) -> pl.DataFrame:
    """The rows of some tickers, by binary search in a frame sorted by `ticker`."""
    column = rows["ticker"]
    ends = ((column.search_sorted(ticker, "left"), column.search_sorted(ticker, "right")) for ticker in sorted(tickers))
    return pl.concat([rows.clear(), *(rows[start:stop] for start, stop in ends)])


def sector_on(rows: pl.DataFrame, snapshots: pl.DataFrame, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """Add `sector` (as of the row's `date`) and `assumed_until`, both null for tickers without any snapshot.

    Args:
        rows: a frame with `ticker` and `date`, sorted by both.
        snapshots: `ticker`, `sector`, `known_at`.
        sessions: datetime64[D] of shape (n_sessions,) from the start of the profile on.

    """
    return rows.join_asof(
        spells(snapshots, sessions),
        left_on="date",
        right_on="first",
        by="ticker",
        strategy="backward",
        check_sortedness=False,
    ).drop("first")


def panel_tickers(snapshots: pl.DataFrame, sector: str, through: date) -> list[str]:
    """Sorted tickers that belonged to the sector by `through`: the sector's panel needs their bars."""
    known = pl.col("ticker").is_first_distinct() | (pl.col("known_at") <= through)
    rows = snapshots.sort("ticker", "known_at").filter(
        known & (pl.col("since").is_null() | (pl.col("since") <= through))
    )
    # Of the snapshots before a rename only the last one counts.
    last = (pl.col("known_at").shift(-1) > pl.col("since")).over("ticker").fill_null(True)
    rows = rows.filter(pl.col("since").is_null() | last).filter(pl.col("sector") == sector)
    return rows["ticker"].unique().sort().to_list()
