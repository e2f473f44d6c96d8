"""Small markets in which rare things happen at once, as providers answer: two sectors over five months, drawn by
hypothesis or made by hand, and what was known of them at a day."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from quant_assets.market.calendar import decision_sessions, sessions
from quant_assets.sources.base import BARS, DELISTINGS, HELD, MACRO, MEMBERSHIP, SECTOR_SNAPSHOTS, STATEMENTS

START, LAST = date(2020, 1, 1), date(2020, 5, 29)
DAYS: list[date] = sessions(START, LAST).tolist()
ENDS = [DAYS.index(day) for day in decision_sessions(START, LAST)]
SECTORS = ("energy", "materials")

#: Where things happen: around the ends of months, at which decisions are taken and executed, and at either end.
PLACES = sorted({place + step for place in (0, *ENDS) for step in (-1, 0, 1, 2, 3)} & set(range(len(DAYS))))
#: Days at which somebody looks: ends of months, a month's first and second session, and days inside a month.
LOOKS = tuple(DAYS[place] for place in (ENDS[0], ENDS[1] + 1, ENDS[2] + 2, ENDS[3] - 1, ENDS[3] + 8, ENDS[4]))

#: A nightly run sets QUANT_TEST_RARE_EXAMPLES=500, and draws others each time.
_NIGHTLY = int(os.environ.get("QUANT_TEST_RARE_EXAMPLES", "0"))


def examples(few: int) -> settings:
    """So many examples, the same in every run, or as many new ones as `QUANT_TEST_RARE_EXAMPLES` says."""
    return settings(
        max_examples=_NIGHTLY or few,
        derandomize=not _NIGHTLY,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        # Minutes of shrinking are for the nightly run: the example that fails is printed as it is.
        phases=list(Phase) if _NIGHTLY else (Phase.explicit, Phase.generate),
        print_blob=True,
    )


@dataclass(frozen=True)
class Life:
    """What happens to a symbol; every number is a place among `DAYS`, or a number of sessions.

    Attributes:
        first: of its first bar.
        last: of its last one, None where it trades on.
        heard: sessions from the last bar to the day on which the end is known.
        reason: of the end, as the provider says.
        again: sessions from then on until the symbol trades again, as another company; None where it does not.
        renamed: how many new symbols the company takes, one after the other; the first at its end.
        taken: whether its first new symbol had been another company's, which ended before the company was listed.
        halts: first session and length of each time without bars.
        moves: session and sector of each snapshot after the first.
        sector: of the first snapshot; None where there is no snapshot at all.
        member: from when to when it is a member, more than once where there are several.
        bars: whether there are any.
        path: `walk`, `flat` (never moves), `twin` (that of every other twin), `collapse` (falls to nothing) or `bad`
            (with bars and events that are wrong).
        volume: whether there is any.
        providers: 1, or 2 with adjusted prices of a second one, which has only the later half and sometimes another
            price.
        split: of a split with a dividend on the same day; None where there is none.
        flagged: whether the provider says so.
        reports: whether there are statements.

    """

    first: int = 0
    last: int | None = None
    heard: int = 5
    reason: str | None = None
    again: int | None = None
    renamed: int = 0
    taken: bool = False
    halts: tuple[tuple[int, int], ...] = ()
    moves: tuple[tuple[int, str], ...] = ()
    sector: str | None = SECTORS[0]
    member: tuple[tuple[int, int | None], ...] = ((0, None),)
    bars: bool = True
    path: str = "walk"
    volume: bool = True
    providers: int = 1
    split: int | None = None
    flagged: bool = True
    reports: bool = False


class Rare(NamedTuple):
    """What providers answer at `through`, the last closed session of all."""

    through: date
    bars: pl.DataFrame
    delistings: pl.DataFrame
    membership: pl.DataFrame
    snapshots: pl.DataFrame
    statements: pl.DataFrame
    macro: pl.DataFrame

    def known(self, through: date) -> "Rare":
        """What they would have answered on an earlier day, by the contract of `sources.base`."""
        ended = pl.when(pl.col("end_date") <= through).then("end_date")
        released = pl.coalesce("released", pl.col("period") + pl.duration(days="lag_days"))
        return Rare(
            through,
            self.bars.filter(pl.col("date") <= through),
            self.delistings.filter(pl.col("known_at") <= through),
            self.membership.filter(pl.col("start_date") <= through).with_columns(end_date=ended),
            self.snapshots.filter(pl.col("ticker").is_first_distinct() | (pl.col("known_at") <= through)),
            self.statements.filter(pl.coalesce("published", "period_end") <= through),
            self.macro.filter(released <= through),
        )

    def held(self, days: Iterable[date]) -> pl.DataFrame:
        """Which provider has a bar on these days."""
        wanted = pl.col("date").is_in(pl.Series(list(days), dtype=pl.Date).implode())
        return self.bars.filter(wanted).select(list(HELD)).unique().sort(list(HELD))


def market(lives: Iterable[Life], through: date = LAST, seed: int = 0, gap: tuple[int, int] | None = None) -> Rare:
    """The market of some symbols A, B, C and so on; `gap` is a first session and a length without bars of anybody."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in Rare._fields}
    for number, life in enumerate(lives):
        _live(chr(ord("A") + number), life, np.random.default_rng([seed, number]), found)
    bars = _frame(found["bars"], BARS).sort("ticker", "date", "precedence", maintain_order=True)
    if gap is not None:
        bars = bars.filter(~pl.col("date").is_in(DAYS[gap[0] : gap[0] + gap[1]]))
    macro = [
        {"series_id": "S", "period": day, "released": released, "lag_days": 30, "value": value}
        for day, released, value in (
            (date(2019, 11, 1), None, 1.0),
            (date(2020, 1, 1), date(2020, 2, 15), 2.0),
            (date(2020, 1, 1), date(2020, 3, 31), 2.5),
            (date(2020, 2, 1), date(2020, 2, 28), None),
        )
    ]
    every = Rare(
        LAST,
        bars,
        _frame(found["delistings"], DELISTINGS).unique().sort("ticker", "last_session"),
        _frame(found["membership"], MEMBERSHIP).sort("ticker", "start_date"),
        _frame(found["snapshots"], SECTOR_SNAPSHOTS).sort("ticker", "known_at", maintain_order=True),
        _frame(found["statements"], STATEMENTS),
        _frame(macro, MACRO),
    )
    return every.known(through)


def _frame(rows: list[dict[str, Any]], schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame(rows, schema)


def _live(ticker: str, life: Life, rng: np.random.Generator, found: dict[str, list[dict[str, Any]]]) -> None:
    """Add the rows of a symbol and of those that its company takes later."""
    count = len(DAYS)
    last = count - 1 if life.last is None else max(life.last, life.first)
    heard = last + max(1 if life.renamed else 0, life.heard)
    closes = _closes(life, rng)
    there = np.zeros(count, dtype=bool)
    there[life.first : last + 1] = life.bars
    for place, length in life.halts:
        there[place : place + length] = False
    ended = life.last is not None and heard < count and bool(there.any())
    names, ends = [ticker], [count - 1]
    if ended and life.renamed:
        there[last + 1 :] = life.bars
        apart = max(1, life.heard) + last % 20  # sessions from one symbol to the next: days or a month
        names += [f"{ticker}{step}" for step in range(1, life.renamed + 1)]
        ends = [*(min(last + apart * step, count - 1) for step in range(life.renamed)), count - 1]
    elif ended:
        ends = [last]
    begun = 0
    for step, (name, until) in enumerate(zip(names, ends, strict=True)):
        if begun >= count:
            break
        own = there.copy()
        own[until + 1 :] = False
        present = np.flatnonzero(own)
        known = heard if step == 0 else until + 1
        if step == 0 and ended and life.again is not None:
            own[heard + life.again :] = life.bars
        found["bars"] += _bars(name, closes, own, life)
        _belong(name, life, begun, step > 0, found)
        if until < count - 1 and len(present) and known < count:
            successor = names[step + 1] if step + 1 < len(names) else None
            reason = "renamed" if successor else life.reason
            found["delistings"].append(_ended(name, int(present[-1]), known, reason, successor))
        begun = until + 1
    gone = life.first - 6
    if life.taken and len(names) > 1 and gone >= 0:
        other = np.arange(count) <= gone
        found["bars"] += _bars(names[1], 3.0 * closes, other, life)
        found["delistings"].append(_ended(names[1], gone, gone + 5, None, None))
    if life.reports:
        found["statements"] += _statements(ticker, rng)


def _belong(name: str, life: Life, begun: int, renamed: bool, found: dict[str, list[dict[str, Any]]]) -> None:
    """Sector snapshots, of which a company's earlier ones are given with each of its symbols, and membership."""
    if life.sector is not None:
        # Some are classified long before, some only after the first sessions.
        history = [(DAYS[0] + timedelta(days=9 if len(life.moves) % 2 == 0 else -400), life.sector)]
        history += [(DAYS[place], sector) for place, sector in life.moves]
        since = DAYS[begun] if renamed else None
        found["snapshots"] += [
            {"ticker": name, "sector": sector, "known_at": day, "since": since} for day, sector in history
        ]
    for start, stop in life.member:
        first = max(start, begun)
        end = None if stop is None else DAYS[max(first, stop)]
        found["membership"].append({"ticker": name, "start_date": DAYS[first], "end_date": end})


def _ended(ticker: str, last: int, known: int, reason: str | None, successor: str | None) -> dict[str, Any]:
    days = {"last_session": DAYS[last], "known_at": DAYS[known]}
    return {"ticker": ticker, **days, "reason": reason, "successor": successor}


def _closes(life: Life, rng: np.random.Generator) -> np.ndarray:
    count = len(DAYS)
    if life.path == "twin":
        rng = np.random.default_rng(7)
    if life.path == "flat":
        return np.full(count, 7.3)
    closes: np.ndarray = 50.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(count)))
    if life.path == "collapse":
        closes *= np.geomspace(1.0, 1e-4, count)
    return closes


#: What is wrong with every fourth bar of a `bad` path: refused, or an event that the prices do not know of.
_FAULTS: tuple[dict[str, Any], ...] = (
    {"open": math.nan},
    {"low": 1e6},
    {"close": 0.0},
    {"close": None},
    {"high": math.inf},
    {"volume": -1.0},
    {"volume": None},
    {"again": True},
    {"between": True},
    {"dividend": 1e6},
    {"split_ratio": 1e6},
    {"split_ratio": 1e-6, "dividend": 3.0},
)


def _bars(ticker: str, closes: np.ndarray, there: np.ndarray, life: Life) -> list[dict[str, Any]]:
    rows = []
    for precedence in range(life.providers):
        for place in np.flatnonzero(there).tolist():
            if precedence and place < len(DAYS) // 2:
                continue
            split = 2.0 if life.split == place and life.flagged and not precedence else 1.0
            shown = closes[place] / (2.0 if life.split is not None and place >= life.split and not precedence else 1.0)
            shown *= 1.05 if precedence and place % 13 == 5 else 1.0
            volume = 0.0 if not life.volume else 1e6 + 1e4 * place
            row = {
                "ticker": ticker,
                "date": DAYS[place],
                "open": shown,
                "high": shown * 1.01,
                "low": shown * 0.99,
                "close": shown,
                "volume": volume,
                "dividend": (0.5 if split != 1.0 else 0.0) if not precedence else None,
                "split_ratio": split if not precedence else None,
                "adjustment": "total_return" if precedence else "as_traded",
                "provider": "two" if precedence else "one",
                "precedence": precedence,
            }
            if life.path == "bad" and place % 4 == 3:
                fault = dict(_FAULTS[(place // 4 + life.heard) % len(_FAULTS)])
                if fault.pop("again", False):
                    rows.append(row | {"close": shown * 1.005})
                if fault.pop("between", False):
                    rows.append(row | {"date": DAYS[place] + timedelta(days=6 - DAYS[place].isoweekday())})
                row |= fault
            rows.append(row)
    return rows


def _statements(ticker: str, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Quarters with a late version, a loss, debts above everything, no shares, no day of publication."""
    rows = []
    for number, (end, days) in enumerate(
        ((date(2018, 12, 31), 60), (date(2019, 6, 30), 40), (date(2019, 9, 30), 40), (date(2019, 12, 31), 45))
    ):
        for version in range(1 + (number == 2)):
            size = float(rng.uniform(-1.0, 2.0))
            rows.append(
                dict.fromkeys(STATEMENTS)
                | {
                    "ticker": ticker,
                    "period_end": end,
                    "frequency": "annual" if number == 0 else "quarterly",
                    "published": None if number == 1 else end + timedelta(days=days + 90 * version),
                    "version": version,
                    "provider": "one",
                    "revenue": 0.0 if number == 3 else 10.0,
                    "net_income": size,
                    "total_equity": size,
                    "total_debt": 3.0,
                    "shares": None if number == 0 else 1e6,
                    "operating_income": size,
                    "depreciation": 1.0,
                    "operating_cash_flow": size,
                    "capital_expenditure": -0.5,
                    "total_assets": 5.0,
                    "cash": None if number == 2 else 1.0,
                }
            )
    return rows


_PLACE = st.sampled_from(PLACES) | st.integers(0, len(DAYS) - 1)
_SECTOR = st.sampled_from(SECTORS)


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """One symbol; most things do not happen to most of them."""

    def rarely(strategy: st.SearchStrategy[Any], otherwise: Any, times: int = 3) -> Any:
        return draw(strategy) if draw(st.integers(0, times)) == 0 else otherwise

    last = rarely(_PLACE, None, 1)
    member = st.lists(st.tuples(_PLACE, st.none() | _PLACE), max_size=2).map(tuple)
    return Life(
        first=rarely(_PLACE, 0),
        last=last,
        heard=draw(st.integers(0, 11)),
        reason=draw(st.sampled_from((None, None, "takeover", "failure"))),
        again=rarely(st.integers(1, 30), None, 1),
        renamed=rarely(st.integers(1, 3), 0, 1),
        taken=draw(st.booleans()),
        halts=rarely(
            st.lists(st.tuples(_PLACE, st.sampled_from((1, 2, 5, 6, 7, 25))), min_size=1, max_size=2).map(tuple), (), 1
        ),
        moves=rarely(st.lists(st.tuples(_PLACE, _SECTOR), min_size=1, max_size=3).map(lambda x: tuple(sorted(x))), ()),
        sector=rarely(st.none() | _SECTOR, SECTORS[0], 2),
        member=rarely(member, ((0, None),)),
        bars=rarely(st.booleans(), True),
        path=rarely(st.sampled_from(("flat", "twin", "collapse", "bad")), "walk", 1),
        volume=rarely(st.booleans(), True),
        providers=rarely(st.integers(1, 2), 1),
        split=rarely(_PLACE, None),
        flagged=draw(st.booleans()),
        reports=draw(st.booleans()),
    )


#: Markets of a few names, looked at on a day that may be inside a month, or in the first one.
markets: st.SearchStrategy[Rare] = st.builds(
    market,
    st.lists(lives(), min_size=2, max_size=6),
    st.sampled_from(LOOKS),
    st.integers(0, 99),
    st.none() | st.tuples(_PLACE, st.sampled_from((1, 6))),
)

#: One of everything, for what is looked at once.
EVERYTHING = (
    Life(reports=True, split=40),
    Life(last=ENDS[1], heard=5, again=6, reports=True),
    Life(last=ENDS[1] - 2, heard=3, renamed=2, reports=True),
    Life(first=8, last=ENDS[2], heard=1, renamed=1, again=12, taken=True),
    Life(last=ENDS[2] + 1, heard=6, reason="failure", path="collapse"),
    Life(halts=((ENDS[1] + 1, 1), (ENDS[3], 9)), providers=2),
    Life(moves=((ENDS[1], SECTORS[1]), (ENDS[2] + 5, SECTORS[0])), reports=True),
    Life(sector=SECTORS[1], member=((3, ENDS[1]), (ENDS[2], None))),
    Life(sector=SECTORS[1], path="flat"),
    Life(sector=SECTORS[1], path="twin"),
    Life(path="twin", providers=2),
    Life(path="bad", split=30, flagged=False),
    Life(sector=None),
    Life(bars=False),
    Life(member=()),
    Life(volume=False),
    Life(first=ENDS[2]),
    *(Life() for _ in range(6)),
)
