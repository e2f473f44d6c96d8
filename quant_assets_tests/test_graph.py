"""The whole graph on the simulated market: a range equals its months, and nothing depends on what became known later."""

import shutil
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.partitions import key, month_range
from quant_assets.schemas import DATASETS
from quant_assets_tests.graph import Graph

# A sector and months with a delisting (March 2024), a ticker that moves in (April 2024), and the first models (from October 2023).
SECTOR, FIRST, LAST, AS_OF = "cons_staples", "2023-07", "2024-06", date(2024, 12, 13)
MONTHS = month_range(FIRST, LAST)
START = {"start": "2022-12"}


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """Twelve months of every asset in range runs."""
    graph = Graph.at(tmp_path_factory.mktemp("ranged"), as_of=AS_OF, partitions=START)
    graph.run([SECTOR], FIRST, LAST)
    return graph


def test_every_asset_has_rows(ranged: Graph) -> None:
    for name in DATASETS:
        assert len(ranged.read(name)), f"{name} is empty: the tests below would show nothing for it"
    assert set(ranged.read("weights")["score_source"]) == {"composite_score", "prediction"}
    assert ranged.read("labels")["delisted"].any()
    assert not ranged.read("prices")["in_sector"].all()


def test_a_range_run_equals_twelve_single_runs_byte_for_byte(ranged: Graph, tmp_path: Path) -> None:
    """Every partition of the twelve months is deleted and computed again, one month at a time."""
    single = Graph.at(tmp_path, as_of=AS_OF, partitions=START)
    shutil.copytree(ranged.profile.store.url, single.profile.store.url)
    for name, dataset in DATASETS.items():
        for month in MONTHS:
            Path(single.profile.store.path(dataset, key(SECTOR, month) if dataset.grain == "sector" else month)).unlink()
        for month in MONTHS:
            shutil.rmtree(Path(single.profile.store.url) / "artifacts" / name / SECTOR / month, ignore_errors=True)
    assert len(single.files()) < len(ranged.files()) - len(DATASETS) * 11
    # Labels read later months' prices, so the market comes first; the months go backwards to show that their order is of no matter.
    by_sector = [name for name in single.planner.order if DATASETS[name].grain == "sector"]
    groups = single.defs.resolve_asset_graph()
    market = [name for name in by_sector if groups.get(dg.AssetKey(name)).group_name == "market"]
    signals = [name for name in by_sector if groups.get(dg.AssetKey(name)).group_name == "signals"]
    checkpoint = ["lightgbm_checkpoint"]
    rest = [name for name in by_sector if name not in [*market, *signals, *checkpoint]]
    for names, months in ((market, MONTHS[::-1]), (signals, MONTHS[::-1]), (checkpoint, MONTHS[::-1]), (rest, MONTHS)):
        for month in months:
            single.materialise(names, partition_key=key(SECTOR, month))
    by_month = [name for name in single.planner.order if DATASETS[name].grain == "month"]
    for month in MONTHS:
        single.materialise(by_month, partition_key=month)
    expected, found = ranged.files(), single.files()
    assert sorted(found) == sorted(expected)
    assert [path for path, content in expected.items() if found[path] != content] == []


@pytest.mark.parametrize("cut", [date(2024, 4, 30), date(2024, 3, 20)], ids=["month-end", "mid-month"])
def test_what_became_known_later_changes_no_row_known_before(ranged: Graph, tmp_path: Path, cut: date) -> None:
    """The same graph at an earlier as_of: the source then knows nothing after it."""
    earlier = Graph.at(tmp_path, as_of=cut, partitions=START)
    earlier.run([SECTOR], FIRST, cut.strftime("%Y-%m"))
    compared = 0
    for name, dataset in DATASETS.items():
        known = pl.col(dataset.known_at) <= cut
        truth = ranged.read(name).filter(known)
        found = earlier.read(name).filter(known)
        months = set(found["month"]) & set(truth["month"])
        truth, found = (frame.filter(pl.col("month").is_in(sorted(months))) for frame in (truth, found))
        if dataset.dated_by == "as_of":
            # The running month's provisional decision is one that the finished month replaces.
            found = found.filter(pl.col("as_of").is_in(truth["as_of"].unique().to_list()))
        order = [column for column in ("sector", *dataset.key) if column in truth.columns]
        assert truth.sort(order).equals(found.sort(order)), f"{name} differs"
        assert len(truth), f"{name}: nothing to compare"
        compared += len(truth)
    assert compared > 10_000
