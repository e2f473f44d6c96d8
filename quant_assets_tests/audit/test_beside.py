"""A part whose runs are shared by processes: they find together what one finds alone, and fail as it does."""

from pathlib import Path

import pytest

from quant_assets.audit.beside import audit_parts
from quant_assets.audit.parts import Part
from quant_assets.errors import SourceError

pytestmark = pytest.mark.slow


def test_processes_find_together_what_one_finds_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # The environment, by which worker processes have the same settings.
    monkeypatch.setenv("QUANT__AS_OF", "2024-12-13")
    monkeypatch.setenv("QUANT__PARTITIONS__START", "2021-06")
    steps: list[tuple[str, int, int]] = []
    part = Part("demo", ("telecoms",), "2023-03", "2024-12", ("universe", "macro"))  # the cuts are far apart
    alone, together = (audit_parts([part], workers, lambda *step: steps.append(step)) for workers in (1, 2))
    assert together.comparisons == alone.comparisons
    assert set(together.notes) == set(alone.notes)
    assert together.passed
    assert {each.test for each in together.comparisons} == {
        "truncation",
        "perturbation",
        "publication",
        "warm_up",
        "order",
        "company",
    }
    told = steps[[what for what, _, _ in steps].index("what is to be done") :]
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    # The plan, two stretches of months, and eight trials, of which the fresh one is judged by itself.
    assert told[-1] == ("done", 12, 12)


def test_an_error_of_a_process_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.csv").touch()
    monkeypatch.setenv("QUANT_DATA_DIR", str(tmp_path))
    with pytest.raises(SourceError, match=r"securities.parquet is missing"):
        audit_parts([Part("files", ("telecoms",), "2023-03", "2024-12", ("prices",))], 2, lambda *_: None)
