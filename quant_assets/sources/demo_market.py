"""The simulated market behind `demo`: returns, prices, corporate actions and events as dense arrays. No frames here.

The model, for session t and ticker i in sector k (log total return: dividends and splits are included):

    r[i,t] = drift + beta_m[i] m[t] + beta_s[i] s[k,t] + e[i,t] + signal_strength z[i,t-1]

m, s and e are GARCH(1,1) shocks (Bollerslev 1986) with Student-t innovations, symmetric about zero. z is the planted
characteristic: an AR(1) with unit variance and a half-life of 252 sessions. With `signal_strength` 0 the log returns of
all tickers are symmetric about the same centre whatever is already known, so that the expected rank IC of any score is 0.

Append-only: random numbers come in blocks of 256 rows, each block from a generator of its own, so that a row does not
depend on how many follow; the simulation steps forward session by session; and events are scheduled forward, by date.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from quant_assets.settings import SECTORS, DemoSettings

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
DateArray = NDArray[np.datetime64]

#: First session with bars, whatever start a profile asks for; the years before only warm the simulation up.
ORIGIN = date(2018, 1, 2)
WARM_UP = date(2015, 7, 1)

#: Three letters before a ticker's number: XNYS symbols carry no digits, so nobody takes these for real.
PREFIXES = dict(zip(SECTORS, ("ENR", "MAT", "IND", "DIS", "STA", "HLT", "FIN", "TEC", "COM", "UTL", "RES"), strict=True))

HALF_LIFE = 252
_DRIFT = 0.0003
_CRASH = 1.2
_MARKET_VOLATILITY = 0.0085
_BLOCK = 256

# Each sector has one of each of these, by its position in a random order of its tickers. Events of prices and
# membership never meet in one ticker, so that each can be told apart.
_LATE, _GONE, _ILLIQUID, _MOVER, _REJOINER, _UNCLASSIFIED, _STABLE = slice(0, 2), slice(2, 4), 4, 5, 6, 7, slice(8, None)
_LISTING_YEARS = (
    (2018, 2018, 2019, 2019, 2020, 2020, 2021, 2021, 2022, 2022, 2023),
    (2022, 2023, 2023, 2024, 2024, 2024, 2025, 2025, 2025, 2026, 2026),
)
_DELISTING_YEARS = (
    (2019, 2020, 2020, 2021, 2021, 2021, 2022, 2022, 2022, 2023, 2023),
    (2024, 2024, 2024, 2024, 2025, 2025, 2025, 2025, 2026, 2026, 2026),
)
_REJOIN_YEARS = (2018, 2019, 2020, 2020, 2021, 2022, 2023, 2023, 2024, 2025, 2026)
_MOVES = (("telecoms", "it", 2020), ("materials", "energy", 2022), ("cons_discretionary", "cons_staples", 2024), ("industrials", "it", 2025))
_HALT_YEARS = tuple(year for year in range(2018, 2027) for _ in range(4))
BAD_KINDS = ("ohlc_violation", "duplicate", "stale_zero_volume", "non_positive_price", "missing_price")
_BAD_ROWS_PER_SESSION = 0.06
_MISSING_BARS = 0.0003


class Stream(IntEnum):
    """Streams of random numbers, one for each purpose: drawing more of one changes no other."""

    TRAITS = 0
    EVENTS = 1
    MARKET = 2
    SECTOR = 3
    TICKER = 4
    CHARACTERISTIC = 5
    BARS = 6
    MISSING = 7
    BAD_ROWS = 8
    SHARES = 9
    STATEMENTS = 10
    RESTATEMENTS = 11
    MACRO_DAILY = 12
    MACRO_MONTHLY = 13


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
    """When what happens. Positions of sessions count from the warm-up; a position at or past the end lies in the future.

    Attributes:
        listed: first session with a bar, int64 of shape (n_tickers,).
        late: tickers listed after the origin.
        crash: session of a crash, far in the future for those that never do.
        last: session of the last bar, far in the future for those that stay.
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


@dataclass(frozen=True)
class Market:
    """The simulated market: arrays of shape (n_sessions, n_tickers) from the warm-up on, prices as traded.

    Attributes:
        settings: what it was simulated with.
        tickers: symbols, sector by sector.
        sectors: slug of each ticker at first.
        sessions: XNYS sessions.
        schedule: the events.
        traded: where a bar exists.
        characteristic: z, known at the close of its session.
        log_return: log total return of the session.
        open: USD per share, not rounded, as high, low and close are.
        high: see `open`.
        low: see `open`.
        close: see `open`.
        volume: shares.
        dividend: USD per share with this ex-date, else 0.
        split_ratio: new shares for one old, else 1. Never on the day of a dividend, and never between the end of a
            fiscal quarter and the publication of its statement.
        shares: shares outstanding.
        market_variance: conditional variance of m for the session after, shape (n_sessions,).
        bad_rows: the planted bad rows.

    """

    settings: DemoSettings
    tickers: tuple[str, ...]
    sectors: tuple[str, ...]
    sessions: DateArray
    schedule: Schedule
    traded: BoolArray
    characteristic: FloatArray
    log_return: FloatArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    dividend: FloatArray
    split_ratio: FloatArray
    shares: FloatArray
    market_variance: FloatArray
    bad_rows: tuple[BadRow, ...]


def generators(seed: int, stream: Stream, rows: int) -> list[np.random.Generator]:
    """One generator for each block of rows."""
    return [np.random.default_rng([seed, stream, block]) for block in range(-(-rows // _BLOCK))]


def normals(seed: int, stream: Stream, rows: int, width: int) -> FloatArray:
    """Standard normal draws of shape (rows, width); a row does not depend on `rows`."""
    return np.concatenate([g.standard_normal((_BLOCK, width)) for g in generators(seed, stream, rows)])[:rows]


def uniforms(seed: int, stream: Stream, rows: int, width: int) -> FloatArray:
    """Draws from [0, 1) of shape (rows, width); a row does not depend on `rows`."""
    return np.concatenate([g.random((_BLOCK, width)) for g in generators(seed, stream, rows)])[:rows]


def _student(seed: int, stream: Stream, rows: int, width: int, degrees: float) -> FloatArray:
    draws = np.concatenate([g.standard_t(degrees, (_BLOCK, width)) for g in generators(seed, stream, rows)])[:rows]
    return draws * np.sqrt((degrees - 2) / degrees)


def simulate(settings: DemoSettings, sessions: DateArray) -> Market:
    """Simulate a market.

    Args:
        settings: seed, size and signal strength.
        sessions: sessions from `WARM_UP` to any end; a later end changes no earlier value.

    """
    per_sector, seed = settings.tickers_per_sector, settings.seed
    tickers = tuple(f"{prefix}{number:02d}" for prefix in PREFIXES.values() for number in range(1, per_sector + 1))
    count, total = len(sessions), len(tickers)
    schedule = _schedule(settings, sessions)
    gap = _gaps(seed, schedule, count, total)
    position = np.arange(count)[:, None]
    traded = (position >= schedule.listed) & (position <= schedule.last) & ~gap
    characteristic, log_return, volatility, market_variance = _returns(settings, schedule, count)
    prior, close, dividend, split_ratio, shares = _prices(seed, sessions, schedule, log_return, gap)

    # The session's path: an opening gap that holds a part of its return, and ranges in proportion to its volatility.
    path = normals(seed, Stream.BARS, count, 4 * total).reshape(count, 4, total)
    open_ = prior * np.exp(0.35 * log_return + 0.25 * volatility * path[:, 0])
    turnover = 0.005 * np.exp(0.5 * np.random.default_rng([seed, Stream.TRAITS, 1]).standard_normal(total))
    turnover[schedule.illiquid] = 0.0005
    eventless = (dividend == 0) & (split_ratio == 1)
    return Market(
        settings=settings,
        tickers=tickers,
        sectors=tuple(sector for sector in SECTORS for _ in range(per_sector)),
        sessions=sessions,
        schedule=schedule,
        traded=traded,
        characteristic=characteristic,
        log_return=log_return,
        open=open_,
        high=np.maximum(open_, close) * np.exp(0.4 * volatility * np.abs(path[:, 1])),
        low=np.minimum(open_, close) * np.exp(-0.4 * volatility * np.abs(path[:, 2])),
        close=close,
        volume=np.round(shares * turnover * np.exp(0.35 * path[:, 3] + 0.25 * np.abs(log_return) / volatility)) + 1,
        dividend=dividend,
        split_ratio=split_ratio,
        shares=shares,
        market_variance=market_variance,
        bad_rows=_bad_rows(seed, schedule, traded, eventless, int(np.searchsorted(sessions, np.datetime64(ORIGIN)))),
    )


def _schedule(settings: DemoSettings, sessions: DateArray) -> Schedule:
    rng = np.random.default_rng([settings.seed, Stream.EVENTS])
    count, per_sector = len(SECTORS), settings.tickers_per_sector
    order = np.stack([rng.permutation(per_sector) + sector * per_sector for sector in range(count)])
    late, gone = order[:, _LATE].T.ravel(), order[:, _GONE].T.ravel()
    total, never = count * per_sector, np.iinfo(np.int64).max // 2
    origin = int(np.searchsorted(sessions, np.datetime64(ORIGIN)))

    def on(years: tuple[int, ...]) -> IntArray:
        """A random session of each year; where the calendar ends before it, the future."""
        days = [date(year, 1, 10) + timedelta(days=int(day)) for year, day in zip(years, rng.integers(0, 340, len(years)), strict=True)]
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
    delisting_known[crashes] += 12

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
    return Schedule(listed, late, crash, last, delisting_known, joined, left, rejoined, classified, moves, halts, illiquid, stable)


def _gaps(seed: int, schedule: Schedule, count: int, total: int) -> BoolArray:
    """Sessions without a bar while listed: halts, and bars missing at random (never at a listing or about a delisting)."""
    position = np.arange(count)[:, None]
    gap: BoolArray = uniforms(seed, Stream.MISSING, count, total) < _MISSING_BARS
    gap &= (position != schedule.listed) & (position < schedule.last - 12)
    for ticker, first, after in schedule.halts.tolist():
        gap[first:after, ticker] = True
    return gap


def _returns(settings: DemoSettings, schedule: Schedule, n: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Characteristic, log returns, conditional volatility of each ticker, and the market's variance for the session after."""
    seed, per_sector, count = settings.seed, settings.tickers_per_sector, len(SECTORS)
    total = count * per_sector
    traits = np.random.default_rng([seed, Stream.TRAITS, 0])
    market_beta = np.clip(traits.normal(1.0, 0.2, total), 0.5, 1.6)
    sector_beta = np.clip(traits.normal(1.0, 0.2, total), 0.4, 1.6)
    sector_volatility = traits.uniform(0.004, 0.006, count)
    ticker_volatility = np.clip(np.exp(traits.normal(np.log(0.011), 0.22, total)), 0.007, 0.020)
    level = np.concatenate([[_MARKET_VOLATILITY], sector_volatility, ticker_volatility]) ** 2
    alpha = np.concatenate([[0.11], np.full(count, 0.10), traits.uniform(0.07, 0.12, total)])
    beta = np.concatenate([[0.875], np.full(count, 0.88), np.full(total, 0.87)])
    omega = level * (1 - alpha - beta)
    shocks = np.hstack(
        [
            _student(seed, Stream.MARKET, n, 1, 7.0),
            _student(seed, Stream.SECTOR, n, count, 6.0),
            _student(seed, Stream.TICKER, n, total, 5.0),
        ]
    )
    steps = normals(seed, Stream.CHARACTERISTIC, n, total)
    persistence = 0.5 ** (1 / HALF_LIFE)

    characteristic, log_return, volatility = (np.empty((n, total)) for _ in range(3))
    market_variance = np.empty(n)
    variance, latent = level.copy(), traits.standard_normal(total)
    sector = np.repeat(np.arange(count), per_sector)
    moves = {move.session: move for move in schedule.moves}
    for t in range(n):
        if t in moves:
            sector[moves[t].ticker] = list(SECTORS).index(moves[t].sector)
        shock = np.sqrt(variance) * shocks[t]
        common = market_beta * shock[0] + sector_beta * shock[1 + sector]
        log_return[t] = _DRIFT + common + shock[1 + count :] + settings.signal_strength * latent
        volatility[t] = np.sqrt(market_beta**2 * variance[0] + sector_beta**2 * variance[1 + sector] + variance[1 + count :])
        # The bound keeps a run of fat-tailed shocks from carrying the variance off: volatility at most four times its level.
        variance = np.minimum(omega + alpha * shock**2 + beta * variance, 16 * level)
        latent = persistence * latent + np.sqrt(1 - persistence**2) * steps[t]
        characteristic[t], market_variance[t] = latent, variance[0]
    for ticker in np.flatnonzero(schedule.crash < n).tolist():
        log_return[schedule.crash[ticker], ticker] -= _CRASH
    return characteristic, log_return, volatility, market_variance


def _prices(
    seed: int, sessions: DateArray, schedule: Schedule, log_return: FloatArray, gap: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Close of the session before net of the session's event, close, dividend, split ratio and shares outstanding."""
    n, total = log_return.shape
    traits = np.random.default_rng([seed, Stream.TRAITS, 2])
    price = np.exp(traits.normal(np.log(45), 0.5, total))
    outstanding = np.exp(traits.normal(np.log(6e9), 1.0, total)) / price
    outstanding[schedule.illiquid] = 0.4e9 / price[schedule.illiquid]
    quarterly_yield = np.where(traits.random(total) < 0.65, traits.uniform(0.01, 0.04, total) / 4, 0.0)
    phase, ex_position = traits.integers(0, 3, total), traits.integers(2, 12, total)
    split_position = traits.integers(12, 17, total)

    months = sessions.astype("datetime64[M]")
    month = months.astype(np.int64) % 12 + 1
    position = np.arange(n) - np.searchsorted(months, months)  # of a session in its month, from 0
    issued = normals(seed, Stream.SHARES, n, total)

    prior, close, dividend, split_ratio, shares = (np.empty((n, total)) for _ in range(5))
    for t in range(n):
        open_for_events = ~gap[t] & (t >= schedule.listed)  # an event before the first bar would reach nobody
        ex_dividend = open_for_events & (phase == month[t] % 3) & (ex_position == position[t])
        paid = np.where(ex_dividend, np.round(price * quarterly_yield, 2), 0.0)
        ratio = np.ones(total)
        if month[t] % 3 == 0:  # the last month of a quarter: every statement of the quarter before is out by then
            splitting = open_for_events & (split_position == position[t])
            ratio[splitting & (price > 120)] = 2.0
            ratio[splitting & (price > 240)] = 4.0
            ratio[splitting & (price < 12)] = 0.1
        prior[t] = (price - paid) / ratio
        price = (price * np.exp(log_return[t]) - paid) / ratio
        outstanding = outstanding * ratio
        if position[t] == 0 and month[t] % 3 == 1:
            outstanding = outstanding * np.exp(0.001 + 0.004 * issued[t])
        close[t], dividend[t], split_ratio[t], shares[t] = price, paid, ratio, outstanding
    return prior, close, dividend, split_ratio, shares


def _bad_rows(seed: int, schedule: Schedule, traded: BoolArray, eventless: BoolArray, origin: int) -> tuple[BadRow, ...]:
    """Planted bad rows: never on the day of an event, so that refusing one loses no dividend or split, nor after another."""
    draws = uniforms(seed, Stream.BAD_ROWS, len(traded), 3)
    found: list[BadRow] = []
    touched = set()
    for session in np.flatnonzero(draws[:, 0] < _BAD_ROWS_PER_SESSION).tolist():
        ticker = int(schedule.stable[int(draws[session, 1] * len(schedule.stable))])
        usable = session > origin and traded[session, ticker] and traded[session - 1, ticker] and eventless[session, ticker]
        if usable and (session - 1, ticker) not in touched:
            touched.add((session, ticker))
            found.append(BadRow(ticker, session, BAD_KINDS[int(draws[session, 2] * len(BAD_KINDS))]))
    return tuple(found)
