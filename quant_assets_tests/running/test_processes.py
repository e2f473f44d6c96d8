"""Worker processes at Ctrl-C, which a terminal sends to all of them: they say nothing, whatever they are at."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from quant_assets.running.processes import sigterm_interrupts, worker_pool

#: A script's background ignores the signal, and so does what it starts.
IGNORED = pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    reason="SIGINT is ignored in this process",
)

SCRIPT = """
import multiprocessing, sys, time
from pathlib import Path

from quant_assets.running.processes import Channel, channel, worker_pool


def work(folder, number):
    Path(folder, f"began {number}").touch()
    while not channel().interrupted:
        time.sleep(0.05)
    return "given up"


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    told = Channel(context)
    pool = worker_pool(2, context, told)
    futures = [pool.submit(work, sys.argv[1], number) for number in range(3)]
    try:
        print("begun", flush=True)
        time.sleep(300)
    except KeyboardInterrupt:
        told.interrupt()
        pool.shutdown(cancel_futures=True)
        print([future.result() for future in futures if not future.cancelled()])
        sys.exit("interrupted")
"""


@IGNORED
@pytest.mark.slow
@pytest.mark.parametrize("at_work", [False, True])
def test_an_interruption_is_one_line_while_workers_start_and_while_they_work(tmp_path: Path, at_work: bool) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        while at_work and len(list(tmp_path.glob("began *"))) < 2:
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (1, "interrupted\n")
    assert "given up" in out


def submit_and_wait(pool: ProcessPoolExecutor) -> None:
    """Where another thread takes the process's signal, it may come to it a moment after the call."""
    pool.submit(print)
    for _ in range(3_000):
        time.sleep(0.01)


@IGNORED
def test_sigterm_is_an_interruption_as_long_as_something_is_executed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@IGNORED
@pytest.mark.parametrize("to_process", [True, False])
def test_an_interruption_during_the_submission_comes_after_it(
    monkeypatch: pytest.MonkeyPatch, to_process: bool
) -> None:
    submitted: list[bool] = []

    def interrupted(*_: Any, **__: Any) -> Future[None]:
        if to_process:
            os.kill(os.getpid(), signal.SIGINT)
        else:
            signal.raise_signal(signal.SIGINT)
        submitted.append(True)
        return Future()

    monkeypatch.setattr(ProcessPoolExecutor, "submit", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with worker_pool(1, multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(KeyboardInterrupt):
            submit_and_wait(pool)
        assert submitted
        assert signal.getsignal(signal.SIGINT) is before
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        if to_process:
            return
        # Without a handler of Python only the main thread's own signals wait: another thread that gets the process's
        # makes the main thread handle it at once.
        monkeypatch.setattr(signal, "getsignal", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            pool.submit(print)
    assert len(submitted) == 2
