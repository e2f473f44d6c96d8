"""A small synthetic sector with everything that can happen to a ticker, and the comparisons that every dataset must
pass."""

from collections.abc import Callable, Iterable
from datetime import date
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from quant_assets.market.calendar import session_number, sessions
from quant_assets.partitions import month_end, month_start, months_covering, shift_month

FIRST, LAST = date(2017, 1, 3), date(2021, 6, 30)

#: What happens to the tickers besides missing bars: all sessions are places among those from FIRST to LAST.
LISTED = 700  # LIST's first bar
MOVED = 868  # MOVE enters the sector, 2020-06-16
LEFT = 905  # LEFT leaves it, 2020-08-07
GONE = 930  # GONE's last bar, 2020-09-14
KNOWN_GONE = 936
HALTED = range(880, 889)  # HALT has no bars


class Market(NamedTuple):
    """Frames of one sector as the datasets give them."""

    days: np.ndarray
    prices: pl.DataFrame
    universe: pl.DataFrame
    delistings: pl.DataFrame


def simulate(seed: int = 3, extra: int = 3) -> Market:
    """Dataset prices, universe and delistings of a sector from 2017-01 to 2021-06."""
    rng = np.random.default_rng(seed)
    days = sessions(FIRST, LAST)
    count = len(days)
    names = ["FLAT", "GONE", "HALT", "LEFT", "LIST", "MOVE", *(f"T{i:02d}" for i in range(extra))]
    common = 0.007 * rng.standard_t(5, count)
    frames, members = [], []
    for name in names:
        volatility = np.exp(0.3 * np.sin(np.arange(count) / 60 + rng.uniform(0, 6)))
        steps = 0.0002 + common + 0.012 * volatility * rng.standard_t(5, count)
        close = 50.0 * np.exp(np.cumsum(steps))
        if name == "FLAT":
            close[:] = 7.3
        there = np.ones(count, dtype=bool)
        if name.startswith("T"):
            there &= rng.uniform(size=count) > 0.02
        if name == "HALT":
            there[list(HALTED)] = False
        if name == "LIST":
            there[:LISTED] = False
        if name == "GONE":
            there[GONE + 1 :] = False
        open_ = close * np.exp(0.004 * rng.normal(size=count))
        spread = np.exp(np.abs(0.006 * rng.normal(size=(2, count))))
        volume = np.round(rng.lognormal(13, 0.5, count))
        volume[rng.uniform(size=count) < 0.01] = 0.0
        split_factor = np.where(np.arange(count) >= 800, 2.0, 1.0) if name == "T00" else np.ones(count)
        inside = np.ones(count, dtype=bool)
        panel_from = days.copy()
        if name == "MOVE":
            inside[:MOVED] = False
            panel_from[:MOVED] = days[MOVED]
        if name == "LEFT":
            inside[LEFT:] = False
        frames.append(
            pl.DataFrame(
                {
                    "ticker": [name] * count,
                    "date": pl.Series(days, dtype=pl.Date),
                    "open": open_,
                    "high": np.maximum(open_, close) * spread[0],
                    "low": np.minimum(open_, close) / spread[1],
                    "close": close,
                    "volume": volume,
                    "close_unadjusted": close / split_factor,
                    "dollar_volume": close * volume,
                    "split_factor": split_factor,
                    "unexplained": np.zeros(count, dtype=bool),
                    "in_sector": inside,
                    "panel_from": pl.Series(panel_from, dtype=pl.Date),
                }
            )
            .filter(pl.Series(there))
            .select("ticker", "date", pl.col("date").min().alias("listed"), pl.exclude("ticker", "date"))
        )
        members.append(frames[-1].filter("in_sector").select("ticker", "date", sector_assumed=pl.lit(False)))
        if name == "HALT":  # a member stays one while it does not trade
            halted = pl.Series(days[list(HALTED)], dtype=pl.Date)
            members.append(
                pl.DataFrame({"ticker": [name] * len(halted), "date": halted, "sector_assumed": [False] * len(halted)})
            )
    gone = pl.DataFrame(
        {"ticker": ["GONE"], "last_session": [days[GONE].item()], "known_at": [days[KNOWN_GONE].item()]}
    )
    gone = gone.with_columns(
        rule=pl.lit("unknown"), delisting_return=pl.lit(None, pl.Float64), successor=pl.lit(None, pl.String)
    )
    universe = pl.concat(members).sort("ticker", "date")
    return Market(days, pl.concat(frames).sort("ticker", "date"), universe, gone)


def assert_identical(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Same schema, order and values, the bits of every float included."""
    assert found.schema == expected.schema
    assert found.height == expected.height
    for name, dtype in expected.schema.items():
        left, right = found[name], expected[name]
        assert left.is_null().equals(right.is_null()), name
        if dtype == pl.Float64:
            different = left.fill_null(0.0).to_numpy().view(np.int64) != right.fill_null(0.0).to_numpy().view(np.int64)
            assert not different.any(), (
                name,
                found.filter(pl.Series(different)).head(3),
                expected.filter(pl.Series(different)).head(3),
            )
        else:
            assert left.equals(right), name


def assert_nothing_infinite(frame: pl.DataFrame) -> None:
    for name, dtype in frame.schema.items():
        if dtype == pl.Float64:
            assert frame[name].drop_nulls().is_finite().all(), name


def partitions(frame: pl.DataFrame, dated_by: str, first: str, last: str) -> pl.DataFrame:
    """Rows of the partitions of these months, as an asset loads them."""
    return frame.filter(pl.col(dated_by).is_between(month_start(first), month_end(last)))


def panel_days(days: np.ndarray, first: str, last: str, before: int, after: int = 0) -> np.ndarray:
    """Sessions of the months and those around them, as far as they exist."""
    oldest, newest = month_start(shift_month(first, -before)), month_end(shift_month(last, after))
    return days[(days >= np.datetime64(oldest)) & (days <= np.datetime64(newest))]


@pytest.fixture(scope="session")
def market() -> Market:
    return simulate()


@pytest.fixture(scope="session")
def identical() -> Callable[[pl.DataFrame, pl.DataFrame], None]:
    return assert_identical


@pytest.fixture(scope="session")
def nothing_infinite() -> Callable[[pl.DataFrame], None]:
    return assert_nothing_infinite


Loader = Callable[..., tuple[pl.DataFrame, pl.DataFrame, np.ndarray]]


@pytest.fixture(scope="session")
def load() -> Loader:
    """Prices, universe and sessions as an asset with a lookback loads them for a range of months."""

    def loaded(
        market: Market, first: str, last: str, lookback: int, universe_lookback: int = 0
    ) -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray]:
        before = months_covering(lookback)
        prices = partitions(market.prices, "panel_from", shift_month(first, -before), last)
        earlier = months_covering(universe_lookback) if universe_lookback else 0
        universe = partitions(market.universe, "date", shift_month(first, -earlier), last)
        return prices, universe, panel_days(market.days, first, last, before)

    return loaded


@pytest.fixture(scope="session")
def only() -> Callable[[Market, Iterable[str]], Market]:
    """The market with some of its tickers."""

    def kept(market: Market, tickers: Iterable[str]) -> Market:
        chosen = pl.col("ticker").is_in(list(tickers))
        return market._replace(
            prices=market.prices.filter(chosen),
            universe=market.universe.filter(chosen),
            delistings=market.delistings.filter(chosen),
        )

    return kept


@pytest.fixture(scope="session")
def cut() -> Callable[[Market, date], Market]:
    """What was known of the market at the close of a day."""

    def known(market: Market, day: date) -> Market:
        return Market(
            market.days[market.days <= np.datetime64(day)],
            market.prices.filter(pl.col("panel_from") <= day),
            market.universe.filter(pl.col("date") <= day),
            market.delistings.filter(pl.col("known_at") <= day),
        )

    return known


def places(days: Iterable[date]) -> np.ndarray:
    """Places of sessions among those of the market."""
    return (
        session_number(np.array(list(days), dtype="datetime64[D]"))
        - session_number(np.array([FIRST], dtype="datetime64[D]"))[0]
    )
