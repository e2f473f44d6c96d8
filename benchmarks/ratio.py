"""A benchmark's result: our time and a peer's for the same work, the way of measuring both, and their table."""

import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

#: The peers' own Python (`make peers`); without it peers are reported as not installed.
PEERS_PYTHON = Path(__file__).resolve().parents[1] / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True)
class Ratio:
    """One comparison on the same work in the same run.

    Attributes:
        topic: name of the benchmark file.
        what: the work, with its size.
        ours_seconds: our time.
        peer: name of the peer, with its processes or threads; empty without a peer.
        peer_seconds: its time; None if it is not installed.
        note: contents of the two times, where they differ or need an explanation.

    """

    topic: str
    what: str
    ours_seconds: float
    peer: str
    peer_seconds: float | None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Peer's time over ours: above 1 we are faster; None without a peer."""
        return None if self.peer_seconds is None else self.peer_seconds / self.ours_seconds


def peer_imports(module: str) -> bool:
    """Whether the peers' Python can import a module."""
    if not PEERS_PYTHON.exists():
        return False
    done = subprocess.run([PEERS_PYTHON, "-c", f"import {module}"], capture_output=True, check=False)
    return done.returncode == 0


def peer_packages() -> Path | None:
    """The folder of the peers' packages, for a peer that runs on the libraries of this project; None where absent."""
    return next(iter(PEERS_PYTHON.parents[1].glob("lib/python*/site-packages")), None)


def alternating(*runs: Callable[[], object], repetitions: int = 5) -> list[float]:
    """Median seconds of each of `runs`, taken in turns, so that a slow phase of the machine affects all.

    Each runs once before, untimed: compilation and caches are not measured.
    """
    for run in runs:
        run()
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repetitions):
        for run, times in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def table(ratios: Iterable[Ratio]) -> Table:
    """The comparisons, one row each; a missing peer has neither time nor ratio."""
    shown = Table(title="Ratio = peer's time / ours: above 1 we are faster")
    for heading in ("topic", "what", "ours", "peer", "peer's time", "ratio", "note"):
        shown.add_column(
            heading, justify="right" if heading in ("ours", "peer's time", "ratio") else "left", overflow="fold"
        )
    for item in ratios:
        absent = "not installed" if item.peer else "-"
        theirs = absent if item.peer_seconds is None else seconds_text(item.peer_seconds)
        ratio = "-" if item.ratio is None else f"{item.ratio:.3g}"
        shown.add_row(item.topic, item.what, seconds_text(item.ours_seconds), item.peer, theirs, ratio, item.note)
    return shown


def seconds_text(seconds: float) -> str:
    """Three significant digits with a fitting unit."""
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 1e-6:.3g} µs"
