"""The HTTP layer against a real server on loopback: retries, pace, limits, and secrets that appear nowhere."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from quant_assets.collectors.http import Client, Pace
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Answering, Loopback, Reply, in_turn

KEY = "k3y-that-nobody-may-see"


@contextmanager
def asking(answer: Answering, **options: Any) -> Iterator[tuple[Client, Loopback, SimulatedClock]]:
    clock = SimulatedClock()
    with Loopback(answer).running() as server, Client(server.url, clock=clock, **options) as client:
        yield client, server, clock


def test_an_answer_comes_as_it_was_sent() -> None:
    with asking(in_turn(Reply(b'{"a": 1}', headers={"Content-Type": "application/json"}))) as (client, server, clock):
        received = client.get("/rows", {"symbol": "BRK.B", "from": None})
    assert (received.status, received.body, received.failure) == (200, b'{"a": 1}', None)
    assert received.headers["content-type"] == "application/json"
    assert received.url == f"{server.url}/rows?symbol=BRK.B"
    assert received.fetched_at == clock.now()
    assert server.asked[0].query == {"symbol": "BRK.B"}


def test_a_server_that_recovers_is_asked_again() -> None:
    replies = Reply(status=503), Reply(status=429, headers={"Retry-After": "17"}), Reply(b"[]")
    with asking(in_turn(*replies)) as (client, server, clock):
        assert client.get("/rows").body == b"[]"
    assert clock.slept == [1.0, 17.0]
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 426, 451])
def test_what_a_retry_cannot_help_is_asked_once(status: int) -> None:
    with asking(in_turn(Reply(b"no", status=status))) as (client, server, clock):
        assert client.get("/rows").status == status
    assert (len(server.asked), clock.slept) == (1, [])


def test_after_the_last_attempt_the_answer_is_what_came() -> None:
    with asking(in_turn(Reply(b"slow down", status=429)), attempts=3) as (client, server, clock):
        assert client.get("/rows").status == 429
    assert (len(server.asked), clock.slept) == (3, [1.0, 2.0])


def test_a_provider_may_want_longer_pauses() -> None:
    with asking(in_turn(Reply(status=429)), attempts=3, pause=20.0) as (client, _, clock):
        client.get("/rows")
    assert clock.slept == [20.0, 40.0]


@pytest.mark.parametrize("value", [KEY, f"bearer {KEY}"])
def test_a_secret_that_the_answer_repeats_is_taken_out_of_it(value: str) -> None:
    repeats = in_turn(Reply(f"<html>cannot answer /rows?apikey={KEY} for bearer {KEY}".encode()))
    with asking(repeats, secrets={"Authorization": SecretStr(value)}) as (client, _, _):
        assert KEY.encode() not in client.get("/rows").body


def test_a_key_that_is_a_word_takes_nothing_out_of_an_answer() -> None:
    with asking(in_turn(Reply(b'{"exchange": "x"}')), secrets={"apikey": SecretStr("x")}) as (client, _, _):
        assert client.get("/rows").body == b'{"exchange": "x"}'


def test_a_daily_budget_is_not_asked_again() -> None:
    with asking(in_turn(Reply(status=429)), retried=frozenset({503})) as (client, server, _):
        assert client.get("/rows").status == 429
    assert len(server.asked) == 1


def test_an_answer_that_is_cut_off_is_said() -> None:
    with asking(in_turn(Reply(b"x" * 1000, cut=100)), attempts=2) as (client, server, _):
        received = client.get("/rows")
    assert received.failure is not None
    assert received.failure.startswith("the answer was cut off after 100 bytes")
    assert len(server.asked) == 2


def test_an_answer_over_the_cap_is_given_up_at_once() -> None:
    with asking(in_turn(Reply(b"x" * 5000)), cap=1000) as (client, server, _):
        received = client.get("/rows")
    assert (received.failure, received.body, received.too_long) == ("the answer is longer than 1,000 bytes", b"", True)
    assert len(server.asked) == 1


def test_nobody_there_and_no_answer_in_time_are_failures() -> None:
    with asking(in_turn(Reply(after=2.0)), timeout=0.2, attempts=1) as (client, _, _):
        received = client.get("/rows")
    assert received.status == 0
    assert "Timeout" in (received.failure or "")
    with Client("http://127.0.0.1:9", clock=SimulatedClock(), attempts=2) as client:
        gone = client.get("/rows")
    assert gone.status == 0
    assert "ConnectError" in (gone.failure or "")


@pytest.mark.parametrize("place", ["headers", "query"])
def test_a_secret_is_sent_and_appears_nowhere(place: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    options: dict[str, Any] = {"secrets": {"apikey": SecretStr(KEY)}, "secrets_in": place}
    with asking(in_turn(Reply(b"[]")), **options) as (client, server, _):
        received = client.get("/rows", {"symbol": "A"})
    sent = server.asked[0].headers if place == "headers" else server.asked[0].query
    assert sent["apikey"] == KEY
    assert KEY not in repr(received)
    assert KEY not in repr(vars(client))
    with Client("http://127.0.0.1:9", attempts=1, clock=SimulatedClock(), **options) as client:
        assert KEY not in repr(client.get("/rows"))
    assert KEY not in caplog.text


def test_the_pace_holds_in_every_window() -> None:
    paces = Pace(2, 1.0), Pace(5, 60.0)
    with asking(in_turn(Reply(b"[]")), paces=paces) as (client, server, clock):
        times = [client.get("/rows").fetched_at for _ in range(11)]
    for window, most in ((1.0, 2), (60.0, 5)):
        for first in times:
            assert sum(timedelta(0) <= each - first < timedelta(seconds=window) for each in times) <= most
    assert sum(clock.slept) == pytest.approx(120, abs=3)
    assert len(server.asked) == 11
