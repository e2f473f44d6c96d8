"""Sessions over a month's end, carried out by the job that the schedules ask for: the ledger has each of them once, and
the months are, byte for byte, what `quant run` makes."""

from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.assets.live import DECISIONS
from quant_assets.market.calendar import sessions
from quant_assets.running.instance import dagster_home
from quant_assets_tests.automation.quarter import SECTORS, Simulation

FIRST, LAST = date(2024, 3, 27), date(2024, 4, 2)


@pytest.mark.slow
@pytest.mark.nightly
def test_a_months_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_CONF_DIR", str(tmp_path / "conf"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    simulation, days = Simulation(tmp_path, FIRST), sessions(FIRST, LAST).tolist()
    assert len(days) == 4  # Wednesday, Thursday (the month's last), and after Good Friday Monday and Tuesday
    simulation.at(days[0])
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_home("demo")))
    with dg.DagsterInstance.get() as instance:
        for day in (days[0], days[1], days[3]):  # on Monday the daemon is down
            simulation.at(day)
            request = simulation.tick("after_close", day, 17, instance)
            assert isinstance(request, dg.RunRequest), request
            assert simulation.executed(request, instance)
            trained = simulation.trained()
            assert trained == (["2024-03|cons_staples"] if day == days[1] else [])
            assert simulation.tick("after_close", day, 18, instance) == f"the decisions up to {day} are recorded"
        assert simulation.entries() == {day: set(SECTORS) for day in days}
        runs = instance.get_runs(dg.RunsFilter(tags={"quant/session": str(days[2])}))
        assert [each.status for each in runs] == [dg.DagsterRunStatus.SUCCESS] * 2, "the entry, and the day's page"
        request = simulation.tick("before_open", days[3], 20, instance)
        assert request == f"the decisions up to {LAST} are recorded, those of 1 sectors"
    profile = simulation.profile
    dataset = profile.every_dataset[DECISIONS]
    rows = profile.store.read(dataset, profile.store.existing(dataset)).collect()
    late = dict(rows.select("date", "late").unique().iter_rows())
    assert late == {days[0]: 0, days[1]: 0, days[2]: 1, days[3]: 0}
    months = profile.store.read(profile.datasets["weights"], ["2024-03|cons_staples"]).collect()
    said = rows.filter((pl.col("date") == days[1]) & (pl.col("item") == "weight")).sort("ticker")
    assert said.select("ticker", "value").rows() == months.sort("ticker").select("ticker", "weight").rows()
    assert simulation.differing("2024-03", "2024-03") == []
