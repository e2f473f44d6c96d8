"""Random numbers of the simulated market.

There is one stream per purpose, and a row never depends on the number of later rows.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_BLOCK = 256


class Stream(IntEnum):
    """Streams of random numbers, one per purpose: drawing more of one changes no other."""

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
    PUBLICATIONS = 11
    RESTATEMENTS = 12
    MACRO_DAILY = 13
    MACRO_MONTHLY = 14
    MACRO_RELEASES = 15
    DIRT = 16
    CASH_FLOWS = 17
    CRYPTO = 18


def traits(seed: int, part: int) -> np.random.Generator:
    """Generator of the constant traits of tickers, for one part of the simulation."""
    return np.random.default_rng([seed, Stream.TRAITS, part])


def _generators(seed: int, stream: Stream, rows: int) -> list[np.random.Generator]:
    """One generator per block of rows, so that later rows cannot affect a block."""
    return [np.random.default_rng([seed, stream, block]) for block in range(-(-rows // _BLOCK))]


def normals(seed: int, stream: Stream, rows: int, width: int) -> FloatArray:
    """Standard normal draws of shape (rows, width); a row does not depend on `rows`."""
    return np.concatenate([g.standard_normal((_BLOCK, width)) for g in _generators(seed, stream, rows)])[:rows]


def uniforms(seed: int, stream: Stream, rows: int, width: int) -> FloatArray:
    """Draws from [0, 1) of shape (rows, width); a row does not depend on `rows`."""
    return np.concatenate([g.random((_BLOCK, width)) for g in _generators(seed, stream, rows)])[:rows]


def student(seed: int, stream: Stream, rows: int, width: int, degrees: float) -> FloatArray:
    """Student-t draws of shape (rows, width) with variance 1; a row does not depend on `rows`."""
    draws = np.concatenate([g.standard_t(degrees, (_BLOCK, width)) for g in _generators(seed, stream, rows)])[:rows]
    return draws * float(np.sqrt((degrees - 2) / degrees))
