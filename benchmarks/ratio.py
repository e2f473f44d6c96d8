"""What a benchmark gives: our time and a peer's for the same work, how both are taken, and the table of them."""

import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

#: The peers' own Python (`make peers`); what needs it reports its peer as not installed where it is absent.
PEERS_PYTHON = Path(__file__).resolve().parents[1] / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True)
class Ratio:
    """One comparison on the same work in the same run.

    Attributes:
        topic: of the benchmark file.
        what: the work, with its size.
        ours_seconds: our time.
        peer: who else does it, and how many processes or threads it takes; empty where our time stands by itself.
        peer_seconds: its time; None where it is not installed.
        note: what the two times contain, where that is not the same or not plain.

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
    """Median seconds of each of `runs`, taken in turns, so that a slow spell of the machine meets all of them.

    Each runs once before, untimed: compilation and caches are not measured.
    """
    for run in runs:
        run()
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repetitions):
        for run, taken in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def table(ratios: Iterable[Ratio]) -> Table:
    """The comparisons, one row each; a peer that is not installed has neither time nor ratio."""
    shown = Table(title="Ratio = peer's time / ours: above 1 we are faster")
    for heading in ("topic", "what", "ours", "peer", "peer's time", "ratio", "note"):
        shown.add_column(
            heading, justify="right" if heading in ("ours", "peer's time", "ratio") else "left", overflow="fold"
        )
    for each in ratios:
        absent = "not installed" if each.peer else "-"
        theirs = absent if each.peer_seconds is None else seconds_text(each.peer_seconds)
        ratio = "-" if each.ratio is None else f"{each.ratio:.3g}"
        shown.add_row(each.topic, each.what, seconds_text(each.ours_seconds), each.peer, theirs, ratio, each.note)
    return shown


def seconds_text(seconds: float) -> str:
    """Three significant digits with a fitting unit."""
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 1e-6:.3g} µs"
