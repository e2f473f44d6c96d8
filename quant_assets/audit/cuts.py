"""The cuts of an audit: sessions of the market, spread over the year or next to events, and own cuts per ticker.

Events come from the declarations (which datasets are trained, which execute decisions) and from the provider's data;
no asset is named here. How rows after a cut are altered is in `alterations`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from math import gcd

import polars as pl

from quant_assets.audit.execution import executed
from quant_assets.audit.inputs import macro_known, statements_known
from quant_assets.audit.learning_stage import learners
from quant_assets.learning.checkpoints import is_training_month
from quant_assets.market.calendar import first_session_from, sessions
from quant_assets.partitions import month_end, month_of, month_range, month_start, shift_month
from quant_assets.planning.plan import Planner
from quant_assets.profile import Profile

#: Months between two of the cuts that are spread over a history: 13, so that they cover all calendar months.
APART = 13

#: Months between two trainings that are cut around in a whole history.
_TRAININGS_APART = 39

#: Events of a ticker, the rarest first.
EVENTS = (
    "delisting known",
    "delisting",
    "listing",
    "sector move",
    "joins",
    "leaves",
    "split",
    "halt",
    "statement",
    "release",
)

#: A ticker counts as halted if its bars are more than this many sessions apart.
_HALTED_SESSIONS = 2

#: Ticker and its last day that is not altered.
TickerCuts = tuple[tuple[str, date], ...]


@dataclass(frozen=True)
class Cut:
    """A session after which everything is altered.

    Attributes:
        day: the session.
        why: description of the session; empty for the caller's own cuts.
        reach: months up to it that are computed again; None for the audit's default.

    """

    day: date
    why: str = ""
    reach: int | None = None


# --- Of the market ----------------------------------------------------------------------------------------------------


def market_cuts(profile: Profile, planner: Planner, first: str, last: str, *, every_month: bool) -> tuple[Cut, ...]:
    """Sessions within the months: around the newest training, and for every month also `APART` months apart.

    The cuts around a training are the middle of its month (the new model does not exist yet), the month's last session
    (the training), the session at which that day's decision is executed, and the first session of the next month.
    Without training or execution, the same sessions of a month are taken.

    Args:
        profile: whose months they are.
        planner: of its assets.
        first: month.
        last: month.
        every_month: whether the cuts cover the whole history.

    """
    closed = [month for month in month_range(first, last) if month_end(month) <= profile.last_session()]
    months = closed[:-1] or closed or [last]
    cuts = list[Cut]()
    if every_month:
        for number, month in enumerate(months[::-1][::APART]):
            names = ("middle", "last session", "first session")
            name = names[number % len(names)]
            cuts.append(Cut(_day(profile, month, name), f"{name} of a month", APART + 1))
    trained = _trainings(profile, planner, months)
    before, centre = "", shift_month(months[-1], _TRAININGS_APART)
    for month in reversed(trained or months[-1:]):
        if shift_month(month, _TRAININGS_APART) <= centre and (every_month or not before):
            cuts += _around(profile, planner, month, trained=bool(trained), reach=2 if every_month else None)
            before = centre = month
    within = [cut for cut in cuts if month_start(first) <= cut.day <= month_end(last)]
    return tuple({cut.day: cut for cut in reversed(within)}.values())[::-1]


def _trainings(profile: Profile, planner: Planner, months: Sequence[str]) -> list[str]:
    """Training months that have a month before them to compare."""
    if not learners(planner, profile.datasets)[0]:
        return []
    cadence = profile.settings.training.cadence_months
    return [month for month in months[1:] if is_training_month(month_start(month), cadence)]


def _around(profile: Profile, planner: Planner, month: str, *, trained: bool, reach: int | None) -> Iterator[Cut]:
    of = "training month" if trained else "month"
    yield Cut(_day(profile, month, "middle"), f"middle of a {of}", reach)
    decided = _day(profile, month, "last session")
    yield Cut(decided, "training session" if trained else "last session of a month", reach)
    after = sessions(decided, profile.last_session()).tolist()[1:]
    if executed(planner, profile.datasets) and len(after) >= (lag := profile.settings.labels.entry_lag):
        yield Cut(after[max(0, lag - 1)], "execution session", reach)
    if after:
        yield Cut(after[0], "first session of a month", reach)


def _day(profile: Profile, month: str, which: str) -> date:
    days: list[date] = sessions(month_start(month), min(month_end(month), profile.last_session())).tolist()
    return {"middle": days[len(days) // 2], "last session": days[-1], "first session": days[0]}[which]


# --- Of each ticker ---------------------------------------------------------------------------------------------------


def events(profile: Profile, tickers: Sequence[str], first: date, last: date) -> pl.DataFrame:
    """The session before each event of the tickers, and before each release of a macro series, within the days.

    Returns:
        `ticker` (or the series), `event` (one of `EVENTS`), `cut`; sorted, without duplicates.

    """
    source, end = profile.source, profile.last_session()
    after = first_session_from(last + timedelta(days=1))
    days = pl.DataFrame({"cut": sessions(first, last)}, {"cut": pl.Date}).with_row_index("number")
    chosen = pl.col("ticker").is_in(list(tickers))

    def dated(event: str, rows: pl.DataFrame, day: str) -> pl.DataFrame:
        return rows.filter(chosen).select("ticker", pl.lit(event).alias("event"), pl.col(day).alias("day")).drop_nulls()

    released = macro_known(profile).select(
        pl.col("series_id").alias("ticker"), pl.lit("release").alias("event"), day="known_at"
    )

    ended, members = source.delistings(tickers, end), source.membership(end)
    bars = source.bars(tickers, profile.terms.start, end).select("ticker", "date", "split_ratio").unique()
    bars = bars.sort("ticker", "date").with_columns(before=pl.col("date").shift().over("ticker"))
    numbered = bars.join(days.rename({"cut": "date"}), on="date", how="left").with_columns(
        gap=pl.col("number").cast(pl.Int64) - pl.col("number").cast(pl.Int64).shift().over("ticker")
    )
    snapshots = source.sector_snapshots(end).filter(pl.col("known_at") != pl.col("known_at").min().over("ticker"))
    dated_events = pl.concat(
        [
            dated("delisting known", ended, "known_at"),
            dated("delisting", ended, "last_session"),
            dated("listing", bars.filter(pl.col("before").is_null()), "date"),
            dated("sector move", snapshots, "known_at"),
            dated("joins", members, "start_date"),
            dated("leaves", members, "end_date"),
            dated("split", bars.filter(pl.col("split_ratio") != 1.0), "date"),
            dated("statement", statements_known(profile, tickers), "known_at"),
            released.filter(~chosen),
        ]
    )
    # A halt begins after the last bar before it, so that is the cut.
    halts = numbered.filter(pl.col("gap") > _HALTED_SESSIONS).select(
        "ticker", pl.lit("halt").alias("event"), cut="before"
    )
    before = (
        dated_events.filter(pl.col("day") <= after)
        .sort("day")
        .join_asof(days.select("cut"), left_on="day", right_on="cut", strategy="backward", allow_exact_matches=False)
    )
    within = pl.concat([before.select("ticker", "event", "cut"), halts]).filter(pl.col("cut").is_between(first, last))
    return within.unique().sort("ticker", "event", "cut")


def by_event(found: pl.DataFrame, tickers: Sequence[str], days: Sequence[date], rounds: int) -> list[TickerCuts]:
    """One cut per ticker and round: next to its events, the rarest first, else on a session of its own.

    Args:
        found: result of `events`.
        tickers: all that are cut.
        days: sessions to choose from, ascending.
        rounds: number of rounds.

    """
    place = {event: number for number, event in enumerate(EVENTS)}
    ordered = (
        found.with_columns(
            rank=pl.col("cut").hash(1).rank("ordinal").over("ticker", "event"),
            kind=pl.col("event").replace_strict(place, return_dtype=pl.Int64),
        )
        .sort("ticker", "rank", "kind")
        .unique(["ticker", "cut"], keep="first", maintain_order=True)
    )
    own: dict[str, list[date]] = {
        str(ticker): rows["cut"].to_list() for (ticker,), rows in ordered.group_by("ticker", maintain_order=True)
    }
    plain = by_session(tickers, days, rounds)
    return [
        tuple((ticker, own[ticker][number] if number < len(own.get(ticker, ())) else day) for ticker, day in cuts)
        for number, cuts in enumerate(plain)
    ]


def by_session(tickers: Sequence[str], days: Sequence[date], rounds: int) -> list[TickerCuts]:
    """One cut per ticker and round, on a session of its own: last and first sessions of months, then the others.

    Args:
        tickers: all that are cut.
        days: sessions to choose from, ascending.
        rounds: number of rounds.

    """
    if not days:
        return []
    turns = [both for both in pairwise(days) if month_of(both[0]) != month_of(both[1])]
    ends, firsts = [day for day, _ in turns], [day for _, day in turns]
    # The other sessions are taken far apart, so that one round already covers the whole range.
    rest = [day for day in days if day not in {*ends, *firsts}]
    step = max(1, round(len(rest) * 0.382))
    while rest and gcd(step, len(rest)) > 1:
        step += 1
    order = [*ends, *firsts, *(rest[number * step % len(rest)] for number in range(len(rest)))]
    count = len(tickers)
    return [
        tuple((ticker, order[(number * count + place) % len(order)]) for place, ticker in enumerate(tickers))
        for number in range(rounds)
    ]
