"""A kind of model of one's own beside the first one, through the real graph: one file and one entry of the settings."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.audit.learning_controls import controls
from quant_assets.audit.runs import Recomputed
from quant_assets.errors import DatasetError
from quant_assets.graph import build_defs
from quant_assets.partitions import key, month_range
from quant_assets.schemas import CHECKPOINTS
from quant_assets.trial_log import trial_name
from quant_assets_tests.graph import SMALL, Graph
from quant_assets_tests.learning.kinds import OWN

pytestmark = pytest.mark.slow

SECTOR, TRAINED, AFTER, HORIZONS = "cons_staples", "2023-12", "2024-01", (5, 20)
SETTINGS = {
    "as_of": date(2024, 4, 30),
    "partitions": {"start": "2022-12"},
    "labels": {"horizons": HORIZONS},
    "models": SMALL["models"] | {"ridge": {"kind": OWN, "parameters": {"penalties": (10.0, 1_000.0)}}},
    "weights": {"model": "ridge"},
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The chain of one sector up to its report, a month after a training."""
    made = Graph.at(tmp_path_factory.mktemp("two"), **SETTINGS)
    for phase in made.planner.plan(["weights", "ops_report", "factor_statistics"], [SECTOR], AFTER, AFTER).phases:
        made.materialise(phase.assets, tags=phase.range_tags)
    return made


def test_both_models_are_trained_and_forecast_under_their_names(graph: Graph) -> None:
    checkpoints = graph.read(CHECKPOINTS.name).filter(pl.col("month") == TRAINED)
    assert checkpoints.select("model", "kind", "horizon", "status").rows() == [
        ("lightgbm", "lightgbm", 5, "trained"),
        ("lightgbm", "lightgbm", 20, "trained"),
        ("ridge", "ridge", 5, "trained"),
        ("ridge", "ridge", 20, "trained"),
    ]
    assert all(graph.profile.store.has_artifact(file) for file in checkpoints["model_file"])
    predictions = graph.read("predictions").filter(pl.col("month") == AFTER)
    of_models = predictions.filter(pl.col("model") != "ensemble")
    versions = of_models.select("model", "horizon", "model_version").unique().sort("model", "horizon")
    assert versions.equals(checkpoints.select("model", "horizon", "model_version").sort("model", "horizon"))
    members = graph.read("features").filter(pl.col("month") == AFTER)
    assert len(of_models) == 4 * len(members)
    assert len(predictions) == 6 * len(members), "the ensemble of both, at either horizon"
    assert not predictions.select(graph.datasets["predictions"].key).is_duplicated().any()


def test_weights_report_and_statistics_take_the_model_that_is_named(graph: Graph) -> None:
    weights = graph.read("weights").filter(pl.col("month") == AFTER)
    assert weights["score_source"].unique().to_list() == ["prediction"]
    forecasts = graph.read("predictions").filter(pl.col("horizon") == 20)
    held = weights.join(
        forecasts.select("ticker", "model", "prediction", as_of="date"), on=["ticker", "as_of"]
    ).partition_by("model", as_dict=True)
    assert held["ridge",]["score"].equals(held["ridge",]["prediction"].rename("score"))
    assert not held["lightgbm",]["score"].equals(held["lightgbm",]["prediction"].rename("score"))
    (file,) = graph.read("ops_report").filter(pl.col("month") == AFTER)["report_file"].unique()
    page = graph.profile.store.read_artifact(file).decode()
    assert f"ridge {forecasts.filter(pl.col('model') == 'ridge')['model_version'][-1]}, trained at 2023-12-29" in page
    judged = graph.read("factor_statistics").filter(pl.col("kind") == "model")
    assert judged["factor"].unique().sort().to_list() == ["ensemble", "lightgbm", "ridge"]


def test_each_model_is_a_trial_and_the_strategy_names_its_own(graph: Graph) -> None:
    profile = graph.profile
    build_defs(profile)  # tells the log which settings decide a trial
    trials = profile.trials.trials(SECTOR, TRAINED, AFTER)
    names = {model: trial_name(profile.trials.settings_of_training(model)) for model in profile.models.learners}
    assert {trial.name for trial in trials if trial.kind == "training"} == set(names.values())
    assert len(set(names.values())) == 2
    assert {trial.trainings for trial in trials if trial.kind == "strategy"} == {(names["ridge"],)}


def test_what_the_rows_follow_from_is_recorded_for_every_kind(graph: Graph) -> None:
    versions = (graph.defs.resources or {})["parquet"].recorder.versions
    for name in (CHECKPOINTS.name, "predictions"):
        symbols = set(versions[name].symbols)
        assert {"learning.models.lightgbm.LightGBM", "quant_assets_tests.learning.ridge.Ridge"} <= symbols
        assert "models" in versions[name].paths
    assert "models" not in versions["features"].paths


def test_the_audit_sees_the_rows_of_both(graph: Graph, tmp_path: Path) -> None:
    comparisons, notes = controls(Recomputed(graph.profile), SECTOR, TRAINED, tmp_path)
    assert [each for each in comparisons if each.failed] == []
    assert notes == []
    assert [each.asset for each in comparisons].count(
        "predictions"
    ) == 6  # permuted and oracle, for each model and the ensemble


def test_a_storage_of_before_there_were_several_models_is_computed_again(graph: Graph) -> None:
    """The planner does so by itself; whoever reads it before is told what to materialise."""
    store = graph.profile.store
    columns = {name: column for name, column in CHECKPOINTS.columns.items() if name not in ("model", "kind")}
    old = replace(CHECKPOINTS, columns=columns, key=("as_of", "horizon"))
    months = month_range("2023-06", TRAINED)
    keys = [key(SECTOR, month) for month in months if not store.missing(CHECKPOINTS, [key(SECTOR, month)])]
    rows = store.read(CHECKPOINTS, keys).collect().filter(pl.col("model") == "lightgbm")
    recorded = {each: store.recorded(CHECKPOINTS, each) for each in keys}
    store.write(
        old,
        rows.drop("month", "model", "kind"),
        keys,
        lambda each: recorded[each].known_through,
        lambda each: recorded[each].made_by or "",
    )
    with pytest.raises(
        DatasetError, match=rf"{CHECKPOINTS.name}.* was written with another schema .*materialise it again"
    ):
        store.read(CHECKPOINTS, keys)
    again = Graph(graph.settings)
    names = ["predictions", "weights", "ops_report"]
    plan = again.planner.plan(names, [SECTOR], AFTER, AFTER)
    phases = plan.phases
    remade = {
        month for each in phases if CHECKPOINTS.name in each.assets for month in month_range(each.first, each.last)
    }
    assert {each.partition("|")[0] for each in keys} <= remade
    assert any("written with other columns" in note for note in plan.notes)
    before = again.read("predictions")
    for phase in phases:
        again.materialise(phase.assets, tags=phase.range_tags)
    assert again.read("predictions").equals(before)
    assert again.read(CHECKPOINTS.name)["model"].unique().sort().to_list() == ["lightgbm", "ridge"]
