"""A book of 500 names over 25 years with all costs, against vectorbt's `from_orders` of the same trades.

Ours computes the trades: it holds the weights of 300 decisions, determines the trades with their costs, and itemises
the costs. vectorbt receives these trades, in shares, with each trade's cost as its fee. Both compute the value of the
book after each close; a difference beyond `TOLERANCE` is an error, not a time.
"""

import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.ratio import PEERS_PYTHON, Ratio, peer_imports
from quant_assets.backtest.book_kernel import Carried, carried

SESSIONS, NAMES, REPETITIONS = 6300, 500, 5

#: Largest relative difference of the two values of the book.
TOLERANCE = 1e-9


def measure() -> list[Ratio]:
    """In turns, so that a slow phase of the machine affects both."""
    market = drawn()
    ours, theirs = [], []
    book = carry(market)
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        book = carry(market)
        ours.append(time.perf_counter() - start)
    installed = peer_imports("vectorbt")
    for _ in range(3 if installed else 0):
        theirs.append(vectorbt_seconds(market["mark"], book))
        start = time.perf_counter()
        carry(market)
        ours.append(time.perf_counter() - start)
    return [
        Ratio(
            "simulation",
            f"{NAMES} names x {SESSIONS} sessions, {len(book.trades):,} trades with all costs",
            median(ours),
            "vectorbt from_orders",
            median(theirs) if theirs else None,
            f"1 thread each; values equal to {TOLERANCE:g}; ours works out the trades too",
        )
    ]


def drawn() -> dict[str, np.ndarray]:
    """Prices, weights and costs of a synthetic market, (n_sessions, n_names)."""
    rng = np.random.default_rng(25)
    shape = (SESSIONS, NAMES)
    mark = 50.0 * np.exp(np.cumsum(0.015 * rng.standard_normal(shape), axis=0))
    decision = np.full(SESSIONS, -1)
    decision[::21] = np.arange(len(decision[::21]))
    raw = rng.gamma(1.0, 1.0, (decision.max() + 1, NAMES)) * rng.choice([1.0, -0.3], (decision.max() + 1, NAMES))
    return {
        "mark": mark,
        "target": raw / np.abs(raw).sum(axis=1, keepdims=True),
        "decision": decision,
        "half": rng.uniform(1e-4, 1e-3, shape),
        "impact": rng.uniform(1e-3, 2e-2, shape),
        "dividend": np.where(rng.random(shape) < 0.015, 0.005, 0.0),
        "days": np.where(np.arange(SESSIONS) % 5, 1.0, 3.0),
    }


def carry(market: dict[str, np.ndarray]) -> Carried:
    """Ours, with commission, spread and impact; nightly fees and interest, which vectorbt lacks, are 0."""
    return carried(market["mark"], rates=(1e-4, 0.0, 0.0, 0.0), long_only=False, **market)


def vectorbt_seconds(mark: np.ndarray, book: Carried) -> float:
    """Vectorbt's time in a process of its own; its value of the book is compared with ours."""
    at, row = book.traded.T
    sizes, fees = np.zeros(mark.shape), np.zeros(mark.shape)
    before = book.equity[at] / (1.0 - book.cost[at])
    sizes[at, row] = book.trades[:, 1] * before / book.trades[:, 5]
    fees[at, row] = book.trades[:, 2:5].sum(axis=1) / np.abs(book.trades[:, 1])
    with tempfile.TemporaryDirectory() as folder:
        arrays, out = Path(folder) / "trades.npz", Path(folder) / "value.npy"
        np.savez(arrays, allow_pickle=False, close=mark, sizes=sizes, fees=fees, repetitions=REPETITIONS)
        command = [str(PEERS_PYTHON), "-m", "benchmarks.vectorbt_simulation", str(arrays), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
        if done.returncode != 0:
            raise RuntimeError(f"vectorbt's run failed: {done.stderr.strip()[-300:]}")
        value = np.load(out).ravel()
    apart = float(np.abs(value / book.equity - 1.0).max())
    if apart > TOLERANCE:
        raise RuntimeError(f"vectorbt values the same trades otherwise: by {apart:.2e} of the book at most")
    return float(done.stdout.split()[-1])
