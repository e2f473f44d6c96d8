"""The simulated market behind `demo`: returns, prices, corporate actions and events as dense arrays. No frames here.

The model, for session t and ticker i in sector k (log total return: dividends and splits are included):

    r[i,t] = drift + beta_m[i] m[t] + beta_s[i] s[k,t] + e[i,t] + signal_strength z[i,t-1]

m, s and e are GARCH(1,1) shocks (Bollerslev 1986) with Student-t innovations, symmetric about zero. z is the planted
characteristic: an AR(1) with unit variance and a half-life of 252 sessions. With `signal_strength` 0 the log returns of
all tickers are symmetric about the same centre whatever is already known, so that the expected rank IC of any score is
0.

Append-only: random numbers come in blocks of 256 rows, each block from a generator of its own, so that a row does not
depend on how many follow; the simulation steps forward session by session; and events are scheduled forward, by date.
"""

from dataclasses import dataclass

import numpy as np

from quant_assets.settings.providers import DemoSettings
from quant_assets.settings.sectors import SECTORS
from quant_assets.sources.demo_draws import FloatArray, Stream, normals, student, traits
from quant_assets.sources.demo_events import ORIGIN, BadRow, BoolArray, DateArray, Schedule, bad_rows, gaps, schedule

#: Three letters before a ticker's number: XNYS symbols have no digits, so these are not mistaken for real ones.
PREFIXES = dict(
    zip(SECTORS, ("ENR", "MAT", "IND", "DIS", "STA", "HLT", "FIN", "TEC", "COM", "UTL", "RES"), strict=True)
)

HALF_LIFE = 252
_DRIFT = 0.0003
_CRASH = 1.2
_MARKET_VOLATILITY = 0.0085


@dataclass(frozen=True)
class Market:
    """The simulated market: arrays of shape (n_sessions, n_tickers) from the warm-up on, prices as traded.

    Attributes:
        settings: of the simulation.
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
        split_ratio: new shares for one old, else 1; before the first bar, too. Never on the day of a dividend, and
            never between the end of a fiscal quarter and the publication of its statement.
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


def simulate(settings: DemoSettings, sessions: DateArray) -> Market:
    """Simulate a market.

    Args:
        settings: seed, size and signal strength.
        sessions: sessions from `WARM_UP` to any end; a later end changes no earlier value.

    """
    per_sector, seed = settings.tickers_per_sector, settings.seed
    tickers = tuple(f"{prefix}{number:02d}" for prefix in PREFIXES.values() for number in range(1, per_sector + 1))
    count, total = len(sessions), len(tickers)
    events = schedule(settings, sessions)
    gap = gaps(seed, events, count, total)
    position = np.arange(count)[:, None]
    traded = (position >= events.listed) & (position <= events.last) & ~gap
    characteristic, log_return, volatility, market_variance = _returns(settings, events, count)
    prior, close, dividend, split_ratio, shares = _prices(seed, sessions, events, log_return, gap)

    # The session's path: an opening gap that holds a part of its return, and ranges in proportion to its volatility.
    path = normals(seed, Stream.BARS, count, 4 * total).reshape(count, 4, total)
    open_ = prior * np.exp(0.35 * log_return + 0.25 * volatility * path[:, 0])
    turnover = 0.005 * np.exp(0.5 * traits(seed, 1).standard_normal(total))
    turnover[events.illiquid] = 0.0005
    eventless = (dividend == 0) & (split_ratio == 1)
    return Market(
        settings=settings,
        tickers=tickers,
        sectors=tuple(sector for sector in SECTORS for _ in range(per_sector)),
        sessions=sessions,
        schedule=events,
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
        bad_rows=bad_rows(seed, events, traded, eventless, int(np.searchsorted(sessions, np.datetime64(ORIGIN)))),
    )


def _returns(settings: DemoSettings, events: Schedule, n: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Characteristic, log returns, conditional volatility of each ticker, and the market's variance one session on."""
    seed, per_sector, count = settings.seed, settings.tickers_per_sector, len(SECTORS)
    total = count * per_sector
    fixed = traits(seed, 0)
    market_beta = np.clip(fixed.normal(1.0, 0.2, total), 0.5, 1.6)
    sector_beta = np.clip(fixed.normal(1.0, 0.2, total), 0.4, 1.6)
    sector_volatility = fixed.uniform(0.004, 0.006, count)
    ticker_volatility = np.clip(np.exp(fixed.normal(np.log(0.011), 0.22, total)), 0.007, 0.020)
    level = np.concatenate([[_MARKET_VOLATILITY], sector_volatility, ticker_volatility]) ** 2
    alpha = np.concatenate([[0.11], np.full(count, 0.10), fixed.uniform(0.07, 0.12, total)])
    beta = np.concatenate([[0.875], np.full(count, 0.88), np.full(total, 0.87)])
    omega = level * (1 - alpha - beta)
    shocks = np.hstack(
        [
            student(seed, Stream.MARKET, n, 1, 7.0),
            student(seed, Stream.SECTOR, n, count, 6.0),
            student(seed, Stream.TICKER, n, total, 5.0),
        ]
    )
    steps = normals(seed, Stream.CHARACTERISTIC, n, total)
    persistence = 0.5 ** (1 / HALF_LIFE)

    characteristic, log_return, volatility = (np.empty((n, total)) for _ in range(3))
    market_variance = np.empty(n)
    variance, latent = level.copy(), fixed.standard_normal(total)
    sector = np.repeat(np.arange(count), per_sector)
    moves = {move.session: move for move in events.moves}
    for t in range(n):
        if t in moves:
            sector[moves[t].ticker] = list(SECTORS).index(moves[t].sector)
        shock = np.sqrt(variance) * shocks[t]
        common = market_beta * shock[0] + sector_beta * shock[1 + sector]
        log_return[t] = _DRIFT + common + shock[1 + count :] + settings.signal_strength * latent
        volatility[t] = np.sqrt(
            market_beta**2 * variance[0] + sector_beta**2 * variance[1 + sector] + variance[1 + count :]
        )
        # The bound keeps a run of fat-tailed shocks from carrying the variance off: volatility at most four times its
        # level.
        variance = np.minimum(omega + alpha * shock**2 + beta * variance, 16 * level)
        latent = persistence * latent + np.sqrt(1 - persistence**2) * steps[t]
        characteristic[t], market_variance[t] = latent, variance[0]
    for ticker in np.flatnonzero(events.crash < n).tolist():
        log_return[events.crash[ticker], ticker] -= _CRASH
    return characteristic, log_return, volatility, market_variance


def _prices(
    seed: int, sessions: DateArray, events: Schedule, log_return: FloatArray, gap: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Close of the session before net of the session's event, close, dividend, split ratio and shares outstanding."""
    n, total = log_return.shape
    fixed = traits(seed, 2)
    price = np.exp(fixed.normal(np.log(45), 0.5, total))
    outstanding = np.exp(fixed.normal(np.log(6e9), 1.0, total)) / price
    outstanding[events.illiquid] = 0.4e9 / price[events.illiquid]
    quarterly_yield = np.where(fixed.random(total) < 0.65, fixed.uniform(0.01, 0.04, total) / 4, 0.0)
    phase, ex_position = fixed.integers(0, 3, total), fixed.integers(2, 12, total)
    split_position = fixed.integers(12, 17, total)

    months = sessions.astype("datetime64[M]")
    month = months.astype(np.int64) % 12 + 1
    position = np.arange(n) - np.searchsorted(months, months)  # of a session in its month, from 0
    issued = normals(seed, Stream.SHARES, n, total)

    prior, close, dividend, split_ratio, shares = (np.empty((n, total)) for _ in range(5))
    for t in range(n):
        open_for_events = ~gap[t] & (t != events.listed)  # nothing comes before the first bar for an event to act on
        ex_dividend = open_for_events & (phase == month[t] % 3) & (ex_position == position[t])
        paid = np.where(ex_dividend, np.round(price * quarterly_yield, 2), 0.0)
        ratio = np.ones(total)
        if month[t] % 3 == 0:  # the last month of a quarter: every statement of the quarter before is out by then
            splitting = open_for_events & (split_position == position[t])
            ratio[splitting & (price > 120)] = 2.0
            ratio[splitting & (price > 150)] = 3.0
            ratio[splitting & (price < 12)] = 0.1
        prior[t] = (price - paid) / ratio
        price = (price * np.exp(log_return[t]) - paid) / ratio
        outstanding = outstanding * ratio
        if position[t] == 0 and month[t] % 3 == 1:
            outstanding = outstanding * np.exp(0.001 + 0.004 * issued[t])
        close[t], dividend[t], split_ratio[t], shares[t] = price, paid, ratio, outstanding
    return prior, close, dividend, split_ratio, shares
