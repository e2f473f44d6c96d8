"""Qlib's 158 features over the same simulated panel: ours on one thread, Qlib's engine in the peers' environment.

Both start from local prices and end with 158 columns in memory. Ours are arrays of a panel; Qlib reads its binary
files, whose pages are in the system's cache, and returns a pandas frame. Neither writes anything.
"""

import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.ratio import PEERS_PYTHON, Ratio, peer_imports
from quant_assets.features.alpha158 import FEATURES
from quant_assets.windows.declarations import FeatureSet
from quant_assets.windows.windows import Windows

TICKERS, SESSIONS = 100, 2500
REPETITIONS = 3


def measure() -> list[Ratio]:
    """Against Qlib on one process and on one process per core (its default: two fewer than the cores, at least one)."""
    days, fields = panel()
    processes = sorted({1, os.cpu_count() or 1})
    theirs: dict[int, list[float]] = {count: [] for count in processes}
    ours = our_seconds(days, fields)
    if peer_imports("qlib"):
        with tempfile.TemporaryDirectory() as folder:
            arrays = Path(folder) / "bars.npz"
            np.savez(
                arrays, allow_pickle=False, tickers=np.array([f"T{i:03d}" for i in range(TICKERS)]), days=days, **fields
            )
            for _ in range(REPETITIONS):  # in turns, so that a slow phase of the machine affects both
                for count in processes:
                    theirs[count].append(qlib_seconds(arrays, count))
                    ours += our_seconds(days, fields)
    what = f"158 features, {TICKERS} tickers x {SESSIONS} sessions"
    return [
        Ratio(
            "alpha158",
            what,
            median(ours),
            f"Qlib, {count} process{'es' * (count > 1)}",
            median(seconds) if seconds else None,
            "ours on 1 thread",
        )
        for count, seconds in theirs.items()
    ]


def panel() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Days and bars of shape (n_tickers, n_sessions)."""
    rng = np.random.default_rng(158)
    shape = (TICKERS, SESSIONS)
    days = np.busday_offset("2015-01-01", np.arange(SESSIONS), roll="forward")
    close = 50.0 * np.exp(np.cumsum(0.015 * rng.standard_t(5, shape), axis=1))
    open_ = close * np.exp(0.005 * rng.normal(size=shape))
    high = np.maximum(open_, close) * np.exp(np.abs(0.005 * rng.normal(size=shape)))
    low = np.minimum(open_, close) / np.exp(np.abs(0.005 * rng.normal(size=shape)))
    volume = np.round(rng.lognormal(13.0, 0.5, shape))
    return days, {
        "open": open_,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
        "vwap": (high + low + close) / 3.0,
    }


def our_seconds(days: np.ndarray, fields: dict[str, np.ndarray]) -> list[float]:
    """Times of two computations of ours, after one that may compile."""
    features = FeatureSet(FEATURES)
    inputs = {name: fields[name] for name in features.fields}
    times = []
    for _ in range(3):
        start = time.perf_counter()
        features.evaluate(inputs, Windows(days))
        times.append(time.perf_counter() - start)
    return times[1:]


def qlib_seconds(arrays: Path, processes: int) -> float:
    """Qlib's time, in a process of its own."""
    command = [str(PEERS_PYTHON), "-m", "benchmarks.qlib_alpha158", str(arrays), str(processes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    if done.returncode != 0:
        raise RuntimeError(f"Qlib's run failed: {done.stderr.strip()[-300:]}")
    return float(done.stdout.split()[-1])
