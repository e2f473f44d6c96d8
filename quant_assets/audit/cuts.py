"""Where an audit cuts: sessions of the market, spread over the year or next to what happens, and of each ticker's own.

What happens is read off the declarations (which datasets are trained, which execute decisions) and off what the
provider answers; no asset and no column has a name here. What becomes of the rows after a cut is in `alterations`.
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

#: Months between two of the cuts that are spread over a history: they go through the months of the year.
APART = 13

#: Months between two trainings whose surroundings are cut in a whole history.
_TRAININGS_APART = 39

#: What happens to a ticker, the rarest first.
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

#: Sessions without a bar from which on a ticker counts as halted.
_HALTED_SESSIONS = 2

#: The last day of each ticker that stays as it is.
TickerCuts = tuple[tuple[str, date], ...]


@dataclass(frozen=True)
class Cut:
    """A session after which everything is altered.

    Attributes:
        day: the session.
        why: what it is, in words; empty where the caller chose it.
        reach: months up to it that are computed anew; None for the audit's own.

    """

    day: date
    why: str = ""
    reach: int | None = None


# --- Of the market ----------------------------------------------------------------------------------------------------


def market_cuts(profile: Profile, planner: Planner, first: str, last: str, *, every_month: bool) -> tuple[Cut, ...]:
    """Sessions within the months: around the newest training, and for every month also `APART` months apart.

    Around a training lie the middle of its month, in which the model of the month's end is not there yet, its last
    session, at which it is trained, and the session at which what was decided then is executed, with the first of the
    month. Where nothing is trained or executed, the same sessions of a month are taken.

    Args:
        profile: whose months they are.
        planner: of its assets.
        first: month.
        last: month.
        every_month: whether the cuts are those of a whole history.

    """
    over = [month for month in month_range(first, last) if month_end(month) <= profile.last_session()]
    months = over[:-1] or over or [last]
    found = list[Cut]()
    if every_month:
        for number, month in enumerate(months[::-1][::APART]):
            names = ("middle", "last session", "first session")
            name = names[number % len(names)]
            found.append(Cut(_day(profile, month, name), f"{name} of a month", APART + 1))
    trained = _trainings(profile, planner, months)
    before, centre = "", shift_month(months[-1], _TRAININGS_APART)
    for month in reversed(trained or months[-1:]):
        if shift_month(month, _TRAININGS_APART) <= centre and (every_month or not before):
            found += _around(profile, planner, month, trained=bool(trained), reach=2 if every_month else None)
            before = centre = month
    there = [cut for cut in found if month_start(first) <= cut.day <= month_end(last)]
    return tuple({cut.day: cut for cut in reversed(there)}.values())[::-1]


def _trainings(profile: Profile, planner: Planner, months: Sequence[str]) -> list[str]:
    """Months that train, as far as there is a month before them to compare."""
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
        `ticker` (or the series), `event` (one of `EVENTS`), `cut`, sorted; each once.

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
    found = pl.concat(
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
        found.filter(pl.col("day") <= after)
        .sort("day")
        .join_asof(days.select("cut"), left_on="day", right_on="cut", strategy="backward", allow_exact_matches=False)
    )
    within = pl.concat([before.select("ticker", "event", "cut"), halts]).filter(pl.col("cut").is_between(first, last))
    return within.unique().sort("ticker", "event", "cut")


def by_event(found: pl.DataFrame, tickers: Sequence[str], days: Sequence[date], rounds: int) -> list[TickerCuts]:
    """For each round a cut of every ticker: next to its events, the rarest first, else on a session of its own.

    Args:
        found: of `events`.
        tickers: all that are cut.
        days: sessions to choose from, ascending.
        rounds: how many times; fewer where that leaves nothing new.

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
    """For each round a cut of every ticker on a session of its own: the months' last and first ones, then the others.

    Args:
        tickers: all that are cut.
        days: sessions to choose from, ascending.
        rounds: how many times.

    """
    if not days:
        return []
    turns = [both for both in pairwise(days) if month_of(both[0]) != month_of(both[1])]
    ends, firsts = [day for day, _ in turns], [day for _, day in turns]
    # What is left is taken far apart, so that one round already covers the whole of it.
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
