"""Coinbase: recorded answers, long histories in windows, and how far it is from another venue."""

import math
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.collectors.answers import Rows
from quant_assets.collectors.coinbase import Coinbase
from quant_assets.collectors.collect import outcome, replay
from quant_assets.collectors.crypto import APART, CANDLES, apart
from quant_assets.settings.collecting import CryptoVenueSettings
from quant_assets_tests.collectors.answers_coinbase import candle, venue
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Asked, Loopback, Reply
from quant_assets_tests.collectors.stores import Stores, received, recorded, recordings

EVENING = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)

RECORDED = {
    "400_granularity_too_small.json": ("broken", "granularity too small"),
    "404_not_found.json": ("refused", "NotFound"),
    "429.json": ("exhausted", "rate limit"),
    "candles_BTC-USDT_1h.json": ("broken", "begins at 11:00"),  # of hours, which are no days
}


def reader() -> Coinbase:
    return Coinbase(CryptoVenueSettings(url="http://loopback", pairs=("BTC-USD",)))


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_is_read_to_its_outcome(shared_data: Path, name: str) -> None:
    expected, shown = RECORDED[name]
    answer = reader().read("candles", "BTC-USDT", recorded(shared_data, f"coinbase/{name}"))
    assert outcome(answer) == expected
    assert not isinstance(answer, Rows)
    assert shown in answer.why


def test_every_recording_is_read(shared_data: Path) -> None:
    assert recordings(shared_data, "coinbase") == {f"coinbase/{name}" for name in RECORDED}


def test_low_comes_before_high_and_the_running_day_is_left_out() -> None:
    answer = reader().read("candles", "BTC-USD", received([candle(date(2026, 11, day), 100.0) for day in (30, 29)]))
    assert isinstance(answer, Rows)
    assert answer.payload["candles"].rows() == [
        ("BTC-USD", "coinbase", date(2026, 11, 29), 99.0, 102.0, 97.0, 100.0, 12.5)
    ]


def test_a_long_history_in_windows_an_update_and_a_replay(tmp_path: Path) -> None:
    clock = SimulatedClock(EVENING)
    missing = frozenset({date(2026, 3, 4)})
    with Loopback(venue(clock, date(2025, 7, 1), missing)).running() as server:
        stores = Stores(tmp_path, Coinbase(CryptoVenueSettings(url=server.url, pairs=("BTC-USD",))), clock)
        first = stores.collect(date(2024, 1, 1))
        days = stores.tables.newest(CANDLES.name)["date"].to_list()
        assert (days[0], days[-1], len(days)) == (date(2025, 7, 1), date(2026, 11, 29), 516)
        assert date(2026, 3, 4) not in days  # without a trade
        assert (dict(first.outcomes), first.said) == ({"nothing": 1, "rows": 3}, [])
        assert stores.collect().asked == 0
        clock.sleep(86_400)
        assert stores.collect().new == {"candles": 1}
        assert server.asked[-1].query == {
            "granularity": "86400",
            "start": "2026-11-29T00:00:00Z",
            "end": "2026-12-01T00:00:00Z",
        }
    before = stores.versions()["candles"]
    replay(stores.collector, stores.raw, stores.tables)
    assert stores.versions()["candles"].equals(before)


def test_a_history_that_broke_off_goes_on_where_it_was(tmp_path: Path) -> None:
    clock = SimulatedClock(EVENING)
    full, asked_before = venue(clock), [0]

    def answer(asked: Asked) -> Reply:
        asked_before[0] += 1
        return Reply(b"<html>") if asked_before[0] == 2 else full(asked)

    with Loopback(answer).running() as server:
        stores = Stores(tmp_path, Coinbase(CryptoVenueSettings(url=server.url, pairs=("BTC-USD",))), clock)
        assert stores.collect(date(2024, 1, 1)).new == {"candles": 300}
        stores.collect(date(2024, 1, 1))
    assert len(stores.tables.newest(CANDLES.name)) == (date(2026, 11, 30) - date(2024, 1, 1)).days


def candles(*rows: tuple[str, str, int, float]) -> pl.DataFrame:
    """Of (pair, venue, day of November, close)."""
    made = [
        (pair, name, date(2026, 11, day), close, close * 1.1, close * 0.9, close, 10.0)
        for pair, name, day, close in rows
    ]
    return pl.DataFrame(made, schema=CANDLES.schema, orient="row")


def test_two_venues_are_compared_day_by_day() -> None:
    given = candles(
        ("BTC-USDT", "binance", 1, 90.0),  # before the other venue has any
        ("BTC-USDT", "binance", 2, 100.0),
        ("BTC-USDT", "binance", 3, 100.0),
        ("BTC-USD", "coinbase", 2, 101.0),
        ("BTC-USD", "coinbase", 4, 102.0),
        ("ETH-USD", "coinbase", 2, 5.0),  # at one venue alone
    )
    found = apart(given, {"BTC-USD": "BTC-USDT"})
    assert found.schema == APART
    assert found.select("pair", "date", "venue", "other_venue", "close", "other_close").rows() == [
        ("BTC-USDT", date(2026, 11, 2), "binance", "coinbase", 100.0, 101.0),
        ("BTC-USDT", date(2026, 11, 3), "binance", "coinbase", 100.0, None),
        ("BTC-USDT", date(2026, 11, 4), "binance", "coinbase", None, 102.0),
    ]
    assert math.isclose(found["close_apart"][0], 0.01)
    assert math.isclose(found["range_apart"][0], 0.01)
    assert found["close_apart"].to_list()[1:] == [None, None]
    assert found["volume_ratio"].to_list() == [1.0, None, None]
    assert len(apart(given)) == 0  # a dollar is no token of one unless that is said
    assert len(apart(given.clear())) == 0


def test_the_range_tells_a_low_that_one_venue_alone_had() -> None:
    given = candles(("BTC-USD", "binance", 2, 100.0), ("BTC-USD", "coinbase", 2, 100.0))
    given = given.with_columns(low=pl.when(pl.col("venue") == "coinbase").then(45.0).otherwise("low"))
    assert math.isclose(apart(given)["range_apart"][0], -0.5)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_firsts_and_failures_leaves_no_gap_and_asks_for_no_day_twice(tmp_path: Path, seed: int) -> None:
    """Collections with a `since` of any size, of which some break off. The pair is younger than some of them."""
    rng, clock, asked = random.Random(seed), SimulatedClock(EVENING), list[Asked]()
    listed, missing = date(2024, 5, 5), frozenset({date(2025, 3, 4), date(2026, 11, 2)})
    full = venue(clock, listed, missing)

    def answer(each: Asked) -> Reply:
        if rng.random() < broken:
            return Reply(b"<html>")
        asked.append(each)
        return full(each)

    with Loopback(answer).running() as server:
        stores = Stores(tmp_path, Coinbase(CryptoVenueSettings(url=server.url, pairs=("BTC-USD",))), clock)
        earliest, broken = date(2026, 11, 1), 0.0
        stores.collect(earliest)
        for _ in range(12):
            clock.sleep(rng.choice((60, 86_400)))
            since, broken = date(2022, 1, 1) + timedelta(days=rng.randrange(1_700)), 0.4
            earliest = min(since, earliest)
            stores.collect(since)
        broken = 0.0
        clock.sleep(86_400)
        planned, before = stores.planned(earliest), len(asked)
        assert stores.collect(earliest).said == []
        assert len(asked) - before == planned
        assert stores.collect(earliest).asked == 0
    begun = max(earliest, listed)
    every = {begun + timedelta(days=n) for n in range((clock.now().date() - begun).days)} - missing
    stored = stores.tables.newest(CANDLES.name)["date"].to_list()
    assert (sorted(every), len(stored)) == (stored, len(every))
    days = Counter[date]()
    for each in asked:
        first, last = (date.fromisoformat(each.query[name][:10]) for name in ("start", "end"))
        days.update(first + timedelta(days=n) for n in range((last - first).days + 1))
    assert {day for day, times in days.items() if times > 1 and day < date(2026, 11, 1)} == set()
