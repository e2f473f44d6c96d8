"""Planted leaks of learning, labels and execution: each is seen by the control that is named, and innocent changes and
small settings raise no alarm."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.audit import learning_relations
from quant_assets.audit.datasets import compute, with_datasets
from quant_assets.audit.entry_lags import entry_lags
from quant_assets.audit.execution import audit_execution
from quant_assets.audit.findings import Comparison
from quant_assets.audit.later_slices import later_slices
from quant_assets.audit.learning_controls import controls
from quant_assets.audit.learning_relations import oracle
from quant_assets.audit.learning_stage import Stage
from quant_assets.audit.runs import Recomputed
from quant_assets.learning.models.lightgbm import Parameters
from quant_assets.profile import Profile
from quant_assets.settings.loading import Settings, load_settings
from quant_assets_tests.audit import leaks_of_learning
from quant_assets_tests.audit.leaks import LEAKS, Leak
from quant_assets_tests.audit.leaks_of_learning import INNOCENT
from quant_assets_tests.graph import SMALL
from quant_assets_tests.learning.kinds import OWN

pytestmark = pytest.mark.slow

SECTOR, MONTH = "cons_staples", "2023-12"
PLANTED = [leak for leak in LEAKS.values() if leak.plant.__module__ == leaks_of_learning.__name__]
SCORED = ("candidates", "predictions")
ASSETS = ("lightgbm_checkpoint", "predictions")


#: One model, as large as the kind makes it: of a few trees a choice on the test slice comes out the same in every run.
MODELS = SMALL["models"] | {"lightgbm": {"parameters": Parameters().model_dump() | {"min_data_in_leaf": 20}}}


def settings(storage: str = "storage", **more: Any) -> Settings:
    given = {**SMALL, "models": MODELS, "labels": {"horizons": (20,)}, "partitions": {"start": "2022-12"}, **more}
    return load_settings("demo", **given, as_of=date(2024, 12, 13), storage=storage)


def planted(*assets: str, test: str = "execution") -> Any:
    chosen = [leak for leak in PLANTED if leak.test == test and leak.asset in assets]
    assert chosen
    return pytest.mark.parametrize("leak", chosen, ids=lambda leak: leak.name)


def failed(found: list[Comparison]) -> list[Comparison]:
    return [each for each in found if each.failed]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Recomputed:
    """Features and labels of a training in December 2023 and of the month after."""
    found = Recomputed.at(tmp_path_factory.mktemp("base"), settings(), None)
    compute(found, ["features", "labels"], SECTOR, "2023-03", "2024-01")
    return found


def with_settings(base: Recomputed, **more: Any) -> Recomputed:
    return Recomputed(Profile(settings(base.profile.settings.storage, **more)))


# --- Training ---------------------------------------------------------------------------------------------------------


@planted("lightgbm_checkpoint", test="learning")
def test_what_follows_from_later_rows_is_seen(
    leak: Leak, base: Recomputed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak.plant(monkeypatch)
    stage = Stage.of(base, SECTOR, MONTH, tmp_path)
    found, notes = later_slices(stage, stage.run("actual", {}, forecasts=False), earlier=leak.full)
    caught = failed(found)
    assert {each.asset for each in caught} == {leak.asset}
    assert all(each.cause and each.compared and each.expected != each.found for each in caught)
    assert notes == []


@pytest.mark.parametrize("plant", INNOCENT, ids=lambda plant: plant.__name__)
def test_innocent_preparation_and_tuning_raise_no_alarm(
    plant: Callable[[pytest.MonkeyPatch], None], base: Recomputed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    stage = Stage.of(base, SECTOR, MONTH, tmp_path)
    actual = stage.run("actual", {}, forecasts=False)
    for earlier in (False, True):
        found, notes = later_slices(stage, actual, earlier=earlier)
        assert failed(found) == []
        assert notes == []
        assert min(each.compared for each in found) > 100


@pytest.mark.parametrize(
    "more",
    [
        {"training": SMALL["training"] | {"target": "raw"}},
        {"training": SMALL["training"] | {"target": "rank"}},
        {"models": {"lightgbm": {"parameters": {"min_data_in_leaf": 20, "num_trees": 30}}}},
        {"models": {"lightgbm": {"parameters": {"min_data_in_leaf": 20, "num_leaves": 3}}}},
        {"models": {"lightgbm": {"parameters": {"min_data_in_leaf": 20, "num_leaves": 2, "num_trees": 1}}}},
        {"models": {"lightgbm": {"parameters": {"min_data_in_leaf": 60, "learning_rate": 0.02}}}},
        {"models": {"lightgbm": None, "own": {"kind": OWN}}},
    ],
    ids=[
        "raw",
        "rank",
        "30 trees",
        "3 leaves",
        "1 tree of 2 leaves",
        "slow",
        "a kind that fills and scales by its training rows",
    ],
)
def test_honest_settings_raise_no_alarm(more: dict[str, Any], base: Recomputed, tmp_path: Path) -> None:
    found, notes = controls(with_settings(base, **more), SECTOR, MONTH, tmp_path)
    assert failed(found) == []
    assert notes == []


def test_a_label_that_was_known_early_is_not_held_against_later_ones(base: Recomputed, tmp_path: Path) -> None:
    """A ticker that is delisted has labels that are known sooner than those of the other names of their sessions."""
    first = pl.col("ticker") == "STA03"

    def sooner(labels: pl.DataFrame) -> pl.DataFrame:
        return labels.with_columns(known_at=pl.when(first).then("entry_date").otherwise("known_at"))

    ranked = settings(base.profile.settings.storage, training=SMALL["training"] | {"target": "rank"})
    early = with_datasets(base, tmp_path / "early", ranked, {"features": None, "labels": sooner})
    stage = Stage.of(early, SECTOR, MONTH, tmp_path)
    actual = stage.run("actual", {}, forecasts=False)
    (fit, *_) = actual.fits["lightgbm_checkpoint"]
    last = fit.fitted.said.filter(pl.col("date") == pl.col("date").max())["ticker"]
    assert last.to_list() == ["STA03"], "its labels alone reach up to the validation slice"
    found, _ = later_slices(stage, actual)
    assert failed(found) == []


def test_a_model_too_small_to_learn_is_no_alarm_but_said(
    base: Recomputed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = with_settings(base, models=MODELS | {"lightgbm": {"parameters": {"min_data_in_leaf": 400}}})
    found, notes = oracle(Stage.of(small, SECTOR, MONTH, tmp_path / "silent"))
    assert found == []
    assert [note.partition(" was not tested: ")[2].partition(" of ")[0] for note in notes] == list(ASSETS)
    monkeypatch.setattr(learning_relations, "_LEARNS", 1.0)
    small = with_settings(
        base,
        models=MODELS | {"lightgbm": {"parameters": {"min_data_in_leaf": 20, "num_leaves": 2, "num_trees": 1}}},
    )
    found, notes = oracle(Stage.of(small, SECTOR, MONTH, tmp_path))
    assert [(each.asset, each.compared, each.differing) for each in found] == [(name, 0, 0) for name in ASSETS]
    assert all("reaches a rank IC of only" in note and "with larger settings" in note for note in notes)
    assert len(notes) == 2


# --- Labels, execution, scores ----------------------------------------------------------------------------------------


@planted("labels", "backtest", "portfolio_backtest")
def test_prices_before_the_entry_are_seen(leak: Leak, monkeypatch: pytest.MonkeyPatch) -> None:
    leak.plant(monkeypatch)
    result = audit_execution(settings(), sectors=[SECTOR], first="2023-04", last="2023-05")
    caught = [each for each in result.failures if each.asset == leak.asset]
    assert {each.test for each in caught} == {"execution"}
    assert all(each.cause and each.key for each in caught)
    assert {each.column for each in caught} <= {"forward_return", "gross_return", "entry_date", "exit_date", "known_at"}


def test_execution_and_labels_as_they_are_raise_no_alarm() -> None:
    result = audit_execution(settings(), sectors=[SECTOR], first="2023-04", last="2023-05")
    assert result.passed
    assert result.notes == ()
    compared = {each.asset: each.compared for each in result.comparisons}
    assert set(compared) == {"labels", "backtest", "portfolio_backtest"}
    assert min(each.compared for each in result.comparisons) >= 1


def scores(folder: Path, first: str = "2023-02") -> tuple[list[Comparison], list[str]]:
    run = Recomputed.at(folder, settings(), None)
    compute(run, list(SCORED), SECTOR, first, "2024-05")
    return entry_lags(run, SCORED)


@planted(*SCORED)
def test_scores_that_know_the_next_session_lose_it_with_an_entry_a_session_later(
    leak: Leak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak.plant(monkeypatch)
    (caught,) = failed(scores(tmp_path)[0])
    assert caught.asset == leak.asset
    assert "standard error" in caught.found


def test_scores_as_they_are_raise_no_alarm(tmp_path: Path) -> None:
    found, notes = scores(tmp_path)
    assert failed(found) == []
    assert notes == []
    assert {each.asset for each in found} == set(SCORED)
    few, said = scores(tmp_path, "2024-04")
    assert failed(few) == []
    assert said == []
