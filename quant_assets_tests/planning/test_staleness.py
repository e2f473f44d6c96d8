"""Stale partitions of the real graph, where what they follow from is not of their own sector and month: earlier prices,
the trial log."""

import shutil
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.audit.reproduction import recompute
from quant_assets.partitions import key
from quant_assets.planning.staleness import Staleness
from quant_assets_tests.graph import SMALL, Graph

pytestmark = pytest.mark.slow

SECTORS, FIRST, LAST = ("cons_staples", "healthcare"), "2024-01", "2024-03"
TRAINING = {
    "window_months": 6,
    "min_rows": 200,
    "cadence_months": 1,
}
MODELS = SMALL["models"] | {"lightgbm": {"parameters": {"min_data_in_leaf": 20, "num_trees": 5}}}
SETTINGS = {
    "as_of": date(2024, 7, 31),
    "partitions": {"start": "2023-07"},
    "training": TRAINING,
    "models": MODELS,
    "report": {"history_months": 2},
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """Three months of portfolio and reports of two sectors."""
    graph = Graph.at(tmp_path_factory.mktemp("stored"), **SETTINGS)
    names = ["portfolio_backtest", "ops_report", "weights", "regime_state"]
    for phase in graph.planner.plan(names, SECTORS, FIRST, LAST).phases:
        graph.materialise(phase.assets, tags=phase.range_tags)
    return graph


@pytest.fixture
def copy(stored: Graph, tmp_path: Path) -> Callable[[], Graph]:
    def made() -> Graph:
        graph = Graph.at(tmp_path, **SETTINGS)
        shutil.copytree(stored.profile.store.url, graph.profile.store.url, dirs_exist_ok=True)
        return graph

    return made


def stale(graph: Graph, name: str, sectors: Sequence[str] = SECTORS) -> dict[str, str]:
    """Why the months of an asset count as stale."""
    found = Staleness(graph.profile, (graph.defs.resources or {})["parquet"].recorder).all(graph.planner.order, sectors)
    return {f"{each.first}..{each.last}": each.why for each in found if each.asset == name and each.counts}


def change(graph: Graph, name: str, partition_key: str, **columns: pl.Expr) -> None:
    """Other rows, as a run that other data was given to would have written them."""
    store, dataset = graph.profile.store, graph.datasets[name]
    recorded = store.recorded(dataset, partition_key)
    rows = store.read(dataset, [partition_key]).collect().drop("month").with_columns(**columns)
    store.write(dataset, rows, [partition_key], lambda _: recorded.known_through, lambda _: recorded.made_by or "")


@pytest.mark.parametrize("sectors", [SECTORS, SECTORS[:1]])
def test_nothing_is_stale_at_first_whichever_sectors_are_asked_for(stored: Graph, sectors: tuple[str, ...]) -> None:
    for name in stored.planner.order:
        assert stale(stored, name, sectors) == {}, name


@pytest.mark.parametrize(
    ("name", "sector", "month", "column", "months"),
    [
        (
            "prices",
            "cons_staples",
            "2024-01",
            "close",
            "2024-01..2024-03",
        ),  # a position of January is held through March
        ("prices", "healthcare", "2024-03", "close", "2024-03..2024-03"),
        ("delistings", "cons_staples", "2024-03", "delisting_return", "2024-03..2024-03"),
    ],
)
def test_a_changed_price_makes_those_backtests_of_the_portfolio_stale_that_read_it(
    copy: Callable[[], Graph], name: str, sector: str, month: str, column: str, months: str
) -> None:
    graph = copy()
    change(graph, name, key(sector, month), **{column: pl.lit(0.5)})
    assert stale(graph, "portfolio_backtest")[months] == f"inputs {name} changed"


def test_a_price_that_explains_another_backtest_of_the_portfolio_is_named(copy: Callable[[], Graph]) -> None:
    graph = copy()
    change(graph, "prices", key(SECTORS[0], "2024-02"), close=pl.col("close") * (1 + 0.01 * pl.int_range(pl.len())))
    graph.materialise(["portfolio_backtest"], partition_key=LAST)
    again = recompute(graph.profile, "portfolio_backtest", LAST)
    differing = {each.asset: each.why for each in again.compared if each.outcome == "differs"}
    assert differing.keys() == {"prices", "portfolio_backtest"}
    assert differing["portfolio_backtest"] == ("inputs prices changed",)


def test_a_new_trial_makes_those_reports_stale_that_count_it(copy: Callable[[], Graph]) -> None:
    graph = copy()
    other = Graph(graph.settings.model_copy(update={"weights": graph.settings.weights.model_copy(update={"top_n": 1})}))
    before = graph.files()
    for phase in other.planner.plan(["weights", "backtest"], [SECTORS[0]], "2024-02", "2024-02").phases:
        other.materialise(phase.assets, tags=phase.range_tags)
    # The rows are again those of the settings, so that what is left is the trial.
    for path, content in before.items():
        if not path.startswith("artifacts/"):
            (Path(graph.profile.store.url) / path).write_bytes(content)
    assert stale(graph, "ops_report") == {"2024-02..2024-03": "inputs trials changed"}, (
        "in January it had not been tried"
    )
    assert stale(graph, "backtest") == {}, "what was tried is shown beside its rows, not in them"
    assert stale(graph, "ops_report", SECTORS[1:]) == {}
    again = recompute(graph.profile, "ops_report", key(SECTORS[0], "2024-02"))
    (why,) = (each.why for each in again.compared if each.outcome == "differs")
    assert why == ("inputs trials changed",)
    for phase in graph.planner.plan(["ops_report"], [SECTORS[0]], "2024-02", LAST).phases:
        graph.materialise(phase.assets, tags=phase.range_tags)
    assert stale(graph, "ops_report") == {}
    report = graph.read("ops_report").filter(pl.col("sector") == SECTORS[0], pl.col("metric") == "trials").sort("month")
    assert report["value"].to_list()[-3:] == [1, 2, 2]
