"""Delistings of the `files` provider: tickers silent for longer than usual, renamed, or listed by the user."""

from collections.abc import Callable, Collection, Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import SourceError
from quant_assets.market import calendar
from quant_assets.market.delistings import TRADES_AGAIN
from quant_assets.market.panel import IntArray
from quant_assets.market.provider_gaps import LOST_SHARE, lacking
from quant_assets.settings.symbols import DelistingsFile, ListedDelisting, Rename
from quant_assets.sources.base import DELISTINGS
from quant_assets.sources.files_columns import MAPPING, Columns, named, optional
from quant_assets.sources.files_reading import collect

#: A delisting from the user.
LISTED = pl.Schema({"ticker": pl.String, "last_session": pl.Date, "known_at": pl.Date, "reason": pl.String})


class Silence(NamedTuple):
    """Limits of a ticker's silence, in sessions.

    Attributes:
        sessions: silence after which a ticker counts as delisted,
        habit: unless this factor times its longest earlier silence is longer.
        another_company_after: silence after which the symbol belongs to another company if it trades again; also the
            number of earlier sessions that count for the habit.

    """

    sessions: int
    habit: float
    another_company_after: int


class HeldDays(NamedTuple):
    """The bars that one file has.

    Attributes:
        days: of shape (n_bars,), sorted: place of the ticker x 2**32 + days since 1970. Numbers instead of pairs: they
            are sorted in a tenth of the time.
        told: datetime64[D], the sessions on which the file has all tickers that traded, ascending: up to its last
            complete session, without those that it lost.

    """

    days: NDArray[np.int64]
    told: NDArray[np.datetime64]

    @classmethod
    def of(cls, rows: pl.DataFrame, told: NDArray[np.datetime64]) -> "HeldDays":
        """Create it from `ticker` (its place) and `date` (days since 1970)."""
        return cls(np.sort(rows["ticker"].to_numpy().astype(np.int64) * 2**32 + rows["date"].to_numpy()), told)


def told_sessions(counts: pl.DataFrame, last: date, complete: date) -> NDArray[np.datetime64]:
    """Sessions of a file on which a ticker's silence counts: most tickers have a bar.

    Args:
        counts: `date` and `tickers`, the number of the file's tickers with a bar.
        last: last day of the file; if it is declared complete for longer, all tickers are silent from then on.
        complete: last day on which the file has every ticker that traded.

    """
    days = counts.filter(pl.col("date") <= complete).with_columns(provider=pl.lit("file"))
    usual = days.join(lacking(days, LOST_SHARE), on="date", how="anti")["date"].sort()
    said = usual.to_numpy().astype("datetime64[D]")
    # A file may have the last of all dates, which has no next day.
    return said if last >= complete else np.concatenate([said, calendar.sessions(last + timedelta(days=1), complete)])


def given_delistings(
    one_by_one: Sequence[ListedDelisting],
    file: DelistingsFile | None,
    scan: Callable[[DelistingsFile, Columns], pl.LazyFrame],
) -> pl.DataFrame:
    """`listed_delistings` of the settings and of the file that they name, read by `scan`."""
    if file is None:
        return listed_delistings(one_by_one)
    columns = named(file.columns, ("ticker", "last_session")) | optional(file.columns, ("known_at", "reason"))
    return listed_delistings(one_by_one, file, collect(scan(file, columns), file.file))


def listed_delistings(
    one_by_one: Sequence[ListedDelisting], file: DelistingsFile | None = None, rows: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The user's delistings (`LISTED`).

    Args:
        one_by_one: from the settings.
        file: entry of a file of delistings.
        rows: of the file: `ticker`, `last_session` and, if present, `known_at` and `reason`.

    Raises:
        SourceError: a row has no ticker or no last session, or an unknown reason, or a ticker and last session is
            repeated; names file, ticker, date and remedy.

    """
    delistings = pl.DataFrame([each.model_dump() for each in one_by_one], LISTED)
    if file is not None and rows is not None:
        lost = rows.filter(pl.any_horizontal(pl.col("ticker", "last_session").is_null()))
        if len(lost):
            raise SourceError(
                f"{file.file}: a row of ticker {lost['ticker'][0]}, last session {lost['last_session'][0]}, lacks "
                "one of the two; add it or remove the row"
            )
        file_rows = rows.select(
            pl.col(name) if name in rows.columns else pl.lit(None, dtype).alias(name) for name, dtype in LISTED.items()
        )
        # An audit replaces the file's reasons by ours.
        reasons = {"takeover": "takeover", "failure": "failure", **file.reasons}
        strange = file_rows.filter(pl.col("reason").is_not_null() & ~pl.col("reason").is_in(list(reasons)))
        if len(strange):
            row = strange.row(0, named=True)
            raise SourceError(
                f"{file.file}: ticker {row['ticker']}, last session {row['last_session']}, has the unknown reason "
                f"'{row['reason']}'; map it to takeover, failure or null in files.delistings.reasons of {MAPPING}"
            )
        mapped = pl.col("reason").replace_strict(reasons, default=None, return_dtype=pl.String)
        delistings = pl.concat([delistings, file_rows.with_columns(mapped)])
    twice = delistings.filter(pl.struct("ticker", "last_session").is_duplicated()).sort("ticker", "last_session")
    if len(twice):
        raise SourceError(
            f"ticker {twice['ticker'][0]} is delisted twice on {twice['last_session'][0]}; remove one from "
            f"{'' if file is None else f'{file.file} or '}files.delisted of {MAPPING}"
        )
    if delistings.is_empty():
        return delistings
    every = calendar.sessions(date.min, date.max)
    # The session on the day or before it, and the one on the day or after it; those of today's calendar at most.
    last = np.searchsorted(every, delistings["last_session"].to_numpy().astype("datetime64[D]"), side="right") - 1
    told = delistings["known_at"].fill_null(date.min).to_numpy().astype("datetime64[D]")
    known = np.where(delistings["known_at"].is_null(), last + 1, np.maximum(np.searchsorted(every, told), last))
    inside = (last >= 0) & (known < len(every))
    return delistings.filter(inside).with_columns(
        last_session=pl.Series(every[last[inside]], dtype=pl.Date),
        known_at=pl.Series(every[known[inside]], dtype=pl.Date),
    )


def delistings_known(
    names: Sequence[str],
    files: Sequence[HeldDays],
    renames: Sequence[Rename],
    silence: Silence,
    listed: pl.DataFrame,
) -> pl.DataFrame:
    """Tickers that are silent for longer than is their habit, symbols that were given up, and the user's delistings.

    A session is silent where a file that had the last bar tells of it (`HeldDays.told`) and no file has a bar. A
    ticker that trades again within `silence.another_company_after` of them takes its delisting back on that day: at
    the time, nobody knew that it would. A symbol that its company gave up ends with the rename, and is known to from
    then on. What the user lists counts in place of the silence, and is known when that would tell at the latest, or
    when the symbol trades again: a list may be younger than what it says. A reason counts if it was known by then.

    Args:
        names: the tickers, by their place.
        files: what each file has of them.
        renames: of companies.
        silence: for how long a ticker may be silent.
        listed: `LISTED` of those tickers.

    Returns:
        The columns of `DELISTINGS`, sorted by ticker, last session and day.

    """
    ends = pl.DataFrame(
        [(each.old, each.since, each.new) for each in renames],
        {"ticker": pl.String, "on": pl.Date, "new": pl.String},
        orient="row",
    )
    columns = list(DELISTINGS)
    sessions, bars = _around_gaps(names, files, ends["ticker"].to_list(), listed, silence)
    listed = listed.filter(pl.col("known_at") <= pl.lit(sessions[-1].item() if len(sessions) else date.min))
    if bars.is_empty():
        return listed.with_columns(successor=pl.lit(None, pl.String)).select(columns).sort("ticker", "last_session")
    bar_after = pl.col("next_position")
    given_up = pl.Series(np.searchsorted(sessions, ends["on"].to_numpy().astype("datetime64[D]")))
    bars = bars.join(ends.with_columns(given_up=given_up), on="ticker", how="left", maintain_order="left")
    renamed = (
        (pl.col("date") < pl.col("on"))
        & (pl.col("given_up") <= pl.col("position") + silence.sessions)
        & (bar_after.is_null() | (bar_after >= pl.col("given_up")))
    )
    gaps = bars.with_columns(
        known=pl.when(renamed).then("given_up").otherwise("known"),
        reason=pl.when(renamed).then(pl.lit("renamed")),
        successor=pl.when(renamed).then("new"),
        back=pl.when(~renamed.fill_null(False) & (pl.col("silent") <= silence.another_company_after)).then(bar_after),
    ).filter(pl.col("known") < len(sessions))
    every = pl.Series(sessions, dtype=pl.Date)
    gaps = gaps.with_columns(
        *(
            pl.Series(name, every.gather(gaps[place]))
            for name, place in (("last_session", "position"), ("known_at", "known"), ("back_at", "back"))
        )
    )
    given = _as_known(listed, bars, every)
    gaps = _without_listed(gaps, given)
    taken_back = gaps.filter(pl.col("back_at").is_not_null()).with_columns(
        known_at="back_at", reason=pl.lit(TRADES_AGAIN)
    )
    found = pl.concat([given.select(columns), gaps.select(columns), taken_back.select(columns)])
    return found.sort("ticker", "last_session", "known_at")


def as_told(delistings: pl.DataFrame, listed: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """Delistings without those by a silence during which the files have no information on the ticker.

    Args:
        delistings: of `delistings_known`.
        listed: `LISTED`, which stay.
        told: `ticker`, `told_through`; for other tickers the files always have information.

    """
    silent = delistings.join(listed, on=["ticker", "last_session"], how="anti").filter(pl.col("reason").is_null())
    untold = silent.join(told, on="ticker").filter(pl.col("known_at") > pl.col("told_through"))
    return delistings.join(untold, on=["ticker", "last_session", "known_at"], how="anti", maintain_order="left")


def _as_known(listed: pl.DataFrame, bars: pl.DataFrame, sessions: pl.Series) -> pl.DataFrame:
    """The user's delistings, known at the latest when the silence is too long, or when the symbol trades again."""
    latest = pl.min_horizontal("known", "next_position")
    around = bars.select("ticker", "date", latest=sessions.gather(bars.select(latest).to_series())).sort("date")
    found = listed.sort("last_session").join_asof(
        around, left_on="last_session", right_on="date", by="ticker", check_sortedness=False
    )
    late = (pl.col("known_at") > pl.col("latest")).fill_null(False)
    return found.with_columns(
        known_at=pl.min_horizontal("known_at", "latest"),
        reason=pl.when(~late).then("reason"),
        successor=pl.lit(None, pl.String),
    )


def _without_listed(gaps: pl.DataFrame, listed: pl.DataFrame) -> pl.DataFrame:
    """The gaps without a delisting of the user between their last bar and the next one."""
    known = listed.select("ticker", ended="last_session").sort("ended")
    gaps = gaps.sort("last_session").join_asof(
        known, left_on="last_session", right_on="ended", by="ticker", strategy="forward", check_sortedness=False
    )
    inside = (pl.col("ended") < pl.col("next_bar")) | (pl.col("ended").is_not_null() & pl.col("next_bar").is_null())
    return gaps.filter(~inside.fill_null(False) | pl.col("reason").is_not_null())


def _around_gaps(
    names: Sequence[str], files: Sequence[HeldDays], all_of: Collection[str], listed: pl.DataFrame, silence: Silence
) -> tuple[NDArray[np.datetime64], pl.DataFrame]:
    """The last bar of each ticker before a long gap or a `listed` delisting, and every bar of tickers `all_of`.

    Bars of all files count.

    Returns:
        Sessions of the files, of shape (n_sessions,), without any bar only their last ones, and `ticker`, `date`,
        `position` among the sessions, `next_bar` and `next_position` of the ticker's next bar (null without one),
        `silent` sessions up to it, and `known`, the position of the session on which the silence is too long (null if
        it trades again before); sorted by ticker and date.

    """
    bars = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *(file.days for file in files)]), kind="stable")
    bars = bars[np.diff(bars, prepend=-1) > 0]  # np.unique hashes, which takes twenty times as long
    told_to = [file.told[-1] for file in files if len(file.told)]
    if not len(bars):
        return np.sort(np.array(told_to, dtype="datetime64[D]")), pl.DataFrame()
    ticker, date_ = bars >> 32, (bars & (2**32 - 1)).astype("datetime64[D]")
    end = max(date_.max(), *told_to)
    sessions = calendar.sessions(calendar.last_session_to(date_.min().item()), end.item())
    position = np.searchsorted(sessions, date_, side="right") - 1
    same = np.append(ticker[1:] == ticker[:-1], False)
    after = np.append(position[1:], len(sessions))
    after[~same] = len(sessions)
    # Shorter gaps affect neither habits nor delistings.
    gap = after > position + min(silence.sessions, int(silence.sessions / silence.habit))
    gap |= np.isin(ticker, [place for place, name in enumerate(names) if name in all_of])
    ended = listed.filter(pl.col("ticker").is_in(list(names)))
    place = ended["ticker"].cast(pl.Enum(list(names))).to_physical().to_numpy().astype(np.int64)
    before = np.searchsorted(bars, place * 2**32 + ended["last_session"].to_physical().to_numpy(), side="right") - 1
    gap[before[(before >= 0) & (ticker[before] == place)]] = True
    chosen = np.flatnonzero(gap)
    position, after = position[chosen], after[chosen]
    held = np.zeros(len(chosen), dtype=np.int64)
    for bit, file in enumerate(files):
        there = np.searchsorted(file.days, bars[chosen], side="right") > np.searchsorted(file.days, bars[chosen])
        held |= there.astype(np.int64) << bit
    silent = np.zeros(len(chosen), dtype=np.int64)
    counted = {}
    for those in np.unique(held).tolist():
        told = [file.told for bit, file in enumerate(files) if those >> bit & 1]
        counted[those] = np.cumsum(np.isin(sessions, np.concatenate(told)))  # up to each session, itself included
        rows = held == those
        silent[rows] = counted[those][after[rows] - 1] - counted[those][position[rows]]
    allowed = _allowed(ticker[chosen], position, silent, silence)
    known = np.full(len(chosen), -1)
    for those, count in counted.items():
        rows = np.flatnonzero((held == those) & (silent >= allowed))
        known[rows] = np.searchsorted(count, count[position[rows]] + allowed[rows])
    goes_on = same[chosen]
    return sessions, pl.DataFrame(
        {
            "ticker": pl.Series(names, dtype=pl.String).gather(ticker[chosen]),
            "date": pl.Series(date_[chosen], dtype=pl.Date),
            "position": position,
            "next_bar": pl.Series(np.where(goes_on, np.roll(date_, -1)[chosen], np.datetime64("NaT")), dtype=pl.Date),
            "next_position": pl.Series(np.where(goes_on, after, -1)).replace(-1, None),
            "silent": silent,
            "known": pl.Series(known).replace(-1, None),
        }
    )


def _allowed(ticker: IntArray, position: IntArray, silent: IntArray, silence: Silence) -> IntArray:
    """Silent sessions after which a gap is a delisting, by the ticker's longest earlier silence."""
    gaps = pl.DataFrame({"ticker": ticker, "position": position, "silent": silent})
    # After a longer gap it was another company, whose habits do not count.
    habit = pl.when(pl.col("silent") <= silence.another_company_after).then("silent")
    longest = habit.rolling_max_by("position", f"{silence.another_company_after}i", closed="left").over("ticker")
    found = gaps.select((longest.fill_null(0) * silence.habit).ceil().cast(pl.Int64)).to_series().to_numpy()
    allowed: IntArray = np.clip(found, silence.sessions, silence.another_company_after)
    return allowed
