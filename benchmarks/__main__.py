"""`python -m benchmarks [topic …]`: measure all topics, or the named ones, and print one table of ratios."""

import importlib
import os
import platform
import sys
import time
from pathlib import Path

from rich.console import Console

from benchmarks.ratio import Ratio, table


def topics() -> list[str]:
    """Topics with a file."""
    return sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def main(names: list[str]) -> int:
    """Measure and print, also the results before an error. Returns the exit status."""
    progress = Console(stderr=True)
    unknown = sorted(set(names) - set(topics()))
    if unknown:
        progress.print(
            f"error: no benchmark '{unknown[0]}'; there are: {', '.join(topics())}", style="red", highlight=False
        )
        return 2
    ratios: list[Ratio] = []
    try:
        for topic in names or topics():
            start = time.perf_counter()
            with progress.status(f"{topic}: measuring …"):
                ratios += importlib.import_module(f"benchmarks.bench_{topic}").measure()
            progress.print(f"{topic}: measured in {time.perf_counter() - start:.0f} s", highlight=False)
    finally:
        if ratios:
            output = Console(width=None if sys.stdout.isatty() else 160)
            output.print(table(ratios))
            load = f"{os.getloadavg()[0]:.1f}"
            output.print(
                f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load} at the end", highlight=False
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
