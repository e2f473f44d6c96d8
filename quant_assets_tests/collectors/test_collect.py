"""Collections from a venue on loopback: what is kept, revised, resumed and said, with every kind of failing answer."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from quant_assets.collectors.answers import Answer, Broken
from quant_assets.collectors.binance import Binance
from quant_assets.collectors.collect import Summary, collect, replay, said
from quant_assets.collectors.crypto import CANDLES
from quant_assets.collectors.http import Received
from quant_assets.collectors.raw_store import RawStore
from quant_assets.collectors.tables import Tables
from quant_assets.settings.collecting import CryptoVenueSettings
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Asked, Loopback, Reply, in_turn

SINCE, START = date(2026, 11, 1), datetime(2026, 11, 30, 22, 0, tzinfo=UTC)
DAY = 86_400_000


def kline(day: date, close: float) -> list[Any]:
    opens = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    prices = [f"{close * factor:.8f}" for factor in (1, 1.02, 0.97, 1)]
    return [opens, *prices, "12.5", opens + DAY - 1, "1.0", 3, "1.0", "1.0", "0"]


def venue(clock: SimulatedClock, close: float = 100.0) -> Any:
    """Every day up to the running one, at most 1,000."""

    def answer(asked: Asked) -> Reply:
        day, rows = datetime.fromtimestamp(int(asked.query["startTime"]) / 1000, UTC).date(), []
        until = float(asked.query.get("endTime", clock.now().timestamp() * 1000))
        last = min(clock.now().date(), datetime.fromtimestamp(until / 1000, UTC).date())
        while day <= last and len(rows) < int(asked.query["limit"]):
            rows.append(kline(day, close))
            day += timedelta(days=1)
        return Reply(json.dumps(rows).encode())

    return answer


class Stores:
    """A raw store and its tables, and collections into them."""

    def __init__(self, folder: Path, url: str, clock: SimulatedClock, *pairs: str) -> None:
        self.collector = Binance(CryptoVenueSettings(url=url, pairs=pairs or ("BTC-USDT",)))
        self.raw = RawStore(folder / "raw", "binance")
        self.tables = Tables(folder / "collected", "binance", self.collector.tables)
        self.clock = clock

    def collect(self, since: date = SINCE, a_day: int | None = None) -> Summary:
        closed = datetime(self.clock.now().year, self.clock.now().month, self.clock.now().day, 21, 30, tzinfo=UTC)
        return collect(self.collector, self.raw, self.tables, since, closed, self.clock, a_day=a_day)

    def days(self) -> list[date]:
        found: list[date] = self.tables.newest(CANDLES.name)["date"].to_list()
        return found


def test_a_first_collection_a_second_one_and_a_revision(tmp_path: Path) -> None:
    clock = SimulatedClock(START)
    with Loopback(venue(clock)).running() as server:
        stores = Stores(tmp_path, server.url, clock, "BTC-USDT", "ETH-USDT")
        first = stores.collect()
        assert first.new == {"candles": 58}  # the running day is left out
        assert stores.days()[:29] == [date(2026, 11, day) for day in range(1, 30)]
        assert server.asked[0].query["symbol"] == "BTCUSDT"

        assert stores.collect().asked == 0  # answered since the close
        clock.sleep(86_400)
        second = stores.collect()
        assert (second.asked, second.new, second.revised) == (2, {"candles": 2}, {})
        assert int(server.asked[-1].query["startTime"]) == kline(date(2026, 11, 29), 1)[0]

        clock.sleep(86_400)
        server.answer = venue(clock, close=101.0)
        third = stores.collect()
        assert (third.new, third.revised) == ({"candles": 2}, {"candles": 2})
    before = START + timedelta(days=1, hours=1)
    assert stores.tables.newest(CANDLES.name, before)["close"].unique().to_list() == [100.0]
    assert said(third) == ["binance: 2 answers (2 rows); new: 2 candles; revised: 2 candles"]


def test_a_long_history_is_asked_in_pages(tmp_path: Path) -> None:
    clock = SimulatedClock(START)
    with Loopback(venue(clock)).running() as server:
        stores = Stores(tmp_path, server.url, clock)
        summary = stores.collect(date(2020, 1, 1))
    assert summary.asked == 3
    days = stores.days()
    assert (days[0], days[-1], len(days)) == (date(2020, 1, 1), date(2026, 11, 29), 2525)


def test_no_more_is_asked_in_a_day_than_the_plan_has(tmp_path: Path) -> None:
    clock, since = SimulatedClock(START), date(2020, 1, 1)
    with Loopback(venue(clock)).running() as server:
        stores = Stores(tmp_path, server.url, clock)
        first = stores.collect(since, a_day=2)
        assert (first.asked, first.new, first.complete, first.left) == (
            2,
            {"candles": 2_000},
            False,
            "0 of 2 requests in 24 h",
        )
        assert said(first)[-1].startswith(
            "the day's 2 requests are used; what came is kept, and the same command goes on"
        )
        clock.sleep(3_600)
        assert stores.collect(since, a_day=2).asked == 0
        assert len(server.asked) == 2
        clock.sleep(86_400)
        last = stores.collect(since, a_day=2)
        assert (last.complete, last.left, len(stores.days())) == (True, "1 of 2 requests in 24 h", 2_526)


def test_a_history_that_broke_off_goes_on_where_it_was(tmp_path: Path) -> None:
    clock = SimulatedClock(START)
    full, count = venue(clock), [0]

    def answer(asked: Asked) -> Reply:
        count[0] += 1
        return Reply(b"<html>") if count[0] == 2 else full(asked)

    since = date(2020, 1, 1)
    with Loopback(answer).running() as server:
        stores = Stores(tmp_path, server.url, clock)
        assert stores.collect(since).new == {"candles": 1_000}
        stores.collect(since)
        assert len(stores.days()) == (START.date() - since).days
        assert stores.collect(since).asked == 0


def test_an_earlier_since_is_asked_for_once_and_up_to_what_is_there(tmp_path: Path) -> None:
    """On the evening of the first collection too; an earlier one again goes on from there."""
    clock = SimulatedClock(START)
    earlier, earliest = date(2026, 1, 1), date(2022, 6, 1)
    with Loopback(venue(clock)).running() as server:
        stores = Stores(tmp_path, server.url, clock, "BTC-USDT", "ETH-USDT")
        stores.collect()
        summary = stores.collect(earlier)
        assert (summary.asked, summary.said, summary.revised) == (2, [], {})
        assert summary.new == {"candles": 2 * (SINCE - earlier).days}
        assert (stores.collect(earlier).asked, stores.collect().asked) == (0, 0)
        clock.sleep(86_400)
        count = len(server.asked)
        assert stores.collect(earliest).new == {"candles": 2 * (1 + (earlier - earliest).days)}
        spans = [span(asked.query) for asked in server.asked[count:] if asked.query["symbol"] == "BTCUSDT"]
    assert spans == [
        (date(2026, 11, 29), date(2026, 12, 1)),
        (date(2025, 2, 25), date(2025, 12, 31)),
        (earliest, date(2025, 2, 24)),
    ]
    every = [earliest + timedelta(days=n) for n in range((date(2026, 12, 1) - earliest).days)]
    assert stores.tables.versions(CANDLES.name).filter(pair="BTC-USDT")["date"].sort().to_list() == every


def span(query: Mapping[str, str]) -> tuple[date, date]:
    first, last = (datetime.fromtimestamp(int(query[name]) / 1_000, UTC).date() for name in ("startTime", "endTime"))
    return first, last


def test_a_replay_makes_the_same_tables(tmp_path: Path) -> None:
    clock = SimulatedClock(START)
    with Loopback(venue(clock)).running() as server:
        stores = Stores(tmp_path, server.url, clock)
        stores.collect()
        clock.sleep(86_400)
        server.answer = venue(clock, 102.0)
        stores.collect()
    before = stores.tables.versions(CANDLES.name)
    changes = replay(stores.collector, stores.raw, stores.tables)
    assert stores.tables.versions(CANDLES.name).equals(before)
    assert sum(len(change.revised) for change in changes) == 1


def test_a_replay_reads_what_a_mended_reader_understands_and_says_what_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, reads = SimulatedClock(START), Binance.read
    told: list[str] = []

    def refuses(pair: str) -> None:
        def read(self: Binance, endpoint: str, subject: str, received: Received) -> Answer:
            return Broken("no field x") if subject == pair else reads(self, endpoint, subject, received)

        monkeypatch.setattr(Binance, "read", read)

    with Loopback(venue(clock)).running() as server:
        stores = Stores(tmp_path, server.url, clock, "BTC-USDT", "ETH-USDT")
        refuses("BTC-USDT")
        assert stores.collect().new == {"candles": 29}
    refuses("nobody")
    (change,) = replay(stores.collector, stores.raw, stores.tables, told.append)
    assert (change.new, told) == (58, [])
    refuses("ETH-USDT")
    (change,) = replay(stores.collector, stores.raw, stores.tables, told.append)
    assert change.new == 29
    assert told == [
        "binance: 1 kept answer had rows and cannot be read any more, first klines of ETH-USDT on 2026-11-30 "
        "(no field x); fix the reader, then quant collect replay"
    ]


def test_what_was_cut_off_is_not_read_again_however_whole_it_looks(tmp_path: Path) -> None:
    clock = SimulatedClock(START)
    rows = json.dumps([kline(date(2026, 11, 2), 1.0)]).encode()
    with Loopback(in_turn(Reply(rows + b" " * 9, cut=len(rows)))).running() as server:
        stores = Stores(tmp_path, server.url, clock)
        assert set(stores.collect().outcomes) == {"broken"}
    assert (replay(stores.collector, stores.raw, stores.tables), stores.days()) == ([], [])


@pytest.mark.parametrize("appended", [0, 1, 2])
def test_a_replay_that_was_killed_leaves_the_tables_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, appended: int
) -> None:
    """A kill before the first group of answers was read, after it, and after all of them."""
    clock, appends = SimulatedClock(START), Tables.append
    with Loopback(venue(clock)).running() as server:
        stores = Stores(tmp_path, server.url, clock, "BTC-USDT", "ETH-USDT")
        stores.collect()
        before, state = stores.tables.versions(CANDLES.name), stores.tables.state()
        done: list[int] = []

        def append(self: Tables, *given: Any) -> Any:
            if len(done) == appended:
                raise KeyboardInterrupt
            done.append(1)
            return appends(self, *given)

        def replace(self: Tables) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr("quant_assets.collectors.collect._TOGETHER", 1)
            patched.setattr(Tables, "append", append)
            patched.setattr(Tables, "replace", replace)
            with pytest.raises(KeyboardInterrupt):
                replay(stores.collector, stores.raw, stores.tables)
        assert len(done) == appended
        assert (stores.tables.versions(CANDLES.name).equals(before), stores.tables.state()) == (True, state)
        clock.sleep(86_400)
        assert stores.collect().new == {"candles": 2}
    before = stores.tables.versions(CANDLES.name)
    replay(stores.collector, stores.raw, stores.tables)
    assert stores.tables.versions(CANDLES.name).equals(before)


FAULTS = {
    "banned": (
        Reply(b'{"code":-1003,"msg":"too many; banned"}', 418, {"Retry-After": "120"}),
        "exhausted",
    ),
    "too many": (Reply(b'{"code":-1003,"msg":"Too much weight"}', 429), "exhausted"),
    "country": (Reply(b'{"code":0,"msg":"Service unavailable from a restricted location"}', 451), "refused"),
    "pair": (Reply(b'{"code":-1121,"msg":"Invalid symbol."}', 400), "refused"),
    "html": (Reply(b"<html><script>alert(1)</script>Will be right back"), "broken"),
    "empty": (Reply(b""), "broken"),
    "cut": (Reply(b'[[1,"1","1","1","1","1",2,"1",1,"1","1"', cut=20), "broken"),
    "cut json": (Reply(b'[[1,"1","1"'), "broken"),
    "short row": (Reply(b'[[1,"1","1","1"]]'), "broken"),
    "renamed": (Reply(b'{"klines": []}'), "broken"),
    "null": (Reply(json.dumps([[1, None, "1", "1", "1", "1", 2, "1", 1, "1", "1", "0"]]).encode()), "broken"),
    "error 500": (Reply(b"oops", 500), "broken"),
    "no rows": (Reply(b"[]"), "nothing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_answer_changes_no_table_and_is_said(tmp_path: Path, fault: str) -> None:
    reply, expected = FAULTS[fault]
    clock = SimulatedClock(START)
    with Loopback(venue(clock)).running() as server:
        stores = Stores(tmp_path, server.url, clock, "BTC-USDT", "ETH-USDT")
        stores.collect()
        before = stores.tables.versions(CANDLES.name)
        clock.sleep(86_400)
        server.answer = in_turn(reply)
        summary = stores.collect()
        assert set(summary.outcomes) == {expected}
        assert stores.tables.versions(CANDLES.name).equals(before)
        assert (summary.asked == 1) == (summary.ended is not None)
        assert expected == "nothing" or any("binance, klines of BTC-USDT" in line for line in summary.said)

        server.answer = venue(clock)
        assert stores.collect().new == ({"candles": 2} if expected != "nothing" else {})


def test_a_reader_that_fails_ends_neither_this_collection_nor_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimulatedClock(START)
    reads = Binance.read

    def fails(self: Binance, endpoint: str, subject: str, received: Received) -> Answer:
        if subject == "BTC-USDT":
            raise AssertionError("a fault\nof ours")
        return reads(self, endpoint, subject, received)

    monkeypatch.setattr(Binance, "read", fails)
    with Loopback(venue(clock)).running() as server:
        stores = Stores(tmp_path, server.url, clock, "BTC-USDT", "ETH-USDT")
        for new in ({"candles": 29}, {}):
            summary = stores.collect()
            assert (summary.outcomes["broken"], summary.new) == (1, new)
            assert "the reader of binance failed, AssertionError: a fault of ours; it begins [[" in summary.said[0]
    assert [entry.outcome for entry in stores.raw.entries()] == ["broken", "rows", "broken"]
    assert all(stores.raw.body(entry) for entry in stores.raw.entries())


def test_when_every_answer_is_broken_it_stops(tmp_path: Path) -> None:
    clock = SimulatedClock(START)
    with Loopback(in_turn(Reply(b"<html>"))).running() as server:
        stores = Stores(tmp_path, server.url, clock, *(f"A{number}-USDT" for number in range(9)))
        summary = stores.collect()
    assert summary.asked == 5
    assert summary.ended is not None


def test_what_an_earlier_collection_kept_and_did_not_read_is_read(tmp_path: Path) -> None:
    """As after a kill between the answer and the tables."""
    clock = SimulatedClock(START)
    with Loopback(venue(clock)).running() as server:
        stores = Stores(tmp_path, server.url, clock)
        stores.collect()
        (tmp_path / "collected" / "binance" / "made.json").unlink()
        assert stores.days() == []
        summary = stores.collect()
    assert (summary.asked, summary.new) == (0, {"candles": 29})
