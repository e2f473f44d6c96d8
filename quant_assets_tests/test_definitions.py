"""What the web UI shows of every asset comes from the registry and is complete; jobs and checks cover all of them."""

import os
import subprocess
import sys

import dagster as dg
import pytest

from quant_assets.assets.declare import GROUPS
from quant_assets.assets.sql import load_models
from quant_assets.checks import CONTRACT, described
from quant_assets.grains import MONTHLY, SECTOR_MONTHLY, Grain
from quant_assets.planning.plan import Planner
from quant_assets.profile import Profile
from quant_assets.runtime.executor import in_process_executor
from quant_assets.schemas import CHECKPOINTS, LIVE, ON_DEMAND, Dataset
from quant_assets.settings.loading import load_settings
from quant_assets.settings.sectors import SECTORS
from quant_assets_tests.graph import PROJECT, demo_datasets, every_definition

DEFS = every_definition(load_settings("demo", live={"orders": True}))
DATASETS = demo_datasets()
GRAPH = DEFS.resolve_asset_graph()
EVERY = pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)


def test_every_dataset_is_an_asset_and_nothing_else_is() -> None:
    assert {key.to_user_string() for key in GRAPH.get_all_asset_keys()} == set(DATASETS) | {
        dataset.name for dataset in (*LIVE, *ON_DEMAND)
    }


@pytest.mark.parametrize("dataset", LIVE, ids=lambda dataset: dataset.name)
def test_what_is_by_day_is_in_no_group_or_job_of_months(dataset: Dataset) -> None:
    node = GRAPH.get(dg.AssetKey(dataset.name))
    assert node.group_name not in {GRAPH.get(dg.AssetKey(name)).group_name for name in DATASETS}
    assert dataset.name not in Planner(DEFS, Profile(load_settings("demo"))).order
    for name in ("main", "total_portfolio"):
        assert dg.AssetKey(dataset.name) not in DEFS.resolve_job_def(name).asset_layer.selected_asset_keys
    checks = {each.name for each in GRAPH.get_check_keys_for_assets({dg.AssetKey(dataset.name)})}
    assert checks == set(CONTRACT) | ({"said_in_time"} if dataset.name == "decisions" else set())


@pytest.mark.parametrize("dataset", ON_DEMAND, ids=lambda dataset: dataset.name)
def test_what_is_made_on_demand_is_started_by_nothing_else(dataset: Dataset) -> None:
    node = GRAPH.get(dg.AssetKey(dataset.name))
    assert not node.parent_keys, "materialising an asset and everything downstream would start it"
    assert not node.child_keys
    assert dataset.name not in Planner(DEFS, Profile(load_settings("demo"))).order
    checks = {each.name for each in GRAPH.get_check_keys_for_assets({dg.AssetKey(dataset.name)})}
    assert checks == set(CONTRACT) | {"no_lookahead"}
    assert list(
        getattr(node.metadata["dagster/column_schema"], "value", node.metadata["dagster/column_schema"]).columns
    )


@EVERY
def test_an_asset_says_what_it_is(dataset: Dataset) -> None:
    node = GRAPH.get(dg.AssetKey(dataset.name))
    assert node.owners == ["team:quant-assets"]
    assert node.group_name in {
        "market",
        "signals",
        "learning",
        "portfolio",
        "risk",
        "operations",
        "research",
        "sql",
        "across_sectors",
    }
    assert {"parquet"} < node.kinds
    assert node.description
    assert dataset.meaning in node.description
    assert f"Group {node.group_name}: {GROUPS[str(node.group_name)]}." in node.description
    for column in dataset.columns.values():
        assert all(f"| `{value}` | {meaning} |" in node.description for value, meaning in column.values.items())
    assert dataset.known_at in node.description
    assert all(name in node.description for name in dataset.key)


@EVERY
def test_an_asset_shows_type_unit_and_meaning_of_each_column(dataset: Dataset) -> None:
    schema = GRAPH.get(dg.AssetKey(dataset.name)).metadata["dagster/column_schema"]
    shown = {column.name: column for column in getattr(schema, "value", schema).columns}
    assert list(shown) == list(dataset.columns)
    for name, column in dataset.columns.items():
        assert shown[name].type == str(column.dtype)
        assert shown[name].description is not None
        assert shown[name].description.startswith(column.meaning)
        assert column.unit in shown[name].description
        assert shown[name].constraints.nullable == column.nullable


@EVERY
def test_an_asset_has_its_grain_and_runs_ranges_in_one_run(dataset: Dataset) -> None:
    node = GRAPH.get(dg.AssetKey(dataset.name))
    assert node.backfill_policy == dg.BackfillPolicy.single_run()
    if not dataset.grain.by_sector:
        assert isinstance(node.partitions_def, dg.MonthlyPartitionsDefinition)
        return
    assert isinstance(node.partitions_def, dg.MultiPartitionsDefinition)
    dimensions = {each.name: each.partitions_def for each in node.partitions_def.partitions_defs}
    assert list(dimensions) == ["month", "sector"]
    assert dimensions["sector"].get_partition_keys() == list(SECTORS)
    assert dimensions["month"] == GRAPH.get(dg.AssetKey("macro")).partitions_def


@EVERY
def test_an_asset_has_the_contracts_checks_and_they_block(dataset: Dataset) -> None:
    specs = {
        each.name: GRAPH.get_check_spec(each) for each in GRAPH.get_check_keys_for_assets({dg.AssetKey(dataset.name)})
    }
    assert set(CONTRACT) == {"dtypes", "keys", "nulls", "ranges", "known"}
    assert set(described(dataset)) - set(CONTRACT) == ({"references"} if dataset.references else set())
    # Beyond the contract: what the header of a SQL model declares, and the comparisons of datasets and models.
    tests = {
        test.name: test.blocking
        for model in load_models(DATASETS)
        if model.name == dataset.name
        for test in model.tests
    }
    comparisons = {
        "sessions_explained": "data_quality",
        "providers_agree": "price_disagreements",
        "same_selection": "candidates_sql",
        "plausible_ic": CHECKPOINTS.name,
        "beats_baseline": CHECKPOINTS.name,
        "scored_after_training": "sentiment",
        "within_limits": "weights",
    }
    blocking = ("same_selection", "scored_after_training", "within_limits")
    across = {name: name in blocking for name, asset in comparisons.items() if asset == dataset.name}
    assert {name: spec.blocking for name, spec in specs.items()} == dict.fromkeys(
        described(dataset), True
    ) | tests | across
    assert all(spec.description for spec in specs.values())


@EVERY
def test_a_dataset_refers_to_what_its_asset_reads_of_the_same_partition(dataset: Dataset) -> None:
    own = dataset.grain.levels
    for each in dataset.references:
        other = DATASETS[each.dataset]
        assert dg.AssetKey(other.name) in GRAPH.get(dg.AssetKey(dataset.name)).parent_keys, "else it may not be there"
        assert other.grain == dataset.grain
        assert len(each.columns) == len(each.to) >= 1
        assert [dataset.schema[name] for name in each.columns] == [other.schema[name] for name in each.to]
        assert not {*each.columns, *each.to} & {*own}, "the partition is compared in any case"
    for columns in dataset.unique:
        assert set(columns) <= set(dataset.columns)
        assert not set(dataset.key) <= set(columns), "the key says that"


def test_references_are_declared_where_one_dataset_is_chosen_from_another() -> None:
    assert {name for name, dataset in DATASETS.items() if dataset.references} == {
        "candidates",
        "labels",
        "predictions",
        "scores",
        "regime_state",
        "weights",
        "sector_scorecard",
        "data_quality",
        "candidates_sql",
    }


def test_only_labels_look_ahead() -> None:
    ahead = {name: GRAPH.get(dg.AssetKey(name)).metadata["matures_months"] for name in DATASETS}
    # 61 sessions (horizon 60, entry a session later), at least 20 m - 5 in any m months.
    assert {name: months for name, months in ahead.items() if months} == {"labels": 4}


def test_every_group_is_of_one_grain_so_that_one_command_can_run_it() -> None:
    grains: dict[str, set[Grain]] = {}
    for name, dataset in DATASETS.items():
        grains.setdefault(GRAPH.get(dg.AssetKey(name)).group_name, set()).add(dataset.grain)
    assert all(len(found) == 1 for found in grains.values()), grains


def test_the_jobs_hold_every_asset_of_their_grain_with_its_checks() -> None:
    for name, grain in (("main", SECTOR_MONTHLY), ("total_portfolio", MONTHLY)):
        job = DEFS.resolve_job_def(name)
        expected = {dg.AssetKey(each) for each, dataset in DATASETS.items() if dataset.grain == grain}
        assert job.asset_layer.selected_asset_keys == expected
        assert job.partitions_def == GRAPH.get(next(iter(expected))).partitions_def
        checked = {key.asset_key for key in job.asset_layer.asset_graph.asset_check_keys}
        assert checked == expected
        assert job.executor_def.executor_creation_fn is in_process_executor().executor_creation_fn
        assert job.description


@pytest.mark.slow
def test_a_profile_without_its_data_still_has_its_definitions() -> None:
    """The web UI opens, and says what is missing when something is run."""
    code = (
        "from quant_assets.definitions import defs; "
        "months = defs.resolve_job_def('total_portfolio').partitions_def.get_partition_keys(); "
        "print(months[0], months[-1])"
    )
    environment = os.environ | {"QUANT_PROFILE": "files"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2000-01", "2025-10"]
    assert done.stderr == "", "no warning on the way"
