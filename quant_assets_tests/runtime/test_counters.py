"""Counts and times of calls: failed calls are counted but not timed, and only the latest times are kept."""

import pytest

from quant_assets.runtime import counters
from quant_assets.runtime.counters import Counters


def test_calls_rows_failures_and_percentiles(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 9.0, *(seconds for place in range(100) for seconds in (0.0, (place + 1) / 1e3)), 0.0, 5.0])
    monkeypatch.setattr(counters.time, "perf_counter", lambda: next(clock))
    tally = Counters(kept=100)
    with tally.call("trees", 7):
        pass
    for _ in range(100):
        with tally.call("trees", 10):
            pass
    with pytest.raises(KeyError), tally.call("trees", 10):
        raise KeyError
    figures = tally.figures()
    assert list(figures) == ["trees"]
    assert (figures["trees"]["calls"], figures["trees"]["rows"], figures["trees"]["failures"]) == (102, 1007, 1)
    assert figures["trees"]["p50_ms"] == pytest.approx(50.5), "the first call is not among the latest hundred"
    assert figures["trees"]["p95_ms"] == pytest.approx(95.05)
    assert figures["trees"]["p99_ms"] == pytest.approx(99.01)


def test_a_model_whose_calls_all_failed_has_no_times() -> None:
    tally = Counters()
    with pytest.raises(ValueError, match="no"), tally.call("a", 1):
        raise ValueError("no")
    assert tally.figures() == {"a": {"calls": 1.0, "rows": 0.0, "failures": 1.0}}
