"""The package's kinds against the libraries or formulas behind them."""

from dataclasses import replace

import numpy as np
import pytest

from quant_assets.errors import DatasetError, SettingsError
from quant_assets.learning.models import learner_type
from quant_assets.learning.models.base import FittedModel, Task
from quant_assets.learning.models.linear import Linear, LinearLearner
from quant_assets.learning.models.random_forest import RandomForest
from quant_assets.learning.models.xgboost import XGBoost
from quant_assets.learning.rows import Rows, feature_matrix
from quant_assets_tests.learning.kinds import made_up_rows

TASKS: tuple[Task, ...] = ("regression", "classification")


def halves(task: Task = "regression") -> tuple[Rows, Rows]:
    rows = made_up_rows(horizons=(20,), task=task)
    number = np.arange(len(rows))
    return rows.where(number < 2_000), rows.where(number >= 2_000)


def told(model: FittedModel, rows: Rows) -> np.ndarray:
    found = model.predict(rows)
    return (found.mean if found.prob_up is None else found.prob_up)[:, 0]


# --- Linear -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0])
def test_ridge_is_that_of_scikit_learn(penalty: float) -> None:
    from sklearn.linear_model import Ridge

    rows, later = halves()
    model = LinearLearner("it", {"penalties": [penalty], "limit": 2.0}).fit(rows, later, 1)
    assert isinstance(model, Linear)
    of = model.coefficients
    assert np.abs(of.standardised(rows.matrix)).max() == 2.0
    theirs = Ridge(penalty * len(rows)).fit(of.standardised(rows.matrix), rows.targets[:, 0])
    np.testing.assert_allclose(of.slopes[:, 0], theirs.coef_, atol=1e-12)
    np.testing.assert_allclose(told(model, later), theirs.predict(of.standardised(later.matrix)), atol=1e-12)


def test_logistic_regression_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rows, later = halves("classification")
    model = LinearLearner("it", {"penalties": [0.1]}, "classification").fit(rows, later, 1)
    assert isinstance(model, Linear)
    of = model.coefficients
    theirs = LogisticRegression(C=1 / (0.1 * len(rows)), tol=1e-12, max_iter=10_000)
    theirs.fit(of.standardised(rows.matrix), rows.targets[:, 0])
    np.testing.assert_allclose(of.slopes[:, 0], theirs.coef_[0], atol=1e-6)
    np.testing.assert_allclose(told(model, later), theirs.predict_proba(of.standardised(later.matrix))[:, 1], atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_the_validation_rows_choose_the_penalty(task: Task) -> None:
    rows, later = halves(task)
    weak, strong = (
        LinearLearner("it", {"penalties": [0.001, 1_000.0]}, task).fit(rows, validation, 1).description()["penalty"]
        for validation in (later, replace(later, targets=np.full_like(later.targets, rows.targets.mean())))
    )
    assert (weak, strong) == (0.001, 1_000.0)


def test_an_extreme_value_moves_a_linear_forecast_no_further_than_the_limit() -> None:
    rows, later = halves()
    model = LinearLearner("it").fit(rows, later, 1)
    far = model.predict(replace(later, matrix=np.where(later.matrix > 0, 1e9, later.matrix))).mean
    assert np.abs(far).max() < 0.2
    with pytest.raises(DatasetError, match="model it of kind linear: a feature is infinite"):
        LinearLearner("it").fit(replace(rows, matrix=np.full_like(rows.matrix, np.inf)), later, 1)


def test_a_linear_fit_does_not_depend_on_the_number_of_threads() -> None:
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(3)
    names = tuple(f"f{number}" for number in range(120))
    matrix = rng.normal(size=(5_000, 120))
    targets = matrix @ rng.normal(size=(120, 1)) + rng.normal(size=(5_000, 1))
    rows = Rows(names, np.full(5_000, "A", dtype=object), np.full(5_000, "2020-01-02", "M8[D]"), matrix, (5,), targets)
    found = []
    for threads in (1, 4):
        with threadpool_limits(limits=threads):
            found.append(LinearLearner("it").fit(rows, rows, 1).predict(rows).mean.tobytes())
    assert found[0] == found[1]


# --- Trees ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_the_forest_forecasts_what_scikit_learn_does(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.ensemble import RandomForestRegressor

    rows, later = halves(task)
    grown = []
    fit = RandomForestRegressor.fit
    monkeypatch.setattr(RandomForestRegressor, "fit", lambda self, *given: grown.append(fit(self, *given)) or grown[-1])
    model = RandomForest("it", {"min_samples_leaf": 5}, task).fit(rows, later, 1)
    np.testing.assert_allclose(told(model, later), grown[0].predict(later.matrix), atol=1e-14)
    gain = np.array(model.importances()["gain"])
    np.testing.assert_allclose(gain / gain.sum(), grown[0].feature_importances_, atol=0.02)
    other = RandomForest("it", {"min_samples_leaf": 5}, task).fit(rows, later, 2)
    assert told(other, later).tobytes() != told(model, later).tobytes()


@pytest.mark.parametrize("task", TASKS)
def test_xgboost_stops_by_the_validation_rows(task: Task) -> None:
    rows, later = halves(task)
    given = {"num_trees": 300, "learning_rate": 0.3, "early_stopping_rounds": 5, "min_child_weight": 1.0}
    model = XGBoost("it", given, task).fit(rows, later, 1)
    trees = model.description()["trees"]
    assert 1 <= trees < 300
    whole = XGBoost("it", given | {"num_trees": trees}, task).fit(rows, later, 1)
    assert told(whole, later).tobytes() == told(model, later).tobytes()


@pytest.mark.parametrize("kind", ["xgboost", "random_forest", "lightgbm"])
def test_threads_change_no_byte(kind: str) -> None:
    rows, later = halves()
    one, two = (learner_type(kind)("it", {"num_threads": number}).fit(rows, later, 1) for number in (1, 2))
    assert told(one, later).tobytes() == told(two, later).tobytes()
    assert "num_threads" not in learner_type(kind)("it").deciding()


# --- Directions and columns -------------------------------------------------------------------------------------------


def test_a_forecast_of_a_direction_is_the_return_that_it_means() -> None:
    rows, later = halves("classification")
    model = LinearLearner("it", task="classification").fit(rows, later, 1)
    assert rows.outcomes is not None
    fell, rose = (rows.outcomes[rows.outcomes > 0].mean(), rows.outcomes[rows.outcomes <= 0].mean())[::-1]
    found = model.predict(later)
    assert found.prob_up is not None
    np.testing.assert_allclose(found.mean, found.prob_up * rose + (1 - found.prob_up) * fell, atol=1e-15)


def test_rows_of_one_direction_and_a_kind_without_directions_are_refused() -> None:
    rows, later = halves("classification")
    assert rows.outcomes is not None
    risen = rows.where(rows.targets[:, 0] == 1)
    with pytest.raises(DatasetError, match=rf"all {len(risen)} rows have the same direction"):
        RandomForest("it", task="classification").fit(risen, later, 1)
    with pytest.raises(DatasetError, match="targets of 0 and 1, and the returns as outcomes"):
        RandomForest("it", task="classification").fit(replace(rows, outcomes=None), later, 1)
    with pytest.raises(
        SettingsError, match=r"models\.mine\.task_type is classification; kind ridge supports regression"
    ):
        learner_type("quant_assets_tests.learning.ridge:Ridge")("mine", task="classification")


def test_a_frame_that_lacks_features_is_refused_with_their_names() -> None:
    import polars as pl

    frame = pl.DataFrame({"a": [1.0], "b": [2.0]}, schema={"a": pl.Float64, "b": pl.Float64})
    with pytest.raises(DatasetError, match="rows lack the columns c, d of 3 features"):
        feature_matrix(frame, ("a", "c", "d"))
