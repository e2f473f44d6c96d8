"""Errors of real data in the simulated bars: the affected tickers, and the dates. No simulation.

Each sector has three tickers with dirt, by draws of their own: no other ticker's bars change, and no other stream. They
come from a second provider.

- One that trades rarely for half a year, and one year later is silent for so long that it counts as delisted, and
  trades again; in turns, every year.
- One with wrong bars, each kind once a year (`WRONG_KINDS`).
- One that is worth a few cents, so that most of its returns are 0, until a reverse split that nobody marks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from quant_assets.settings.sectors import SECTORS
from quant_assets.sources.demo_draws import FloatArray, Stream
from quant_assets.sources.demo_events import BoolArray, IntArray
from quant_assets.sources.demo_market import Market

#: The provider of the tickers with dirt. It loses a week of each year.
PROVIDER = "demo_two"

#: All prices a hundredfold; a twentieth, at four times the volume; no opens for some sessions; a bar on a day without
#: a session; another symbol's prices.
WRONG_KINDS = ("hundredfold", "there_and_back", "missing_open", "holiday", "stranger")

#: Old shares per new one in the unmarked reverse split.
REVERSE_SPLIT = 500.0
#: Silent sessions after which the ticker counts as delisted.
PRESUMED_AFTER = 15

_YEARS = range(2018, 2027)
_THIN_SESSIONS, _THIN_STEP, _SILENT_SESSIONS, _OPEN_SESSIONS, _LOST_SESSIONS = 126, 7, 40, 5, 5


@dataclass(frozen=True)
class WrongBar:
    """A wrong bar."""

    ticker: int
    session: int
    kind: str


@dataclass(frozen=True)
class Dirt:
    """Errors by ticker and session. Positions of sessions count from the warm-up.

    Attributes:
        rare: the ticker of each sector that trades rarely or not at all, int64 of shape (n_sectors,).
        thin: its spells of rare trading: (ticker, first session, first session after).
        silent: its silences: (ticker, first session, first session after).
        wrong: the wrong bars; of `missing_open` the first of the sessions.
        faulty: the ticker of each sector with wrong bars.
        penny: the one of each sector that is worth cents.
        reverse_split: session of the reverse split of each of those.
        lost: sessions that the provider lost: (first session, first session after).

    """

    rare: IntArray
    thin: IntArray
    silent: IntArray
    wrong: tuple[WrongBar, ...]
    faulty: IntArray
    penny: IntArray
    reverse_split: IntArray
    lost: IntArray

    @property
    def tickers(self) -> IntArray:
        """All tickers with errors, ascending."""
        return np.sort(np.concatenate([self.rare, self.faulty, self.penny]))

    def missing(self, traded: BoolArray) -> BoolArray:
        """Where a traded bar is missing, of the shape of `traded` (n_sessions, n_tickers)."""
        lacking = np.zeros_like(traded)
        for ticker, first, after in self.thin.tolist():
            lacking[first:after, ticker] = True
            lacking[first:after:_THIN_STEP, ticker] = False
        for ticker, first, after in self.silent.tolist():
            lacking[first:after, ticker] = True
        for first, after in self.lost.tolist():
            lacking[first:after, self.tickers] = True
        return lacking & traded


def plan(world: Market) -> Dirt:
    """Plan the dirt of every year; a later end of the simulation changes nothing before it."""
    rng = np.random.default_rng([world.settings.seed, Stream.DIRT])
    count, never, sessions = len(SECTORS), np.iinfo(np.int64).max // 2, world.sessions
    stable, sector_of = world.schedule.stable, world.schedule.stable // world.settings.tickers_per_sector
    chosen = np.stack([rng.permutation(stable[sector_of == sector])[:3] for sector in range(count)])

    def on(years: range | list[int], first_month: int, days: int) -> IntArray:
        """A session of each year, at random in some days from the start of a month on; else the future."""
        draws = zip(years, rng.integers(0, days, len(years)).tolist(), strict=True)
        drawn = [date(year, first_month, 3) + timedelta(days=day) for year, day in draws]
        found = np.searchsorted(sessions, np.array(drawn, dtype="datetime64[D]")).astype(np.int64)
        return np.where(found < len(sessions), found, never)

    bad = {(each.session, each.ticker) for each in world.bad_rows}
    thin, silent, wrong = [], [], []
    for sector in range(count):
        rare, faulty, _ = chosen[sector].tolist()
        for year, first in zip(_YEARS, on(_YEARS, 1, 120).tolist(), strict=True):
            if (year + sector) % 2:
                thin.append((rare, first, first + _THIN_SESSIONS))
            else:
                silent.append((rare, first, first + _SILENT_SESSIONS))
        for place, kind in enumerate(WRONG_KINDS):
            starts = on(_YEARS, 1 + 2 * place, 50).tolist()  # two months for each: no two meet
            wrong += [
                WrongBar(faulty, session, kind)
                for session in starts
                if session < never and _usable(world, faulty, session) and (session, faulty) not in bad
            ]
    split_years = [2019 + (3 * sector) % 8 for sector in range(count)]
    starts = on(_YEARS, 11, 40)
    return Dirt(
        rare=chosen[:, 0],
        thin=np.array(thin),
        silent=np.array(silent),
        wrong=tuple(wrong),
        faulty=chosen[:, 1],
        penny=chosen[:, 2],
        reverse_split=on(split_years, 2, 250),
        lost=np.column_stack([starts, starts + _LOST_SESSIONS]),
    )


def lay(
    dirt: Dirt,
    world: Market,
    prices: Mapping[str, FloatArray],
    volume: FloatArray,
    dividend: FloatArray,
    split_ratio: FloatArray,
) -> None:
    """Change the cells of the bars, arrays of shape (n_sessions, n_tickers), prices rounded to cents.

    A dividend or split of a session without a bar moves to the next bar.
    """
    lacking = dirt.missing(world.traded)
    for session, ticker in np.argwhere(lacking & ((dividend != 0.0) | (split_ratio != 1.0))).tolist():
        later = np.flatnonzero(world.traded[session:, ticker] & ~lacking[session:, ticker])
        if len(later):
            dividend[session + later[0], ticker] += dividend[session, ticker]
            split_ratio[session + later[0], ticker] *= split_ratio[session, ticker]
    for ticker, until in zip(dirt.penny.tolist(), dirt.reverse_split.tolist(), strict=True):
        for array in prices.values():
            array[:until, ticker] = np.maximum(np.round(array[:until, ticker] / REVERSE_SPLIT, 2), 0.01)
        volume[:until, ticker] *= REVERSE_SPLIT
        dividend[:until, ticker] /= REVERSE_SPLIT
    others = {each: _neighbour(each, dirt, world) for each in dirt.faulty.tolist()}
    for wrong in dirt.wrong:
        cell = wrong.session, wrong.ticker
        if wrong.kind == "missing_open":
            prices["open"][wrong.session : wrong.session + _OPEN_SESSIONS, wrong.ticker] = 0.0
        for array in prices.values():
            if wrong.kind == "hundredfold":
                array[cell] = np.round(100.0 * array[cell], 2)
            elif wrong.kind == "there_and_back":
                array[cell] = np.round(array[cell] / 20.0, 2)
            elif wrong.kind == "stranger":
                array[cell] = array[wrong.session, others[wrong.ticker]]
        if wrong.kind == "there_and_back":
            volume[cell] *= 4.0


def holidays(dirt: Dirt, world: Market) -> Iterator[tuple[int, int, date]]:
    """Bars on weekdays without a session: ticker, position of the session whose bar it repeats, and the day."""
    following = np.busday_offset(world.sessions, 1)
    closed = np.flatnonzero(following[:-1] != world.sessions[1:])
    for wrong in dirt.wrong:
        place = int(np.searchsorted(closed, wrong.session))
        if wrong.kind == "holiday" and place < len(closed):
            session = int(closed[place])
            yield wrong.ticker, session, following[session].item()


def delistings(dirt: Dirt, traded: BoolArray) -> Iterator[tuple[int, int, int, bool]]:
    """The silences: ticker, last session, session at which it was known, and whether the ticker trades again then."""
    for ticker, first, after in dirt.silent.tolist():
        before, later = (np.flatnonzero(traded[part, ticker]) for part in (slice(first), slice(after, None)))
        if first < len(traded):
            last = int(before[-1])
            yield ticker, last, last + PRESUMED_AFTER, False
            if len(later):
                yield ticker, last, after + int(later[0]), True


def _neighbour(ticker: int, dirt: Dirt, world: Market) -> int:
    """Another ticker of the same sector, one without dirt and with a history as long."""
    sector = world.settings.tickers_per_sector
    of_sector = world.schedule.stable[world.schedule.stable // sector == ticker // sector]
    return int(np.setdiff1d(of_sector, dirt.tickers)[0])


def _usable(world: Market, ticker: int, session: int) -> bool:
    """Whether a bar may be wrong without losing an event: it and the bar before exist, and it has no event."""
    traded = world.traded[session - 1 : session + 1, ticker].all()
    return bool(traded and world.dividend[session, ticker] == 0.0 and world.split_ratio[session, ticker] == 1.0)
