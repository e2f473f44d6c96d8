"""How often models are asked, and how long it takes: figures of this process, which nothing that is stored holds."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

#: The latest calls of which the times are kept.
KEPT_CALLS = 1_000


class Counters:
    """How often models were asked, for how many rows, and how long the latest `kept` calls took."""

    def __init__(self, kept: int = KEPT_CALLS) -> None:
        self._seconds: dict[str, deque[float]] = {}
        self._counts: dict[str, list[int]] = {}
        self._kept, self._lock = kept, threading.Lock()

    @contextmanager
    def call(self, model: str, rows: int) -> Iterator[None]:
        """Count a call of a model; one that fails is counted as such, and its time is not."""
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
        """Of each model: `calls`, `rows`, `failures`, and `p50_ms`, `p95_ms`, `p99_ms` where a call ended well."""
        found = {}
        with self._lock:
            for model, (calls, rows, failures) in sorted(self._counts.items()):
                found[model] = {"calls": float(calls), "rows": float(rows), "failures": float(failures)}
                if taken := self._seconds.get(model):
                    values = np.percentile(np.asarray(taken), (50, 95, 99)) * 1e3
                    found[model] |= dict(zip(("p50_ms", "p95_ms", "p99_ms"), values.tolist(), strict=True))
        return found


#: Of this process.
COUNTERS = Counters()
