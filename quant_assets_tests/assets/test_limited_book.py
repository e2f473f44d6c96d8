"""A backtest under turnover limits on the real graph: it goes back to the first decision, and needs all since."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.market.calendar import decision_sessions
from quant_assets.partitions import key, month_end, month_range, month_start
from quant_assets.planning.plan import Phase
from quant_assets_tests.graph import Graph

SECTOR = "cons_staples"
START, LAST = "2021-11", "2023-04"
TURNOVER = {"limited": True, "max_turnover": 0.35, "annual": 0.8, "min_trade": 0.0}


SETTINGS: dict[str, Any] = {
    "as_of": date(2023, 4, 28),
    "partitions": {"start": START},
    "backtest": {"turnover": TURNOVER},
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """Prices of a sector and weights drawn at random since the profile's start."""
    found = Graph.at(tmp_path_factory.mktemp("stored"), **SETTINGS)
    for phase in found.planner.plan(["prices", "delistings", "universe"], [SECTOR], START, LAST).phases:
        found.materialise(phase.assets, tags=phase.range_tags)
    names = found.read("prices")["ticker"].unique().sort().to_list()
    rng, rows = np.random.default_rng(2), []
    for as_of in decision_sessions(month_start(START), month_end(LAST)):
        rows += [(SECTOR, name, as_of, 0.25) for name in rng.choice(names, 4, replace=False)]
    weights = pl.DataFrame(rows, schema=["sector", "ticker", "as_of", "weight"], orient="row")
    dataset = found.datasets["weights"]
    weights = pl.concat([dataset.empty(), weights], how="diagonal_relaxed").select(dataset.empty().columns)
    keys = [key(SECTOR, month) for month in month_range(START, LAST)]
    found.profile.store.write(dataset, weights, keys, lambda each: found.profile.known_through(each[:7]))
    return found


@pytest.fixture
def graph(stored: Graph, tmp_path: Path) -> Graph:
    found = Graph.at(tmp_path, **SETTINGS)
    shutil.copytree(stored.profile.store.url, found.profile.store.url, dirs_exist_ok=True)
    return found


@pytest.mark.slow
def test_a_range_equals_its_months_and_every_session_and_year_stays_within_the_limits(graph: Graph) -> None:
    phase = Phase(("backtest",), "2021-12", LAST, (SECTOR,))
    graph.materialise(phase.assets, tags=phase.range_tags)
    ranged = {path: content for path, content in graph.files().items() if path.startswith("backtest/")}
    rows = graph.read("backtest")
    assert rows["turnover"].max() == pytest.approx(0.35)
    assert rows.group_by(pl.col("date").dt.year()).agg(pl.sum("turnover"))["turnover"].max() == pytest.approx(0.8)
    for month in ("2023-04", "2022-12", "2023-01", "2022-01"):
        graph.materialise(["backtest"], partition_key=key(SECTOR, month))
    again = {path: content for path, content in graph.files().items() if path.startswith("backtest/")}
    assert again.keys() == ranged.keys()
    assert [path for path, content in again.items() if content != ranged[path]] == []


@pytest.mark.slow
def test_a_month_needs_every_decision_before_it(graph: Graph) -> None:
    plan = graph.planner.plan(["weights", "backtest"], [SECTOR], LAST, LAST).phases
    assert {phase.first for phase in plan if "backtest" in phase.assets} == {LAST}
    store = graph.profile.store
    Path(store.path(graph.datasets["weights"], key(SECTOR, "2021-12"))).unlink()
    plan = graph.planner.plan(["weights", "backtest"], [SECTOR], LAST, LAST).phases
    assert min(phase.first for phase in plan if "weights" in phase.assets) <= "2021-12"
    with pytest.raises(Exception, match="2021-12"):
        graph.materialise(["backtest"], partition_key=key(SECTOR, LAST))
