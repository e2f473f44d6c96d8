"""When tickers of the `files` provider end: without a bar in any file for some sessions, or renamed."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market import calendar
from quant_assets.settings.providers import Rename
from quant_assets.sources.base import DELISTINGS


class HeldDays(NamedTuple):
    """The bars that one file has.

    Attributes:
        days: of shape (n_bars,), sorted: place of the ticker x 2**32 + days since 1970. Numbers instead of pairs: they
            are sorted in a tenth of the time.
        complete: last day on which the file has every ticker that traded.

    """

    days: NDArray[np.int64]
    complete: date

    @classmethod
    def of(cls, rows: pl.DataFrame, complete: date) -> "HeldDays":
        """From `ticker` (its place) and `date` (days since 1970)."""
        return cls(np.sort(rows["ticker"].to_numpy().astype(np.int64) * 2**32 + rows["date"].to_numpy()), complete)


def delistings_known(
    names: Sequence[str], files: Sequence[HeldDays], renames: Sequence[Rename], silent_sessions: int
) -> pl.DataFrame:
    """Tickers that no file has had a bar of for `silent_sessions` sessions, and symbols that their companies gave up.

    A file that had the last bar must be complete meanwhile. A ticker that trades again after such a gap counts as
    delisted in it all the same: at the time, nobody knew that it would. A symbol that its company gave up ends with the
    rename, and is known to from then on.

    Args:
        names: the tickers, by their place.
        files: what each file has of them.
        renames: of companies.
        silent_sessions: sessions without a bar after which a ticker counts as delisted.

    Returns:
        The columns of `DELISTINGS`, sorted by ticker and day.

    """
    ends = pl.DataFrame(
        [(each.old, each.since, each.new) for each in renames],
        {"ticker": pl.String, "on": pl.Date, "new": pl.String},
        orient="row",
    )
    sessions, bars = _around_gaps(names, files, ends["ticker"].to_list(), silent_sessions)
    if bars.is_empty():
        return DELISTINGS.to_frame()
    known = pl.col("position") + silent_sessions
    bar_after = pl.col("next_position")
    given_up = pl.Series(np.searchsorted(sessions, ends["on"].to_numpy().astype("datetime64[D]")))
    bars = bars.join(ends.with_columns(given_up=given_up), on="ticker", how="left", maintain_order="left")
    renamed = (
        (pl.col("date") < pl.col("on"))
        & (pl.col("given_up") <= known)
        & (bar_after.is_null() | (bar_after >= pl.col("given_up")))
    )
    renamed = renamed.fill_null(False)
    silent = (bar_after.is_null() | (bar_after > known)) & ~renamed
    gaps = bars.with_columns(
        known=pl.when(renamed).then("given_up").when(silent).then(known),
        reason=pl.when(renamed).then(pl.lit("renamed")),
        successor=pl.when(renamed).then("new"),
    ).filter(pl.col("known") < len(sessions))
    every = pl.Series(sessions, dtype=pl.Date)
    gaps = gaps.with_columns(last_session=every.gather(gaps["position"]), known_at=every.gather(gaps["known"]))
    heard = (pl.col("known_at") <= pl.col("complete")) | pl.col("reason").is_not_null()
    return gaps.filter(heard).select(list(DELISTINGS))


def _around_gaps(
    names: Sequence[str], files: Sequence[HeldDays], all_of: Collection[str], silent_sessions: int
) -> tuple[NDArray[np.datetime64], pl.DataFrame]:
    """The last bar of each ticker before a gap or the end of the files, and every bar of the tickers `all_of`.

    A bar in any file counts.

    Returns:
        Sessions of the files, of shape (n_sessions,), and `ticker`, `date`, `position` among the sessions,
        `next_position` of the ticker's next bar (null where there is none) and `complete`, until when a file that has
        the bar is; sorted by ticker and date.

    """
    bars = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *(file.days for file in files)]), kind="stable")
    bars = bars[np.diff(bars, prepend=-1) > 0]  # np.unique hashes, which takes twenty times as long
    if not len(bars):
        return np.empty(0, dtype="datetime64[D]"), pl.DataFrame()
    until = [np.datetime64(file.complete) for file in files]
    ticker, date_ = bars >> 32, (bars & (2**32 - 1)).astype("datetime64[D]")
    sessions = calendar.sessions(calendar.last_session_to(date_.min().item()), max(date_.max(), *until).item())
    position = np.searchsorted(sessions, date_, side="right") - 1
    same = np.append(ticker[1:] == ticker[:-1], False)
    after = np.append(position[1:], -1)
    gap = ~same | (after > position + silent_sessions)
    chosen = np.flatnonzero(gap | np.isin(ticker, [place for place, name in enumerate(names) if name in all_of]))
    complete = np.full(len(chosen), np.datetime64(date.min))
    for file, day in zip(files, until, strict=True):
        there = np.searchsorted(file.days, bars[chosen], side="right") > np.searchsorted(file.days, bars[chosen])
        complete = np.where(there, np.maximum(complete, day), complete)
    return sessions, pl.DataFrame(
        {
            "ticker": pl.Series(names, dtype=pl.String).gather(ticker[chosen]),
            "date": pl.Series(date_[chosen], dtype=pl.Date),
            "position": position[chosen],
            "next_position": pl.Series(np.where(same, after, -1)[chosen]).replace(-1, None),
            "complete": pl.Series(complete, dtype=pl.Date),
        }
    )
