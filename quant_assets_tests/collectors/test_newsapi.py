"""NewsAPI: recorded answers, day by day within a plan's limits, and when an article counts as known."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from quant_assets.collectors.answers import Answer, Exhausted, Refused, Rows
from quant_assets.collectors.collect import outcome, replay
from quant_assets.collectors.newsapi import NewsApi
from quant_assets.settings.collecting_news import NewsApiSettings
from quant_assets.sources.collected_news import known
from quant_assets_tests.collectors.answers_texts import NEWS_KEY, NewsServer, article
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Loopback
from quant_assets_tests.collectors.stores import Stores, received, recorded, recordings

EVENING = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)
ASKED = "http://loopback/everything?q=AAPL&from=2026-11-29T00:00:00&to=2026-11-29T21:00:00&page=1"

RECORDED: dict[str, tuple[str, str | int]] = {
    "401_apiKeyInvalid.json": ("refused", "API key is invalid"),
    "426_maximumResultsReached.json": ("refused", "too many results"),
    "426_parameterInvalid_too_old.json": ("refused", "far in the past"),
    "429_rateLimited.json": ("exhausted", "too many requests"),
    "empty.json": ("nothing", "no article"),
    "top-headlines_business_us.json": ("rows", 8),
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEWSAPI_KEY", NEWS_KEY)


def reader() -> NewsApi:
    return NewsApi(NewsApiSettings(searches={"AAPL": "Apple"}))


def rows(answer: Answer, table: str = "articles") -> list[dict[str, Any]]:
    assert isinstance(answer, Rows), answer
    found: list[dict[str, Any]] = answer.payload[table].to_dicts()
    return found


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_is_read_to_its_outcome(shared_data: Path, name: str) -> None:
    expected, shown = RECORDED[name]
    answer = reader().read("everything", "AAPL 2026-11-29", recorded(shared_data, f"newsapi/{name}"))
    assert outcome(answer) == expected
    if isinstance(answer, Rows):
        assert len(answer.payload["articles"]) == shown
    else:
        assert str(shown) in answer.why


def test_every_recording_is_read(shared_data: Path) -> None:
    assert recordings(shared_data, "newsapi") == {f"newsapi/{name}" for name in RECORDED}


def test_articles_are_read_once_and_without_those_taken_down() -> None:
    at = datetime(2026, 11, 29, 12, tzinfo=UTC)
    given = [
        article("https://a.example/1#top", at),
        article("https://a.example/1", at, "The same again"),
        article("https://removed.example", at, "[Removed]"),
        article("https://a.example/2", at, description=None),
    ]
    answer = reader().read(
        "everything", "AAPL 2026-11-29", received({"status": "ok", "totalResults": 7, "articles": given}, url=ASKED)
    )
    assert [(row["item"], row["text"]) for row in rows(answer)] == [
        ("https://a.example/1", "Made up."),
        ("https://a.example/2", None),
    ]
    assert rows(answer, "found")[0] == {"search": "AAPL", "item": "https://a.example/1"}
    (asked,) = rows(answer, "searches")
    assert (asked["day"], asked["through"].hour, asked["articles"], asked["total"]) == (date(2026, 11, 29), 21, 4, 7)


def test_an_error_in_a_200_is_one() -> None:
    said = {"status": "error", "code": "apiKeyDisabled", "message": "Your API key has been disabled."}
    answer = reader().read("everything", "AAPL 2026-11-29", received(said))
    assert isinstance(answer, Refused)
    assert answer.scope == "provider"
    used = reader().read("everything", "AAPL 2026-11-29", received({**said, "code": "apiKeyExhausted"}))
    assert isinstance(used, Exhausted)
    assert used.until == EVENING + timedelta(hours=12)


def test_days_are_asked_for_until_they_are_over_and_then_no_more(tmp_path: Path) -> None:
    clock = SimulatedClock(EVENING)
    day = datetime(2026, 11, 29, tzinfo=UTC)
    given = {
        "Apple": [article(f"https://a.example/{hour}", day + timedelta(hours=hour)) for hour in range(0, 24, 6)],
        "Microsoft": [],
    }
    news = NewsServer(clock, given)
    with Loopback(news).running() as server:
        searches = {"AAPL": "Apple", "MSFT": "Microsoft"}
        stores = Stores(tmp_path, NewsApi(NewsApiSettings(url=server.url, searches=searches)), clock)
        first = stores.collect(date(2026, 11, 27))
        assert (first.asked, first.said) == (6, [])
        assert [asked.query["from"][:10] for asked in server.asked[::2]] == ["2026-11-29", "2026-11-28", "2026-11-27"]
        assert server.asked[0].query["to"] == "2026-11-29T22:00:00"  # what the plan gives a day later
        assert len(stores.tables.newest("articles")) == 4
        assert stores.collect(date(2026, 11, 27)).asked == 0

        clock.sleep(86_400)
        late = article("https://a.example/late", day + timedelta(hours=23))
        given["Apple"] += [late, article("https://a.example/new", day + timedelta(hours=30))]
        second = stores.collect(date(2026, 11, 27))
        assert (second.asked, second.revised) == (4, {})  # the rest of the 29th and the 30th of both
        clock.sleep(86_400)
        assert stores.collect(date(2026, 11, 27)).asked == 4
    found = known(stores.tables.versions("articles"), timedelta(hours=24), clock.now())
    at = dict(found.select("item", "known_at").iter_rows())
    seen = dict(stores.tables.versions("articles").select("item", "fetched_at").iter_rows())
    assert at == seen  # nothing is dated back to its publication
    assert at["https://a.example/late"] > EVENING + timedelta(hours=23)
    before = stores.versions()
    replay(stores.collector, stores.raw, stores.tables)
    assert all(frame.equals(before[name]) for name, frame in stores.versions().items())


def test_a_budget_is_spent_on_the_newest_days_first_and_goes_on_there(tmp_path: Path) -> None:
    clock = SimulatedClock(EVENING)
    news = NewsServer(clock, {"Apple": []}, budget=3)
    with Loopback(news).running() as server:
        stores = Stores(tmp_path, NewsApi(NewsApiSettings(url=server.url, searches={"AAPL": "Apple"})), clock)
        summary = stores.collect()
        assert dict(summary.outcomes) == {"rows": 3, "exhausted": 1}
        assert summary.ended is not None
        news.budget = 1_000
        again = stores.collect()
    days = [asked.query["from"][:10] for asked in server.asked]
    assert days[:4] == ["2026-11-29", "2026-11-28", "2026-11-27", "2026-11-26"]
    assert (days[4], days[-1], again.asked) == ("2026-11-26", "2026-11-01", 26)


def test_more_articles_than_the_plan_gives_are_counted(tmp_path: Path) -> None:
    clock = SimulatedClock(EVENING)
    at = datetime(2026, 11, 28, tzinfo=UTC)
    many = [article(f"https://a.example/{each}", at + timedelta(minutes=each)) for each in range(230)]
    with Loopback(NewsServer(clock, {"Apple": many})).running() as server:
        small = NewsApiSettings(url=server.url, searches={"AAPL": "Apple"})
        stores = Stores(tmp_path / "small", NewsApi(small), clock)
        assert stores.collect(date(2026, 11, 28)).said == []
        large = Stores(tmp_path / "large", NewsApi(small.model_copy(update={"results": 1_000})), clock)
        said = large.collect(date(2026, 11, 28)).said
    (row,) = stores.tables.newest("searches").filter(day=date(2026, 11, 28)).to_dicts()
    assert (row["articles"], row["total"]) == (100, 230)
    assert len(said) == 1
    assert "set collecting.newsapi.results to 100" in said[0]


def test_a_plan_that_does_not_go_back_so_far_ends_there(tmp_path: Path) -> None:
    clock = SimulatedClock(EVENING)
    with Loopback(NewsServer(clock, {"Apple": []})).running() as server:
        settings = NewsApiSettings(url=server.url, searches={"AAPL": "Apple"}, days_back=90)
        summary = Stores(tmp_path, NewsApi(settings), clock).collect(date(2026, 1, 1))
    assert summary.outcomes["refused"] == 1
    assert "lower collecting.newsapi.days_back" in summary.said[0]
