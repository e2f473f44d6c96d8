"""The registry of kinds, distributions, fits for all horizons at once, and the whole market as a scope."""

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from quant_assets.catalogue import models as configured
from quant_assets.errors import DatasetError, SettingsError
from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.learning.forecast import forecast, load_models
from quant_assets.learning.models import kinds, learner_type
from quant_assets.learning.models.base import FittedModel
from quant_assets.learning.models.lightgbm import LightGBM
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.learning.trained import TrainedModel, checkpoint_rows
from quant_assets.learning.training import MARKET, train_checkpoint, training_rows
from quant_assets.settings.domain import PredictionSettings, TrainingSettings
from quant_assets.settings.loading import load_settings
from quant_assets_tests.learning.kinds import OWN, made_up_rows
from quant_assets_tests.learning.ridge import Ridge

Market = tuple[pl.DataFrame, pl.DataFrame]
AS_OF, HORIZONS = date(2021, 6, 30), (5, 20)
SETTINGS = TrainingSettings(), PredictionSettings()
#: Takes away what the demo has beside LightGBM.
NO_OTHER = {"linear": None, "xgboost": None, "random_forest": None}
FEATURES = FeatureLibrary({"core": ready_made("core")}).names


# --- The registry -----------------------------------------------------------------------------------------------------


def test_a_kind_is_a_file_and_found_without_its_library() -> None:
    files = {path.stem for path in Path(str(sys.modules[learner_type.__module__].__file__)).parent.glob("*.py")}
    assert set(kinds()) == files - {"__init__", "base"}
    for name in kinds():
        assert learner_type(name).kind == name
    assert learner_type(OWN) is Ridge


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"mine": {"kind": "stump"}}, r"no kind of model 'stump'; kinds are .*lightgbm.*, or module:Class of your own"),
        ({"mine": {"kind": f"{OWN}s"}}, "no kind of model '.*Ridges'"),
        ({"mine": {"kind": "no_such_module:Kind"}}, r"models\.mine\.kind: module 'no_such_module' is neither"),
        ({"lightgbm": {"parameters": {"leaves": 3}}}, r"models\.lightgbm\.parameters\.leaves .*num_leaves"),
        ({"xgboost": {"task_type": "ranking"}}, r"models\.xgboost\.task_type .*regression"),
        (
            {"mine": {"kind": OWN, "task_type": "classification"}},
            r"models\.mine\.task_type .* kind ridge supports regression",
        ),
        ({"lightgbm": {"parameters": {"num_trees": 0}}}, r"models\.lightgbm\.parameters\.num_trees is not valid"),
    ],
)
def test_a_kind_or_parameter_that_is_not_there_is_named(models: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        configured(load_settings("demo", models=models))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"models": {"lightgbm": None, **NO_OTHER}}, "needs at least one model"),
        ({"models": {"it": {"kind": "lightgbm"}}}, "'it' cannot be a model's name"),
        (
            {"models": {"lightgbm": {"horizons": (7,)}}},
            r"models\.lightgbm\.horizons \[7\] are none of labels\.horizons",
        ),
        ({"models": {"lightgbm": {"horizons": (5,)}}}, r"weights\.horizon 20 is none of models\.lightgbm\.horizons"),
        ({"weights": {"model": "other"}}, r"weights\.model other is not one of models: lightgbm"),
        (
            {"weights": {"model": "ensemble"}, "models": NO_OTHER},
            r"weights\.model ensemble needs two of models that forecast weights\.horizon 20, there is lightgbm",
        ),
        (
            {
                "weights": {"model": "ensemble", "horizon": 5},
                "models": NO_OTHER | {"xgboost": {"kind": "xgboost", "horizons": (20,)}},
            },
            r"two of models that forecast weights\.horizon 5, there is lightgbm",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings("demo", **given)


def test_weights_follow_the_ensemble_of_all_that_forecast_their_horizon() -> None:
    of = {"ridge": {"kind": OWN, "horizons": (5,)}, "other": {"kind": OWN, "horizons": (5, 20)}}
    settings = load_settings("demo", models=NO_OTHER | of, weights={"model": "ensemble"})
    assert (settings.weights.model, settings.followed_models) == ("ensemble", ("lightgbm", "other"))
    assert load_settings("demo", models=NO_OTHER | of, weights={"model": "other"}).followed_models == ("other",)


def test_weights_follow_the_first_model_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    two = {"ridge": {"kind": OWN}}
    assert load_settings("demo", models=two).weights.model == "lightgbm"
    assert load_settings("demo", models=two, weights={"model": "ridge"}).weights.model == "ridge"
    assert load_settings("demo", models=two | {"lightgbm": None}).weights.model == "linear"
    assert load_settings("demo", models=two | {"lightgbm": None, **NO_OTHER}).weights.model == "ridge"
    monkeypatch.setenv("QUANT__MODELS__LIGHTGBM__PARAMETERS__NUM_TREES", "7")
    learner = configured(load_settings("demo")).learners["lightgbm"]
    assert isinstance(learner, LightGBM)
    assert learner.parameters.num_trees == 7


# --- Distributions ----------------------------------------------------------------------------------------------------


def test_moments_follow_from_quantiles() -> None:
    levels = np.arange(1, 400) / 400
    rng = np.random.default_rng(5)
    centre, width = rng.normal(size=(3, 2)), rng.uniform(0.5, 2, size=(3, 2))
    found = Distribution.from_quantiles(levels.tolist(), centre + width * stats.norm.ppf(levels)[:, None, None])
    np.testing.assert_allclose(found.mean, centre, atol=1e-12)
    np.testing.assert_allclose(found.std, width, rtol=0.01)
    ends = Distribution.from_quantiles([0.0, 1.0], np.array([[[3.0]], [[1.0]]]))  # uniform from 1 to 3, and crossing
    assert (ends.mean.item(), ends.std.item()) == pytest.approx((2.0, 1 / np.sqrt(3)))


def test_a_forecast_that_is_no_number_is_refused() -> None:
    rows = made_up_rows(100)

    class Broken(FittedModel):
        features, horizons = rows.features, rows.horizons

        def _predict(self, rows: Rows) -> Distribution:
            return Distribution(rows.matrix[:, :2])

        def save(self, folder: Path) -> None:
            raise AssertionError

    with pytest.raises(DatasetError, match="not finite"):
        Broken().predict(rows)


def test_a_standard_deviation_that_is_not_positive_is_refused() -> None:
    """As of quantiles that are tied: a forecast without any doubt would divide by 0."""

    class Tied(FittedModel):
        def __init__(self, rows: Rows, doubt: float) -> None:
            self.features, self.horizons, self.doubt = rows.features, rows.horizons, doubt

        def _predict(self, rows: Rows) -> Distribution:
            spread = np.where(np.arange(len(rows)) % 4 == 0, self.doubt, 1.0)[:, None] * np.ones(len(self.horizons))
            return Distribution.from_quantiles([0.1, 0.9], np.stack([-spread, spread]))

        def save(self, folder: Path) -> None:
            raise AssertionError

    class Sure(Ridge):
        def _fit(self, rows: Rows, validation: Rows, seed: int) -> FittedModel:  # type: ignore[override]
            return Tied(rows, 0.0)

    rows = made_up_rows(100)
    with pytest.raises(
        DatasetError, match=r"^model mine of kind ridge: the standard deviation of 25 of 100 rows is not"
    ):
        Sure("mine").fit(rows, rows, 1).predict(rows)
    found = Tied(rows, 0.5).predict(rows)
    assert found.std is not None
    assert found.std.min() > 0


# --- One fit for all horizons, and the whole market -------------------------------------------------------------------


@pytest.fixture(scope="module")
def together(market: Market, tmp_path_factory: pytest.TempPathFactory) -> list[TrainedModel]:
    folder = tmp_path_factory.mktemp("together")
    return train_checkpoint(*market, AS_OF, *SETTINGS, Ridge("ridge"), HORIZONS, "it", FEATURES, folder)


def test_one_fit_serves_all_horizons(market: Market, together: list[TrainedModel], tmp_path: Path) -> None:
    assert [item.horizon for item in together] == list(HORIZONS)
    assert len({item.model_sha256 for item in together}) == 1
    rows = checkpoint_rows(together, "there")
    assert rows["model_file"].unique().to_list() == [f"there/model_h5_20-{together[0].model_version}/SHA256SUMS"]
    assert rows["manifest_file"].n_unique() == 2
    contents = {f"there/{name}": path.read_bytes() for name, path in together[0].files.paths.items()}
    contents |= {f"there/{item.manifest_name}": item.manifest for item in together}
    models = load_models(rows.iter_rows(named=True), Ridge("ridge"), FEATURES, contents.__getitem__, tmp_path)
    assert models[5].fitted is models[20].fitted
    unseen = market[0].filter(pl.col("date").is_between(date(2021, 7, 1), date(2021, 9, 30)))
    found = forecast(unseen, models, SETTINGS[1])
    columns = models[5].fitted.predict(Rows.of(unseen, FEATURES)).mean
    for column, horizon in enumerate(HORIZONS):
        assert found.filter(pl.col("horizon") == horizon)["prediction"].to_list() == columns[:, column].tolist()
    assert found.group_by("horizon").agg(pl.col("prediction_std").n_unique()).sort("horizon").rows() == [
        (5, 1),
        (20, 1),
    ]
    judged = found.join(market[1], on=["ticker", "date", "horizon"]).partition_by("horizon")
    for each in judged:
        assert stats.spearmanr(each["prediction"], each["forward_return"]).statistic > 0.1


def test_its_rows_are_known_for_every_horizon(market: Market, together: list[TrainedModel]) -> None:
    """The purge counts from the label that is known last, so no slice overlaps the longest horizon."""
    features, labels = market
    alone = {h: training_rows(features, labels, AS_OF, SETTINGS[0], h, FEATURES) for h in HORIZONS}
    assert together[0].rows == len(alone[5].join(alone[20], on=["ticker", "date"])) < len(alone[5])
    assert together[0].last_known_at == alone[20]["known_at"].max()
    manifests = [json.loads(item.manifest) for item in together]
    assert manifests[0]["data"] == manifests[1]["data"]
    assert manifests[0]["metrics"] != manifests[1]["metrics"]
    for fold in manifests[0]["folds"]:
        assert fold["train"]["last_known_at"] < fold["validation"]["first_date"]
        assert fold["validation"]["last_known_at"] < fold["test"]["first_date"]


def test_each_horizon_is_judged_by_its_own_returns(market: Market, tmp_path: Path) -> None:
    features, labels = market
    turned = pl.when(pl.col("horizon") == 5).then(-pl.col("forward_return")).otherwise("forward_return")
    given = features, labels.with_columns(forward_return=turned)
    found = train_checkpoint(*given, AS_OF, *SETTINGS, Ridge("ridge"), HORIZONS, "it", FEATURES, tmp_path)
    assert all(item.metrics.rank_ic > 0.05 for item in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "learner", [Ridge("ridge"), LightGBM("lightgbm", {"num_trees": 20})], ids=["ridge", "lightgbm"]
)
def test_the_whole_market_is_a_scope(market: Market, learner: Any, tmp_path: Path) -> None:
    """Two sectors together: more rows, a seed of its own, and a manifest that says so."""
    features, labels = (
        pl.concat([frame, frame.with_columns(ticker=pl.lit("X") + pl.col("ticker"))]) for frame in market
    )
    found = train_checkpoint(features, labels, AS_OF, *SETTINGS, learner, HORIZONS, MARKET, FEATURES, tmp_path / "all")
    one = train_checkpoint(*market, AS_OF, *SETTINGS, learner, HORIZONS, "it", FEATURES, tmp_path / "one")
    assert [item.rows for item in found] == [2 * item.rows for item in one]
    described = json.loads(found[0].manifest)
    assert described["sector"] == MARKET
    assert described["seed"] != json.loads(one[0].manifest)["seed"]
    assert all(item.metrics.rank_ic > 0.05 for item in found)
