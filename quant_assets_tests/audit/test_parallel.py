"""A part whose runs are shared by processes: they find together what one finds alone, and fail as it does."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import pytest

from quant_assets.audit import parallel
from quant_assets.audit.parallel import audit_parts
from quant_assets.audit.parts import Part
from quant_assets.errors import SourceError
from quant_assets.running.execute import RunFailedError
from quant_assets_tests.audit.leaks import LEAKS, plant_in_process
from quant_assets_tests.graph import PROJECT

pytestmark = pytest.mark.slow


def start_processes_with(patch: pytest.MonkeyPatch, function: Callable[..., object], *arguments: Any) -> None:
    """Let each process of the pool begin with a call."""

    def pool(workers: int, context: SpawnContext) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(workers, mp_context=context, initializer=function, initargs=arguments)

    patch.setattr(parallel, "worker_pool", pool)


@pytest.mark.parametrize("leak", [pytest.param(None, marks=pytest.mark.nightly), "survivors only"])
@pytest.mark.nightly
def test_processes_find_together_what_one_finds_alone(leak: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if leak is not None:
        LEAKS[leak].plant(monkeypatch)
        monkeypatch.syspath_prepend(PROJECT)  # handed on to processes, which plant it too
        start_processes_with(monkeypatch, plant_in_process, leak)
    # The environment, by which worker processes have the same settings.
    monkeypatch.setenv("QUANT__AS_OF", "2024-12-13")
    monkeypatch.setenv("QUANT__PARTITIONS__START", "2021-06")
    steps: list[tuple[str, int, int]] = []
    part = Part("demo", ("telecoms",), "2023-03", "2024-12", ("universe", "macro"))  # the cuts are far apart
    alone, together = (audit_parts([part], workers, lambda *step: steps.append(step)) for workers in (1, 2))
    assert together.comparisons == alone.comparisons
    assert together.notes == alone.notes
    failing = {(each.test, each.asset) for each in together.failures}
    assert failing == (set() if leak is None else {(test, "universe") for test in ("perturbation", "events", "months")})
    assert {each.test for each in together.comparisons} == {
        "truncation",
        "perturbation",
        "events",
        "months",
        "publication",
        "warm_up",
        "order",
        "company",
        "state",
        "surroundings",
        "provider",
    }
    told = steps[[what for what, _, _ in steps].index("planning") :]
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    # The plan, two stretches of months, thirteen altered runs, of which the fresh one is judged by itself, the months
    # once more elsewhere, the provider, and the scores.
    assert told[-1] == ("done", 20, 20)


def test_an_error_of_a_process_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.csv").touch()
    monkeypatch.setenv("QUANT_DATA_DIR", str(tmp_path))
    with pytest.raises(SourceError, match=r"securities.parquet is missing"):
        audit_parts([Part("files", ("telecoms",), "2023-03", "2024-12", ("prices",))], 2, lambda *_: None)


def test_a_process_that_is_killed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    start_processes_with(monkeypatch, os._exit, 9)
    with pytest.raises(RunFailedError, match=r"a process was killed.*fewer --workers"):
        audit_parts([Part("demo", ("telecoms",), "2023-03", "2024-12", ("macro",))], 2, lambda *_: None)
