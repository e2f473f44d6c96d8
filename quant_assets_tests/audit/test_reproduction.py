"""A chain computed again from its records: the same hashes, and what was changed in between is named. Dagster says the
same."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from quant_assets.audit.reproduction import NOT_REPRODUCIBLE, TAMPERED, Compared, Recomputation, recompute
from quant_assets.cli import repro, stale
from quant_assets.errors import DatasetError, MissingPartitionError, SettingsError
from quant_assets.partitions import key
from quant_assets.planning.plan import Planner
from quant_assets.profile import Profile
from quant_assets.provenance.record import MadeBy
from quant_assets.schemas import Column
from quant_assets_tests.graph import Graph

pytestmark = pytest.mark.slow

SECTOR, MONTH, AS_OF = "cons_staples", "2024-02", date(2024, 3, 28)
KEY = key(SECTOR, MONTH)
START = {"start": "2023-08"}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """A sector's candidates of a month and what they follow from."""
    graph = Graph.at(tmp_path_factory.mktemp("stored"), as_of=AS_OF, partitions=START)
    for phase in graph.planner.plan(["candidates", "delistings"], [SECTOR], MONTH, MONTH).phases:
        graph.materialise(phase.assets, tags=phase.range_tags)
    return graph


@pytest.fixture
def copy(stored: Graph, tmp_path: Path) -> Callable[..., Graph]:
    """The same storage at a place of its own, under other settings where some are given."""

    def made(**overrides: Any) -> Graph:
        graph = Graph.at(tmp_path, as_of=AS_OF, partitions=START, **overrides)
        shutil.copytree(stored.profile.store.url, graph.profile.store.url, dirs_exist_ok=True)
        return graph

    return made


def differing(found: Recomputation) -> dict[tuple[str, str], tuple[str, ...]]:
    return {(each.asset, each.partition_key): each.why for each in found.compared if each.outcome == "differs"}


def listed(profile: Profile) -> list[str]:
    tables = [each for each in stale.output(profile, [SECTOR]) if not isinstance(each, str)]
    return [
        " ".join(cells) for table in tables for cells in zip(*(column.cells for column in table.columns), strict=True)
    ]


def test_a_chain_comes_out_the_same_under_its_recorded_settings(copy: Callable[..., Graph]) -> None:
    graph = copy(candidates={"min_history_sessions": 60, "long_fraction": 0.3})
    before = graph.files()
    found = recompute(graph.profile, "candidates", KEY)
    assert found.reproduced
    assert found.since == ("candidates: settings candidates.long_fraction 0.15 -> 0.3",)
    outcomes = {(each.asset, each.partition_key): each.outcome for each in found.compared}
    assert outcomes["prices", "2023-08|cons_staples"] == outcomes["candidates", KEY] == "same"
    assert set(outcomes.values()) == {"same"}
    assert graph.files() == before, "nothing stored has changed"
    # What the settings of today would make otherwise, and what reads it.
    assert listed(graph.profile) == [
        "candidates cons_staples 2024-02 2024-02 1 settings candidates.long_fraction 0.15 -> 0.3"
    ]


def test_rows_that_another_hand_changed_are_found_and_so_are_rows_that_do_not_follow(
    copy: Callable[..., Graph],
) -> None:
    graph = copy()
    store, dataset = graph.profile.store, graph.datasets["prices"]
    path = Path(store.path(dataset, "2023-10|cons_staples"))
    changed = pl.read_parquet(path).with_columns(close=pl.col("close") * 1.01)
    recorded = pl.read_parquet_metadata(path)
    changed.write_parquet(path, metadata={name: recorded[name] for name in ("content", "known_through", "made_by")})
    _as_other_bytes(graph, "2023-11|cons_staples")
    universe = graph.datasets["universe"]
    frame = store.read(universe, [KEY]).collect().drop("month")
    made_by = store.recorded(universe, KEY)
    store.write(universe, frame.head(-1), [KEY], lambda _: made_by.known_through, lambda _: made_by.made_by)
    found = recompute(graph.profile, "candidates", KEY, keep=True)
    why = differing(found)
    assert why["prices", "2023-10|cons_staples"] == (TAMPERED,)
    assert why["universe", KEY] == (NOT_REPRODUCIBLE,)
    assert set(why) == {("prices", "2023-10|cons_staples"), ("universe", KEY)}
    assert not found.reproduced
    text = [each for each in repro.output(found) if isinstance(each, str)]
    assert text[0] == f"2 of {len(found.compared)} partitions differ"
    assert found.folder is not None
    kept = Path(found.folder)
    assert (kept / "demo" / "prices").is_dir()
    shutil.rmtree(kept)
    assert any("inputs universe changed" in line for line in listed(graph.profile))
    advice = [each for each in stale.output(graph.profile, [SECTOR]) if isinstance(each, str) and "quant run" in each]
    assert (
        "quant run -p demo --sector cons_staples --from 2024-02 --to 2024-02 --select indicators,candidates"
        in advice[0]
    )
    assert advice[1].startswith("quant run --refresh looks at code and settings"), (
        "it leaves alone what other inputs alone made stale"
    )


def _as_other_bytes(graph: Graph, partition_key: str) -> None:
    """The same prices as another version of Arrow might write them, and record their hash."""
    store, dataset = graph.profile.store, graph.datasets["prices"]
    path = Path(store.path(dataset, partition_key))
    frame, recorded = pl.read_parquet(path), pl.read_parquet_metadata(path)
    frame.write_parquet(path, compression="zstd")
    content = store.content(dataset, partition_key)
    frame.write_parquet(
        path,
        compression="zstd",
        metadata={
            **{name: recorded[name] for name in recorded if name in ("known_through", "made_by")},
            "content": content,
        },
    )
    assert content == store.content(dataset, partition_key) != recorded["content"]


def test_other_columns_of_today_are_named_and_are_no_altered_rows(tmp_path: Path) -> None:
    graph = Graph.at(tmp_path, as_of=AS_OF, partitions={"start": MONTH})
    for phase in graph.planner.plan(["features"], [SECTOR], MONTH, MONTH).phases:
        graph.materialise(phase.assets, tags=phase.range_tags)
    fewer = copy_settings(graph, features={"sets": ("core",)})
    store, dataset = graph.profile.store, graph.datasets["features"]
    assert set(fewer.datasets["features"].columns) < set(dataset.columns)
    found = recompute(fewer.profile, "features", KEY)
    assert differing(found) == {}
    assert found.since[-1] == "features: settings features.sets ['core', 'cross_section'] -> ['core']"
    # As a release whose code had other columns of the dataset wrote them.
    recorded, rows = store.recorded(dataset, KEY), store.read(dataset, [KEY]).collect().drop("month")
    *kept, last = dataset.columns
    columns = {"formerly": Column(pl.Float64, "of then"), **{name: dataset.columns[name] for name in kept}}
    before = replace(dataset, columns=columns)
    earlier = rows.drop(last).with_columns(formerly=pl.lit(1.0))
    store.write(before, earlier, [KEY], lambda _: recorded.known_through, lambda _: recorded.made_by)
    assert differing(recompute(graph.profile, "features", KEY)) == {
        ("features", KEY): (f"columns {last} added, formerly gone",)
    }
    path = Path(store.path(dataset, KEY))
    metadata = pl.read_parquet_metadata(path)
    pl.read_parquet(path).with_columns(formerly=pl.lit(2.0)).write_parquet(
        path, metadata={name: metadata[name] for name in ("content", "known_through", "made_by")}
    )
    assert differing(recompute(graph.profile, "features", KEY)) == {
        ("features", KEY): (TAMPERED, f"columns {last} added, formerly gone")
    }


def test_a_history_of_two_settings_is_explained_by_them(copy: Callable[..., Graph]) -> None:
    graph = copy(candidates={"min_history_sessions": 60, "long_fraction": 0.3})
    graph.materialise(["candidates"], partition_key=KEY)
    other = copy_settings(graph, indicators={"slope_sessions": 6})
    other.materialise(["indicators"], partition_key=KEY)
    found = recompute(graph.profile, "candidates", KEY)
    assert differing(found) == {("indicators", KEY): ("settings indicators.slope_sessions 6 -> 5",)}
    assert any("inputs indicators changed" in line for line in listed(graph.profile))


def test_a_run_names_stale_months_and_computes_them_again_when_asked_to(copy: Callable[..., Graph]) -> None:
    graph = copy(delistings={"failure_return": -0.4})
    why = "settings delistings.failure_return -0.3 -> -0.4"
    asked = graph.planner.plan(["candidates"], [SECTOR], MONTH, MONTH)
    assert [(phase.assets, phase.first) for phase in asked.phases] == [(("candidates",), MONTH)]
    assert asked.notes == (), "it reads nothing that is stale"
    both = graph.planner.plan(["prices", "candidates"], [SECTOR], MONTH, MONTH)
    assert both.notes == (f"stale, left as it is: ohlcv ({SECTOR}) {MONTH}, 1 partition: {why}",)
    assert both.uses_stale
    assert (asked.notes, asked.uses_stale) == ((), False), "a plan is its own"
    refreshed = Planner(graph.defs, graph.profile, refresh=True).plan(["indicators"], [SECTOR], MONTH, MONTH)
    months = {name: (phase.first, phase.last) for phase in refreshed.phases for name in phase.assets}
    assert months["ohlcv"] == months["prices"] == ("2023-08", MONTH), "prices read them"
    assert months["indicators"] == (MONTH, MONTH)
    assert "universe" not in months, "it depends on no delisting"
    assert f"computed again: ohlcv ({SECTOR}) 2023-08 to {MONTH}, 7 partitions: {why}" in refreshed.notes
    assert not refreshed.uses_stale


def copy_settings(graph: Graph, **groups: dict[str, Any]) -> Graph:
    updates = {name: getattr(graph.settings, name).model_copy(update=values) for name, values in groups.items()}
    return Graph(graph.settings.model_copy(update=updates))


def test_what_cannot_be_computed_again_is_said(stored: Graph, copy: Callable[..., Graph]) -> None:
    with pytest.raises(SettingsError, match=r"'candidtes'; did you mean candidates\b.*\?; assets are"):
        recompute(stored.profile, "candidtes", KEY)
    with pytest.raises(SettingsError, match="there is no asset 'nothing'; assets are"):
        recompute(stored.profile, "nothing", KEY)
    with pytest.raises(SettingsError, match=r"'2024-02' is not a partition of 'candidates'; write 2016-06\|healthcare"):
        recompute(stored.profile, "candidates", MONTH)
    with pytest.raises(MissingPartitionError, match=r"partition 2024-01\|it of 'candidates' is not in"):
        recompute(stored.profile, "candidates", "2024-01|it")
    graph = copy()
    graph.profile.store.write(graph.datasets["candidates"], graph.datasets["candidates"].empty(), [KEY])
    with pytest.raises(DatasetError, match="records no code and settings"):
        recompute(graph.profile, "candidates", KEY)
    with pytest.raises(MissingPartitionError, match="nothing has been materialised"):
        list(
            stale.output(
                Profile(graph.settings.model_copy(update={"storage": f"{graph.settings.storage}/empty"})), [SECTOR]
            )
        )


def test_dagster_says_what_a_changed_setting_makes_stale_and_what_reads_it_once_it_is_other_rows(
    copy: Callable[..., Graph],
) -> None:
    graph = copy()
    changed = copy_settings(graph, candidates={"long_fraction": 0.3})
    names = ("universe", "indicators", "candidates", "sector_scorecard")
    with dg.DagsterInstance.ephemeral() as instance:

        def run(of: Graph, *selected: str, first: str | None = None) -> None:
            job = of.defs.resolve_implicit_global_asset_job_def().get_subset(
                asset_selection={dg.AssetKey(name) for name in selected}, asset_check_selection=set()
            )
            tags = {
                "dagster/asset_partition_range_start": key(SECTOR, first or MONTH),
                "dagster/asset_partition_range_end": KEY,
            }
            quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
            assert job.execute_in_process(instance=instance, tags=tags, run_config=quiet).success

        def status(of: Graph) -> dict[str, list[tuple[str, str]]]:
            assets = of.defs.resolve_asset_graph()
            resolver = CachingStaleStatusResolver(instance, assets, LoadingContextForTest(instance))
            found = {}
            for name in names:
                causes = resolver.get_stale_causes(dg.AssetKey(name), KEY)
                assert (resolver.get_status(dg.AssetKey(name), KEY) == StaleStatus.STALE) == bool(causes)
                depends = [each.dependency_asset_key.path[-1] if each.dependency_asset_key else "" for each in causes]
                found[name] = [(each.category.value, other) for each, other in zip(causes, depends, strict=True)]
            return found

        for phase in graph.planner.plan(["regime_state"], [SECTOR], MONTH, MONTH).phases:
            graph.materialise(phase.assets, tags=phase.range_tags)
        for name in names:
            run(graph, name, first="2024-01" if name == "universe" else MONTH)
        fresh: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
        assert status(graph) == fresh
        run(graph, "universe")
        assert status(graph) == fresh, "the same rows are no new version"
        assert status(changed) == fresh | {"candidates": [("CODE", "")]}
        run(changed, "candidates")
        assert status(changed) == fresh | {"sector_scorecard": [("DATA", "candidates")]}
        versions = {
            of.defs.resolve_asset_graph().get(dg.AssetKey("candidates")).code_version for of in (graph, changed)
        }
        assert {each.partition(", settings")[0] for each in versions if each} == {
            versions.pop().partition(", settings")[0]
        }


def test_a_changed_source_file_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    pl.DataFrame(
        {"ticker": ["A"], "start_date": [date(2010, 1, 4)], "end_date": [None]}, schema_overrides={"end_date": pl.Date}
    ).write_parquet(data / "members.parquet")
    pl.DataFrame({"ticker": ["A", "B"], "sector": "Tech", "known_at": date(2010, 1, 4)}).write_parquet(
        data / "sectors.parquet"
    )
    files = {
        "membership": {"file": "members.parquet", "columns": {"ticker": "ticker"}},
        "securities": {"file": "sectors.parquet", "columns": {"known_at": "known_at"}, "sectors": {"Tech": "it"}},
        "prices": [],
        "renames": [],
        "fundamentals": [],
        "macro": [],
        "crypto": None,
        "indices": None,
    }
    graph = Graph.at(
        tmp_path / "storage",
        "files",
        files=files,
        data_dir=data,
        as_of=date(2016, 6, 30),
        partitions={"start": "2016-05"},
    )
    graph.materialise(
        ["universe"],
        tags={"dagster/asset_partition_range_start": "2016-05|it", "dagster/asset_partition_range_end": "2016-06|it"},
    )
    assert recompute(graph.profile, "universe", "2016-06|it").reproduced
    before_the_change = Graph(graph.settings)
    assert before_the_change.defs.resources, "made now"
    pl.read_parquet(data / "members.parquet").vstack(
        pl.DataFrame(
            {"ticker": ["B"], "start_date": [date(2016, 6, 1)], "end_date": [None]},
            schema_overrides={"end_date": pl.Date},
        )
    ).write_parquet(data / "members.parquet")
    later = Graph(graph.settings)
    found = recompute(later.profile, "universe", "2016-06|it")
    assert differing(found) == {("universe", "2016-06|it"): ("files members.parquet changed",)}
    assert Compared("universe", "2016-06|it", "differs", ("files members.parquet changed",)) in found.compared
    output = list(stale.output(later.profile, ["it"]))
    assert output[0] == "nothing is stale", "files change every day; it is told all the same"
    assert [line for line in listed_of(output) if "files members.parquet changed" in line]
    # Replaced after definitions were made that may have read it already: nobody knows which of the two the rows are
    # from.
    before_the_change.materialise(["universe"], partition_key="2016-06|it")
    record = MadeBy.parsed(later.profile.store.recorded(later.datasets["universe"], "2016-06|it").made_by)
    assert record is not None
    assert record.sources == ""


def listed_of(output: list[Any]) -> list[str]:
    tables = [each for each in output if not isinstance(each, str)]
    return [
        " ".join(cells) for table in tables for cells in zip(*(column.cells for column in table.columns), strict=True)
    ]
