"""The whole graph on the simulated market: a range equals its months, and nothing depends on what became known
later."""

import shutil
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.io.store import DatasetStore
from quant_assets.partitions import key, month_end, month_range
from quant_assets.planning.plan import joined
from quant_assets.schemas import Dataset
from quant_assets_tests.graph import Graph, compare_known_by, compare_metadata

pytestmark = pytest.mark.slow

# A sector and months with a delisting (March 2024), a ticker that moves in (April 2024), and the first models (from
# October 2023).
SECTOR, FIRST, LAST, AS_OF = "cons_staples", "2023-07", "2024-06", date(2024, 12, 13)
START = {"start": "2022-12"}

#: What two providers say differently, and news: the simulated market has one provider and no news.
#: `assets/test_market.py` and `assets/test_sentiment.py` run them on others.
NOT_SIMULATED = {"benchmark", "price_disagreements", "sentiment"}


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """Twelve months of every asset in range runs."""
    graph = Graph.at(tmp_path_factory.mktemp("ranged"), as_of=AS_OF, partitions=START)
    graph.run([SECTOR], FIRST, LAST)
    return graph


def test_every_asset_has_rows(ranged: Graph) -> None:
    for name in ranged.datasets.keys() - NOT_SIMULATED:
        assert len(ranged.read(name)), f"{name} is empty: the tests below would show nothing for it"
    assert set(ranged.read("weights")["score_source"]) == {"composite_score", "prediction"}
    assert ranged.read("labels")["delisted"].any()
    assert not ranged.read("prices")["in_sector"].all()


@pytest.mark.parametrize(
    "first", [pytest.param(FIRST, marks=pytest.mark.nightly), "2024-03"], ids=["twelve months", "four months"]
)
def test_a_range_run_equals_single_runs_byte_for_byte(ranged: Graph, tmp_path: Path, first: str) -> None:
    """Every partition of the months is deleted and computed again, one month at a time."""
    single = Graph.at(tmp_path, as_of=AS_OF, partitions=START)
    shutil.copytree(ranged.profile.store.url, single.profile.store.url)
    months = month_range(first, LAST)
    assert single.again_month_by_month(SECTOR, first, LAST) == len(months) * len(single.datasets)
    expected, found = ranged.files(), single.files()
    assert sorted(found) == sorted(expected)
    assert [path for path, content in expected.items() if found[path] != content] == []
    for month in months:  # turnover is against the month before, which was not there
        single.materialise(["candidates"], partition_key=key(SECTOR, month))
    told = single.metadata(months[1:])
    compare_metadata(ranged.metadata(months[1:]), told)
    assert {asset for asset, _, _ in told} >= {"indicators", "candidates", "backtest", "track_record", "ops_report"}
    assert {type(value) for (asset, _, name), value in told.items() if name.endswith("_to_date")} == {int, float}


def test_a_range_in_blocks_of_months_and_tickers_equals_the_range_byte_for_byte(
    ranged: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So small that features go by the month, labels by several, bars by three tickers."""
    monkeypatch.setattr("quant_assets.io.blocks.BLOCK_BYTES", 250_000)
    monkeypatch.setattr("quant_assets.assets.market.BLOCK_CELLS", 1_500)
    written: list[tuple[str, int]] = []
    write = DatasetStore.write

    def noted(store: DatasetStore, dataset: Dataset, frame: pl.DataFrame, keys: Collection[str], *rest: Any) -> Any:
        written.append((dataset.name, len(keys)))
        return write(store, dataset, frame, keys, *rest)

    monkeypatch.setattr(DatasetStore, "write", noted)
    blocks = Graph.at(tmp_path, as_of=AS_OF, partitions=START)
    shutil.copytree(ranged.profile.store.url, blocks.profile.store.url)
    names = [
        *blocks.planner.select("ohlcv..labels,predictions,regime_state,factor_statistics", blocks.defs),
        "lightgbm_checkpoint",
    ]
    sectors = [name for name in names if blocks.datasets[name].grain.by_sector]
    for wanted, place in ((sectors, [SECTOR]), (set(names) - set(sectors), [])):
        for phase in blocks.planner.plan(wanted, place, "2024-03", LAST).phases:
            blocks.materialise(phase.assets, tags=phase.range_tags)
    assert [count for name, count in written if name == "features"] == [1, 1, 1, 1]
    assert 1 < sum(name == "labels" for name, _ in written) < 4
    assert {name for name, _ in written} >= {"ohlcv", "market_features", "predictions", "lightgbm_checkpoint"}
    expected, found = ranged.files(), blocks.files()
    assert [path for path, content in expected.items() if found[path] != content] == []


def test_a_changed_setting_is_another_trial_and_what_was_tried_before_stays(ranged: Graph, tmp_path: Path) -> None:
    def figures(graph: Graph) -> dict[str, float | None]:
        report = graph.read("ops_report").filter(pl.col("month") == LAST, pl.col("window") == "history")
        return dict(report.select("metric", "value").iter_rows())

    alone = figures(ranged)
    assert alone["trials"] == 1, "the training is the one that the strategy uses"
    assert alone["deflated_sharpe"] == alone["probabilistic_sharpe"] is not None
    changed = Graph.at(tmp_path, as_of=AS_OF, partitions=START, weights={"top_n": 1})
    shutil.copytree(ranged.profile.store.url, changed.profile.store.url)
    for _ in range(2):  # the second time replaces the first
        for phase in changed.planner.plan(["weights", "backtest", "ops_report"], [SECTOR], FIRST, LAST).phases:
            changed.materialise(phase.assets, tags=phase.range_tags)
    both = figures(changed)
    assert (both["trials"], both["trials_with_sharpe"], both["overfitting_strategies"]) == (2, 2, None), (
        "too few sessions a block"
    )
    assert both["deflated_sharpe"] < both["probabilistic_sharpe"]  # type: ignore[operator]
    first, second = (trial for trial in changed.profile.trials.trials(SECTOR, FIRST, LAST) if trial.kind == "strategy")
    noted = [trial.measured["value"].to_list() for trial in (first, second)]
    assert sorted(noted) == sorted(
        graph.read("backtest").sort("date")["net_return"].to_list() for graph in (ranged, changed)
    )


def test_neighbouring_sectors_in_one_run_equal_one_run_each_byte_for_byte(tmp_path: Path) -> None:
    together, alone = (
        Graph.at(tmp_path / name, as_of=AS_OF, partitions={"start": "2023-03"}) for name in ("together", "alone")
    )
    names = together.planner.select("universe..labels", together.defs)
    chains = together.planner.plan(names, [SECTOR, "healthcare"], "2024-03", "2024-04").stages[0]
    for phase in (phase for chain in chains for phase in chain):
        alone.materialise(phase.assets, tags=phase.range_tags)
    (chain,) = joined(chains)
    for phase in chain:
        assert phase.sectors == (SECTOR, "healthcare")
        together.materialise(phase.assets, tags=phase.range_tags)
    expected, found = alone.files(), together.files()
    partitions = [path for path in expected if not path.startswith("artifacts/")]
    assert {path.split("/")[1] for path in partitions} == {f"sector={SECTOR}", "sector=healthcare"}
    assert len(partitions) == sum(phase.outputs for phase in chain)
    assert found == expected
    # What spans the market: a range of months, and each by itself, a sector of one of them being absent.
    Path(together.profile.store.path(together.datasets["features"], "2024-03|healthcare")).unlink()
    market = [name for name in names if name.startswith("market_")]
    for phase in together.planner.plan(market, (), "2024-03", "2024-04").phases:
        together.materialise(phase.assets, tags=phase.range_tags)
    ranged = {name: together.read(name) for name in market}
    sectors = ranged["market_features"].group_by("month").agg(pl.col("sector").n_unique()).sort("month")
    assert sectors.rows() == [("2024-03", 1), ("2024-04", 2)]
    both = ranged["market_features"].filter(pl.col("month") == "2024-04", pl.col("date") == pl.col("date").max())
    assert both["return_20_market_rank"].drop_nulls().n_unique() > both.filter(pl.col("sector") == SECTOR).height
    for month in ("2024-04", "2024-03"):
        together.materialise(market, partition_key=month)
    for name in market:
        assert_frame_equal(together.read(name), ranged[name], check_exact=True)


@pytest.mark.parametrize(
    "cut",
    [pytest.param(date(2024, 4, 30), marks=pytest.mark.nightly), date(2024, 3, 20)],
    ids=["month-end", "mid-month"],
)
def test_what_became_known_later_changes_no_row_known_before(ranged: Graph, tmp_path: Path, cut: date) -> None:
    """The same graph at an earlier as_of: the source then knows nothing after it."""
    earlier = Graph.at(tmp_path, as_of=cut, partitions=START)
    earlier.run([SECTOR], FIRST, cut.strftime("%Y-%m"))
    compared = compare_known_by(cut, ranged, earlier)
    assert {name for name, rows in compared.items() if not rows} == NOT_SIMULATED
    assert sum(compared.values()) > 10_000
    finished = [month for month in month_range(FIRST, LAST) if month_end(month) <= cut]
    compare_metadata(earlier.metadata(finished), ranged.metadata(finished))
    assert len(finished) >= 8
