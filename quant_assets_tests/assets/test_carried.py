"""State that is carried from month to month, on the real graph over made-up backtests: ranges and months, gaps, what is
recorded, planned, stale and reproduced."""

import shutil
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.market.calendar import sessions
from quant_assets.partitions import key, month_end, month_range, month_start
from quant_assets.planning.plan import Phase, Planner
from quant_assets.planning.staleness import Staleness
from quant_assets.provenance.record import MadeBy, digest
from quant_assets_tests.graph import Graph

SECTORS = ("cons_staples", "healthcare")
FIRST, LAST = "2023-03", "2023-08"
MONTHS = month_range(FIRST, LAST)


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """Backtests of two sectors, in cash until 20 April 2023, and of the total portfolio."""
    found = Graph.at(tmp_path, as_of=date(2024, 6, 28), partitions={"start": "2023-01"})
    days = sessions(month_start(FIRST), month_end(LAST))
    rng = np.random.default_rng(5)
    for name, sectors in (("backtest", SECTORS), ("portfolio_backtest", ("",))):
        dataset, parts = found.datasets[name], []
        for sector in sectors:
            rows = pl.DataFrame({"date": days, "net_return": 0.01 * rng.standard_normal(len(days))}).with_columns(
                *(pl.lit(0.0).alias(each) for each in ("gross_return", "cost", "equity", "benchmark_return")),
                pl.lit(None, pl.Float64).alias("index_return"),
                turnover=pl.when(pl.col("date") == date(2023, 4, 20)).then(1.0).otherwise(0.0),
                positions=(pl.col("date") >= date(2023, 4, 20)).cast(pl.Int32),
                cash=pl.lit(0.0),
                unexplained=pl.lit(0, pl.Int32),
                sector=pl.lit(sector),
            )
            parts.append(rows.with_columns(net_return=pl.when(pl.col("positions") > 0).then("net_return").otherwise(0)))
        keys = [key(sector, month) if sector else month for sector in sectors for month in MONTHS]
        rows = pl.concat(parts).select(dataset.empty().columns)
        found.profile.store.write(dataset, rows, keys, lambda each: found.profile.known_through(each[:7]))
    return found


def materialise(graph: Graph, first: str, last: str, sectors: tuple[str, ...] = SECTORS) -> None:
    graph.materialise(["track_record"], tags=Phase(("track_record",), first, last, sectors).range_tags)


def files(graph: Graph, name: str = "track_record") -> dict[str, bytes]:
    return {path: content for path, content in graph.files().items() if path.startswith(f"{name}/")}


def stale(graph: Graph, name: str = "track_record") -> dict[str, str]:
    found = Staleness(graph.profile, (graph.defs.resources or {})["parquet"].recorder).all([name], SECTORS[:1])
    return {f"{each.first}..{each.last}": each.why for each in found if each.counts}


def row(graph: Graph, month: str, sector: str = SECTORS[0]) -> dict[str, object]:
    rows = graph.read("track_record").filter(pl.col("month") == month, pl.col("sector") == sector)
    return rows.row(0, named=True)


@pytest.mark.slow
def test_a_range_equals_its_months_in_rows_records_and_metadata(graph: Graph) -> None:
    materialise(graph, FIRST, LAST)
    ranged, told = files(graph), dict(graph.told)
    assert len(ranged) == 2 * len(MONTHS)
    for stretches in ([(month, month) for month in MONTHS], [(FIRST, "2023-05"), ("2023-06", LAST)]):
        shutil.rmtree(Path(graph.profile.store.url) / "track_record")
        graph.told.clear()
        for first, last in stretches:
            materialise(graph, first, last)
        assert files(graph) == ranged
        for each, shown in graph.told.items():
            assert {name for name in shown if not name.endswith("_of_run")} > {"since", "sharpe_to_date"} or (
                each[1][:7] == FIRST
            )
            assert {name: value for name, value in shown.items() if not name.endswith("_of_run")} == {
                name: value for name, value in told[each].items() if not name.endswith("_of_run")
            }
    assert row(graph, FIRST)["since"] is None
    assert row(graph, LAST)["since"] == date(2023, 4, 20)
    for sector in SECTORS:
        returns = graph.read("backtest").filter(pl.col("sector") == sector, pl.col("date") >= date(2023, 4, 20))
        assert row(graph, LAST, sector)["total_return"] == pytest.approx((1 + returns["net_return"]).product() - 1)
    assert stale(graph) == {}


@pytest.mark.slow
def test_the_total_portfolio_is_carried_too(graph: Graph) -> None:
    graph.materialise(["portfolio_track_record"], tags=Phase(("portfolio_track_record",), FIRST, LAST).range_tags)
    ranged = files(graph, "portfolio_track_record")
    for month in MONTHS:
        graph.materialise(["portfolio_track_record"], partition_key=month)
    assert files(graph, "portfolio_track_record") == ranged
    held = len(sessions(date(2023, 4, 20), month_end(LAST)))
    assert graph.read("portfolio_track_record").sort("month")["sessions"].to_list()[-1] == held
    assert stale(graph, "portfolio_track_record") == {}


def test_each_month_records_the_rows_of_the_month_before(graph: Graph) -> None:
    materialise(graph, FIRST, LAST)
    dataset, store = graph.datasets["track_record"], graph.profile.store
    for before, month in zip([None, *MONTHS], MONTHS, strict=False):
        made = MadeBy.parsed(store.recorded(dataset, key(SECTORS[0], month)).made_by)
        assert made is not None
        place = None if before is None else key(SECTORS[0], before)
        content = None if place is None else store.recorded(dataset, place).content
        assert made.inputs["track_record"] == digest("" if place is None else f"{place} {content}\n")


@pytest.mark.slow
def test_a_gap_begins_a_track_anew_and_closing_it_is_told(graph: Graph) -> None:
    materialise(graph, FIRST, LAST)
    whole = files(graph)
    shutil.rmtree(Path(graph.profile.store.url) / "track_record")
    materialise(graph, FIRST, "2023-05")
    materialise(graph, "2023-07", LAST)
    assert (row(graph, "2023-07")["since"], row(graph, "2023-07")["sessions"]) == (date(2023, 7, 3), 20)
    assert stale(graph) == {}
    materialise(graph, "2023-06", "2023-06")
    assert stale(graph) == {
        "2023-07..2023-07": "inputs track_record changed",
        "2023-08..2023-08": "reads stale track_record",
    }
    materialise(graph, "2023-07", LAST)
    assert stale(graph) == {}
    assert files(graph) == whole


def test_no_run_is_made_for_earlier_months_but_what_is_stored_of_them_is_finished_first(graph: Graph) -> None:
    sector, store, dataset = SECTORS[0], graph.profile.store, graph.datasets["track_record"]

    def planned(first: str, last: str, names: tuple[str, ...] = ("track_record",)) -> tuple[str, str]:
        phases = graph.planner.plan(names, [sector], first, last).phases
        ((begin, end),) = {(each.first, each.last) for each in phases if "track_record" in each.assets}
        return begin, end

    assert graph.planner.carried == {"track_record", "portfolio_track_record", "sleeve_allocation"}
    assert "track_record" not in graph.planner.reads("track_record")
    assert planned("2023-07", LAST) == ("2023-07", LAST), "nothing is stored before"
    materialise(graph, FIRST, LAST)
    assert planned("2023-07", LAST) == ("2023-07", LAST), "what is stored before is finished"
    for month in ("2023-05", "2023-06"):
        rows = graph.read("track_record").filter(pl.col("month") == month, pl.col("sector") == sector).drop("month")
        store.write(dataset, rows.clear(), [key(sector, month)])
        Path(store.path(dataset, key(sector, month))).unlink()
        store.write(dataset, rows, [key(sector, month)], lambda _: month_start("2023-05"))
    assert planned("2023-07", LAST) == ("2023-05", LAST), "written before the months were over"
    # Beside what reads it: a month that is missing changes those after it.
    materialise(graph, FIRST, LAST)
    Path(store.path(dataset, key(sector, "2023-06"))).unlink()
    assert planned("2023-05", LAST, ("ops_report",)) == ("2023-06", LAST)


def test_months_that_were_carried_on_from_other_rows_are_computed_before_what_follows_them(graph: Graph) -> None:
    materialise(graph, FIRST, "2023-05")
    materialise(graph, "2023-07", LAST)  # from nothing: June is not there

    def planned(month: str) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
        plan = Planner(graph.defs, graph.profile).plan(["track_record"], SECTORS[:1], month, month)
        return [(each.first, each.last) for each in plan.phases if "track_record" in each.assets], plan.notes

    spans, notes = planned("2023-06")
    assert spans == [("2023-06", "2023-06")]
    told = "track_record (cons_staples) 2023-07, 1 partition: carried on without a stored previous month"
    assert any(told in note for note in notes), "what stays beside is said"
    materialise(graph, "2023-06", "2023-06")
    assert planned(LAST)[0] == [("2023-07", LAST)], "July counts from July, August from it"
    materialise(graph, "2023-07", LAST)
    assert planned(LAST)[0] == [(LAST, LAST)]
    assert row(graph, LAST)["since"] == date(2023, 4, 20)


def test_an_unfinished_month_before_is_refused_in_a_run_without_a_plan(graph: Graph) -> None:
    materialise(graph, FIRST, LAST)
    sector, store, dataset = SECTORS[0], graph.profile.store, graph.datasets["track_record"]
    rows = graph.read("track_record").filter(pl.col("month") == "2023-06", pl.col("sector") == sector).drop("month")
    Path(store.path(dataset, key(sector, "2023-06"))).unlink()
    store.write(dataset, rows, [key(sector, "2023-06")], lambda _: date(2023, 6, 9))
    with pytest.raises(Exception, match="knows until 2023-06-09, 2023-06-30 is needed"):
        materialise(graph, "2023-07", LAST, (sector,))
