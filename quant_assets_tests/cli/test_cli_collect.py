"""`quant collect` as a person meets it, against a venue on loopback: what it says, its status, and that it goes on."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quant_assets_tests.collectors.server import Loopback, Reply, in_turn
from quant_assets_tests.command import Quant, status_of

DAY = 86_400_000
#: Of a history that one question covers.
SINCE = str(datetime.now(UTC).date() - timedelta(days=100))
ROWS = [
    [1_700_006_400_000 + n * DAY, "1", "2", "0.5", "1.5", "9", 1_700_092_799_999 + n * DAY, *"12345"] for n in (0, 1)
]


@pytest.fixture
def venue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with Loopback(in_turn(Reply(json.dumps(ROWS).encode()))).running() as server:
        monkeypatch.setenv("QUANT__COLLECTING__FOLDER", str(tmp_path / "collected"))
        monkeypatch.setenv("QUANT__COLLECTING__SINCE", SINCE)
        monkeypatch.setenv("QUANT__COLLECTING__BINANCE__URL", server.url)
        monkeypatch.setenv("QUANT__COLLECTING__BINANCE__PAIRS", '["BTC-USDT", "ETH-USDT"]')
        yield server


def test_it_says_what_came_and_asks_nothing_twice(
    venue: Loopback, command: Quant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dry = command("collect", "--dry-run", "--since", "2023-11-01")
    assert (dry.status, len(venue.asked), (tmp_path / "collected").exists()) == (0, 0, False)
    assert "binance: about 4 requests, since 2023-11-01" in dry.out.splitlines()
    monkeypatch.setenv("QUANT__COLLECTING__NEWSAPI__SEARCHES", '{"AAPL": "Apple"}')
    monkeypatch.setenv("QUANT__COLLECTING__NEWSAPI__DAYS_BACK", "25")
    monkeypatch.setenv("QUANT__COLLECTING__NEWSAPI__REQUESTS_A_DAY", "10")
    (news,) = (line for line in command("collect", "--dry-run").out.splitlines() if line.startswith("newsapi"))
    assert news.endswith("; 10 of the plan's 10 a day are left: 3 days")
    monkeypatch.delenv("QUANT__COLLECTING__NEWSAPI__SEARCHES")

    first = command("collect", "--since", SINCE)
    assert first.status == 0
    assert "binance: 2 answers (2 rows); new: 4 candles" in first.out.splitlines()
    assert "answers of binance, last ETH-USDT" in first.out
    start = datetime.fromisoformat(f"{SINCE}T00:00:00+00:00").timestamp() * 1000
    assert [int(each.query["startTime"]) for each in venue.asked] == [start, start]

    again = command("collect", "--provider", "binance")
    assert "binance: 0 answers (nothing was to be asked); new: nothing" in again.out.splitlines()
    assert len(venue.asked) == 2

    made = command("collect", "replay")
    assert "binance: candles: 4 facts, revised 0 times" in made.out.splitlines()


def test_what_could_not_be_had_is_status_1_and_the_rest_is_kept(venue: Loopback, command: Quant) -> None:
    venue.answer = in_turn(Reply(json.dumps(ROWS).encode()), Reply(b"<html>Will be right back"))
    outcome = command("collect")
    assert outcome.status == 1
    assert "binance: 2 answers (1 rows, 1 broken); new: 2 candles" in outcome.out.splitlines()
    assert "binance, klines of ETH-USDT: no usable answer (status 200, not JSON: <html>Will" in outcome.out
    venue.answer = in_turn(Reply(json.dumps(ROWS).encode()))
    assert command("collect").status == 0
    assert [each.query["symbol"] for each in venue.asked] == ["BTCUSDT", "ETHUSDT", "ETHUSDT"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--provider nosuch", "'nosuch' is not a provider; choose from"),
        ("--since 2023-13-01", "'2023-13-01' is not a day; write --since as YYYY-MM-DD"),
    ],
)
def test_a_mistake_is_one_line(venue: Loopback, command: Quant, arguments: str, message: str) -> None:
    outcome = command("collect", *arguments.split())
    assert (outcome.status, outcome.out, len(venue.asked)) == (status_of(outcome.err), "", 0)
    assert message in outcome.err


def test_without_anything_wanted_it_says_what_to_set(
    venue: Loopback, command: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT__COLLECTING__BINANCE__PAIRS", "[]")
    outcome = command("collect")
    assert outcome.status == 1
    assert "nothing is to be collected: list tickers by sector in collecting.universe" in outcome.err
    assert "binance" in command("collect", "--provider", "binance").err


def test_its_help_has_examples(command: Quant) -> None:
    out = command("collect", "--help").out
    assert " quant collect -p live --provider yahoo --since 2015-01-01 " in out
    assert "replay" in out
