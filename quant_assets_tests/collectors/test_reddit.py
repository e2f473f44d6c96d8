"""Reddit: recorded answers, tokens that end, budgets, and scores with the time at which they were seen."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quant_assets.collectors.answers import Exhausted, Rows
from quant_assets.collectors.collect import outcome, replay
from quant_assets.collectors.http import Received
from quant_assets.collectors.reddit import Reddit
from quant_assets.errors import SettingsError
from quant_assets.settings.collecting_news import RedditSettings
from quant_assets.sources.collected_news import known
from quant_assets_tests.collectors.answers_texts import CLIENT, SECRET, TOKEN, Post, RedditServer, posts
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Asked, Loopback, Reply, in_turn
from quant_assets_tests.collectors.stores import Stores, recorded, recordings

EVENING = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)

RECORDED: dict[str, tuple[str, str | int]] = {
    "400_html.html": ("broken", "status 400"),
    "400_user_doesnt_exist.json": ("broken", "USER_DOESNT_EXIST"),
    "401.json": ("refused", "a new token was refused"),
    "403.json": ("refused", "private"),
    "500.json": ("broken", "Internal Server Error"),
    "access_token.json": ("broken", "no field data"),  # no answer to a question about posts
    "listing_empty.json": ("nothing", "no post"),
    "listing_r_new.json": ("rows", 8),
    "search_listing.json": ("rows", 5),
}


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDDIT_CLIENT_ID", CLIENT)
    monkeypatch.setenv("REDDIT_CLIENT_SECRET", SECRET)


def collecting(folder: Path, url: str, clock: SimulatedClock, *subreddits: str) -> Stores:
    settings = RedditSettings(url=url, login_url=url, subreddits=subreddits or ("stocks",))
    return Stores(folder, Reddit(settings), clock)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_is_read_to_its_outcome(shared_data: Path, name: str) -> None:
    expected, shown = RECORDED[name]
    answer = Reddit(RedditSettings()).read("new", "stocks", recorded(shared_data, f"reddit/{name}"))
    assert outcome(answer) == expected
    if isinstance(answer, Rows):
        assert len(answer.payload["posts"]) == shown
    else:
        assert str(shown) in answer.why


def test_every_recording_is_read(shared_data: Path) -> None:
    assert recordings(shared_data, "reddit") == {f"reddit/{name}" for name in RECORDED}


def test_the_recorded_token_opens_the_recorded_listing(shared_data: Path, tmp_path: Path) -> None:
    token, listing = (recorded(shared_data, f"reddit/{name}.json").body for name in ("access_token", "listing_r_new"))
    page = json.loads(listing)
    page["data"]["after"] = None  # the recording is the first of several pages
    answers = {"/api/v1/access_token": token, "/r/askreddit/new": json.dumps(page).encode()}
    with Loopback(lambda asked: Reply(answers[asked.path])).running() as server:
        stores = collecting(tmp_path, server.url, SimulatedClock(EVENING), "askreddit")
        assert stores.collect().new["posts"] == 8
    assert server.asked[1].headers["Authorization"] == "bearer <ACCESS_TOKEN>"
    first = stores.tables.newest("posts").filter(item="t3_48fbm9").to_dicts()[0]
    assert first["published"] == datetime(2016, 3, 1, 8, 37, 38, tzinfo=UTC)  # `created` says eight hours later


def test_every_page_scores_as_seen_and_an_edit(tmp_path: Path) -> None:
    clock = SimulatedClock(EVENING)
    given = posts(250, EVENING)
    reddit = RedditServer(clock, {"stocks": given})
    with Loopback(reddit).running() as server:
        stores = collecting(tmp_path, server.url, clock)
        first = stores.collect()
        assert (first.asked, first.new, first.said) == (3, {"posts": 250, "scores": 250}, [])
        assert stores.collect().asked == 0
        assert {asked.headers["User-Agent"] for asked in server.asked} == {"linux:quant-assets:1 (by /u/unnamed)"}

        clock.sleep(86_400)
        given[0].score, given[0].text, given[0].edited = 99, "[removed]", clock.now()
        given.insert(0, Post("t3_99999", clock.now()))
        second = stores.collect()
        assert second.new == {"posts": 1, "scores": 251}
        assert second.revised == {"posts": 1}
    scores = stores.tables.newest("scores").filter(item=given[1].name).sort("seen_at")
    assert scores["score"].to_list() == [1, 99]
    assert scores["seen_at"].to_list()[0] >= EVENING
    found = known(stores.tables.versions("posts"), timedelta(0), clock.now()).filter(item=given[1].name).to_dicts()[0]
    assert (found["text"], found["publisher"]) == ("", "reddit.com/r/stocks")  # as it was first seen
    before = stores.versions()
    replay(stores.collector, stores.raw, stores.tables)
    assert all(frame.equals(before[name]) for name, frame in stores.versions().items())


def test_a_listing_that_broke_off_is_gone_through_again(tmp_path: Path) -> None:
    clock = SimulatedClock(EVENING)
    full, broken = RedditServer(clock, {"stocks": posts(250, EVENING)}), [Reply(b"<html>")]

    def answer(asked: Asked) -> Reply:
        return broken.pop() if broken and asked.query.get("after") else full(asked)

    with Loopback(answer).running() as server:
        stores = collecting(tmp_path, server.url, clock)
        assert stores.collect().new["posts"] == 100
        assert stores.collect().new["posts"] == 150


def test_a_token_is_renewed_before_it_ends_and_after_it_was_refused(tmp_path: Path) -> None:
    clock = SimulatedClock(EVENING)
    reddit = RedditServer(clock, {name: [Post(f"t3_{name}", EVENING)] for name in ("a", "b", "c")})

    def slow(asked: Asked) -> Reply:
        reply = reddit(asked)
        if asked.path == "/r/a/new":
            clock.sleep(3_590)  # ten seconds before its end
        elif asked.path == "/r/b/new":
            reddit.tokens.clear() if len(reddit.tokens) == 2 else None  # Reddit forgets them
        return reply

    with Loopback(slow).running() as server:
        summary = collecting(tmp_path, server.url, clock, "a", "b", "c").collect()
    assert (dict(summary.outcomes), summary.said) == ({"rows": 3}, [])
    paths = [asked.path for asked in server.asked]
    token = "/api/v1/access_token"
    assert paths == [token, "/r/a/new", token, "/r/b/new", "/r/c/new", token, "/r/c/new"]


def test_a_wrong_secret_is_refused_at_once_and_nothing_else_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDDIT_CLIENT_SECRET", "wrong")
    clock = SimulatedClock(EVENING)
    with Loopback(RedditServer(clock, {"a": [], "b": []})).running() as server:
        summary = collecting(tmp_path, server.url, clock, "a", "b").collect()
    assert (dict(summary.outcomes), len(server.asked)) == ({"refused": 1}, 1)
    assert "REDDIT_CLIENT_SECRET" in (summary.ended or "")


@pytest.mark.parametrize("variable", ["REDDIT_CLIENT_ID", "REDDIT_CLIENT_SECRET"])
def test_without_a_key_it_says_which_variable(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(variable)
    with pytest.raises(SettingsError, match=f"{variable} is not set"):
        Reddit(RedditSettings()).client(SimulatedClock())


def test_a_token_under_another_name_is_kept_nowhere(tmp_path: Path) -> None:
    clock = SimulatedClock(EVENING)
    with Loopback(in_turn(Reply(json.dumps({"token": TOKEN}).encode()))).running() as server:
        stores = collecting(tmp_path, server.url, clock)
        summary = stores.collect()
    assert dict(summary.outcomes) == {"broken": 1}
    assert "has none" in summary.said[0]
    assert all(TOKEN.encode() not in content for _, content in stores.written())


def test_budgets_are_waited_for_by_reddits_headers(tmp_path: Path) -> None:
    clock = SimulatedClock(EVENING)
    reddit = RedditServer(clock, {name: [Post(f"t3_{name}", EVENING)] for name in ("a", "b", "c")})
    busy = [Reply(b'{"message": "Too Many Requests", "error": 429}', 429, {"x-ratelimit-reset": "77"})]

    def answer(asked: Asked) -> Reply:
        if asked.path == "/r/c/new" and busy:
            return busy.pop()
        reply = reddit(asked)
        left = {"x-ratelimit-remaining": "0.0", "x-ratelimit-reset": "33"}
        return Reply(reply.body, reply.status, left if asked.path == "/r/a/new" else {})

    with Loopback(answer).running() as server:
        summary = collecting(tmp_path, server.url, clock, "a", "b", "c").collect()
    assert (dict(summary.outcomes), clock.slept) == ({"rows": 3}, [33.0, 77.0])


def test_a_budget_that_stays_used_up_ends_the_collection(tmp_path: Path) -> None:
    clock = SimulatedClock(EVENING)
    reddit = RedditServer(clock, {"a": [], "b": []})
    busy = Reply(b'{"message": "Too Many Requests", "error": 429}', 429, {"x-ratelimit-reset": "60"})
    with Loopback(lambda asked: busy if asked.path.startswith("/r/") else reddit(asked)).running() as server:
        stores = collecting(tmp_path, server.url, clock, "a", "b")
        summary = stores.collect()
        entry = stores.entries()[-1]
        kept = Received(entry.url, entry.status, entry.headers, stores.raw.body(entry), entry.at)
        answer = stores.collector.read("new", "a", kept)
    assert dict(summary.outcomes) == {"exhausted": 1}
    assert isinstance(answer, Exhausted)
    assert answer.until == entry.at + timedelta(seconds=60)


@pytest.mark.parametrize(("status", "why"), [(302, "no such"), (403, "private"), (404, "banned")])
def test_a_community_that_is_not_open_is_refused_and_the_others_go_on(tmp_path: Path, status: int, why: str) -> None:
    clock = SimulatedClock(EVENING)
    reddit = RedditServer(clock, {"b": [Post("t3_b", EVENING)]})
    answer = Reply(b'{"message": "no"}', status, {"Location": "/subreddits/search"})
    with Loopback(lambda asked: answer if asked.path == "/r/a/new" else reddit(asked)).running() as server:
        summary = collecting(tmp_path, server.url, clock, "a", "b").collect()
    assert dict(summary.outcomes) == {"refused": 1, "rows": 1}
    assert why in summary.said[0]
    assert "take a out of collecting.reddit.subreddits" in summary.said[0]
