"""Every fault of every provider on loopback: its named outcome, stores that are as they were, and a provider that is
well again the next day. Binance's are in test_collect."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from quant_assets.collectors.base import Collector
from quant_assets.collectors.coinbase import Coinbase
from quant_assets.collectors.collect import said
from quant_assets.collectors.fmp import Fmp
from quant_assets.collectors.fred import Fred
from quant_assets.collectors.newsapi import NewsApi
from quant_assets.collectors.reddit import Reddit
from quant_assets.settings.collecting import CryptoVenueSettings
from quant_assets.settings.collecting_figures import FmpSettings, FredSettings
from quant_assets.settings.collecting_news import NewsApiSettings, RedditSettings
from quant_assets_tests.collectors.answers_coinbase import candle, venue
from quant_assets_tests.collectors.answers_fmp import FmpServer, price
from quant_assets_tests.collectors.answers_fred import FredServer
from quant_assets_tests.collectors.answers_texts import (
    CLIENT,
    NEWS_KEY,
    SECRET,
    TOKEN,
    NewsServer,
    Post,
    RedditServer,
    article,
    error,
)
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Answering, Asked, Loopback, Reply
from quant_assets_tests.collectors.stores import Stores

pytestmark = pytest.mark.slow

EVENING = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)
SINCE = date(2026, 11, 25)
FMP_KEY, FRED_KEY = "fmpkey-that-nobody-may-see", "fredkeythatnobodymaysee000000000"
SECRETS = {
    "FMP_API_KEY": FMP_KEY,
    "FRED_API_KEY": FRED_KEY,
    "NEWSAPI_KEY": NEWS_KEY,
    "REDDIT_CLIENT_ID": CLIENT,
    "REDDIT_CLIENT_SECRET": SECRET,
}


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@dataclass(frozen=True)
class Provider:
    """A provider that is well.

    Attributes:
        collector: by its address.
        server: that answers it, with something new each day.
        table: that must not change.
        path: of the questions that fail, by their end.

    """

    collector: Callable[[str], Collector]
    server: Callable[[SimulatedClock], Answering]
    table: str
    path: str


def _daily_releases(clock: SimulatedClock) -> Answering:
    days = [date(2026, 11, 1) + timedelta(days=each) for each in range(60)]
    return FredServer(clock, {"DGS10": [(day, day + timedelta(days=1), float(day.day)) for day in days]})


def _daily_articles(clock: SimulatedClock) -> Answering:
    hours = [datetime(2026, 11, 20, tzinfo=UTC) + timedelta(hours=6 * each) for each in range(100)]
    return NewsServer(clock, {"Apple": [article(f"https://a.example/{at:%d%H}", at) for at in hours]})


def _daily_posts(clock: SimulatedClock) -> Answering:
    days = [datetime(2026, 11, 30, 12, tzinfo=UTC) + timedelta(days=each) for each in range(9)]

    def answer(asked: Asked) -> Reply:
        there = [Post(f"t3_{day:%m%d}", day) for day in reversed(days) if day <= clock.now()]
        reddit.posts = {"stocks": there, "investing": there[:1]}
        return reddit(asked)

    reddit = RedditServer(clock, {})
    return answer


PROVIDERS = {
    "fmp": Provider(
        lambda url: Fmp(FmpSettings(url=url, kinds=("prices",)), ("AAPL", "MSFT")), FmpServer, "bars", "-adjusted"
    ),
    "fred": Provider(
        lambda url: Fred(FredSettings(url=url, series=("DGS10",))), _daily_releases, "observations", "observations"
    ),
    "coinbase": Provider(
        lambda url: Coinbase(CryptoVenueSettings(url=url, pairs=("BTC-USD", "ETH-USD"))), venue, "candles", "candles"
    ),
    "newsapi": Provider(
        lambda url: NewsApi(NewsApiSettings(url=url, searches={"AAPL": "Apple"})),
        _daily_articles,
        "articles",
        "everything",
    ),
    "reddit": Provider(
        lambda url: Reddit(RedditSettings(url=url, login_url=url, subreddits=("stocks", "investing"))),
        _daily_posts,
        "posts",
        "/new",
    ),
}


def words(body: str, status: int = 402) -> Reply:
    return Reply(body.encode(), status)


def sent(found: Any, status: int = 200) -> Reply:
    return Reply(json.dumps(found).encode(), status)


#: Of any provider, in whose place it does not matter.
ANY: dict[str, tuple[Reply, str]] = {
    "html in a 200": (words("<html><script>alert(1)</script>Will be right back", 200), "broken"),
    "html in a 503": (words("<html>Service unavailable", 503), "broken"),
    "504 and nothing": (Reply(status=504), "broken"),
    "empty 200": (Reply(), "broken"),
    "cut off": (Reply(b'[{"date": "2026-11-30"}]', cut=9), "broken"),
    "cut json": (Reply(b'[{"date": "2026-11-30", "op'), "broken"),
    "a number": (Reply(b"7"), "broken"),
    "deep": (Reply(b"[" * 100_000), "broken"),
    "no text": (Reply(b"\xff\xfe\x00\x01\x9c"), "broken"),
}

FMP = {
    "key": (sent({"Error Message": "Invalid API KEY. Feel free"}, 401), "refused"),
    "key in a 200": (sent({"Error Message": "Invalid API KEY. Feel free"}), "refused"),
    "legacy": (sent({"Error Message": "Legacy Endpoint : no longer supported"}, 403), "refused"),
    "forbidden": (words("<html>Forbidden", 403), "broken"),
    "402 endpoint": (words("Restricted Endpoint: This endpoint is not available"), "refused"),
    "402 symbol": (words("Premium Query Parameter: 'Special Endpoint : This value set for 'symbol' is"), "refused"),
    "402 period": (words("Premium Query Parameter: 'Special Endpoint : This value set for 'period' is"), "refused"),
    "402 several symbols": (words("Premium Query Parameter"), "refused"),
    "quota": (sent({"Error Message": "Limit Reach . Please upgrade your plan"}, 429), "exhausted"),
    "bandwidth": (sent({"Error Message": "Bandwidth Limit Reach . Please upgrade"}, 429), "exhausted"),
    "quota in a 200": (sent({"Error Message": "Limit Reach . Please upgrade your plan"}), "exhausted"),
    "renamed field": (
        sent([{name.replace("adj", "raw"): value for name, value in price("AAPL", date(2026, 12, 1), 1.0).items()}]),
        "broken",
    ),
    "adjusted prices": (sent([{"symbol": "AAPL", "date": "2026-12-01", "open": 1, "close": 1}]), "broken"),
    "another symbol": (sent([price("OTHER", date(2026, 12, 1), 1.0)]), "broken"),
    "a price in words": (sent([{**price("AAPL", date(2026, 12, 1), 1.0), "adjClose": "n/a"}]), "broken"),
    "an endless price": (sent([{**price("AAPL", date(2026, 12, 1), 1.0), "adjClose": float("inf")}]), "broken"),
    "no day": (sent([{**price("AAPL", date(2026, 12, 1), 1.0), "date": "soon"}]), "broken"),
    "unknown symbol": (sent([]), "nothing"),
    "gone": (Reply(b"{}", 404), "broken"),
}


def fred_error(message: str, status: int = 400) -> Reply:
    return sent({"error_code": status, "error_message": f"Bad Request.  {message}"}, status)


def observations(*rows: Any, **changed: Any) -> Reply:
    span = {"realtime_start": "2026-11-29", "realtime_end": "2026-12-01", "count": len(rows), "offset": 0}
    return sent({**span, "observations": list(rows), **changed})


_VALUE = {"realtime_start": "2026-12-01", "realtime_end": "9999-12-31", "date": "2026-11-30", "value": "4.2"}
FRED = {
    "key": (fred_error("The value for variable api_key is not registered."), "refused"),
    "series": (fred_error("The series does not exist."), "refused"),
    "vintages over the limit": (fred_error("There are 2004 vintage dates in the specified real-time"), "refused"),
    "another parameter": (fred_error("Variable realtime_end is not a valid date."), "broken"),
    "429 for ever": (fred_error("Exceeded Rate Limit", 429), "exhausted"),
    "xml": (words('<?xml version="1.0"?><error code="400" message="Bad Request."/>', 400), "broken"),
    "renamed field": (
        observations({name.replace("value", "figure"): value for name, value in _VALUE.items()}),
        "broken",
    ),
    "renamed list": (sent({"realtime_start": "2026-11-29", "realtime_end": "2026-12-01", "values": []}), "broken"),
    "a value in words": (observations({**_VALUE, "value": "n/a"}), "broken"),
    "a null": (observations({**_VALUE, "value": None}), "broken"),
    "no day": (observations({**_VALUE, "date": "2026-13-01"}), "broken"),
    "no count": (observations(_VALUE, count=None), "broken"),
    "no observation": (observations(), "nothing"),
}

COINBASE = {
    "429 for ever": (sent({"message": "Public rate limit exceeded"}, 429), "exhausted"),
    "pair": (sent({"message": "NotFound"}, 404), "refused"),
    "too many candles": (sent({"message": "granularity too small for the requested time range"}, 400), "broken"),
    "renamed field": (sent({"candles": []}), "broken"),
    "short row": (sent([[1, 2, 3]]), "broken"),
    "long row": (sent([[*candle(date(2026, 11, 30), 1.0), 1.0]]), "broken"),
    "a null": (sent([[*candle(date(2026, 11, 30), 1.0)[:5], None]]), "broken"),
    "a candle of an hour": (sent([[candle(date(2026, 11, 30), 1.0)[0] + 3_600, 1, 1, 1, 1, 1]]), "broken"),
    "the running day alone": (sent([candle(date(2026, 12, 1), 1.0)]), "nothing"),
    "no candle": (sent([]), "nothing"),
}

_ARTICLE = article("https://a.example/x", datetime(2026, 11, 30, 12, tzinfo=UTC))


def articles(*rows: Any, **changed: Any) -> Reply:
    return sent({"status": "ok", "totalResults": len(rows), "articles": list(rows), **changed})


NEWSAPI = {
    "key": (error(401, "apiKeyInvalid", "Your API key is invalid"), "refused"),
    "key disabled": (error(401, "apiKeyDisabled", "Your API key has been disabled"), "refused"),
    "key in a 200": (error(200, "apiKeyInvalid", "Your API key is invalid"), "refused"),
    "quota": (error(429, "rateLimited", "You have made too many requests recently."), "exhausted"),
    "quota in a 200": (error(200, "apiKeyExhausted", "Your API key has no more requests"), "exhausted"),
    "beyond the results": (error(426, "maximumResultsReached", "You have requested too many results."), "refused"),
    "too far back": (error(426, "parameterInvalid", "results too far in the past"), "refused"),
    "a faulty search": (error(400, "parameterInvalid", "The query is malformed"), "refused"),
    "unexpected": (error(500, "unexpectedError", "This shouldn't happen"), "broken"),
    "renamed list": (sent({"status": "ok", "totalResults": 1, "results": [_ARTICLE]}), "broken"),
    "renamed field": (articles({name: value for name, value in _ARTICLE.items() if name != "publishedAt"}), "broken"),
    "no moment": (articles({**_ARTICLE, "publishedAt": "yesterday"}), "broken"),
    "a moment without its zone": (articles({**_ARTICLE, "publishedAt": "2026-11-30T12:00:00"}), "broken"),
    "no source": (articles({**_ARTICLE, "source": None}), "broken"),
    "a null list": (articles(articles=None), "broken"),
    "a title that is an object": (articles({**_ARTICLE, "title": {"text": "Apple"}}), "broken"),
}


def listing(*posts: Any, **changed: Any) -> Reply:
    data = {"modhash": "", "children": list(posts), "after": None, "before": None, **changed}
    return sent({"kind": "Listing", "data": data})


def post(**changed: Any) -> Any:
    told = Post("t3_new", datetime(2026, 12, 1, 12, tzinfo=UTC)).told("stocks")
    return {**told, "data": {**told["data"], **changed}}


def without(field: str) -> Any:
    told = post()
    del told["data"][field]
    return told


REDDIT = {
    "429 for ever": (sent({"message": "Too Many Requests", "error": 429}, 429), "exhausted"),
    "a token that is never good": (sent({"message": "Unauthorized", "error": 401}, 401), "refused"),
    "private": (sent({"message": "Forbidden", "error": 403}, 403), "refused"),
    "banned": (sent({"message": "Not Found", "error": 404}, 404), "refused"),
    "unknown": (Reply(status=302, headers={"Location": "/subreddits/search"}), "refused"),
    "400 in html": (words("<html><body><h1>400 Bad request</h1>", 400), "broken"),
    "400 in json": (sent({"message": "Bad Request", "reason": "USER_DOESNT_EXIST"}, 400), "broken"),
    "renamed field": (listing(without("created_utc")), "broken"),
    "renamed list": (sent({"kind": "Listing", "data": {"posts": []}}), "broken"),
    "no moment": (listing(post(created_utc=None)), "broken"),
    "a score in words": (listing(post(score="many")), "broken"),
    "no next page told": (sent({"kind": "Listing", "data": {"children": [post()]}}), "broken"),
    "no post": (listing(), "nothing"),
}
OF_TOKENS = {
    "refused": (sent({"message": "Unauthorized", "error": 401}, 401), "refused"),
    "429": (sent({"message": "Too Many Requests", "error": 429}, 429), "exhausted"),
    "html": (words("<html>", 200), "broken"),
    "html in a 503": (words("<html>", 503), "broken"),
    "cut off": (Reply(b'{"access_token": "abc"', cut=9), "broken"),
    "renamed": (sent({"token": TOKEN, "expires_in": 3600}), "broken"),
    "no end": (sent({"access_token": TOKEN}), "broken"),
}

CASES = [
    *((name, fault, *case) for name in PROVIDERS for fault, case in ANY.items()),
    *(("fmp", fault, *case) for fault, case in FMP.items()),
    *(("fred", fault, *case) for fault, case in FRED.items()),
    *(("coinbase", fault, *case) for fault, case in COINBASE.items()),
    *(("newsapi", fault, *case) for fault, case in NEWSAPI.items()),
    *(("reddit", fault, *case) for fault, case in REDDIT.items()),
]


def test_there_are_many_cases() -> None:
    assert len({case[:2] for case in CASES}) == len(CASES) > 100


@pytest.mark.parametrize(
    ("name", "reply", "expected"),
    [(name, reply, expected) for name, _, reply, expected in CASES],
    ids=[f"{name}: {fault}" for name, fault, _, _ in CASES],
)
def test_a_fault_has_its_outcome_and_leaves_the_stores_as_they_were(
    tmp_path: Path, name: str, reply: Reply, expected: str
) -> None:
    _check(tmp_path, PROVIDERS[name], lambda asked: asked.path.endswith(PROVIDERS[name].path), reply, expected)


@pytest.mark.parametrize("fault", OF_TOKENS)
def test_a_fault_of_a_token_is_one_of_the_whole_collection(tmp_path: Path, fault: str) -> None:
    _check(tmp_path, PROVIDERS["reddit"], lambda asked: asked.path.endswith("token"), *OF_TOKENS[fault])


def _check(folder: Path, provider: Provider, faulty: Callable[[Asked], bool], reply: Reply, expected: str) -> None:
    clock = SimulatedClock(EVENING)
    well = provider.server(clock)
    with Loopback(well).running() as server:
        stores = Stores(folder, provider.collector(server.url), clock)
        first = stores.collect(SINCE)
        assert first.said == []
        assert first.new[provider.table] > 0
        before, entries = stores.versions()[provider.table], stores.entries()

        clock.sleep(86_400)
        server.answer = lambda asked: reply if faulty(asked) else well(asked)
        summary = stores.collect(SINCE)
        assert summary.outcomes[expected] > 0, said(summary)
        assert set(summary.outcomes) <= {expected, "skipped", *({"rows"} if provider.table == "observations" else ())}
        assert expected == "nothing" or summary.said
        assert stores.versions()[provider.table].equals(before)
        kept = stores.entries()
        assert kept[: len(entries)] == entries
        for entry in kept:
            stores.raw.body(entry)

        clock.sleep(86_400)
        server.answer = well
        assert stores.planned(SINCE) > 0
        again = stores.collect(SINCE)
        assert again.said == []
        assert again.new[provider.table] > 0
        assert stores.planned(SINCE) == 0, "what was answered since the close need not be asked again"


@pytest.mark.parametrize("name", PROVIDERS)
def test_secrets_are_in_nothing_that_is_written_or_said(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also where the provider repeats the whole request in its page of an error, or nobody is there."""
    caplog.set_level(logging.DEBUG)
    clock = SimulatedClock(EVENING)
    provider = PROVIDERS[name]
    well = provider.server(clock)
    lines = list[str]()
    with Loopback(well).running() as server:
        stores = Stores(tmp_path, provider.collector(server.url), clock)
        lines += said(stores.collect(SINCE))

        def repeats(asked: Asked) -> Reply:
            if not asked.path.endswith(provider.path):
                return well(asked)
            told = f"<html>cannot answer {asked.path}?{dict(asked.query)} with {dict(asked.headers)}"
            return Reply(told.encode(), 500)

        clock.sleep(86_400)
        server.answer = repeats
        lines += said(stores.collect(SINCE))
        sent_ = json.dumps([[dict(asked.query), dict(asked.headers)] for asked in server.asked])
    clock.sleep(86_400)
    lines += said(stores.collect(SINCE))  # nobody is there
    assert any("cannot answer" in content.decode(errors="replace") for _, content in stores.written())
    out, err = capfd.readouterr()
    everything = [content.decode(errors="replace") for _, content in stores.written()]
    everything += [*lines, caplog.text, out, err, repr(stores.entries()), repr(vars(stores.collector))]
    hidden = [*SECRETS.values(), TOKEN]
    own = {"fmp": FMP_KEY, "fred": FRED_KEY, "newsapi": NEWS_KEY, "reddit": TOKEN}
    assert own.get(name, "") in sent_  # it did go out
    for secret in hidden:
        assert [each[:200] for each in everything if secret in each] == []
