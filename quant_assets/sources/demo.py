"""The `demo` provider: the simulated market of `demo_market` as the frames of the Protocol, cut at what was known."""

from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import polars as pl

from quant_assets.errors import SettingsError
from quant_assets.market.calendar import sessions
from quant_assets.market.delistings import TRADES_AGAIN
from quant_assets.settings.providers import DemoSettings
from quant_assets.sources import demo_dirt
from quant_assets.sources.base import BARS, DELISTINGS, MEMBERSHIP, NEWS, SECTOR_SNAPSHOTS
from quant_assets.sources.demo_closes import crypto_closes, index_closes
from quant_assets.sources.demo_dirt import Dirt
from quant_assets.sources.demo_draws import FloatArray
from quant_assets.sources.demo_events import ORIGIN, WARM_UP, BoolArray, IntArray
from quant_assets.sources.demo_market import Market, simulate
from quant_assets.sources.demo_reports import HISTORY, macro_observations, statements
from quant_assets.sources.registry import Terms


class _Simulated(NamedTuple):
    """The parameters of a simulation."""

    settings: DemoSettings
    end: date


class DemoSource:
    """A simulated market: every number is invented, the calendar is real.

    Deterministic by `settings.seed` and append-only: a later `through` changes no earlier row. The answer for some
    tickers holds the same rows as the answer for all.

    `settings.signal_strength` is the planted signal: the daily expected log return of one standard deviation of a
    characteristic of each ticker that moves slowly (half-life 252 sessions) and is known before the return it drives.
    The characteristic itself is not given. It shows, with noise, in the return on equity, the margins, the debt and
    (less) the earnings yield of the published statements, and in past returns. Measured for the default settings
    within each sector, every 20 sessions from 2018-01 to 2026-10, against the return from t+1 to t+21, the mean rank IC
    is 0.37 for the characteristic itself and 0.27 for the return on equity known at t (standard error 0.006); with
    `signal_strength` 0 both lie within two standard errors of 0.

    Total return of a bar: (close x split_ratio + dividend) / previous close - 1. A few bars are wrong on purpose
    (`BAD_KINDS` in `demo_events`), never with a dividend or a split, and three tickers per sector have the errors of
    real data (`demo_dirt`).

    Args:
        settings: seed, tickers per sector, strength of the signal.
        start: first day with bars, not before 2018. It only cuts: the simulation itself always begins on the same day.
        end: last simulated day; None for the end of the calendar.

    Raises:
        SettingsError: `start` lies before 2018.

    """

    name = "demo"

    def __init__(self, settings: DemoSettings, start: date, end: date | None = None) -> None:
        if start < ORIGIN.replace(day=1):
            first = f"{ORIGIN:%Y-%m}"
            raise SettingsError(
                f"the simulated market begins in {first}, not on {start}; "
                f"set partitions.start of the profile to {first} or later"
            )
        self._simulated = _Simulated(settings, end or date.max)
        self._start = start

    @classmethod
    def of(cls, settings: DemoSettings, terms: Terms) -> "DemoSource":
        """Create the provider of a profile, for `sources.registry`."""
        return cls(settings, terms.start)

    def ending(self, end: date) -> "DemoSource":
        """The provider of a market that is simulated only up to a day."""
        return DemoSource(self._simulated.settings, self._start, end)

    def sector_snapshots(self, through: date) -> pl.DataFrame:
        """Sector snapshots: one per ticker, mostly at its listing, one more for tickers that change the sector."""
        world = _market(self._simulated)
        moves = world.schedule.moves
        frame = pl.DataFrame(
            {
                "ticker": [*world.tickers, *(world.tickers[move.ticker] for move in moves)],
                "sector": [*world.sectors, *(move.sector for move in moves)],
                "known_at": _days(world, np.concatenate([world.schedule.classified, [move.session for move in moves]])),
                "since": None,
            },
            schema=SECTOR_SNAPSHOTS,
        ).sort("ticker", "known_at")
        return frame.filter(pl.col("ticker").is_first_distinct() | (pl.col("known_at") <= through))

    def membership(self, through: date) -> pl.DataFrame:
        """Index membership: from the listing or some weeks later to the delisting, with an absence for some."""
        world = _market(self._simulated)
        schedule = world.schedule
        frame = pl.DataFrame(
            {
                "ticker": [*world.tickers, *world.tickers],
                "start_date": _days(world, np.concatenate([schedule.joined, schedule.rejoined])),
                "end_date": _days(
                    world, np.concatenate([schedule.left, np.full(len(world.tickers), len(world.sessions))])
                ),
            },
            schema=MEMBERSHIP,
        )
        ended = pl.when(pl.col("end_date") <= through).then("end_date")
        return frame.filter(pl.col("start_date") <= through).with_columns(end_date=ended).sort("ticker", "start_date")

    def bars(self, tickers: Sequence[str], start: date, through: date) -> pl.DataFrame:
        """Daily bars as traded, prices in cents, with the dividend and split of each session."""
        chosen = pl.col("ticker").is_in(list(tickers)) & pl.col("date").is_between(max(start, self._start), through)
        constant = {"adjustment": pl.lit("as_traded"), "precedence": pl.lit(0, pl.Int32)}
        return _bars(self._simulated).filter(chosen).with_columns(**constant).select(list(BARS))

    def held(self, tickers: Sequence[str], days: Sequence[date]) -> pl.DataFrame:
        """Existing bars of the tickers on these days."""
        chosen = (
            pl.col("ticker").is_in(list(tickers)) & pl.col("date").is_in(list(days)) & (pl.col("date") >= self._start)
        )
        return (
            _bars(self._simulated).filter(chosen).select("ticker", "date", "provider").unique().sort("ticker", "date")
        )

    def delistings(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Delistings: takeovers, known at the session after the last bar, and crashes, known two sessions after it.

        Also presumed delistings, without a reason, that are taken back (`demo_dirt`).
        """
        chosen = (
            pl.col("ticker").is_in(list(tickers))
            & (pl.col("known_at") <= through)
            & (pl.col("last_session") >= self._start)
        )
        return _delistings(self._simulated).filter(chosen)

    def statements(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Quarterly statements, from about two years before `start` on."""
        known = pl.coalesce("published", "period_end") <= through
        chosen = pl.col("ticker").is_in(list(tickers)) & (pl.col("period_end") >= self._start - HISTORY)
        return _statements(self._simulated).filter(known & chosen)

    def macro(self, through: date) -> pl.DataFrame:
        """Macro observations, from 2015 on."""
        assumed = pl.col("period") + pl.duration(days="lag_days")
        return _macro(self._simulated).filter(pl.coalesce("released", assumed) <= through)

    def news(self, tickers: Sequence[str], start: date, through: date) -> pl.DataFrame:
        """Empty: there is no news of simulated companies."""
        return NEWS.to_frame()

    def crypto(self, through: date) -> pl.DataFrame:
        """Closes of two simulated coins, from the simulation's first day on."""
        return _crypto(self._simulated).filter(pl.col("date") < through)

    def indices(self, through: date) -> pl.DataFrame:
        """Closes of an index of all stocks, from the simulation's first session on."""
        return _indices(self._simulated).filter(pl.col("date") <= through)


def _days(world: Market, positions: IntArray) -> list[date | None]:
    """Dates of positions of sessions; None for those past the calendar's end."""
    days = world.sessions.tolist()
    return [days[position] if position < len(days) else None for position in positions.tolist()]


@lru_cache(maxsize=2)
def _market(simulated: _Simulated) -> Market:
    """The market over the whole calendar, which ends a year from now; answers are cut at their date."""
    return simulate(simulated.settings, sessions(WARM_UP, simulated.end))


@lru_cache(maxsize=2)
def _dirt(simulated: _Simulated) -> Dirt:
    return demo_dirt.plan(_market(simulated))


@lru_cache(maxsize=2)
def _given(simulated: _Simulated) -> BoolArray:
    """Where the provider has a bar, of shape (n_sessions, n_tickers)."""
    world = _market(simulated)
    return world.traded & ~_dirt(simulated).missing(world.traded)


@lru_cache(maxsize=2)
def _delistings(simulated: _Simulated) -> pl.DataFrame:
    world = _market(simulated)
    stated = pl.DataFrame(
        {
            "ticker": world.tickers,
            "last_session": _days(world, world.schedule.last),
            "known_at": _days(world, world.schedule.delisting_known),
            "reason": np.where(world.schedule.crash < world.schedule.last, "failure", "takeover").tolist(),
            "successor": None,
        },
        schema=DELISTINGS,
    )
    presumed = pl.DataFrame(
        [
            (world.tickers[ticker], *_days(world, np.array([last, known])), TRADES_AGAIN if back else None, None)
            for ticker, last, known, back in demo_dirt.delistings(_dirt(simulated), _given(simulated))
        ],
        schema=DELISTINGS,
        orient="row",
    )
    return pl.concat([stated, presumed]).sort("ticker", "last_session", "known_at")


@lru_cache(maxsize=2)
def _statements(simulated: _Simulated) -> pl.DataFrame:
    """All statements; before an unmarked reverse split, share counts are the old ones."""
    world, dirt = _market(simulated), _dirt(simulated)
    splits = {
        world.tickers[ticker]: day or date.max
        for ticker, day in zip(dirt.penny, _days(world, dirt.reverse_split), strict=True)
    }
    until = pl.col("ticker").replace_strict(splits, default=date.min, return_dtype=pl.Date)
    before = pl.col("period_end") < until
    more = pl.when(before).then(demo_dirt.REVERSE_SPLIT).otherwise(1.0)
    return statements(world).with_columns(pl.col("shares") * more)


@lru_cache(maxsize=2)
def _macro(simulated: _Simulated) -> pl.DataFrame:
    return macro_observations(_market(simulated))


@lru_cache(maxsize=2)
def _crypto(simulated: _Simulated) -> pl.DataFrame:
    return crypto_closes(_market(simulated))


@lru_cache(maxsize=2)
def _indices(simulated: _Simulated) -> pl.DataFrame:
    return index_closes(_market(simulated))


@lru_cache(maxsize=2)
def _bars(simulated: _Simulated) -> pl.DataFrame:
    """All bars of the simulation, future ones included, sorted by ticker and date, with the planted bad rows."""
    world = _market(simulated)
    prices = {
        name: np.round(array, 2)
        for name, array in (("open", world.open), ("high", world.high), ("low", world.low), ("close", world.close))
    }
    dirt = _dirt(simulated)
    volume, dividend, split_ratio = world.volume.copy(), world.dividend.copy(), world.split_ratio.copy()
    copies = _given(simulated).astype(np.int64)
    demo_dirt.lay(dirt, world, prices, volume, dividend, split_ratio)
    for bad in world.bad_rows:
        cell = bad.session, bad.ticker
        if bad.kind == "ohlc_violation":
            prices["high"][cell] = round(0.98 * prices["low"][cell], 2)
        elif bad.kind == "non_positive_price":
            prices["low"][cell] = 0.0
        elif bad.kind == "missing_price":
            prices["close"][cell] = np.nan
        elif bad.kind == "duplicate":
            copies[cell] *= 2
        else:
            volume[cell] = 0.0
            for array in prices.values():
                array[cell] = prices["close"][bad.session - 1, bad.ticker]
    order = np.argsort(world.tickers)
    # Row numbers of the ticker-major panel: none where there is no bar, two where a row is repeated.
    row = np.repeat(np.arange(copies.size), copies.T[order].ravel())
    count = len(world.sessions)

    def column(array: FloatArray) -> FloatArray:
        return array.T[order].ravel()[row]

    names = pl.Series([world.tickers[ticker] for ticker in order], dtype=pl.String)
    providers = pl.Series(np.where(np.isin(order, dirt.tickers), demo_dirt.PROVIDER, DemoSource.name))
    bars = pl.DataFrame(
        {
            "ticker": names.gather(row // count),
            "date": world.sessions[row % count],
            **{name: pl.Series(column(array), nan_to_null=True) for name, array in prices.items()},
            "volume": column(volume),
            "dividend": column(dividend),
            "split_ratio": column(split_ratio),
            "provider": providers.gather(row // count),
        }
    ).with_columns(pl.col("date").cast(pl.Date))
    days = _days(world, np.arange(count))
    repeated = pl.DataFrame(
        [(world.tickers[ticker], days[session], day) for ticker, session, day in demo_dirt.holidays(dirt, world)],
        {"ticker": pl.String, "date": pl.Date, "holiday": pl.Date},
        orient="row",
    )
    strange = bars.join(repeated, on=["ticker", "date"]).with_columns(date="holiday", dividend=0.0, split_ratio=1.0)
    return pl.concat([bars, strange.select(bars.columns)]).sort("ticker", "date", maintain_order=True)
