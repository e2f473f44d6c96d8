"""Updates between trainings on the real graph over a made-up sector: ranges and months, what forecasts use, gaps, and
what is told and verified."""

import json
import shutil
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.audit.reproduction import recompute
from quant_assets.cli import models as listing
from quant_assets.partitions import key, month_range
from quant_assets.planning.plan import Phase
from quant_assets.planning.staleness import Staleness
from quant_assets.schemas import CHECKPOINTS
from quant_assets_tests.graph import SMALL, Graph
from quant_assets_tests.synthetic_learning import simulate

SECTOR, FIRST, LAST = "it", "2021-03", "2021-07"
NAME = CHECKPOINTS.name
SETTINGS: dict[str, Any] = {
    "as_of": date(2021, 12, 31),
    "partitions": {"start": "2020-01"},
    "features": {"sets": ["core"]},
    "training": {
        "cadence_months": 3,
        "window_months": 12,
        "max_checkpoint_age_months": 3,
        "folds": 2,
        "sample_every_sessions": 2,
        "min_rows": 100,
    },
    "labels": {"horizons": [5, 20]},
}
MODELS: dict[str, Any] = {
    "lightgbm": {"kind": "lightgbm", "update": True, "parameters": {"min_data_in_leaf": 20, "num_trees": 5}},
    "linear": {"kind": "linear", "update": True, "horizons": [20]},
    "kept": {"kind": "linear", "horizons": [20]},
    **dict.fromkeys(("xgboost", "random_forest")),
}


def made(folder: Path, models: dict[str, Any] = MODELS) -> Graph:
    """Features and labels of two years."""
    graph = Graph.at(folder, **SETTINGS, models=models)
    months = month_range("2020-01", "2021-12")
    market = simulate(tickers=20, horizons=(5, 20), first=date(2020, 1, 1), last=date(2021, 12, 31))
    for name, rows in zip(("features", "labels"), market, strict=True):
        dataset = graph.datasets[name]
        own = rows.with_columns(sector=pl.lit(SECTOR)).select(dataset.empty().columns)
        keys = [key(SECTOR, month) for month in months]
        graph.profile.store.write(dataset, own, keys, lambda each: graph.profile.known_through(each[:7], 2))
    return graph


def materialise(graph: Graph, first: str, last: str, *names: str) -> None:
    graph.materialise(names or [NAME], tags=Phase(names or (NAME,), first, last, (SECTOR,)).range_tags)


def written(graph: Graph, name: str = NAME) -> dict[str, bytes]:
    return {path: each for path, each in graph.files().items() if path.startswith((f"{name}/", f"artifacts/{name}/"))}


def forget(graph: Graph, months: Sequence[str], name: str = NAME) -> None:
    for month in months:
        Path(graph.profile.store.path(graph.datasets[name], key(SECTOR, month))).unlink()
        shutil.rmtree(Path(graph.profile.store.url) / "artifacts" / name / SECTOR / month, ignore_errors=True)


def rows(graph: Graph, month: str) -> pl.DataFrame:
    return graph.read(NAME).filter(pl.col("month") == month)


def manifest(graph: Graph, row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(graph.profile.store.read_artifact(row["manifest_file"]))
    return found


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """Months of checkpoints in one run, two of them trained, and the forecasts by them."""
    found = made(tmp_path_factory.mktemp("updates"))
    materialise(found, "2021-02", LAST)
    materialise(found, "2021-05", "2021-08", "predictions")
    return found


def test_months_between_trainings_are_updated_where_the_settings_say_so(graph: Graph) -> None:
    updating = [("lightgbm", 5), ("lightgbm", 20), ("linear", 20)]
    for month in month_range(FIRST, LAST):
        found = rows(graph, month).sort("model", "horizon")
        if month in (FIRST, "2021-06"):
            assert found.select("model", "horizon", "status").rows() == [
                *[("kept", 20, "trained")],
                *[(*each, "trained") for each in updating],
            ]
        else:
            assert found.select("model", "horizon", "status").rows() == [(*each, "updated") for each in updating]
    versions = graph.read(NAME).filter(pl.col("model") == "linear")["model_version"]
    assert versions.n_unique() == 5


@pytest.mark.slow
def test_a_range_equals_its_months_and_what_is_told_of_them(graph: Graph) -> None:
    whole, told = written(graph), {each: shown for each, shown in graph.told.items() if each[0] == NAME}
    months = month_range(FIRST, LAST)
    for stretches in ([(month, month) for month in months], [(FIRST, "2021-04"), ("2021-05", LAST)]):
        forget(graph, months)
        for first, last in stretches:
            materialise(graph, first, last)
        assert written(graph) == whole
        for each, shown in told.items():
            facts = {name for name in shown if not name.endswith("_of_run") and not name.startswith("dagster/")}
            assert {name: graph.told[each][name] for name in facts} == {name: shown[name] for name in facts}


def test_forecasts_are_by_the_update_and_in_time_as_long_as_its_training(graph: Graph) -> None:
    predictions = graph.read("predictions").filter(pl.col("horizon") == 20, pl.col("model") != "ensemble")
    for before, month in pairwise(month_range("2021-04", "2021-08")):
        used = predictions.filter(pl.col("month") == month).select("model", "model_version", "expires").unique()
        stored = rows(graph, before).filter(pl.col("horizon") == 20)
        newest = {row["model"]: row for row in stored.iter_rows(named=True)}
        trained = "2021-03" if before < "2021-06" else "2021-06"
        if "kept" not in newest:
            newest["kept"] = rows(graph, trained).filter(pl.col("model") == "kept").row(0, named=True)
        assert {row["model"]: row["model_version"] for row in used.iter_rows(named=True)} == {
            name: row["model_version"] for name, row in newest.items()
        }
        (expires,) = used["expires"].unique()
        assert expires == {"2021-03": date(2021, 6, 30), "2021-06": date(2021, 9, 30)}[trained]


def test_a_training_is_held_against_updates_and_is_the_same_without_them(graph: Graph, tmp_path: Path) -> None:
    row = rows(graph, "2021-06").filter(pl.col("model") == "lightgbm", pl.col("horizon") == 5).row(0, named=True)
    told = manifest(graph, row)["against_updates"]
    assert told["rows"]["rows"] > 0
    assert min(told[name]["rows"] for name in ("updated", "training", "full")) == told["rows"]["rows"]
    assert [each["as_of"] for each in told["judged"]] == ["2021-04-30", "2021-05-28"]
    assert "| lightgbm | 5 |" in graph.told[NAME, key(SECTOR, "2021-06")]["updates"]
    assert "| lightgbm | 5 |" in graph.told[NAME, key(SECTOR, "2021-05")]["updates"]
    assert "updates" not in graph.told[NAME, key(SECTOR, FIRST)]
    plain = {name: each and each | {"update": False} for name, each in MODELS.items()}
    other = made(tmp_path, plain)
    materialise(other, "2021-05", "2021-06")
    assert rows(other, "2021-05").is_empty()
    (own,) = rows(other, "2021-06").filter(pl.col("model") == "lightgbm", pl.col("horizon") == 5).iter_rows(named=True)
    same = rows(graph, "2021-06").filter(pl.col("model") == "lightgbm", pl.col("horizon") == 5).row(0, named=True)
    assert own["model_sha256"] == same["model_sha256"]
    assert (NAME in other.planner.carried, NAME in graph.planner.carried) == (False, True)


def test_every_file_is_listed_shown_and_whole(graph: Graph) -> None:
    profile = graph.profile
    assert list(listing.verification(profile, [], [SECTOR])) == ["17 of 17 models are intact"]
    (table,) = listing.listed(profile, [SECTOR])
    shown = {str(column.header): list(column.cells) for column in table.columns}
    assert list(zip(shown["model"], shown["as of"], shown["status"], strict=True)) == [
        ("kept", "2021-06-30", "trained"),
        ("lightgbm", "2021-07-30", "updated"),
        ("lightgbm", "2021-07-30", "updated"),
        ("linear", "2021-07-30", "updated"),
    ]
    (table,) = listing.shown(profile, "linear", [SECTOR])
    status = next(list(column.cells) for column in table.columns if str(column.header) == "status")
    assert status == ["trained", "updated", "updated", "trained", "updated"]


def test_without_the_month_before_nothing_is_updated_and_closing_the_gap_is_told(tmp_path: Path) -> None:
    graph = made(tmp_path, MODELS | {"lightgbm": None, "kept": None})
    materialise(graph, FIRST, "2021-04")
    whole = written(graph)
    forget(graph, ["2021-04"])
    materialise(graph, "2021-05", "2021-05")
    assert rows(graph, "2021-05").is_empty()
    materialise(graph, "2021-04", "2021-04")
    assert {name: each for name, each in written(graph).items() if "2021-05" not in name} == whole
    found = Staleness(graph.profile, (graph.defs.resources or {})["parquet"].recorder).all([NAME], [SECTOR])
    assert {each.first: each.why for each in found if each.counts} == {"2021-05": f"inputs {NAME} changed"}
    materialise(graph, "2021-05", "2021-05")
    assert rows(graph, "2021-05")["status"].to_list() == ["updated"]


@pytest.mark.slow
@pytest.mark.nightly
def test_an_updated_month_is_reproduced_from_the_month_before_as_it_is_stored(tmp_path: Path) -> None:
    models = SMALL["models"] | {"lightgbm": None, "linear": {"kind": "linear", "update": True}}
    about = {"models": models, "weights": {"model": "linear"}, "labels": {"horizons": (20,)}}
    graph = Graph.at(tmp_path, **about, as_of=date(2024, 2, 29), partitions={"start": "2023-03"})
    for phase in graph.planner.plan([NAME], ["cons_staples"], "2023-12", "2024-02").phases:
        graph.materialise(phase.assets, tags=phase.range_tags)
    assert graph.read(NAME)["status"].to_list() == ["trained", "updated", "updated"]
    found = recompute(graph.profile, NAME, key("cons_staples", "2024-02"))
    assert found.reproduced, [each for each in found.compared if each.outcome == "differs"]
    assert {each.partition_key for each in found.compared if each.asset == NAME} >= {key("cons_staples", "2024-02")}
