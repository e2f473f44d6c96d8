"""`quant vacuum`: it counts, and removes when it is told to."""

import sqlite3
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.running.instance import dagster_home, initialise_instance
from quant_assets_tests.command import Quant

pytestmark = pytest.mark.slow


@dg.op
def talkative(context: dg.OpExecutionContext) -> None:
    for line in range(50):
        context.log.info(f"line {line}")


@dg.job
def tiny() -> None:
    talkative()


def test_it_counts_and_removes_on_demand(command: Quant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "QUANT__STORAGE": str(tmp_path / "storage"),
        "QUANT__DAGSTER__STORAGE": "sqlite",
        "DAGSTER_HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(name, value)
    none = command("vacuum")
    assert (none.status, none.out) == (1, "")
    assert "there is no Dagster instance in" in none.err
    dagster_home("demo")
    initialise_instance()
    with dg.DagsterInstance.get() as found:
        made = tiny.execute_in_process(instance=found)
        stored = len(found.all_logs(made.run_id))
    assert "nothing to remove" in command("vacuum").out
    records = sqlite3.connect(tmp_path / "home" / "history" / "runs.db")
    records.execute("UPDATE runs SET end_time = end_time - 40 * 86400")
    records.commit()
    records.close()
    counted = command("vacuum", "--days", "39")
    assert "events of 1 runs that ended more than 39 days ago" in counted.out
    assert "nothing was removed, quant vacuum --yes removes them" in counted.out
    removed = command("vacuum", "--yes")
    assert removed.out.startswith("removed from ")
    with dg.DagsterInstance.get() as found:
        assert len(found.all_logs(made.run_id)) <= stored - 50
