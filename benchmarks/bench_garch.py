"""GARCH(1,1) fits per second: one batched call against arch called window by window, core for core.

Windows of 750 returns are drawn from GARCH processes with Student-t errors of varied persistence and tails
(`benchmarks.garch_study` compares the estimates on real prices). Against arch both use one thread and run in turns, and
CPU time is compared, because a busy machine stretches the wall clock. One more row per distribution shows the gain
from more cores.
"""

import statistics
import time
import warnings
from collections.abc import Callable

import numba
import numpy as np

from benchmarks.ratio import Ratio, alternating
from quant_assets.signals import garch

OBSERVATIONS = 750
WINDOWS, MANY_WINDOWS = 100, 2_000
ROUNDS = 5


def simulated(count: int, seed: int = 1) -> np.ndarray:
    """Returns in percent, shape (count, OBSERVATIONS)."""
    rng = np.random.default_rng(seed)
    alpha, persistence, nu = (
        rng.uniform(0.02, 0.2, count),
        rng.uniform(0.8, 0.995, count),
        rng.uniform(4.0, 12.0, count),
    )
    level = rng.uniform(0.8, 3.0, count) ** 2
    variance, out = level.copy(), np.empty((count, OBSERVATIONS))
    for t in range(OBSERVATIONS):
        residual = np.sqrt(variance) * rng.standard_t(nu) * np.sqrt((nu - 2.0) / nu)
        out[:, t] = 0.05 + residual
        variance = (1.0 - persistence) * level + alpha * residual**2 + (persistence - alpha) * variance
    return out


def ours(windows: np.ndarray, distribution: str, threads: int) -> Callable[[], object]:
    """One call for all windows."""
    stops = OBSERVATIONS * np.arange(1, len(windows) + 1)

    def run() -> object:
        numba.set_num_threads(threads)
        return garch.fit(windows.ravel(), stops - OBSERVATIONS, stops, "t" if distribution == "t" else "normal")

    return run


def arch_loop(windows: np.ndarray, distribution: str) -> Callable[[], object]:
    """Arch's fits, window by window."""
    from arch.univariate import GARCH, ConstantMean, Normal, StudentsT

    def run() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for returns in windows:
                errors = StudentsT() if distribution == "t" else Normal()
                ConstantMean(returns, volatility=GARCH(1, 0, 1), distribution=errors, rescale=False).fit(
                    disp="off", show_warning=False
                )

    return run


def cpu_seconds(*runs: Callable[[], object]) -> list[float]:
    """Median CPU time of each of `runs`, taken in turns; each runs once before, untimed."""
    for run in runs:
        run()
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(ROUNDS):
        for run, seconds in zip(runs, times, strict=True):
            start = time.process_time()
            run()
            seconds.append(time.process_time() - start)
    return [statistics.median(seconds) for seconds in times]


def measure() -> list[Ratio]:
    """Time per fit with each distribution, and the gain of all threads over one."""
    many = simulated(MANY_WINDOWS)
    windows = many[:WINDOWS]
    threads = numba.config.NUMBA_NUM_THREADS
    ratios = []
    for distribution in ("normal", "t"):
        what = f"one fit, {distribution} errors, {OBSERVATIONS} returns"
        mine, theirs = cpu_seconds(ours(windows, distribution, 1), arch_loop(windows, distribution))
        ratios.append(
            Ratio(
                "garch",
                what,
                mine / WINDOWS,
                "arch loop",
                theirs / WINDOWS,
                f"CPU time, one thread, mean of the same {WINDOWS} windows",
            )
        )
        one, all_ = alternating(ours(many, distribution, 1), ours(many, distribution, threads), repetitions=ROUNDS)
        what = f"{MANY_WINDOWS} fits, {distribution} errors, {threads} threads"
        ratios.append(Ratio("garch", what, all_, "ours, one thread", one, "wall clock"))
    numba.set_num_threads(threads)
    return ratios
