"""The controls for learning, each broken on purpose: what only permuted labels, the oracle or the recorded rows would
tell."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.audit.datasets import compute
from quant_assets.audit.fitting import Given, recorded
from quant_assets.audit.learning_controls import _trained_again, audit_learning, controls, training_month
from quant_assets.audit.runs import Recomputed
from quant_assets.audit.stored_rows import StoredRows
from quant_assets.learning import training
from quant_assets.learning.model_files import sha256_of
from quant_assets.learning.models import kinds
from quant_assets.learning.splits import Fold, purged_walk_forward
from quant_assets.profile import Profile
from quant_assets.settings.loading import Settings, load_settings
from quant_assets_tests.audit.leaks import spoil
from quant_assets_tests.graph import SMALL
from quant_assets_tests.learning.kinds import LEARNERS, made_up_rows

SECTOR, MONTH = "cons_staples", "2023-12"


def small(**more: Any) -> Settings:
    given = {
        **SMALL,
        "labels": {"horizons": (20,)},
        "partitions": {"start": "2022-12"},
        "as_of": date(2024, 12, 13),
        **more,
    }
    return load_settings("demo", **given)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Recomputed:
    found = Recomputed.at(tmp_path_factory.mktemp("base"), small(), None)
    compute(found, ["features", "labels"], SECTOR, "2023-03", "2024-01")
    return found


@pytest.mark.slow
def test_labels_in_the_test_slice_that_are_trained_on_show_on_permuted_labels(
    base: Recomputed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everything(*args: Any) -> list[Fold]:
        return [replace(fold, train=np.ones_like(fold.train)) for fold in purged_walk_forward(*args)]

    monkeypatch.setattr(training, "purged_walk_forward", everything)
    comparisons, _ = controls(base, SECTOR, MONTH, tmp_path)
    told = [each for each in comparisons if each.failed and "permuted labels" in each.expected]
    assert [each.asset for each in told] == ["lightgbm_checkpoint"], (
        "the forecasts of the month after saw none of its labels"
    )
    assert float(told[0].found.removeprefix("rank IC ")) > 0.3


@pytest.mark.slow
def test_labels_of_other_tickers_keep_the_oracle_from_being_learned(
    base: Recomputed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exchanged(real: Any, features: pl.DataFrame, labels: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        names = labels["ticker"].unique().sort()
        return real(
            features, labels.with_columns(ticker=pl.col("ticker").replace_strict(names, names.reverse())), *rest
        )

    spoil(monkeypatch, training, "training_rows", exchanged)
    comparisons, _ = controls(base, SECTOR, MONTH, tmp_path)
    causes = {(each.asset, each.column) for each in comparisons if each.failed}
    assert {("lightgbm_checkpoint", "date"), ("predictions", "prediction")} <= causes
    (paired,) = [each for each in comparisons if each.failed and each.column == "date"]
    assert paired.differing > 0.9 * paired.compared
    assert paired.expected != paired.found


@pytest.mark.slow
def test_the_audit_is_clean_with_every_kind_and_task(base: Recomputed, tmp_path: Path) -> None:
    import lightgbm as lgb

    names = base.profile.features.names[:2]
    inputs = np.random.default_rng(1).normal(size=(300, 2))
    given = {"verbosity": -1, "num_threads": 1}
    lgb.train(given, lgb.Dataset(inputs, inputs[:, 0], feature_name=list(names)), 5).save_model(tmp_path / "theirs.txt")
    trees = {"min_data_in_leaf": 20}
    models = {
        "lightgbm": {"kind": "lightgbm", "parameters": trees},
        "linear": {"kind": "linear"},
        "xgboost": {"kind": "xgboost", "parameters": {"min_child_weight": 20}},
        "random_forest": {"kind": "random_forest", "parameters": {"min_samples_leaf": 10, "max_features": 0.5}},
        "theirs": {
            "kind": "external",
            "parameters": {
                "path": str(tmp_path / "theirs.txt"),
                "sha256": sha256_of(tmp_path / "theirs.txt"),
                "format": "lightgbm",
                "features": names,
                "trained_until": date(2023, 6, 30),
            },
        },
    }
    # Of class trained is none of them: transformer is never trained by an audit.
    assert {each["kind"] for each in models.values()} == set(kinds()) - {"transformer"}, "every kind of the package"
    for kind in ("lightgbm", "linear", "xgboost", "random_forest"):
        models[f"{kind}_directions"] = models[kind] | {"task_type": "classification"}
    settings = small(models=models)
    every = Recomputed(Profile(settings.model_copy(update={"storage": base.profile.settings.storage})))
    (tmp_path / "runs").mkdir()
    comparisons, notes = controls(every, SECTOR, MONTH, tmp_path / "runs")
    assert [(each.asset, each.column, each.expected, each.found) for each in comparisons if each.failed] == []
    assert notes == []
    # Permuted labels of all of them and of the ensemble, the oracle of those that learn.
    assert [each.asset for each in comparisons].count("predictions") == (len(models) + 1) + (len(models) - 1)


def test_what_is_never_trained_again_is_left_out_of_the_settings() -> None:
    deep = {"transformer": {"kind": "transformer"}}
    profile = Profile(small(models=SMALL["models"] | deep | {"linear": {}}, weights={"model": "transformer"}))
    again = _trained_again(profile)
    assert (set(again.models), again.weights.model) == ({"lightgbm", "linear"}, "lightgbm")
    assert "transformer_checkpoint" not in Profile(again).datasets
    plain = Profile(small())
    assert _trained_again(plain) is plain.settings


@pytest.mark.slow
def test_too_little_history_is_a_note_and_no_verdict(base: Recomputed, tmp_path: Path) -> None:
    settings = small(training=SMALL["training"] | {"min_rows": 1_000_000})
    scratch = Recomputed(Profile(settings.model_copy(update={"storage": base.profile.settings.storage})))
    comparisons, notes = controls(scratch, SECTOR, MONTH, tmp_path)
    assert comparisons == []
    assert notes == [f"learning was not tested: lightgbm_checkpoint of {SECTOR} and {MONTH} has too little history"]


def test_a_month_counts_once_the_labels_of_the_month_after_are_known() -> None:
    profile = Profile(small())
    assert (
        training_month(profile, "2023-01", "2024-12") == "2024-09"
    )  # a month for the forecasts, two for labels of 31 sessions
    assert training_month(profile, "2024-01", "2024-02") is None
    result = audit_learning(profile, sectors=[SECTOR], first="2024-01", last="2024-02")
    assert result.comparisons == ()
    assert "no month from 2024-01 to 2024-02" in result.notes[0]


# --- What was recorded, and which rows it is --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LEARNERS)
def test_what_any_kind_is_handed_is_recorded_by_horizon_and_then_no_more(kind: str) -> None:
    learner = LEARNERS[kind]("named")
    rows = made_up_rows(600, (5, 20) if learner.all_horizons else (5,))
    number = np.arange(600)
    train, valid, test = (rows.where(mask) for mask in (number < 400, number // 100 == 4, number >= 500))
    with recorded() as fits:
        model = learner.fit(train, valid, 1)
        found = model.predict(test).mean
        learner.fit(valid, test, 1)
    assert len(fits) == 2 * len(rows.horizons)
    assert {each.model for each in fits} == {"named"}
    for column in range(len(rows.horizons)):
        fit, again = fits[column], fits[len(rows.horizons) + column]
        assert np.array_equal(fit.fitted.matrix, train.matrix, equal_nan=True)
        assert np.array_equal(fit.fitted.values, train.targets[:, column])
        assert np.array_equal(fit.stopped_by[0].values, valid.targets[:, column])
        assert np.array_equal(fit.predicted[0].matrix, test.matrix, equal_nan=True)
        assert np.array_equal(fit.predicted[0].values, found[:, column])
        assert np.array_equal(again.fitted.values, valid.targets[:, column])
    model.predict(rows)
    learner.fit(train, valid, 1)
    assert len(fits[0].predicted) == 1
    assert len(fits) == 2 * len(rows.horizons)


def test_rows_are_told_by_their_label_and_their_features() -> None:
    days = [date(2024, 1, 2), date(2024, 1, 3)]
    features = pl.DataFrame({"ticker": ["A", "A", "B", "B"], "date": days * 2, "x": [1.0, 2.0, 3.0, None]})
    labels = features.select("ticker", "date").with_columns(
        horizon=pl.lit(5, pl.Int32), forward_return=pl.Series([0.1, 0.0, 0.0, 0.4]), known_at=pl.lit(date(2024, 1, 12))
    )
    stored = StoredRows.of(features, labels, ("x",))
    matrix, values = np.array([[1.0], [2.0], [np.nan], [7.0]]), np.array([0.1, 0.0, 0.3, 0.4])
    labels_of = features.select("ticker", "date")
    given = Given(matrix, values, values, labels_of)
    assert stored.horizon(given) == 5
    found = stored.rows(given, 5)
    # A label that occurs twice is told by its features, features that are nowhere by their label, and a label that is
    # nowhere by the name of its row.
    assert found["ticker"].to_list() == ["A", "A", "B", "B"]
    assert found["date"].to_list() == [days[0], days[1], days[0], days[1]]
    assert found["paired_ticker"].to_list() == ["A", "A", "B", None]
    assert found["known_at"].null_count() == 0
    assert stored.called(given)["ticker"].to_list() == ["A", "A", "B", "B"]
    nowhere = np.array([5.0, 6.0, 7.0, 8.0])
    assert stored.horizon(Given(matrix, nowhere, nowhere, labels_of)) is None
    # Values that were cut at one bound are not all of the row whose label that is.
    cut = np.full(4, 0.1)
    assert stored.rows(Given(matrix, cut, cut, labels_of), 5)["date"].to_list() == [days[0], days[1], *days]
