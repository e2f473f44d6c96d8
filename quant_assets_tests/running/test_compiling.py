import multiprocessing
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from quant_assets.running.processes import beside

_USED = """
from quant_assets.windows import compiled

used, machine_code = [], compiled.machine_code


def recorded(function, **options):
    used.append(machine_code(function, **options))
    return used[-1]


compiled.machine_code = recorded
from quant_assets.running import compiling
from quant_assets.settings.loading import load_settings

settings = load_settings("demo")
compiling.volatility(settings)
compiling.features(settings)
print(*(each.py_func.__name__ for each in used if each.signatures))
"""


def test_the_slowest_loops_are_compiled() -> None:
    done = subprocess.run([sys.executable, "-c", _USED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    volatility = {"fit_windows", "forecasts", "logarithms"}
    averages = {"moments", "directional", "convergence", "smoothed", "regressions", "absolute_deviations", "sums"}
    assert set(done.stdout.split()) >= volatility | averages | {"_rank", "_zscore", "lagged", "extremes"}


def _write(path: Path) -> None:
    path.write_text("called")
    time.sleep(600.0)


@pytest.mark.parametrize("parent", ["", "ignores", "blocks"])
def test_processes_beside_end_with_the_context(tmp_path: Path, parent: str, request: pytest.FixtureRequest) -> None:
    """Also where the parent ignores or blocks the signal that ends them, which they inherit."""
    if parent == "ignores":
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        request.addfinalizer(lambda: signal.signal(signal.SIGTERM, before))
    elif parent == "blocks":
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        request.addfinalizer(lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask))
    begun = time.monotonic()
    with beside(multiprocessing.get_context("spawn"), [_write], tmp_path / "file"):
        while not (tmp_path / "file").exists() and time.monotonic() < begun + 120.0:
            time.sleep(0.05)
        (process,) = multiprocessing.active_children()
    process.join(timeout=60.0)
    ended = not process.is_alive()
    process.kill()
    assert (tmp_path / "file").read_text() == "called"
    assert ended


def _fail() -> None:
    warnings.warn("not shown", RuntimeWarning, stacklevel=1)
    raise ValueError("met by the run itself")


def test_processes_beside_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with beside(multiprocessing.get_context("spawn"), [_fail]):
        (process,) = multiprocessing.active_children()
        process.join(timeout=60.0)
        assert process.exitcode == 0
    assert capfd.readouterr() == ("", "")
