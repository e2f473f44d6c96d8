"""Collections from Yahoo on loopback, through yfinance's own session: what is kept, revised, resumed and said."""

import dataclasses
import gzip
import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.collectors.answers import Rows
from quant_assets.collectors.collect import Summary, replay, said
from quant_assets.collectors.collection import Collection
from quant_assets.collectors.http import Received
from quant_assets.collectors.view import view
from quant_assets.collectors.yahoo import Yahoo as Collector
from quant_assets.collectors.yahoo_chart import BARS, EVENTS, GAPS, LISTED
from quant_assets.market.calendar import first_session_from, last_session_to, sessions
from quant_assets.settings.collecting import CollectingSettings, YahooSettings
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Loopback, Reply
from quant_assets_tests.collectors.yahoo_server import NEW_YORK, Stock, Yahoo, evening, opens, walk

pytest.importorskip("yfinance")
FIRST, LAST = date(2026, 1, 2), date(2026, 12, 31)
TODAY = date(2026, 11, 30)
SPLIT, SPLIT_BACK, EX = date(2026, 6, 15), date(2026, 12, 2), date(2026, 3, 10)


@pytest.fixture(autouse=True)
def _a_session_of_its_own(tmp_path: Path) -> Iterator[None]:
    """yfinance keeps one session for a process, and cookies in the user's folder."""
    import yfinance
    from yfinance.data import SingletonMeta, YfData

    yfinance.set_tz_cache_location(str(tmp_path / "yfinance"))
    yield
    SingletonMeta._instances.pop(YfData, None)


class Market:
    """Yahoo, and a collection from it."""

    def __init__(self, folder: Path, *tickers: str, **settings: Any) -> None:
        self.clock = SimulatedClock(evening(TODAY))
        stocks = {ticker: walk(seed, FIRST, LAST) for seed, ticker in enumerate(tickers)}
        self.yahoo = Yahoo(stocks, self.clock)
        self._folder, self._tickers, self._settings = folder, tickers, settings
        self.server = Loopback(self.yahoo)

    @property
    def collection(self) -> Collection:
        now = self.clock.now().astimezone(NEW_YORK)
        over = now.time() >= time(16, 30)
        session = last_session_to(now.date() if over else now.date() - timedelta(days=1))
        group = CollectingSettings(
            folder=str(self._folder),
            universe={"it": self._tickers},
            yahoo=YahooSettings(url=self.server.url, **self._settings),
        )
        return Collection(group, FIRST, datetime.combine(session, time(16, 30), NEW_YORK), self.clock)

    def collect(self) -> Summary:
        return self.collection.collect("yahoo")

    def newest(self, name: str = "bars") -> pl.DataFrame:
        return self.collection.tables("yahoo").newest(name).drop("fetched_at")

    def next_session(self) -> date:
        day = first_session_from(self.clock.now().astimezone(NEW_YORK).date() + timedelta(days=1))
        self.clock.sleep((evening(day) - self.clock.now()).total_seconds())
        return day

    def charts(self) -> list[str]:
        return [each.path.rpartition("/")[2] for each in self.server.asked if "/chart/" in each.path]


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Callable[..., Market]]:
    running: list[Any] = []

    def made(*tickers: str, **settings: Any) -> Market:
        found = Market(tmp_path, *tickers, **settings)
        running.append(found.server.running())
        running[-1].__enter__()
        return found

    yield made
    for each in running:
        each.__exit__(None, None, None)


def traded(stock: Stock, last: date) -> list[tuple[Any, ...]]:
    return [(day, *row) for day, row in stock.bars.items() if day <= last]


def of(frame: pl.DataFrame, ticker: str) -> list[tuple[Any, ...]]:
    return frame.filter(ticker=ticker).select("date", "open", "high", "low", "close", "volume").rows()


def unpacked(content: bytes) -> bytes:
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def test_a_first_history_a_day_more_and_a_revision(market: Callable[..., Market], tmp_path: Path) -> None:
    here = market("A", "BRK-B")
    first = here.collect()
    assert (first.outcomes, first.ended, first.missing) == ({"rows": 2}, None, {})
    assert of(here.newest(), "A") == traded(here.yahoo.stocks["A"], TODAY)
    crumbs = [each.query.get("crumb") for each in here.server.asked if "/chart/" in each.path]
    assert crumbs == ["haT3oykhHqZ"] * 2  # yfinance's session asked for it
    assert all("crumb" not in each.url for each in here.collection.raw("yahoo").entries())
    written = [each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()]
    assert not any(b"haT3oykhHqZ" in each or b"haT3oykhHqZ" in unpacked(each) for each in written)
    assert here.collect().asked == 0

    day = here.next_session()
    revised = last_session_to(TODAY - timedelta(days=3))
    opened, high, low, close, volume = here.yahoo.stocks["A"].bars[revised]
    here.yahoo.stocks["A"].bars[revised] = (opened, high, low, round(close + 0.01, 2), volume)
    second = here.collect()
    assert (second.new, second.revised) == ({"bars": 2}, {"bars": 1})
    assert of(here.newest(), "A") == traded(here.yahoo.stocks["A"], day)
    assert "yahoo: 2 answers (2 rows); new: 2 bars; revised: 1 bars" in said(second)


def test_an_earlier_since_is_asked_for_once_also_on_the_same_evening(market: Callable[..., Market]) -> None:
    here = market("A", "B")
    later = dataclasses.replace(here.collection, since=date(2026, 9, 1))
    assert later.collect("yahoo").new == {"bars": 2 * len(sessions(date(2026, 9, 1), TODAY))}
    assert (later.planned("yahoo"), here.collection.planned("yahoo")) == (0, 2)
    assert here.collect().new == {"bars": 2 * len(sessions(FIRST, date(2026, 8, 31)))}
    assert of(here.newest(), "A") == traded(here.yahoo.stocks["A"], TODAY)
    assert (here.collect().asked, later.planned("yahoo")) == (0, 0)


def test_a_later_split_changes_no_stored_row(market: Callable[..., Market]) -> None:
    """Forward and reverse, with dividends before and after; and the whole history asked again."""
    here = market("A", "B", whole_every_sessions=2)
    here.yahoo.stocks["A"] = walk(5, FIRST, LAST, 751.19, splits={date(2026, 12, 2): 10.0}, dividends={EX: 0.82})
    here.yahoo.stocks["B"] = walk(6, FIRST, LAST, 3.17, splits={SPLIT: 3.0, SPLIT_BACK: 0.05}, dividends={EX: 0.07})
    here.collect()
    before, events = here.newest(), here.newest("events")
    assert of(before, "B") == traded(here.yahoo.stocks["B"], TODAY)
    for _ in range(4):
        day = here.next_session()
        assert here.collect().revised == {}
    assert len(here.charts()) == 10
    after = here.newest()
    assert after.filter(pl.col("date") <= TODAY).equals(before)
    assert here.newest("events").filter(pl.col("date") <= TODAY).equals(events)
    for ticker in "AB":
        assert of(after, ticker) == traded(here.yahoo.stocks[ticker], day)
    told = here.newest("events").select("ticker", "date", "kind", "amount").rows()
    assert told == [
        ("A", EX, "dividend", 0.82),
        ("A", date(2026, 12, 2), "split", 10.0),
        ("B", EX, "dividend", 0.07),
        ("B", SPLIT, "split", 3.0),
        ("B", SPLIT_BACK, "split", 0.05),
    ]


ratios = st.sampled_from([2.0, 3.0, 4.0, 1.5, 10.0, 20.0, 0.1, 0.05, 0.25, 1.05])


@settings(max_examples=60, deadline=None)
@given(st.floats(0.6, 9_000), st.lists(st.tuples(st.integers(1, 60), ratios), max_size=3), st.integers(0, 2**16))
def test_bars_are_as_traded_whatever_splits_follow(price: float, later: list[tuple[int, float]], seed: int) -> None:
    """Any price in cents, through 32 bits and any splits after it; a volume within what the answer can tell."""
    days = sessions(FIRST, LAST).tolist()
    stock = walk(seed, FIRST, days[40], price)
    clock = SimulatedClock(evening(days[41]))
    collector, prices = Collector(YahooSettings(), ()), []
    for splits in ({}, {days[41 + after]: ratio for after, ratio in later}):
        stock.splits = splits
        clock.sleep((evening(LAST) - clock.now()).total_seconds() if splits else 0)
        body = json.dumps(Yahoo({"A": stock}, clock).chart("A", opens(FIRST), int(clock.now().timestamp())))
        answer = collector.read("history", "A", Received("http://x/?period1=0", 200, {}, body.encode(), clock.now()))
        assert isinstance(answer, Rows)
        prices.append(answer.payload["bars"])
    before, after = prices
    assert before.drop("volume", "volume_error").equals(after.drop("volume", "volume_error"))
    assert of(before, "A") == traded(stock, days[40])
    assert ((before["volume"] - after["volume"]).abs() <= after["volume_error"]).all()


def test_a_split_that_is_listed_before_prices_are_adjusted(market: Callable[..., Market]) -> None:
    day = date(2026, 12, 1)
    here = market("A")
    here.yahoo.stocks["A"] = walk(5, FIRST, LAST, splits={day: 4.0}, not_adjusted={day})
    here.collect()
    before = here.newest()
    here.next_session()
    assert here.collect().revised == {}
    here.yahoo.stocks["A"].not_adjusted.clear()
    last = here.next_session()
    assert here.collect().revised == {}
    assert here.newest().filter(pl.col("date") <= TODAY).equals(before)
    assert of(here.newest(), "A") == traded(here.yahoo.stocks["A"], last)


def test_a_split_that_is_listed_before_prices_are_adjusted_is_seen_while_its_day_runs(
    market: Callable[..., Market],
) -> None:
    here = market("A")
    here.yahoo.stocks["A"] = walk(5, FIRST, LAST, splits={TODAY: 4.0}, not_adjusted={TODAY})
    here.clock.sleep(-7 * 3600)  # 10:30 New York
    here.collect()
    last = last_session_to(TODAY - timedelta(days=1))
    assert of(here.newest(), "A") == traded(here.yahoo.stocks["A"], last)


def test_a_new_split_without_a_price_since_leaves_its_ticker_out(market: Callable[..., Market]) -> None:
    here = market("A", "B")
    here.yahoo.stocks["A"] = walk(5, FIRST, LAST, splits={TODAY: 4.0}, not_adjusted={TODAY})
    bar = here.yahoo.stocks["A"].bars.pop(TODAY)
    first = here.collect()
    assert first.outcomes == {"broken": 1, "rows": 1}
    (line,) = [each for each in said(first) if "chart" in each]
    assert f"the split of {TODAY} may be in the prices or not: there is none since" in line
    assert here.newest()["ticker"].unique().to_list() == ["B"]
    here.yahoo.stocks["A"].bars[TODAY] = bar
    here.collect()
    assert of(here.newest(), "A") == traded(here.yahoo.stocks["A"], TODAY)


def test_an_old_split_without_a_price_since_is_in_the_prices(market: Callable[..., Market]) -> None:
    here = market("A")
    gone = walk(5, FIRST, date(2026, 11, 13), splits={date(2026, 11, 16): 4.0})
    here.yahoo.stocks["A"] = gone
    here.collect()
    assert of(here.newest(), "A") == traded(gone, TODAY)


def test_an_event_that_moves_is_listed_on_its_new_day_alone(market: Callable[..., Market]) -> None:
    """Nothing counts as revised, a replay makes the same, and the files have one split; an empty list takes none."""
    here = market("A")
    first, second = date(2026, 11, 24), date(2026, 11, 25)
    here.yahoo.stocks["A"] = walk(5, FIRST, LAST, splits={first: 10.0}, dividends={EX: 0.5})
    here.collect()
    here.yahoo.stocks["A"] = walk(5, FIRST, LAST, splits={second: 10.0}, dividends={EX: 0.5})
    day = here.next_session()
    assert set(here.collect().revised) == {"bars"}

    def splits() -> list[date]:
        folder = view(here.collection.settings, here.clock.now() + timedelta(seconds=1))
        return pl.read_parquet(folder / "bars.parquet").drop_nulls("split_ratio")["date"].to_list()

    assert here.newest("events")["date"].to_list() == [EX, first, second]
    assert here.newest("listed").rows() == [("A", here.newest("listed")["since"].item(), day, f"{second} split")]
    assert splits() == [second]
    before = here.newest("listed")
    replay(here.collection._collector("yahoo"), here.collection.raw("yahoo"), here.collection.tables("yahoo"))
    assert here.newest("listed").equals(before)
    here.yahoo.faults["A"] = without("events")
    here.next_session()
    here.collect()
    assert splits() == [second]


def twice(currency: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The same payment a second time on its day."""

    def changed(found: dict[str, Any]) -> dict[str, Any]:
        paid = found["chart"]["result"][0]["events"]["dividends"]
        ((key, each),) = paid.items()
        paid[str(int(key) + 1)] = {"date": each["date"] + 1, "amount": 0.25, "currency": currency}
        return found

    return changed


def test_two_payments_of_a_day_are_both_kept(market: Callable[..., Market]) -> None:
    here = market("A", "B")
    for ticker, currency in (("A", "USD"), ("B", "EUR")):
        here.yahoo.stocks[ticker].dividends[EX] = 0.5
        here.yahoo.faults[ticker] = twice(currency)
    summary = here.collect()
    assert summary.outcomes == {"rows": 1, "broken": 1}
    assert any(f"payments of {EX} in USD and EUR" in line for line in said(summary))
    told = here.newest("events").select("ticker", "date", "kind", "amount", "amount_error").rows()
    assert told == [("A", EX, "dividend", 0.75, 2e-6)]


def test_a_dividend_on_a_day_without_a_bar_keeps_its_day(market: Callable[..., Market]) -> None:
    here = market("A")
    here.yahoo.stocks["A"].dividends[EX] = 0.5
    del here.yahoo.stocks["A"].bars[EX]
    here.collect()
    assert here.newest("events").select("date", "amount").rows() == [(EX, 0.5)]
    assert EX not in here.newest()["date"]


def test_the_running_bar_is_left_out_and_comes_when_its_session_is_over(market: Callable[..., Market]) -> None:
    here = market("A")
    here.clock.sleep(-8 * 3600)  # 09:30 New York
    here.clock.sleep(3600)
    here.collect()
    assert here.newest()["date"].max() == last_session_to(TODAY - timedelta(days=1))
    here.clock.sleep(5.75 * 3600)  # 16:15: over, and not settled
    here.collect()
    assert here.newest()["date"].max() == last_session_to(TODAY - timedelta(days=1))
    here.clock.sleep(1.25 * 3600)
    assert here.collect().new == {"bars": 1}


def test_missing_sessions_are_asked_again_and_then_explained(market: Callable[..., Market]) -> None:
    gone, empty = date(2026, 5, 4), date(2026, 5, 5)
    here = market("A", "B")
    del here.yahoo.stocks["A"].bars[gone]
    here.yahoo.stocks["A"].bars[empty] = (np.nan,) * 5
    summary = here.collect()
    assert summary.missing == {"gaps": 2}
    assert here.charts() == ["A", "B", "A"]
    assert here.newest("gaps").rows() == [("A", gone, "no row"), ("A", empty, "a row without prices")]
    assert "yahoo: 3 answers (3 rows); new: 456 bars; missing: 2 gaps" in said(summary)
    here.next_session()
    assert (here.collect().missing, here.charts()[3:]) == ({}, ["A", "B"])  # explained: not asked for again


def test_a_bar_that_is_late_is_asked_for_again_before_the_next_session(market: Callable[..., Market]) -> None:
    """Null at 17:30, explained as a gap; there at 8:00. Of a halted ticker nothing is waited for."""
    here = market("A", "B", "C")
    here.yahoo.stocks["C"] = walk(7, FIRST, date(2026, 10, 30))
    late = here.yahoo.stocks["A"].bars[TODAY]
    here.yahoo.stocks["A"].bars[TODAY] = (np.nan,) * 5
    assert here.collect().missing == {"gaps": 21}
    assert here.newest("gaps").filter(ticker="A").rows() == [("A", TODAY, "a row without prices")]
    here.clock.sleep(1800)
    assert (here.collection.planned("yahoo"), here.collect().asked) == (0, 0)

    here.clock.sleep(14 * 3600)  # 08:00 New York
    asked = len(here.charts())
    assert here.collection.planned("yahoo") == 1
    assert here.collect().new == {"bars": 0}
    here.yahoo.stocks["A"].bars[TODAY] = late
    here.clock.sleep(3600)
    assert here.collect().new == {"bars": 1}
    assert here.charts()[asked:] == ["A", "A"]
    assert of(here.newest(), "A") == traded(here.yahoo.stocks["A"], TODAY)
    here.clock.sleep(7200)
    assert (here.collection.planned("yahoo"), here.collect().asked) == (0, 0)


def test_a_session_that_comes_with_the_second_question_is_no_gap(market: Callable[..., Market]) -> None:
    here = market("A")
    day = date(2026, 5, 4)
    bar = here.yahoo.stocks["A"].bars.pop(day)

    def late(found: dict[str, Any]) -> dict[str, Any]:
        here.yahoo.stocks["A"].bars[day] = bar
        return found

    here.yahoo.faults["A"] = late
    here.yahoo.stocks["A"].bars = dict(sorted(here.yahoo.stocks["A"].bars.items()))
    summary = here.collect()
    assert (summary.asked, summary.missing) == (2, {})
    assert day in here.newest()["date"]


def without(*path: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def taken(found: dict[str, Any]) -> dict[str, Any]:
        inner: Any = found["chart"]["result"][0]
        for name in path[:-1]:
            inner = inner[name]
        inner["renamed"] = inner.pop(path[-1])
        return found

    return taken


def put(value: Any, *path: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def changed(found: dict[str, Any]) -> dict[str, Any]:
        inner: Any = found["chart"]["result"][0]
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
        return found

    return changed


def error(status: int, code: str, description: str) -> Reply:
    told = {"chart": {"result": None, "error": {"code": code, "description": description}}}
    return Reply(json.dumps(told).encode(), status)


#: What goes wrong with the charts, the outcome, and what is said of it.
FAULTS: dict[str, tuple[Any, str, str]] = {
    "429 for ever": (Reply(b"Too Many Requests", 429), "exhausted", "the quota is used up (Too Many Requests)"),
    "html": (Reply(b"<html>Will be right back</html>"), "broken", "not JSON: <html>Will be right back</html>"),
    "error 503": (Reply(b"<html>503</html>", 503), "broken", "status 503, not JSON"),
    "error 500": (Reply(b"", 500), "broken", "status 500, not JSON: an empty answer"),
    "empty": (Reply(b""), "broken", "status 200, not JSON: an empty answer"),
    "cut json": (Reply(b'{"chart":{"result":[{"meta":{"curr'), "broken", "status 200, not JSON"),
    "cut off": (Reply(b'{"chart":{"result":[{"meta"' * 99, cut=40), "broken", "ReadError"),
    "crumb refused": (error(401, "Unauthorized", "Invalid Crumb"), "refused", "take a newer yfinance"),
    "forbidden": (Reply(b"Forbidden", 403), "refused", "take a newer yfinance"),
    "not found": (error(404, "Not Found", "No data found, symbol may be delisted"), "nothing", ""),
    "unprocessable": (error(422, "Unprocessable Entity", "range must be"), "refused", "correct the ticker"),
    "other error": (error(200, "Internal", "went wrong"), "broken", "Internal, went wrong"),
    "no result": (Reply(b'{"chart":{"result":null,"error":null}}'), "broken", "no chart as it was"),
    "two results": (Reply(b'{"chart":{"result":[{},{}],"error":null}}'), "broken", "no chart as it was"),
    "other json": (Reply(b'{"finance":{}}'), "broken", "no chart as it was (no 'chart')"),
    "a list": (Reply(b"[]"), "broken", "no chart as it was"),
    "renamed close": (without("indicators", "quote", 0, "close"), "broken", "no chart as it was (no 'close')"),
    "renamed volume": (without("indicators", "quote", 0, "volume"), "broken", "no chart as it was (no 'volume')"),
    "renamed indicators": (without("indicators"), "broken", "no chart as it was (no 'indicators')"),
    "renamed currency": (without("meta", "currency"), "broken", "no chart as it was (no 'currency')"),
    "renamed period": (without("meta", "currentTradingPeriod"), "broken", "no 'currentTradingPeriod'"),
    "renamed times": (without("timestamp"), "nothing", ""),
    "other zone": (put("Mars/Crater", "meta", "exchangeTimezoneName"), "broken", "Mars/Crater"),
    "other symbol": (put("B", "meta", "symbol"), "broken", "a chart of B by 1d"),
    "other grain": (put("1wk", "meta", "dataGranularity"), "broken", "a chart of A by 1wk"),
    "short column": (put([1.0], "indicators", "quote", 0, "close"), "broken", "columns of different lengths"),
    "texts": (put(["x"], "timestamp"), "broken", "no chart as it was"),
    "split into none": (
        put({"1": {"date": 1, "numerator": 0, "denominator": 1}}, "events", "splits"),
        "broken",
        "a split into no shares",
    ),
    "currency change": (
        put("GBp", "meta", "currency"),
        "refused",
        "its prices are in GBp, not USD); take A out of collecting.universe",
    ),
    "no sessions": (put([], "timestamp"), "nothing", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_answer_changes_no_table_is_said_and_is_asked_again(
    market: Callable[..., Market], fault: str
) -> None:
    reply, expected, told = FAULTS[fault]
    here = market("A", "B")
    here.collect()
    before = here.newest()
    day = here.next_session()
    here.yahoo.faults["A"] = reply
    summary = here.collect()
    ends = expected == "exhausted" or "newer yfinance" in told
    assert summary.outcomes == ({expected: 1} if ends else {expected: 1, "rows": 1})
    assert (summary.ended is not None) == ends
    assert of(here.newest(), "A") == of(before, "A")
    if told:
        assert any(line.startswith("yahoo, chart of A: ") and told in line for line in said(summary)), said(summary)

    here.yahoo.faults.clear()
    again = here.collect()
    # Yahoo has said that it knows nothing: that is asked again when another session has closed.
    assert again.new == ({} if expected == "nothing" else {"bars": 2 if ends else 1})
    here.next_session()
    here.collect()
    assert day in here.newest().filter(ticker="A")["date"]
    replay(here.collection._collector("yahoo"), here.collection.raw("yahoo"), here.collection.tables("yahoo"))
    assert of(here.newest(), "A") == traded(here.yahoo.stocks["A"], here.newest()["date"].max())  # type: ignore[arg-type]


def test_429_stops_at_once_and_the_next_call_goes_on(market: Callable[..., Market]) -> None:
    here = market("A", "B", "C")
    here.yahoo.faults["B"] = Reply(b"Too Many Requests", 429)
    first = here.collect()
    assert (first.outcomes, here.charts()) == ({"rows": 1, "exhausted": 1}, ["A", "B"])
    assert first.ended == "the quota is used up; what came is kept, and the same command goes on from there"
    here.yahoo.faults.clear()
    asked = len(here.charts())
    second = here.collect()
    assert (second.outcomes, here.charts()[asked:]) == ({"rows": 2}, ["B", "C"])


@pytest.mark.parametrize(("reply", "requests"), [(None, 1), (Reply(b"", 503), 3), (Reply(b"Forbidden", 403), 2)])
def test_a_chart_is_asked_for_as_often_as_the_page_says(
    market: Callable[..., Market], reply: Reply | None, requests: int
) -> None:
    """Once; a server that is not well thrice, each at its pace; and with another cookie where one is refused."""
    here = market("A")
    here.yahoo.stocks.clear()  # status 404
    if reply:
        here.yahoo.faults["A"] = reply
    here.collect()
    assert here.charts() == ["A"] * requests


def test_an_empty_answer_is_never_a_delisting(market: Callable[..., Market]) -> None:
    """Days of 404: nothing is stored of it, and when Yahoo knows the ticker again nothing is lacking."""
    here = market("A", "B")
    here.collect()
    gone = here.yahoo.stocks.pop("A")
    for _ in range(5):
        here.next_session()
        summary = here.collect()
        assert summary.outcomes == {"nothing": 1, "rows": 1}
        assert "yahoo: nothing is known of A; what is stored of them stays" in said(summary)
    assert here.newest().filter(ticker="A")["date"].max() == TODAY
    here.yahoo.stocks["A"] = gone
    day = here.next_session()
    assert here.collect().missing == {}
    assert of(here.newest(), "A") == traded(gone, day)


def test_a_crumb_that_cannot_be_had_is_done_without(market: Callable[..., Market]) -> None:
    here = market("A")
    here.yahoo.crumb = Reply(b"Too Many Requests", 429)
    assert here.collect().outcomes == {"rows": 1}
    assert of(here.newest(), "A") == traded(here.yahoo.stocks["A"], TODAY)


def test_a_dividend_in_another_currency_says_so(market: Callable[..., Market]) -> None:
    here = market("A")
    here.yahoo.stocks["A"].dividends[EX] = 0.5

    def in_euro(found: dict[str, Any]) -> dict[str, Any]:
        for each in found["chart"]["result"][0]["events"]["dividends"].values():
            each["currency"] = "EUR"
        return found

    here.yahoo.faults["A"] = in_euro
    here.collect()
    assert here.newest("events").select("amount", "currency").rows() == [(0.5, "EUR")]


def test_values_that_are_none_stay_none(market: Callable[..., Market]) -> None:
    """A volume may be missing alone; an infinite price is none, and its row no bar."""
    here = market("A")
    first, second = sessions(FIRST, LAST).tolist()[:2]

    def odd(found: dict[str, Any]) -> dict[str, Any]:
        quote = found["chart"]["result"][0]["indicators"]["quote"][0]
        place = found["chart"]["result"][0]["timestamp"].index(opens(second))
        quote["volume"][0], quote["high"][place] = None, float("inf")
        return found

    here.yahoo.faults["A"] = odd
    here.collect()
    assert here.newest().filter(date=first)["volume"].to_list() == [None]
    assert here.newest("gaps").rows() == [("A", second, "a row without prices")]


def test_the_hourly_limit_holds_over_collections(market: Callable[..., Market]) -> None:
    here = market("A", "B", "C", requests_an_hour=4)
    first = here.collect()
    assert first.left == "1 of 4 requests in 1 h"
    began = here.clock.now()
    replaced = dataclasses.replace(here.collection, closed=here.clock.now())
    replaced.collect("yahoo")
    assert here.clock.now() - began > timedelta(minutes=55)


def test_tables_have_the_columns_that_the_page_says() -> None:
    assert [table.name for table in (BARS, EVENTS, GAPS, LISTED)] == ["bars", "events", "gaps", "listed"]
