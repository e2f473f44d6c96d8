"""The raw store: bodies once, a line for each answer, and nothing lost or half kept after a kill at any moment."""

import gzip
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quant_assets.collectors.http import Received
from quant_assets.collectors.raw_store import RawStore
from quant_assets.errors import SourceError

AT = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)


def received(body: bytes, at: datetime = AT) -> Received:
    return Received("http://provider/rows?symbol=A", 200, {"content-type": "text/plain", "cookie": "no"}, body, at)


def test_an_answer_is_kept_with_what_it_was_asked(tmp_path: Path) -> None:
    store = RawStore(tmp_path, "yahoo")
    kept = store.keep("chart", "A", received(b"one"), "rows")
    (entry,) = store.entries()
    assert entry == kept
    assert (entry.subject, entry.at, entry.headers) == ("A", AT, {"content-type": "text/plain"})
    assert store.body(entry) == b"one"


def test_the_same_body_is_kept_once_and_each_answer_has_its_line(tmp_path: Path) -> None:
    store = RawStore(tmp_path, "yahoo")
    for day in range(3):
        store.keep("chart", "A", received(b"one", AT + timedelta(days=day)), "rows")
    assert len(list((tmp_path / "yahoo" / "bodies").rglob("*.gz"))) == 1
    assert [entry.at.day for entry in store.entries(through=AT + timedelta(days=1))] == [30, 1]
    assert [entry.at.day for entry in store.entries(since=(AT + timedelta(days=1)).date())] == [1, 2]


def test_what_never_came_has_a_line_without_a_body(tmp_path: Path) -> None:
    store = RawStore(tmp_path, "yahoo")
    entry = store.keep("chart", "A", Received("http://x", 0, {}, b"", AT, "ConnectError"), "broken", "ConnectError")
    assert (entry.sha256, store.body(entry)) == (None, b"")


def test_half_a_line_of_a_crash_is_no_answer_and_is_gone_with_the_next(tmp_path: Path) -> None:
    store = RawStore(tmp_path, "yahoo")
    store.keep("chart", "A", received(b"one"), "rows")
    journal = tmp_path / "yahoo" / "journal" / "2026-11-30.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"endpoint": "chart", "subj')
    assert len(list(store.entries())) == 1
    store.keep("chart", "B", received(b"two"), "rows")
    assert [entry.subject for entry in store.entries()] == ["A", "B"]
    assert journal.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize(
    "damage",
    [b"", b"nonsense", gzip.compress(b"other", mtime=0), gzip.compress(b"one", mtime=0)[:-3]],
    ids=["empty", "nonsense", "other", "cut"],
)
def test_a_body_that_is_not_what_came_is_an_error_that_names_it(tmp_path: Path, damage: bytes) -> None:
    store = RawStore(tmp_path, "yahoo")
    entry = store.keep("chart", "A", received(b"one"), "rows")
    (path,) = (tmp_path / "yahoo" / "bodies").rglob("*.gz")
    path.write_bytes(damage)
    with pytest.raises(SourceError, match=f"{path.name}.*collect A again"):
        store.body(entry)


def test_a_line_that_is_none_is_an_error_that_names_it(tmp_path: Path) -> None:
    store = RawStore(tmp_path, "yahoo")
    store.keep("chart", "A", received(b"one"), "rows")
    with (tmp_path / "yahoo" / "journal" / "2026-11-30.jsonl").open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(SourceError, match=r"2026-11-30.jsonl, line 2"):
        list(store.entries())


WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from quant_assets.collectors.http import Received
from quant_assets.collectors.raw_store import RawStore
store = RawStore(Path(sys.argv[1]), "yahoo")
first = int(sys.argv[2])
for number in range(first, 100_000):
    body = (f"{number}:" * 2000).encode()
    at = datetime(2026, 11, 30, 22, 0, tzinfo=UTC) + timedelta(microseconds=number)
    store.keep("chart", str(number), Received("http://x", 200, {}, body, at), "rows")
    print(number, flush=True)
"""


def test_killed_at_any_moment_nothing_that_was_kept_is_lost_and_nothing_is_there_twice(tmp_path: Path) -> None:
    rng, told = random.Random(5), -1
    for _ in range(8):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(told + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            time.sleep(rng.uniform(0, 0.15))
            os.kill(process.pid, signal.SIGKILL)
            told = int([first, *process.stdout.read().splitlines()][-1] or told)
        store = RawStore(tmp_path, "yahoo")
        subjects = [int(entry.subject) for entry in store.entries()]
        assert subjects == list(range(len(subjects)))
        assert len(subjects) - 1 in {told, told + 1}  # one more may have been kept and not told
        told = len(subjects) - 1
        assert all(store.body(entry).startswith(f"{entry.subject}:".encode()) for entry in store.entries())
