"""Counts and times of model calls in this process; they are not stored."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

#: Number of latest calls whose times are kept.
KEPT_CALLS = 1_000


class Counters:
    """Numbers of calls and rows by model, and the times of the latest `kept` calls."""

    def __init__(self, kept: int = KEPT_CALLS) -> None:
        self._seconds: dict[str, deque[float]] = {}
        self._counts: dict[str, list[int]] = {}
        self._kept, self._lock = kept, threading.Lock()

    @contextmanager
    def call(self, model: str, rows: int) -> Iterator[None]:
        """Count a call of a model; a failed call counts as a failure, without its time."""
        begun, failed = time.perf_counter(), 1
        try:
            yield
            failed = 0
        finally:
            took = time.perf_counter() - begun
            with self._lock:
                counts = self._counts.setdefault(model, [0, 0, 0])
                for place, more in enumerate((1, 0 if failed else rows, failed)):
                    counts[place] += more
                if not failed:
                    self._seconds.setdefault(model, deque(maxlen=self._kept)).append(took)

    def figures(self) -> dict[str, dict[str, float]]:
        """By model: `calls`, `rows`, `failures`, and `p50_ms`, `p95_ms`, `p99_ms` if a call succeeded."""
        result = {}
        with self._lock:
            for model, (calls, rows, failures) in sorted(self._counts.items()):
                result[model] = {"calls": float(calls), "rows": float(rows), "failures": float(failures)}
                if seconds := self._seconds.get(model):
                    values = np.percentile(np.asarray(seconds), (50, 95, 99)) * 1e3
                    result[model] |= dict(zip(("p50_ms", "p95_ms", "p99_ms"), values.tolist(), strict=True))
        return result


#: The counters of this process.
COUNTERS = Counters()
