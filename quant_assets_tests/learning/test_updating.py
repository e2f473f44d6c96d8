"""Updates between trainings: what is fed, that it is fed once and in time, how models are judged before they learn."""

import json
from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.catalogue import learner as learner_of
from quant_assets.errors import DatasetError, SettingsError
from quant_assets.learning.forecast import load_models
from quant_assets.learning.metrics import evaluate
from quant_assets.learning.models import kinds
from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.models.lightgbm import LightGBM
from quant_assets.learning.models.linear import Linear, LinearLearner
from quant_assets.learning.reference import stored_reference
from quant_assets.learning.rows import Rows
from quant_assets.learning.trained import TrainedModel, checkpoint_rows
from quant_assets.learning.training import rows_of, train_checkpoint
from quant_assets.learning.updating import against_updates, stored_fits, update_checkpoint
from quant_assets.market.calendar import session_number
from quant_assets.settings.domain import ModelSettings, PredictionSettings, TrainingSettings
from quant_assets_tests.learning.kinds import made_up_rows
from quant_assets_tests.synthetic_learning import FEATURES, Market

MONTHS = (date(2021, 3, 31), date(2021, 4, 30), date(2021, 5, 28), date(2021, 6, 30))
HORIZON = 5
#: A window that reaches back before the first row, so that the windows of all months are the same.
SETTINGS = TrainingSettings(window_months=60)
OF_KIND: Mapping[str, Learner[Any]] = {
    "linear": LinearLearner("linear", {}, "regression", updates=True),
    "lightgbm": LightGBM("lightgbm", {"num_trees": 20}, "regression", updates=True),
}


# --- The kinds ------------------------------------------------------------------------------------------------------


def ridge(model: Linear, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and intercepts on all rows at once, by the normal equations; the column of ones is not penalised."""
    of, inputs = model.coefficients, model.coefficients.standardised(rows.matrix)
    design = np.hstack([inputs, np.ones((len(inputs), 1))])
    held = np.diag([of.penalty * len(inputs)] * inputs.shape[1] + [0.0])
    found = np.linalg.solve(design.T @ design + held, design.T @ rows.targets)
    return found[:-1], found[-1]


@pytest.mark.parametrize("seed", range(6))
def test_linear_updates_come_to_the_ridge_of_all_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = made_up_rows(int(rng.integers(60, 900)), horizons=tuple(range(1, 1 + int(rng.integers(1, 4)))), seed=seed)
    # Later rows lie elsewhere, and may be one alone.
    later = np.arange(len(rows)) >= len(rows) // 2
    rows.matrix[later, 0] += 3.0
    rows.targets[later] -= 0.05
    cuts = np.sort(rng.choice(np.arange(len(rows) // 2 + 1, len(rows)), int(rng.integers(1, 5)), replace=False))
    number = np.arange(len(rows))
    learner = LinearLearner("linear", {}, "regression", updates=True)
    first = number < len(rows) // 2
    model: FittedModel = learner.fit(rows.where(first), rows.where(first), 1)
    assert isinstance(model, Linear)
    slopes, intercepts = ridge(model, rows.where(first))
    np.testing.assert_allclose(model.coefficients.slopes, slopes, rtol=0, atol=1e-10)
    start, fixed, known = len(rows) // 2, model.coefficients, len(rows) // 2
    for end in (*cuts.tolist(), len(rows)):
        model = learner.update(model, rows.where((number >= start) & (number < end)), known)
        start = known = end
    assert isinstance(model, Linear)
    slopes, intercepts = ridge(model, rows)
    np.testing.assert_allclose(model.coefficients.slopes, slopes, rtol=0, atol=1e-8)
    np.testing.assert_allclose(model.coefficients.intercepts, intercepts, rtol=0, atol=1e-8)
    for name in ("fill", "centre", "scale", "limit", "penalty"):
        assert np.array_equal(getattr(model.coefficients, name), getattr(fixed, name)), "held fixed"


OFFERED = [(kind, task) for kind, learner in OF_KIND.items() for task in learner.updated]


@pytest.mark.parametrize(("kind", "task"), OFFERED)
def test_an_update_of_what_was_stored_is_that_of_what_was_fitted(kind: str, task: Any, tmp_path: Path) -> None:
    rows, learner = made_up_rows(horizons=(20,), task=task), type(OF_KIND[kind])("here", {}, task, updates=True)
    number = np.arange(len(rows))
    fitted = learner.fit(rows.where(number < 2_000), rows.where(number // 500 == 4), 7)
    new = rows.where(number >= 2_500)
    folders = {name: tmp_path / name for name in ("fitted", "one", "other")}
    for folder in folders.values():
        folder.mkdir()
    fitted.write(folders["fitted"])
    updated = learner.update(fitted, new, 2_000)
    updated.write(folders["one"])
    learner.update(learner.read(folders["fitted"], (20,)), new, 2_000).write(folders["other"])
    one, other = ({path.name: path.read_bytes() for path in folders[name].iterdir()} for name in ("one", "other"))
    assert one == other
    assert one != {path.name: path.read_bytes() for path in folders["fitted"].iterdir()}
    read = learner.read(folders["one"], (20,))
    assert read.predict(new).mean.tobytes() == updated.predict(new).mean.tobytes()
    assert (read.directions is not None) == (task == "classification")
    if read.directions is not None and fitted.directions is not None:
        assert read.directions.tolist() == fitted.directions.tolist()


def test_trees_stay_and_their_values_move_by_the_share_of_the_new_rows() -> None:
    rows, learner = made_up_rows(horizons=(20,)), LightGBM("here", {}, "regression", updates=True)
    number = np.arange(len(rows))
    fitted = learner.fit(rows.where(number < 2_000), rows.where(number // 500 == 4), 7)
    new = rows.where(number >= 2_500)
    new.targets[:] += 0.1
    moved = []
    for fitted_rows in (500, 4_500, 49_500):
        updated = learner.update(fitted, new, fitted_rows)
        before, after = (each.booster.trees_to_dataframe() for each in (fitted, updated))
        for column in ("split_feature", "threshold", "node_depth", "left_child"):
            assert before[column].astype(str).tolist() == after[column].astype(str).tolist()
        moved.append(float((updated.predict(new).mean - fitted.predict(new).mean).mean()))
    assert moved == pytest.approx([0.05, 0.01, 0.001], rel=0.05)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_leaf_moves_by_its_own_share_of_new_rows(task: Any, tmp_path: Path) -> None:
    """One row among five hundred, five hundred among as many, and none: by a feature that splits the rows in halves."""
    learner = LightGBM("here", {"learning_rate": 0.1}, task, updates=True)
    rng = np.random.default_rng(0)

    def rows(zeros: int, ones: int, levels: tuple[float, float]) -> Rows:
        feature = np.r_[np.zeros(zeros), np.ones(ones)]
        level = np.where(feature == 0, *levels)
        if task == "regression":
            outcome = level + rng.normal(0, 1e-3, len(feature))
        else:
            outcome = (np.arange(len(feature)) % 100 < np.rint(100 * level)).astype(float)
        days = np.repeat(np.datetime64("2020-01-02"), len(feature))
        names = np.array(["A"] * len(feature), dtype=object)
        # A rise returns 1 and a fall 0, so that the forecast is the probability of a rise.
        outcomes = None if task == "regression" else outcome[:, None]
        return Rows(("x",), names, days, feature[:, None], (5,), outcome[:, None], outcomes)

    def forecast(model: FittedModel) -> list[float]:
        (folder := tmp_path / str(len(list(tmp_path.iterdir())))).mkdir()
        model.write(folder)
        found = learner.read(folder, (5,)).predict(ask).mean[:, 0].tolist()
        assert found == model.predict(ask).mean[:, 0].tolist()
        return found

    levels = (0.3, 0.7)
    ask, given = rows(1, 1, levels), rows(500, 500, levels)
    fitted = learner.fit(given, rows(100, 100, levels), 1)
    begin = forecast(fitted)
    same = learner.update(fitted, rows(500, 0, levels), 1_000)
    assert forecast(same) == pytest.approx(begin, abs=2e-3), "more of the same moves nothing"
    one = rows(500, 1, levels)
    one.targets[-1] = 0.0
    assert forecast(learner.update(fitted, one, 1_000))[1] == pytest.approx(0.7 * 500 / 501, abs=2e-3)
    # A month of other rows on one side, then as many on the other: each side is the mean of its own rows, of directions
    # by one Newton step.
    both = learner.update(learner.update(fitted, rows(500, 0, (0.5, 0.0)), 1_000), rows(0, 500, (0.0, 0.9)), 1_500)
    assert forecast(both) == pytest.approx([0.4, 0.8], abs=0.015)
    # In five parts as in one.
    model = fitted
    for number in range(5):
        model = learner.update(model, rows(100, 100, (0.5, 0.9)), 1_000 + 200 * number)
    assert forecast(model) == pytest.approx([0.4, 0.8], abs=0.015)


@pytest.mark.parametrize("trees", [1, 3])
def test_few_trees_and_trees_without_a_split_can_be_updated(trees: int) -> None:
    rows = made_up_rows(300, horizons=(20,))
    for leaves in (20, 1_000):  # no split has so many rows on both sides
        learner = LightGBM("here", {"num_trees": trees, "min_data_in_leaf": leaves}, "regression", updates=True)
        fitted = learner.fit(rows, rows, 7)
        found = learner.update(fitted, rows, 30).predict(rows).mean
        assert np.isfinite(found).all()
        assert np.abs(found).max() <= np.abs(rows.targets).max()


def test_what_an_update_needs_is_kept_only_where_it_is_asked_for(tmp_path: Path) -> None:
    rows = made_up_rows(horizons=(20,))
    found = {}
    for updates in (False, True):
        learner = LinearLearner("here", {}, "regression", updates=updates)
        model = learner.fit(rows, rows, 1)
        (folder := tmp_path / str(updates)).mkdir()
        model.write(folder)
        found[updates] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(found[False]) == {"model.json"}
    assert set(found[True]) == {"model.json", "moments.npz"}
    assert found[True]["model.json"] == found[False]["model.json"]
    bare = learner.read(tmp_path / "False", (20,))
    with pytest.raises(DatasetError, match=r"model here of kind linear: .* train it again with update: true"):
        learner.update(bare, rows, 1)


def test_a_setting_for_a_kind_without_updates_names_those_with_them() -> None:
    for kind in sorted(set(kinds()) - {"linear", "lightgbm"}):
        with pytest.raises(SettingsError, match=rf"models\.mine\.update .* {kind} .* lightgbm and linear do"):
            learner_of("mine", ModelSettings(kind=kind, update=True))
    with pytest.raises(SettingsError, match=r"kind linear offers no updates of a classification, lightgbm do"):
        learner_of("mine", ModelSettings(kind="linear", task_type="classification", update=True))
    for kind in ("linear", "lightgbm"):
        assert learner_of("mine", ModelSettings(kind=kind, update=True)).deciding()["update"] is True
        assert "update" not in learner_of("mine", ModelSettings(kind=kind)).deciding()


# --- The checkpoints ------------------------------------------------------------------------------------------------


class Kept:
    """A storage of one model's checkpoints, in memory."""

    def __init__(self, market: Market, learner: Learner[Any], folder: Path) -> None:
        self.market, self.learner, self._folder = market, learner, folder
        self.contents: dict[str, bytes] = {}
        self.rows: dict[date, pl.DataFrame] = {}
        self.made: dict[date, TrainedModel] = {}

    def place(self) -> Path:
        found = self._folder / str(len(list(self._folder.iterdir())))
        found.mkdir()
        return found

    def keep(self, as_of: date, made: list[TrainedModel]) -> None:
        for item in made:
            assert item.files
            assert item.manifest
            at = str(as_of)
            self.contents |= {f"{at}/{name}": path.read_bytes() for name, path in item.files.paths.items()}
            self.contents[f"{at}/{item.manifest_name}"] = item.manifest
            self.made[as_of] = item
        self.rows[as_of] = checkpoint_rows(made, str(as_of))

    def train(self, as_of: date, market: Market | None = None) -> list[TrainedModel]:
        given = SETTINGS, PredictionSettings(), self.learner, (HORIZON,), "it", FEATURES, self.place()
        return train_checkpoint(*(market or self.market), as_of, *given)

    def stored(self, before: date) -> Any:
        (found,) = stored_fits(
            self.rows[before], self.learner, (HORIZON,), FEATURES, self.contents.__getitem__, self.place()
        )
        return found

    def update(self, as_of: date, before: date, market: Market | None = None) -> list[TrainedModel]:
        given = SETTINGS, self.learner, self.stored(before), FEATURES, self.place(), self.contents.__getitem__
        return update_checkpoint(*(market or self.market), as_of, *given)

    def manifest(self, as_of: date) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.made[as_of].manifest or b"")
        return found


@pytest.fixture(scope="module", params=OF_KIND)
def kept(request: pytest.FixtureRequest, market: Market, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A training and the two updates after it."""
    found = Kept(market, OF_KIND[request.param], tmp_path_factory.mktemp(request.param))
    found.keep(MONTHS[0], found.train(MONTHS[0]))
    for before, as_of in pairwise(MONTHS[:3]):
        found.keep(as_of, found.update(as_of, before))
    return found


def number(day: date | str) -> int:
    return int(session_number(np.array([str(day)], dtype="datetime64[D]"))[0])


def test_every_row_is_fed_once_and_none_before_it_was_known(kept: Kept) -> None:
    frame = rows_of(*kept.market, MONTHS[2], SETTINGS, (HORIZON,), FEATURES)
    training = kept.manifest(MONTHS[0])["final"]["train"]
    through, total = training["last_known_at"], training["rows"]
    for as_of in MONTHS[1:3]:
        told, row = kept.manifest(as_of)["updated"], kept.rows[as_of].row(0, named=True)
        fed = frame.filter(
            pl.col("known_at") > date.fromisoformat(through),
            pl.Series(session_number(frame["known_at"].to_numpy()) <= number(as_of) - SETTINGS.embargo_sessions),
        )
        assert told["fed"]["rows"] == len(fed) > 0
        assert told["fitted_through"] == str(fed["known_at"].max())
        assert number(told["fitted_through"]) <= number(as_of) - SETTINGS.embargo_sessions
        total += len(fed)
        assert told["fitted_rows"] == total
        assert row["status"] == "updated"
        assert (row["as_of"], row["last_known_at"]) == (as_of, fed["known_at"].max())
        through = told["fitted_through"]
    assert total == len(frame), "the rows that stopped the training's fit are fed by the first update"
    assert len({kept.made[as_of].model_sha256 for as_of in MONTHS[:3]}) == 3


def test_later_rows_change_nothing(kept: Kept) -> None:
    features, labels = kept.market
    later = number(MONTHS[1]) - SETTINGS.embargo_sessions
    known = pl.Series(session_number(labels["known_at"].to_numpy()) <= later)
    other = labels.with_columns(pl.when(known).then("forward_return").otherwise(-5.0).alias("forward_return"))
    ahead = features.with_columns(
        pl.when(pl.col("date") <= MONTHS[1]).then(pl.col(name)).otherwise(7.0).alias(name) for name in FEATURES[:5]
    )
    for market in ((ahead, other), (features, labels.filter(known))):
        (found,) = kept.update(MONTHS[1], MONTHS[0], market)
        assert (found.model_sha256, found.manifest_sha256) == (
            kept.made[MONTHS[1]].model_sha256,
            kept.made[MONTHS[1]].manifest_sha256,
        )
    # And what became known in time does.
    turned = labels.with_columns(
        pl.when(known & (pl.col("known_at") > MONTHS[0]))
        .then(-pl.col("forward_return"))
        .otherwise("forward_return")
        .alias("forward_return")
    )
    assert kept.update(MONTHS[1], MONTHS[0], (features, turned))[0].model_sha256 != kept.made[MONTHS[1]].model_sha256


def unseen_by(kept: Kept, before: date, as_of: date) -> pl.DataFrame:
    """Rows of sessions after the last label that the checkpoint before knows, and after the embargo."""
    frame = rows_of(*kept.market, as_of, SETTINGS, (HORIZON,), FEATURES)
    known = number(kept.rows[before]["last_known_at"][0]) + SETTINGS.embargo_sessions
    found = frame.filter(pl.Series(session_number(frame["date"].to_numpy()) > known))
    assert 0 < len(found) < len(frame.filter(pl.col("known_at") > kept.rows[before]["last_known_at"][0]))
    return found


def test_models_are_judged_on_rows_that_were_new_to_them(kept: Kept) -> None:
    new = unseen_by(kept, MONTHS[1], MONTHS[2])
    told = kept.manifest(MONTHS[2])["updated"]["judged"]
    assert told[1]["rows"]["rows"] == len(new)
    assert [each["as_of"] for each in told] == [str(MONTHS[1]), str(MONTHS[2])]
    assert told[0]["before"] == told[0]["training"], "the first update starts from the training"
    assert told[1]["before"] != told[1]["training"]
    for name, as_of in (("before", MONTHS[1]), ("training", MONTHS[0])):
        model = forecaster(kept, as_of).predict(Rows.of(new, FEATURES)).mean[:, 0]
        rows = new.select("ticker", "date", pl.col(f"forward_return|{HORIZON}").alias("forward_return"))
        found = evaluate(rows.with_columns(prediction=pl.Series(model)), HORIZON)
        assert told[1][name]["rank_ic"] == found.rank_ic is not None
        assert told[1][name]["rmse"] == found.rmse
    row = kept.rows[MONTHS[2]].row(0, named=True)
    assert (row["rmse"], row["rank_ic"]) == (told[1]["before"]["rmse"], told[1]["before"]["rank_ic"])


def test_where_every_label_overlaps_with_what_was_fed_nothing_is_judged(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label of sixty sessions that became known in a month shares most of them with those of the month before."""
    monkeypatch.setattr(f"{__name__}.HORIZON", 60)
    found = Kept(market, OF_KIND["linear"], tmp_path)
    found.keep(MONTHS[0], found.train(MONTHS[0]))
    found.keep(MONTHS[1], found.update(MONTHS[1], MONTHS[0]))
    (told,) = found.manifest(MONTHS[1])["updated"]["judged"]
    assert (told["before"], told["training"], told["rows"]["rows"]) == (None, None, 0)
    assert found.made[MONTHS[1]].metrics is None
    assert found.made[MONTHS[1]].model_sha256 != found.made[MONTHS[0]].model_sha256, "it is fed all the same"
    given = SETTINGS, found.learner, found.stored(MONTHS[1]), "it", FEATURES
    compared = against_updates(*found.market, MONTHS[2], *given)[60]
    assert [compared[name] for name in ("updated", "full", "training")] == [None] * 3


def forecaster(kept: Kept, as_of: date) -> FittedModel:
    rows, place = kept.rows[as_of].iter_rows(named=True), kept.place()
    return load_models(rows, kept.learner, FEATURES, kept.contents.__getitem__, place)[HORIZON].fitted


def test_a_full_training_is_compared_on_rows_that_neither_had_seen(kept: Kept) -> None:
    given = SETTINGS, kept.learner, kept.stored(MONTHS[2]), "it", FEATURES
    found = against_updates(*kept.market, MONTHS[3], *given)[HORIZON]
    new = unseen_by(kept, MONTHS[2], MONTHS[3])
    assert found["rows"]["rows"] == len(new)
    assert number(found["rows"]["last_known_at"]) <= number(MONTHS[3]) - SETTINGS.embargo_sessions
    # The one in full is the training that there would have been in place of the last update.
    full = Kept(kept.market, kept.learner, kept.place())
    full.keep(MONTHS[2], full.train(MONTHS[2]))
    rows = new.select("ticker", "date", pl.col(f"forward_return|{HORIZON}").alias("forward_return"))
    for name, of, as_of in (("full", full, MONTHS[2]), ("updated", kept, MONTHS[2]), ("training", kept, MONTHS[0])):
        forecasts = forecaster(of, as_of).predict(Rows.of(new, FEATURES)).mean[:, 0]
        judged = evaluate(rows.with_columns(prediction=pl.Series(forecasts)), HORIZON)
        assert (found[name]["rmse"], found[name]["rank_ic"]) == (judged.rmse, judged.rank_ic)
    assert len({found[name]["rmse"] for name in ("full", "updated", "training")}) == 3
    assert [each["as_of"] for each in found["judged"]] == [str(MONTHS[1]), str(MONTHS[2])]


def test_what_forecasts_need_stays_that_of_the_training(kept: Kept) -> None:
    def loaded(as_of: date) -> Any:
        rows = kept.rows[as_of].iter_rows(named=True)
        return load_models(rows, kept.learner, FEATURES, kept.contents.__getitem__, kept.place())[HORIZON]

    trained, updated = loaded(MONTHS[0]), loaded(MONTHS[2])
    assert (updated.residuals, updated.calibration, updated.interval) == (
        trained.residuals,
        trained.calibration,
        trained.interval,
    )
    assert updated.as_of == MONTHS[0], "an update does not make a model younger"
    assert updated.version != trained.version
    one, other = (
        stored_reference(kept.rows[each].row(0, named=True), kept.contents.__getitem__)
        for each in (MONTHS[0], MONTHS[2])
    )
    assert one is not None
    assert other is not None
    assert one.to_bytes() == other.to_bytes()


def test_a_month_in_which_nothing_became_known_leaves_the_model_as_it_is(kept: Kept) -> None:
    features, labels = kept.market
    none = labels.filter(pl.col("known_at") <= kept.rows[MONTHS[2]]["last_known_at"][0])
    (found,) = kept.update(MONTHS[3], MONTHS[2], (features, none))
    before = kept.made[MONTHS[2]]
    assert (found.model_sha256, found.last_known_at, found.metrics) == (before.model_sha256, before.last_known_at, None)
    assert found.judged[-1]["before"] is None
