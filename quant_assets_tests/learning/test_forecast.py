"""Forecasts: what is verified on loading, the distribution, and bulk against single."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.special import expit, logit

from quant_assets.errors import DatasetError
from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.learning.forecast import LoadedModel, forecast, load_models
from quant_assets.learning.models.lightgbm import LightGBM
from quant_assets.learning.trained import TrainedModel, checkpoint_rows
from quant_assets.learning.training import train_checkpoint
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import PredictionSettings, TrainingSettings

Market = tuple[pl.DataFrame, pl.DataFrame]
SETTINGS, LEARNER = PredictionSettings(), LightGBM("lightgbm")
FEATURES = FeatureLibrary({"core": ready_made("core")}).names


@pytest.fixture(scope="module")
def trained(market: Market, tmp_path_factory: pytest.TempPathFactory) -> list[TrainedModel]:
    settings, folder = (TrainingSettings(), SETTINGS, LEARNER), tmp_path_factory.mktemp("models")
    return train_checkpoint(*market, date(2021, 3, 31), *settings, (5, 20), "it", FEATURES, folder)


def load(
    item: TrainedModel,
    features: Sequence[str] = FEATURES,
    *,
    model: bytes | None = None,
    manifest: bytes | None = None,
    **changed: object,
) -> LoadedModel:
    """Through the row that names the files, with other content of them where it is given."""
    row = checkpoint_rows([item], "there").row(0, named=True) | changed
    contents = {f"there/{name}": path.read_bytes() for name, path in item.files.paths.items()}
    contents[row["model_file"]] = model or contents[row["model_file"]]
    contents[row["manifest_file"]] = manifest or item.manifest
    with tempfile.TemporaryDirectory() as folder:
        (found,) = load_models([row], LEARNER, features, contents.__getitem__, Path(folder)).values()
    return found


@pytest.fixture(scope="module")
def models(trained: list[TrainedModel]) -> dict[int, LoadedModel]:
    return {item.horizon: load(item) for item in trained}


@pytest.fixture(scope="module")
def unseen(market: Market) -> pl.DataFrame:
    return market[0].filter(pl.col("date").is_between(date(2021, 4, 1), date(2021, 9, 30)))


def test_rows_of_the_dataset(unseen: pl.DataFrame, models: dict[int, LoadedModel]) -> None:
    found = forecast(unseen, models, SETTINGS)
    DATASETS["predictions"].conform(found.with_columns(sector=pl.lit("it")))
    assert len(found) == 2 * len(unseen)
    assert found.equals(found.sort("ticker", "date", "horizon"))
    assert found["model"].unique().to_list() == ["lightgbm"]
    assert found.group_by("horizon", "model_version").len().sort("horizon")["model_version"].to_list() == [
        models[5].version,
        models[20].version,
    ]


def test_bulk_equals_single_to_the_bit(unseen: pl.DataFrame, models: dict[int, LoadedModel]) -> None:
    bulk = forecast(unseen, models, SETTINGS)
    by_month = unseen.with_columns(month=pl.col("date").dt.month()).partition_by("month", include_key=False)
    assert len(by_month) == 6
    assert bulk.equals(
        pl.concat([forecast(part, models, SETTINGS) for part in by_month]).sort("ticker", "date", "horizon")
    )
    assert bulk.equals(forecast(unseen.sample(fraction=1, shuffle=True, seed=5), models, SETTINGS))
    one = unseen.filter((pl.col("ticker") == "T03") & (pl.col("date") == date(2021, 5, 3)))
    assert forecast(one, models, SETTINGS).equals(
        bulk.filter((pl.col("ticker") == "T03") & (pl.col("date") == date(2021, 5, 3)))
    )


def test_distribution_follows_its_bucket(
    unseen: pl.DataFrame, models: dict[int, LoadedModel], trained: list[TrainedModel]
) -> None:
    found = forecast(unseen, models, SETTINGS).filter(pl.col("horizon") == 20)
    described = json.loads(trained[1].manifest)
    residuals, line, interval = (described[each] for each in ("residuals", "calibration", "interval"))
    bucket = np.digitize(found["prediction"], residuals["edges"])
    assert len(np.unique(bucket)) > 1
    np.testing.assert_array_equal(found["prediction_std"], np.array(residuals["std"])[bucket])
    stated = stats.norm.cdf(found["prediction"] / found["prediction_std"])
    expected = expit(line["offset"] + line["slope"] * logit(stated)).clip(0.01, 0.99)
    assert line["rows"] > 100
    assert np.abs(expected - stated).max() > 1e-4, "or whether it is calibrated would not show"
    np.testing.assert_allclose(found["prob_up"], expected, rtol=1e-12)
    np.testing.assert_allclose(found["confidence"], np.abs(2 * expected - 1), atol=1e-12)
    for column, sign in (("prediction_lower", -1), ("prediction_upper", 1)):
        reach = sign * interval["width"] * found["prediction_std"]
        np.testing.assert_allclose(found[column], found["prediction"] + reach, rtol=1e-12)


def test_a_checkpoint_of_before_there_were_calibrations_states_what_its_model_does(
    unseen: pl.DataFrame, models: dict[int, LoadedModel], trained: list[TrainedModel]
) -> None:
    item = trained[1]
    described = json.loads(item.manifest)
    del described["calibration"], described["interval"]
    manifest = json.dumps(described).encode()
    old = load(item, manifest=manifest, manifest_sha256=hashlib.sha256(manifest).hexdigest())
    found = forecast(unseen, {20: old}, SETTINGS)
    assert found["prediction_lower"].null_count() == len(found) > 0
    stated = stats.norm.cdf(found["prediction"] / found["prediction_std"]).clip(0.01, 0.99)
    np.testing.assert_allclose(found["prob_up"], stated, rtol=1e-12)


def test_intervals_hold_and_chances_come_true_on_unseen_returns(
    market: Market, unseen: pl.DataFrame, models: dict[int, LoadedModel]
) -> None:
    judged = forecast(unseen, models, SETTINGS).join(market[1], on=["ticker", "date", "horizon"])
    for of in judged.partition_by("horizon"):
        inside = of["forward_return"].is_between(of["prediction_lower"], of["prediction_upper"]).mean()
        assert 0.8 < inside < 0.97
        risen = (of["forward_return"] > 0).cast(pl.Float64)
        assert ((of["prob_up"] - risen) ** 2).mean() < 0.25


def test_probability_is_clipped(unseen: pl.DataFrame, models: dict[int, LoadedModel]) -> None:
    found = forecast(unseen, models, PredictionSettings(min_probability=0.49))
    assert found["prob_up"].min() == 0.49
    assert found["prob_up"].max() == 1 - 0.49


def test_predictions_rank_unseen_returns(market: Market, unseen: pl.DataFrame, models: dict[int, LoadedModel]) -> None:
    joined = (
        forecast(unseen, models, SETTINGS)
        .join(market[1], on=["ticker", "date", "horizon"])
        .filter(pl.col("horizon") == 20)
    )
    assert stats.spearmanr(joined["prediction"], joined["forward_return"]).statistic > 0.15


def test_a_changed_file_is_refused(trained: list[TrainedModel]) -> None:
    item = trained[0]
    with pytest.raises(
        DatasetError, match=rf"model of checkpoint {item.model_name} has SHA-256 .* materialise that month"
    ):
        load(item, model=item.files.paths[item.model_name].read_bytes() + b" ")
    with pytest.raises(DatasetError, match="manifest of checkpoint"):
        load(item, manifest=item.manifest.replace(b'"horizon": 5', b'"horizon": 6'))


def test_another_models_manifest_is_refused(trained: list[TrainedModel]) -> None:
    with pytest.raises(DatasetError, match="describes another model"):
        load(trained[0], manifest=trained[1].manifest, manifest_sha256=trained[1].manifest_sha256)


def test_other_features_are_refused(
    trained: list[TrainedModel], unseen: pl.DataFrame, models: dict[int, LoadedModel]
) -> None:
    with pytest.raises(
        DatasetError,
        match=r"trained on (\d+) \(macd\), the features are \1 \(sentiment\); .* features.modules as they were",
    ):
        load(trained[0], features=[*(name for name in FEATURES if name != "macd"), "sentiment"])
    with pytest.raises(DatasetError, match="in another order"):
        load(trained[0], features=FEATURES[::-1])
    with pytest.raises(DatasetError, match="lack the columns macd of model"):
        forecast(unseen.drop("macd"), models, SETTINGS)


def test_no_models_and_no_rows_keep_the_schema(unseen: pl.DataFrame, models: dict[int, LoadedModel]) -> None:
    schema = DATASETS["predictions"].schema
    assert forecast(unseen, {}, SETTINGS).schema == schema
    empty = forecast(unseen.clear(), models, SETTINGS)
    assert (len(empty), empty.schema) == (0, schema)
