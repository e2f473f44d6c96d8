"""Events of the simulated market, by ticker and session: listings, delistings, index changes, moves, halts, bad rows.

Everything is scheduled forward from a date that depends on the seed alone, so that nothing happens because the
simulation is about to end. The schedule covers 2018 to 2026; later years have splits, dividends, missing bars and bad
rows.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from quant_assets.settings.providers import DemoSettings
from quant_assets.settings.sectors import SECTORS
from quant_assets.sources.demo_draws import Stream, uniforms

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
DateArray = NDArray[np.datetime64]

#: First session with bars, whatever start a profile asks for; the years before only warm the simulation up.
ORIGIN = date(2018, 1, 2)
WARM_UP = date(2015, 7, 1)

# Each sector has one of each of these, by its position in a random order of its tickers. Events of prices and
# membership never meet in one ticker, so that each can be told apart.
_LATE, _GONE, _ILLIQUID, _MOVER, _REJOINER, _UNCLASSIFIED, _STABLE = (
    slice(0, 2),
    slice(2, 4),
    4,
    5,
    6,
    7,
    slice(8, None),
)
_LISTING_YEARS = (
    (2018, 2018, 2019, 2019, 2020, 2020, 2021, 2021, 2022, 2022, 2023),
    (2022, 2023, 2023, 2024, 2024, 2024, 2025, 2025, 2025, 2026, 2026),
)
_DELISTING_YEARS = (
    (2019, 2020, 2020, 2021, 2021, 2021, 2022, 2022, 2022, 2023, 2023),
    (2024, 2024, 2024, 2024, 2025, 2025, 2025, 2025, 2026, 2026, 2026),
)
_REJOIN_YEARS = (2018, 2019, 2020, 2020, 2021, 2022, 2023, 2023, 2024, 2025, 2026)
_MOVES = (
    ("telecoms", "it", 2020),
    ("materials", "energy", 2022),
    ("cons_discretionary", "cons_staples", 2024),
    ("industrials", "it", 2025),
)
_HALT_YEARS = tuple(year for year in range(2018, 2027) for _ in range(4))
BAD_KINDS = ("ohlc_violation", "duplicate", "stale_zero_volume", "non_positive_price", "missing_price")
_BAD_ROWS_PER_SESSION = 0.06
_MISSING_BARS = 0.0003


@dataclass(frozen=True)
class Move:
    """A ticker that changes its sector at a session."""

    ticker: int
    sector: str
    session: int


@dataclass(frozen=True)
class BadRow:
    """A planted bar that screening must catch."""

    ticker: int
    session: int
    kind: str


@dataclass(frozen=True)
class Schedule:
    """The schedule of all events.

    Positions of sessions count from the warm-up; a position at or past the end lies in the future.

    Attributes:
        listed: first session with a bar, int64 of shape (n_tickers,).
        late: tickers listed after the origin.
        crash: session of a crash, far in the future for tickers without one.
        last: session of the last bar, far in the future for tickers that stay.
        delisting_known: session at which the delisting is known.
        joined: first session in the index.
        left: last session in the index, before an absence or for good.
        rejoined: first session back in the index.
        classified: session of the first sector snapshot.
        moves: sector changes.
        halts: (ticker, first session, first session after), int64 of shape (n_halts, 3).
        illiquid: tickers that trade little.
        stable: tickers that bad rows and halts may touch: none of the events above.

    """

    listed: IntArray
    late: IntArray
    crash: IntArray
    last: IntArray
    delisting_known: IntArray
    joined: IntArray
    left: IntArray
    rejoined: IntArray
    classified: IntArray
    moves: tuple[Move, ...]
    halts: IntArray
    illiquid: IntArray
    stable: IntArray


def schedule(settings: DemoSettings, sessions: DateArray) -> Schedule:
    """Schedule every event that falls on the given sessions, which begin at `WARM_UP`."""
    rng = np.random.default_rng([settings.seed, Stream.EVENTS])
    count, per_sector = len(SECTORS), settings.tickers_per_sector
    order = np.stack([rng.permutation(per_sector) + sector * per_sector for sector in range(count)])
    late, gone = order[:, _LATE].T.ravel(), order[:, _GONE].T.ravel()
    total, never = count * per_sector, np.iinfo(np.int64).max // 2
    origin = int(np.searchsorted(sessions, np.datetime64(ORIGIN)))

    def on(years: tuple[int, ...]) -> IntArray:
        """A random session of each year; where the calendar ends before it, the future."""
        days = [
            date(year, 1, 10) + timedelta(days=int(day))
            for year, day in zip(years, rng.integers(0, 340, len(years)), strict=True)
        ]
        found = np.searchsorted(sessions, np.array(days, dtype="datetime64[D]")).astype(np.int64)
        return np.where(found < len(sessions), found, never)

    def shuffled(years: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
        return tuple(year for half in years for year in rng.permutation(half).tolist())

    listed = np.full(total, origin)
    listed[late] = on(shuffled(_LISTING_YEARS))
    joined = listed.copy()
    joined[late] += rng.choice([0, 0, 5, 20, 60], len(late))

    # A quarter of the delistings are crashes: the price falls in one session, the index drops the ticker five sessions
    # later, trading ends after ten. The others are takeovers: trading ends, and it is known at the next session.
    crash, last, delisting_known = (np.full(total, never) for _ in range(3))
    left, rejoined = np.full(total, never), np.full(total, never)
    ending, crashes = on(shuffled(_DELISTING_YEARS)), gone[::4]
    last[gone], delisting_known[gone], left[gone] = ending, ending + 1, ending
    crash[crashes] = last[crashes]
    last[crashes] += 10
    left[crashes] += 5
    delisting_known[crashes] += 11

    leavers = order[:, _REJOINER]
    left[leavers] = on(tuple(rng.permutation(_REJOIN_YEARS).tolist()))
    rejoined[leavers] = left[leavers] + rng.integers(100, 250, count)

    classified = listed.copy()
    classified[order[:, _UNCLASSIFIED]] += rng.integers(40, 250, count)
    movers = [int(order[list(SECTORS).index(old), _MOVER]) for old, _, _ in _MOVES]
    moved = on(tuple(year for _, _, year in _MOVES)).tolist()
    moves = tuple(Move(ticker, new, at) for ticker, (_, new, _), at in zip(movers, _MOVES, moved, strict=True))

    stable = np.sort(order[:, _STABLE].ravel())
    halted = on(_HALT_YEARS)
    halts = np.column_stack([rng.choice(stable, len(halted)), halted, halted + rng.integers(3, 13, len(halted))])
    illiquid = order[:, _ILLIQUID]
    return Schedule(
        listed, late, crash, last, delisting_known, joined, left, rejoined, classified, moves, halts, illiquid, stable
    )


def gaps(seed: int, schedule: Schedule, count: int, total: int) -> BoolArray:
    """Sessions without a bar while listed.

    Halts, and bars missing at random (never at a listing or about a delisting).
    """
    position = np.arange(count)[:, None]
    gap: BoolArray = uniforms(seed, Stream.MISSING, count, total) < _MISSING_BARS
    gap &= (position != schedule.listed) & (position < schedule.last - 12)
    for ticker, first, after in schedule.halts.tolist():
        gap[first:after, ticker] = True
    return gap


def bad_rows(seed: int, schedule: Schedule, traded: BoolArray, eventless: BoolArray, origin: int) -> tuple[BadRow, ...]:
    """Planted bad rows: never on the day of an event, nor after another.

    So refusing one loses no dividend or split.
    """
    draws = uniforms(seed, Stream.BAD_ROWS, len(traded), 3)
    found: list[BadRow] = []
    touched = set()
    for session in np.flatnonzero(draws[:, 0] < _BAD_ROWS_PER_SESSION).tolist():
        ticker = int(schedule.stable[int(draws[session, 1] * len(schedule.stable))])
        usable = (
            session > origin and traded[session, ticker] and traded[session - 1, ticker] and eventless[session, ticker]
        )
        if usable and (session - 1, ticker) not in touched:
            touched.add((session, ticker))
            found.append(BadRow(ticker, session, BAD_KINDS[int(draws[session, 2] * len(BAD_KINDS))]))
    return tuple(found)
