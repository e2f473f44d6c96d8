"""What a run must refuse rather than compute on: unfinished months, partitions that failed their checks, sectors
without bars."""

from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets import checks
from quant_assets.errors import MissingPartitionError
from quant_assets.schemas import DATASETS, Dataset
from quant_assets_tests.graph import Graph

SECTOR, START = "cons_staples", {"start": "2023-01"}
PRICES = [
    "universe",
    "ohlcv",
    "quarantine",
    "price_events",
    "price_disagreements",
    "price_peaks",
    "absences",
    "delistings",
    "prices",
]


def run(graph: Graph, names: list[str], first: str, last: str) -> None:
    chosen = [name for name in graph.planner.order if name in names]
    for phase in graph.planner.plan(chosen, [SECTOR], first, last).phases:
        graph.materialise(phase.assets, tags=phase.range_tags)


@pytest.mark.slow
def test_a_month_written_while_it_ran_is_refused_by_a_later_run(tmp_path: Path) -> None:
    """`quant run` would compute October again; the web UI runs November alone, and must not take half of October for
    the whole."""
    run(Graph.at(tmp_path, as_of=date(2023, 10, 13), partitions=START), [*PRICES, "indicators"], "2023-10", "2023-10")
    later = Graph.at(tmp_path, as_of=date(2023, 11, 30), partitions=START)
    later.materialise([name for name in later.planner.order if name in PRICES], partition_key=f"2023-11|{SECTOR}")
    with pytest.raises(MissingPartitionError) as error:
        later.materialise(["indicators"], partition_key=f"2023-11|{SECTOR}")
    assert "2023-10|cons_staples; the first knows until 2023-10-13, 2023-10-31 is needed" in str(error.value)
    run(later, ["indicators"], "2023-11", "2023-11")
    assert len(later.read("indicators").filter(pl.col("month") == "2023-11"))


@pytest.mark.slow
def test_a_partition_that_failed_a_check_is_set_aside_and_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph.at(tmp_path, as_of=date(2023, 11, 30), partitions=START)
    run(graph, PRICES[:-1], "2023-09", "2023-11")
    sound = checks.breaches

    def broken(dataset: Dataset, frame: pl.DataFrame, last_session: date) -> dict[str, list[str]]:
        found = sound(dataset, frame, last_session)
        if (frame["month"] == "2023-10").any():
            found["ranges"].append("close is nonsense")
        return found

    monkeypatch.setattr(checks, "breaches", broken)
    with pytest.raises(dg.DagsterError):
        run(graph, ["prices"], "2023-09", "2023-11")
    monkeypatch.setattr(checks, "breaches", sound)
    keys = [f"2023-{month:02d}|{SECTOR}" for month in (9, 10, 11)]
    assert graph.profile.store.missing(DATASETS["prices"], keys) == keys[1:2]
    phases = graph.planner.plan(["indicators"], [SECTOR], "2023-11", "2023-11").phases
    assert ("prices", "2023-10") in {(name, phase.last) for phase in phases for name in phase.assets}


@pytest.mark.slow
def test_a_held_sector_without_bars_is_an_error_not_cash(tmp_path: Path) -> None:
    graph = Graph.at(tmp_path, as_of=date(2023, 12, 29), partitions=START)
    graph.run([SECTOR], "2023-10", "2023-11")
    Path(graph.profile.store.path(DATASETS["prices"], f"2023-11|{SECTOR}")).unlink()
    with pytest.raises(MissingPartitionError) as error:
        graph.materialise(["portfolio_backtest"], partition_key="2023-11")
    assert "partitions of 'prices' are missing" in str(error.value)
    assert f"2023-11|{SECTOR}" in str(error.value)


@pytest.mark.slow
def test_a_month_without_any_sector_is_an_error_in_a_range_too(tmp_path: Path) -> None:
    graph = Graph.at(tmp_path, as_of=date(2023, 12, 29), partitions=START)
    graph.run([SECTOR], "2023-10", "2023-11")
    Path(graph.profile.store.path(DATASETS["weights"], f"2023-11|{SECTOR}")).unlink()
    tags = {"dagster/asset_partition_range_start": "2023-10", "dagster/asset_partition_range_end": "2023-11"}
    with pytest.raises(MissingPartitionError) as error:
        graph.materialise(["portfolio_weights"], tags=tags)
    assert "partitions of 'weights' are missing" in str(error.value)
    assert "2023-11|energy" in str(error.value)
