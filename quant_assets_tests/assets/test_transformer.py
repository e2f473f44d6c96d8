"""The stock Transformer through the real graph: an encoder of the market, checkpoints of a sector, forecasts, picks."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.audit.findings import AuditResult
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.cli.predict import output
from quant_assets.learning.model_files import sha256
from quant_assets.learning.transformer import inputs
from quant_assets_tests.audit import leaks_of_transformer
from quant_assets_tests.audit.leaks import Leak, leaks_of
from quant_assets_tests.graph import SMALL, Graph

pytestmark = pytest.mark.slow

SECTOR, TRAINED, AFTER = "cons_staples", "2023-12", "2024-01"
PARAMETERS: dict[str, Any] = {
    "hidden_size": 8,
    "num_heads": 2,
    "days": 12,
    "maximum_sessions": 40,
    "max_epochs": 2,
    "batch_units": 8,
    "pretraining": {"cadence_months": 3, "window_months": 6, "max_epochs": 2},
}
SETTINGS: dict[str, Any] = {
    "as_of": date(2024, 4, 30),
    "partitions": {"start": "2022-12"},
    "labels": {"horizons": (5, 20)},
    "models": SMALL["models"] | {"transformer": {"kind": "transformer", "parameters": PARAMETERS}},
}
DEEP = ("transformer_pretrained", "transformer_checkpoint")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """One sector up to its picks, a month after a training."""
    made = Graph.at(tmp_path_factory.mktemp("deep"), **SETTINGS)
    for phase in made.planner.plan(["weights", "feature_drift"], [SECTOR], AFTER, AFTER).phases:
        made.materialise(phase.assets, tags=phase.range_tags)
    return made


def test_an_encoder_is_trained_first_and_the_checkpoint_begins_from_it(graph: Graph) -> None:
    store = graph.profile.store
    encoders = graph.read("transformer_pretrained").filter(pl.col("month") == TRAINED)
    row = encoders.row(0, named=True)
    assert (len(encoders), row["status"], row["stage"], row["sectors"]) == (1, "trained", "encoder", 1)
    assert row["windows"] > 100
    assert row["last_date"] <= row["as_of"] == date(2023, 12, 29)
    assert sha256(store.read_artifact(row["model_file"])) == row["model_sha256"]
    told = json.loads(store.read_artifact(row["manifest_file"]))
    assert (told["stage"], told["target"], told["trained_through"]) == ("encoder", None, "2023-12-29")
    trained = graph.read("transformer_checkpoint").filter(pl.col("month") == TRAINED)
    assert trained.select("model", "horizon", "status").rows() == [
        ("transformer", 5, "trained"),
        ("transformer", 20, "trained"),
    ]
    manifest = json.loads(store.read_artifact(trained["manifest_file"][0]))
    assert manifest["final"]["encoder"] == [row["model_version"], "2023-12-29"]
    assert (manifest["final"]["stage"], manifest["final"]["normalisation"]) == ("fine_tuned", "running_maximum")
    assert manifest["final"]["trained_through"] == "2023-12-29"
    assert [each["encoder"] for each in manifest["folds"]] == [None] * 2, "it knows the slices that they are judged on"
    assert manifest["settings"]["transformer"]["encoder"]["manifest"]["sha256"] == row["model_sha256"]
    assert str(Path(store.url)) not in store.read_artifact(trained["manifest_file"][0]).decode()
    assert not list((Path(store.url) / "artifacts" / ".training").rglob("*.pt")), "what only a rerun needs is gone"


def test_it_forecasts_returns_beside_the_other_models_and_neither_class_taints_the_other(graph: Graph) -> None:
    found = graph.read("predictions").filter(pl.col("month") == AFTER)
    own = found.filter(pl.col("model") == "transformer")
    members = graph.read("features").filter(pl.col("month") == AFTER)
    assert len(own) > 1.8 * len(members)
    assert own["prediction"].abs().max() < 0.5, "returns, not prices"  # type: ignore[operator]
    assert set(own["model_version"]) == set(
        graph.read("transformer_checkpoint").filter(pl.col("month") == TRAINED)["model_version"]
    )
    assert own["prediction_std"].min() > 0  # type: ignore[operator]
    assert set(found["model"]) == {"lightgbm", "transformer", "ensemble"}
    assert {name: graph.datasets[name].reproducibility for name in (*DEEP, "lightgbm_checkpoint")} == {
        "transformer_pretrained": "trained",
        "transformer_checkpoint": "trained",
        "lightgbm_checkpoint": "exact",
    }


def test_the_picks_of_a_month_are_its_documented_json(graph: Graph) -> None:
    told = list(output(graph.profile, SECTOR, AFTER, 5, "both", "transformer", save=True))
    document = json.loads(Path(str(told[-1])).read_text())
    assert list(document) == ["selected_stocks", "predicted_scores", "portfolio_weights", "source", "metadata"]
    assert document["source"] == "model"
    assert set(document["metadata"]) >= {
        "sector",
        "date",
        "num_candidates",
        "total_candidates",
        "valid_stocks",
        "excluded_stocks",
        "model_version",
    }
    assert document["metadata"]["model"] == "transformer"
    picked = document["selected_stocks"]
    assert len(picked) == 5
    stored = graph.read("predictions").filter(
        (pl.col("model") == "transformer") & (pl.col("horizon") == 20) & (pl.col("date") == date(2024, 1, 31))
    )
    by_name = dict(stored.select("ticker", "prediction").iter_rows())
    assert document["predicted_scores"] == {name: by_name[name] for name in picked}, "to the bit those of the dataset"
    assert sum(document["portfolio_weights"].values()) in (0, pytest.approx(1.0))


def test_a_profile_without_such_a_model_has_no_such_assets() -> None:
    plain = Graph.at(Path("nowhere"))
    assert not set(DEEP) & set(plain.datasets)
    assert "prices" not in plain.planner.reads("predictions")


def test_what_it_reads_is_held_against_its_training_rows(graph: Graph) -> None:
    own = pl.col("model") == "transformer"
    forecasts = graph.read("predictions").filter(pl.col("month") == AFTER)
    assert forecasts.filter(own)["dissimilarity"].null_count() == 0
    assert 0.0 < forecasts.filter(own)["dissimilarity"].median() < 2.0  # type: ignore[operator]
    assert forecasts.filter(pl.col("model") == "ensemble")["in_range"].null_count() == 0
    drift = graph.read("feature_drift").filter(pl.col("month") == AFTER)
    assert drift.filter(own)["feature"].to_list() == sorted(inputs.COLUMNS)
    assert set(drift.filter(own)["checkpoint"]) == {date(2023, 12, 29)}
    assert set(drift["model"]) == {"lightgbm", "transformer"}


def test_forecasts_of_a_range_are_those_of_its_months(graph: Graph) -> None:
    before = graph.read("predictions").filter(pl.col("month") == AFTER)
    for phase in graph.planner.plan(["predictions"], [SECTOR], AFTER, "2024-02").phases:
        graph.materialise(phase.assets, tags=phase.range_tags)
    assert len(graph.read("predictions").filter(pl.col("month") == "2024-02"))
    assert graph.read("predictions").filter(pl.col("month") == AFTER).equals(before)


def audited(graph: Graph, leak: Leak) -> AuditResult:
    """The forecasts of a month held against those that are made without anything after its middle."""
    given = {"sectors": [SECTOR], "first": leak.first, "last": leak.last, "assets": [leak.asset], "reach": leak.reach}
    return audit_lookahead(graph.profile, tests=[leak.test], cuts=[leak.cut], diagnosed=False, **given)


@pytest.mark.nightly
@pytest.mark.parametrize("leak", leaks_of(leaks_of_transformer.__name__), ids=lambda leak: leak.name)
def test_a_leak_of_the_transformer_is_seen(graph: Graph, leak: Leak, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = audited(graph, leak)
    assert clean.passed
    assert any(each.asset == leak.asset and each.compared for each in clean.comparisons)
    leak.plant(monkeypatch)
    found = audited(graph, leak)
    assert not found.passed
    assert {each.asset for each in found.comparisons if each.differing} == {leak.asset}
