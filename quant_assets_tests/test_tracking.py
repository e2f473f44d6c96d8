"""Trainings in MLflow: the real library over a store in SQLite, and what a failure of it does."""

import json
import sys
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from quant_assets.asset_functions import Run
from quant_assets.audit.runs import Recomputed
from quant_assets.errors import SettingsError
from quant_assets.io.store import DatasetStore
from quant_assets.learning.models.lightgbm import LightGBM
from quant_assets.learning.trained import TrainedModel
from quant_assets.learning.training import train_checkpoint
from quant_assets.partitions import RunPartitions
from quant_assets.profile import Profile
from quant_assets.settings.domain import PredictionSettings, TrainingSettings
from quant_assets.settings.loading import LearningSettings, load_settings
from quant_assets.tracking import log_trainings
from quant_assets_tests.synthetic_learning import FEATURES, PLANTED, simulate

ON = LearningSettings(mlflow="sqlite")
# Not importorskip: what MLflow prints is decided when it is imported.
needs_mlflow = pytest.mark.skipif(find_spec("mlflow") is None, reason="the extra mlflow is not installed")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[TrainedModel]:
    settings = TrainingSettings(window_months=18), PredictionSettings(), LightGBM("trees", {"num_trees": 20})
    folder = tmp_path_factory.mktemp("models")
    return train_checkpoint(*simulate(), date(2020, 6, 30), *settings, (5, 20), "it", FEATURES, folder)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetStore:
    monkeypatch.chdir(tmp_path)
    return DatasetStore(str(tmp_path / "storage"))


def runs(store: DatasetStore) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{store.url}/mlflow.db")
    found = client.get_experiment_by_name("quant-assets/demo")
    assert found is not None
    return sorted(client.search_runs([found.experiment_id]), key=lambda run: int(run.data.tags["quant.horizon"]))


@needs_mlflow
@pytest.mark.slow
def test_a_training_is_a_run_with_its_figures_and_is_logged_once(
    trained: list[TrainedModel], store: DatasetStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path(store.url).mkdir()
    assert log_trainings(ON, store, "demo", "it", trained) is None
    assert capfd.readouterr() == ("", "")
    from mlflow.tracking import MlflowClient

    found = runs(store)
    assert [run.data.tags["quant.horizon"] for run in found] == ["5", "20"]
    for run, item in zip(found, trained, strict=True):
        manifest, metrics = json.loads(item.manifest or b""), run.data.metrics
        assert run.info.status == "FINISHED"
        assert run.data.tags["quant.version"] == item.model_version
        assert run.data.tags["quant.as_of"] == "2020-06-30"
        assert metrics["rank_ic"] == manifest["metrics"]["rank_ic"]
        assert metrics[f"importance/gain/{PLANTED}"] == manifest["mean_importance"]["gain"][PLANTED]
        assert metrics[f"contribution/{PLANTED}"] == manifest["contributions"]["mean_absolute"][PLANTED]
        for prefix in ("importance/gain/", "importance/split/", "contribution/"):
            assert sum(name.startswith(prefix) for name in metrics) == 25 < len(FEATURES)
        assert metrics["interval_coverage"] == manifest["measured_coverage"]["share"]
        assert run.data.params["lightgbm.num_trees"] == "20"
        assert run.data.params["window_months"] == "18"
        assert run.data.params["predictions.buckets"] == "5"
        assert run.data.params["features"] == str(len(FEATURES))
        client = MlflowClient(tracking_uri=f"sqlite:///{store.url}/mlflow.db")
        steps = client.get_metric_history(run.info.run_id, "fold/rank_ic")
        told = [fold["metrics"]["rank_ic"] for fold in manifest["folds"]]
        assert [each.value for each in sorted(steps, key=lambda each: each.step)] == told
    assert log_trainings(ON, store, "demo", "it", trained) is None
    assert [run.info.run_id for run in runs(store)] == [run.info.run_id for run in found]
    # One that was cut off is logged anew, the other is left as it is.
    client.update_run(found[0].info.run_id, status="RUNNING")
    assert log_trainings(ON, store, "demo", "it", trained) is None
    again = runs(store)
    assert again[1].info.run_id == found[1].info.run_id
    assert again[0].info.run_id != found[0].info.run_id
    assert again[0].data.metrics == found[0].data.metrics
    assert {path.name for path in tmp_path.iterdir()} == {"storage"}, "no folder where the command was called"


def test_nothing_is_logged_unless_it_is_asked_for(trained: list[TrainedModel], store: DatasetStore) -> None:
    assert LearningSettings().mlflow is None
    assert log_trainings(LearningSettings(), store, "demo", "it", trained) is None
    assert not Path(store.url).exists()


def test_a_library_that_is_not_there_is_one_line(
    trained: list[TrainedModel], store: DatasetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    said = log_trainings(ON, store, "demo", "it", trained)
    assert said is not None
    assert said.startswith("it, 2020-06-30: trainings of trees are not in MLflow (learning.mlflow): ")
    assert said.endswith("install the extra mlflow (pip install 'quant-assets[mlflow]')")
    monkeypatch.undo()
    away = DatasetStore("memory://away")
    assert "set a store's URI" in str(log_trainings(ON, away, "demo", "it", trained))


@needs_mlflow
def test_a_store_that_cannot_be_opened_is_one_line(
    trained: list[TrainedModel], store: DatasetStore, tmp_path: Path
) -> None:
    (tmp_path / "full").write_text("no database")
    broken = LearningSettings(mlflow=f"sqlite:///{tmp_path}/full")
    said = log_trainings(broken, store, "demo", "it", trained)
    assert said is not None
    assert "\n" not in said
    assert "file is not a database" in said


def test_what_is_no_store_and_a_login_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"learning\.mlflow.*write sqlite, the URI of a tracking store, or null"):
        load_settings("demo", learning={"mlflow": "mlruns"})
    with pytest.raises(SettingsError, match=r"learning\.mlflow.*MLFLOW_TRACKING_USERNAME"):
        load_settings("demo", learning={"mlflow": "https://me:secret@server"})
    assert (
        load_settings("demo", learning={"mlflow": "https://server:5000/x"}).learning.mlflow == "https://server:5000/x"
    )


def test_a_run_of_the_graph_says_a_failure_and_goes_on(
    trained: list[TrainedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, bool]] = []
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    monkeypatch.setattr(Run, "tell_log", lambda self, text, *, warning=False: said.append((text, warning)))
    settings = load_settings("demo", storage=str(tmp_path), learning={"mlflow": "sqlite"})
    run = Run(Profile(settings), RunPartitions(("it",), ("2020-06",)), None, {})  # type: ignore[arg-type]
    run.tell_trainings("it", trained)
    assert [(text.partition(":")[0], warning) for text, warning in said] == [("it, 2020-06-30", True)]


def test_what_the_audit_trains_is_not_logged(tmp_path: Path) -> None:
    settings = load_settings("demo", learning={"mlflow": "https://server"})
    assert Recomputed.at(tmp_path, settings, None).profile.settings.learning.mlflow is None
