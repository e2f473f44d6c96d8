"""Simulated closes of crypto-currencies on every UTC day, and of an index of all stocks."""

import numpy as np
import polars as pl

from quant_assets.sources.base import CRYPTO, INDICES
from quant_assets.sources.demo_draws import Stream, student
from quant_assets.sources.demo_market import Market

#: Close before the first day, daily drift, exposure to the mean stock return of the day's session, and to the common
#: factor of the coins.
_COINS = {"BTC-USD": (8_000.0, 0.0001, 0.6, 1.0), "ETH-USD": (600.0, 0.0001, 0.8, 1.15)}
#: Daily volatility of the common factor, and of the coins' own part: BTC moves by about 55 % a year of 252 sessions.
_COMMON, _OWN = 0.027, 0.012
_DEGREES = 5.0

#: Symbol of the index.
INDEX = "MARKET"


def crypto_closes(world: Market) -> pl.DataFrame:
    """Closes of every day from the simulation's first session to its last, future ones included (`CRYPTO`).

    The session of a UTC day closes before the day does, so the day's close may depend on it.
    """
    first, last = (day.astype("datetime64[D]") for day in world.sessions[[0, -1]])
    days = np.arange(first, last + 1)
    draws = student(world.settings.seed, Stream.CRYPTO, len(days), 1 + len(_COINS), _DEGREES)
    stocks = np.zeros(len(days))
    stocks[(world.sessions.astype("datetime64[D]") - first).astype(np.int64)] = world.log_return.mean(axis=1)
    frames = [CRYPTO.to_frame()]
    for place, (ticker, (level, drift, beta, common)) in enumerate(_COINS.items()):
        moves = drift + beta * stocks + common * _COMMON * draws[:, 0] + _OWN * draws[:, 1 + place]
        closes = np.round(level * np.exp(np.cumsum(moves)), 2)
        frames.append(pl.DataFrame({"ticker": ticker, "date": days, "close": closes}, schema=CRYPTO))
    return pl.concat(frames)


def index_closes(world: Market) -> pl.DataFrame:
    """An equal-weight index of all listed stocks from 1000, set back to equal weights daily (`INDICES`).

    The mean of simple returns: the mean of log returns lies below what any holder of the stocks earns. A stock counts
    from the session after its first bar to its last bar. Future sessions are included.
    """
    position = np.arange(len(world.sessions))[:, None]
    listed = (position > world.schedule.listed) & (position <= world.schedule.last)
    returns = np.where(listed, np.expm1(world.log_return), 0.0).sum(axis=1) / np.maximum(listed.sum(axis=1), 1)
    closes = np.round(1_000.0 * np.cumprod(1.0 + returns), 4)
    days = world.sessions.astype("datetime64[D]")
    return pl.DataFrame({"ticker": INDEX, "date": days, "close": closes}, schema=INDICES)
