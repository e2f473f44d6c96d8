"""`kill -9` at random moments of collections from Yahoo on loopback: nothing lost, nothing twice."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import date, timedelta
from os import kill
from pathlib import Path

import pytest

from quant_assets.collectors.collection import Collection
from quant_assets.collectors.yahoo_chart import BARS, EVENTS
from quant_assets.market.calendar import sessions
from quant_assets.profile import published
from quant_assets.settings.collecting import CollectingSettings, YahooSettings
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Loopback
from quant_assets_tests.collectors.yahoo_server import Yahoo, evening, walk

pytest.importorskip("yfinance")
FIRST, BEGIN, LAST = date(2026, 9, 1), date(2026, 11, 2), date(2026, 12, 31)
TICKERS = tuple(f"K{number:02d}" for number in range(12))

#: A process for each collection, forked from one that has imported everything and run nothing of it.
COLLECTOR = """
import os, sys
from datetime import date, datetime
import yfinance
from quant_assets_tests.collectors.test_kills import collection
from quant_assets_tests.collectors.clock import SimulatedClock
folder, url = sys.argv[1:]
yfinance.set_tz_cache_location(folder + "/yfinance")
for line in sys.stdin:
    at, session = line.split()
    child = os.fork()
    if not child:
        clock = SimulatedClock(datetime.fromisoformat(at))
        summary = collection(folder, url, date.fromisoformat(session), clock).collect("yahoo")
        os._exit(0 if summary.complete else 3)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def collection(folder: str | Path, url: str, session: date, clock: SimulatedClock) -> Collection:
    yahoo = YahooSettings(url=url, whole_every_sessions=3, requests_an_hour=1_000_000)
    settings = CollectingSettings(folder=str(folder), universe={"it": TICKERS}, yahoo=yahoo)
    return Collection(settings, FIRST, published(session), clock)


def is_there(process: int) -> bool:
    try:
        kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.nightly)])
def test_killed_at_random_moments_nothing_is_lost_and_nothing_is_there_twice(tmp_path: Path, kills: int) -> None:
    rng, clock = random.Random(11), SimulatedClock(evening(BEGIN))
    stocks = {
        ticker: walk(seed, FIRST, LAST, splits={BEGIN + timedelta(1): 2.0}) for seed, ticker in enumerate(TICKERS)
    }
    del stocks["K03"].bars[date(2026, 9, 10)]
    days, killed = iter(sessions(BEGIN, LAST).tolist()), 0
    with Loopback(Yahoo(stocks, clock)).running() as server:
        command = [sys.executable, "-c", COLLECTOR, str(tmp_path / "killed"), server.url]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            session, goes_on = next(days), True
            while goes_on:
                clock.sleep((evening(session) - clock.now()).total_seconds())
                process.stdin.write(f"{clock.now().isoformat()} {session}\n")
                process.stdin.flush()
                child, asked = int(process.stdout.readline()), len(server.asked)
                if killed < kills:
                    # By what was asked, and not by time, which passes as it likes on a busy machine.
                    moment = asked + rng.randint(0, 2 * len(TICKERS))
                    while len(server.asked) < moment and is_there(child):
                        time.sleep(0.001)
                    time.sleep(rng.uniform(0.0, 0.02))
                    with suppress(ProcessLookupError):
                        kill(child, signal.SIGKILL)
                status = int(process.stdout.readline())
                killed += status == -signal.SIGKILL
                assert status in (0, -signal.SIGKILL)
                if status == 0:
                    goes_on = killed < kills
                    session = next(days) if goes_on else session
            process.stdin.close()
        told = Counter(each.path for each in server.asked if "/chart/" in each.path)
    found = collection(tmp_path / "killed", server.url, session, clock)
    entries = list(found.raw("yahoo").entries())
    assert all(found.raw("yahoo").body(entry) for entry in entries)
    # What came was kept, but for the answer that was under way at each kill; and nobody was asked for it again.
    assert 0 <= told.total() - len(entries) <= kills
    each = Counter((entry.endpoint, entry.subject, entry.at) for entry in entries)
    assert each.most_common(1)[0][1] == 1
    answered = Counter((entry.subject, entry.at.date()) for entry in entries if entry.endpoint != "again")
    assert set(answered.values()) == {1}
    assert {day for _, day in answered} == {evening(day).date() for day in sessions(BEGIN, session).tolist()}
    tables = found.tables("yahoo")
    bars = tables.newest(BARS.name)
    for ticker in TICKERS:
        rows = bars.filter(ticker=ticker).select("date", "open", "high", "low", "close", "volume").rows()
        assert rows == [(day, *row) for day, row in stocks[ticker].bars.items() if day <= session]
    assert len(tables.versions(BARS.name)) == len(bars)  # no version says what another says
    assert len(tables.newest(EVENTS.name)) == len(tables.versions(EVENTS.name)) == len(TICKERS)
