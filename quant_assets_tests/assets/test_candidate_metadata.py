"""A real run of the selection and its SQL twin: what the records of its partitions show, and that the two are
compared."""

import base64
import io
import re
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from PIL import Image

from quant_assets.assets.declare import PICTURED_MONTHS, newest_keys
from quant_assets.partitions import RunPartitions, key, month_range, shift_month
from quant_assets.schemas import DATASETS
from quant_assets_tests.graph import Graph

SECTOR, FIRST, LAST = "cons_staples", "2024-03", "2024-05"


def run(graph: Graph, names: list[str], first: str, last: str) -> dg.ExecuteInProcessResult:
    job = graph.defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={dg.AssetKey(name) for name in names}
    )
    tags = {
        "dagster/asset_partition_range_start": key(SECTOR, first),
        "dagster/asset_partition_range_end": key(SECTOR, last),
    }
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(instance=instance, tags=tags, run_config=quiet, raise_on_error=False)


def shown(result: dg.ExecuteInProcessResult, name: str) -> dict[str, dict[str, Any]]:
    """Metadata by month of an asset's partitions."""
    events = [event.materialization for event in result.all_events if event.is_step_materialization]
    found = {
        str(each.partition).partition("|")[0]: {label: value.value for label, value in each.metadata.items()}
        for each in events
        if each.asset_key.path[-1] == name
    }
    return dict(sorted(found.items()))


def checks(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    return {(each.asset_key.path[-1], each.check_name): each for each in result.get_asset_check_evaluations()}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """Indicators and universe of the months, and one month before them."""
    made = Graph.at(tmp_path_factory.mktemp("selected"), as_of=date(2024, 6, 28), partitions={"start": "2023-09"})
    for phase in made.planner.plan(["indicators", "universe"], [SECTOR], shift_month(FIRST, -1), LAST).phases:
        made.materialise(phase.assets, tags=phase.range_tags)
    return made


@pytest.mark.slow
def test_a_run_records_figures_and_a_picture_of_each_month(graph: Graph) -> None:
    result = run(graph, ["candidates", "candidates_sql"], FIRST, LAST)
    assert result.success
    months = shown(result, "candidates")
    assert list(months) == ["2024-03", "2024-04", "2024-05"]
    rows = graph.read("candidates")
    names = {
        month: set(rows.filter((pl.col("month") == month) & (pl.col("candidate_type") == "long"))["ticker"])
        for month in months
    }
    for month, figures in months.items():
        part = rows.filter(pl.col("month") == month)
        assert (figures["members"], figures["eligible"]) == (part["universe_count"][0], part["eligible_count"][0])
        assert figures["eligible_share"] == pytest.approx(figures["eligible"] / figures["members"], abs=1e-6)
        assert figures["with_garch_volatility"] <= figures["with_bar"] <= figures["members"]
    assert "long_turnover" not in months["2024-03"], "nothing is stored of the month before"
    assert months["2024-04"]["long_turnover"] == pytest.approx(
        len(names["2024-04"] - names["2024-03"]) / len(names["2024-04"]), abs=1e-6
    )
    assert len({figures["selection"] for figures in months.values()}) == 3, "each of its own decision alone"
    ends = run(graph, ["candidates"], "2024-04", "2024-04"), run(graph, ["candidates"], FIRST, "2024-04")
    for each in ends:  # the same whatever months the run has after it
        assert shown(each, "candidates")["2024-04"]["selection"] == months["2024-04"]["selection"]
    found = re.fullmatch(r"!\[[^\]]+\]\(data:image/png;base64,([\w+/=]+)\)", months[LAST]["selection"])
    assert found
    picture = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert picture.size == (860, 520)
    assert len(months[LAST]["selection"]) < 100_000
    again = shown(run(graph, ["candidates"], FIRST, LAST), "candidates")
    assert again[LAST]["selection"] == months[LAST]["selection"], "the same bytes"
    run(graph, ["candidates"], "2024-02", "2024-02")
    (alone,) = shown(run(graph, ["candidates"], FIRST, FIRST), "candidates").values()
    assert 0.0 <= alone["long_turnover"] <= 1.0, "against the stored month before"


@pytest.mark.slow
def test_a_range_writes_what_its_months_write_one_at_a_time(graph: Graph) -> None:
    names = ["candidates", "candidates_sql"]
    paths = [
        Path(graph.profile.store.path(DATASETS[name], key(SECTOR, month)))
        for name in names
        for month in month_range(FIRST, LAST)
    ]
    assert run(graph, names, FIRST, LAST).success
    ranged = [path.read_bytes() for path in paths]
    for month in reversed(month_range(FIRST, LAST)):
        assert run(graph, names, month, month).success
    assert [path.read_bytes() for path in paths] == ranged


@pytest.mark.slow
def test_a_broken_month_before_costs_its_turnover_only(graph: Graph) -> None:
    before = Path(graph.profile.store.path(DATASETS["candidates"], key(SECTOR, shift_month(FIRST, -1))))
    before.parent.mkdir(parents=True, exist_ok=True)
    before.write_bytes(b"PAR1")
    result = run(graph, ["candidates"], FIRST, FIRST)
    before.unlink()
    assert result.success
    assert "long_turnover" not in shown(result, "candidates")[FIRST]


def test_texts_and_pictures_are_not_recorded_hundreds_of_times() -> None:
    run = RunPartitions((SECTOR, "it"), tuple(month_range("2000-01", "2003-12")))
    assert newest_keys(run) == [
        key(sector, month) for sector in (SECTOR, "it") for month in month_range("2003-01", "2003-12")
    ]
    assert newest_keys(RunPartitions((), ("2024-05", "2024-06"))) == ["2024-05", "2024-06"]
    assert newest_keys(run, PICTURED_MONTHS)[:4] == [
        *map(partial(key, SECTOR), ["2003-10", "2003-11", "2003-12"]),
        key("it", "2003-10"),
    ]


@pytest.mark.slow
def test_the_lineage_of_columns_is_recorded(graph: Graph) -> None:
    result = run(graph, ["candidates", "candidates_sql"], FIRST, LAST)
    months = shown(result, "candidates_sql")
    lineage = months[LAST]["dagster/column_lineage"].deps_by_column
    assert list(lineage) == list(DATASETS["candidates_sql"].columns)
    assert lineage["ticker"] == [dg.TableColumnDep(dg.AssetKey("indicators"), "ticker")]
    assert "| `ticker` | `indicators.ticker` |" in months[LAST]["columns_from"]
    assert months[LAST]["sql"].startswith("```sql\n-- ")


@pytest.mark.slow
def test_the_selection_in_sql_is_the_selection_until_one_of_them_changes(graph: Graph) -> None:
    result = run(graph, ["candidates", "candidates_sql"], FIRST, LAST)
    same = checks(result)["candidates_sql", "same_selection"]
    assert result.success
    assert same.passed
    assert same.metadata["names"].value == len(graph.read("candidates").filter(pl.col("month") >= FIRST)) > 0
    other = Graph.at(
        Path(graph.settings.storage),  # the same folder
        as_of=date(2024, 6, 28),
        partitions={"start": "2023-09"},
        candidates={"min_history_sessions": 60, "momentum_weight": 0.0, "long_fraction": 0.3, "standardise": "rank"},
    )
    stale = run(other, ["candidates_sql"], FIRST, LAST)
    assert not stale.success
    failed = checks(stale)["candidates_sql", "same_selection"]
    assert not failed.passed
    assert failed.description is not None
    assert re.match(rf"{FIRST}\|{SECTOR}: \d+ names?: \w+ (not chosen|long|short)", failed.description)
    assert "Materialise candidates again" in failed.description
    both = run(other, ["candidates", "candidates_sql"], FIRST, LAST)
    assert both.success, "the settings reach both"
    assert not other.read("candidates_sql").filter(pl.col("month") == LAST).is_empty()
    for month in (FIRST, LAST):
        Path(graph.profile.store.path(DATASETS["candidates"], key(SECTOR, month))).unlink()
    alone = run(graph, ["candidates_sql"], LAST, LAST)
    assert alone.success
    nothing = checks(alone)["candidates_sql", "same_selection"]
    assert (nothing.passed, nothing.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(nothing.description).startswith("nothing to compare with: 1 of 1 partitions of 'candidates' are missing")


@pytest.mark.slow
def test_indicators_count_their_garch_fits(graph: Graph) -> None:
    result = run(graph, ["indicators"], FIRST, LAST)
    assert result.success
    for month, found in shown(result, "indicators").items():
        counted = {name: found[f"garch_tickers_{name}"] for name in ("fitted", "too_short", "failed")}
        pairs = (
            graph.read("indicators")
            .filter(pl.col("month") == month)
            .group_by("ticker")
            .agg(pl.col("garch_fitted_on").is_not_null().any())
        )
        assert counted["fitted"] == pairs["garch_fitted_on"].sum() > 0
        assert sum(counted.values()) == len(pairs)
