"""What is shown of trainings: figures of the manifests, and nothing where nothing was trained."""

import base64
import csv
import io
import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.assets.training_told import importances_csv, told_of
from quant_assets.learning.models.lightgbm import LightGBM
from quant_assets.learning.models.linear import LinearLearner
from quant_assets.learning.trained import TrainedModel
from quant_assets.learning.training import train_checkpoint
from quant_assets.settings.domain import PredictionSettings, TrainingSettings
from quant_assets_tests.synthetic_learning import FEATURES, PLANTED, simulate


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[TrainedModel]:
    settings = TrainingSettings(window_months=18, folds=4), PredictionSettings(), LinearLearner("line")
    folder = tmp_path_factory.mktemp("models")
    return train_checkpoint(*simulate(), date(2020, 6, 30), *settings, (5, 20), "it", FEATURES, folder)


def test_metrics_have_errors_and_show_how_calibration_and_intervals_held(trained: list[TrainedModel]) -> None:
    told = told_of(trained)
    assert set(told) == {"metrics", "reliability", "importances"}
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in str(told["metrics"].value).splitlines()
    ]
    assert [row[:3] for row in rows] == [["line", "5", "trained"], ["line", "20", "trained"]]
    for item, row in zip(trained, rows, strict=True):
        shown, metrics, manifest = dict(zip(head, row, strict=True)), item.metrics, json.loads(item.manifest)
        assert shown["rank_ic"] == f"{metrics.rank_ic:.4f} ± {metrics.rank_ic_standard_error:.4f}"
        assert shown["turnover"] == f"{metrics.turnover:.4f}"
        assert 0.75 < float(shown["coverage"]) < 1
        assert float(shown["brier"]) == pytest.approx(manifest["reliability"]["calibrated"]["brier"], abs=1e-4)
    assert str(told["reliability"].value).startswith("![reliability](data:image/svg+xml;base64,")
    assert str(told["importances"].value).splitlines()[2].startswith(f"| line | {PLANTED} ")


def test_importances_are_the_mean_over_the_fits(trained: list[TrainedModel]) -> None:
    manifest = json.loads(trained[1].manifest)
    rows = list(csv.DictReader(io.StringIO(importances_csv(trained[1].manifest).decode())))
    values = [float(row["coefficient"]) for row in rows]
    assert values == sorted(values, reverse=True)
    assert {row["feature"]: float(row["coefficient"]) for row in rows} == manifest["mean_importance"]["coefficient"]
    assert rows[0]["feature"] == PLANTED
    last = manifest["feature_importance"]["coefficient"]
    assert set(last) == {row["feature"] for row in rows}
    assert not np.allclose([last[row["feature"]] for row in rows], values), "of four fits, not of the last alone"
    assert importances_csv(json.dumps({"mean_importance": {}}).encode()) is None


def test_of_nothing_trained_only_the_status_is_shown(tmp_path: Path) -> None:
    settings = TrainingSettings(), PredictionSettings(), LinearLearner("line")
    features, labels = (each.filter(pl.col("ticker") == "T01") for each in simulate())
    none = train_checkpoint(features, labels, date(2020, 6, 30), *settings, (5,), "it", FEATURES, tmp_path)
    told = told_of(none)
    assert set(told) == {"metrics"}
    assert "| line | 5 | too_little_history |" in str(told["metrics"].value)


def test_contributions_are_shown_of_the_kinds_that_state_them(trained: list[TrainedModel], tmp_path: Path) -> None:
    settings = TrainingSettings(window_months=18, folds=4, shap_rows=60), PredictionSettings(), LightGBM("trees")
    trees = train_checkpoint(*simulate(), date(2020, 6, 30), *settings, (5, 20), "it", FEATURES, tmp_path)
    shown = str(told_of([*trained, *trees])["contributions"].value)
    picture, _, said = shown.partition("\n")
    assert said.strip() == "The kinds of line state no contributions: see importances."
    svg = base64.b64decode(picture.partition("base64,")[2].rstrip(")")).decode()
    assert ">trees, 5 d</text>" in svg
    assert ">trees, 20 d</text>" in svg
    assert ">line" not in svg
    assert "\n" not in str(told_of(trees)["contributions"].value)
    for item in trees:
        manifest = json.loads(item.manifest)
        told = manifest["contributions"]
        assert told["rows"] == 60
        assert next(iter(sorted(told["mean_absolute"], key=lambda each: -told["mean_absolute"][each]))) == PLANTED
        tested = [(fold["test"]["first_date"], fold["test"]["last_date"]) for fold in manifest["folds"]]
        days = item.contributions["date"].cast(pl.String).to_list()
        assert all(any(first <= day <= last for first, last in tested) for day in days)
        assert {sum(first <= day <= last for day in days) for first, last in tested} == {60 // 3 * len(FEATURES)}
    assert json.loads(trained[0].manifest)["contributions"] is None
    assert trained[0].contributions is None
