"""Checkpoints on a synthetic sector: the planted relation is found, nothing later matters, bytes repeat."""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.learning.checkpoints import checkpoint_rows
from quant_assets.learning.models.base import Learner
from quant_assets.learning.models.lightgbm import LightGBM
from quant_assets.learning.reference import Reference
from quant_assets.learning.rows import feature_matrix
from quant_assets.learning.training import (
    TrainedModel,
    train_checkpoint,
    training_rows,
    training_start,
)
from quant_assets.market.calendar import session_number
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.domain import PredictionSettings, TrainingSettings

Market = tuple[pl.DataFrame, pl.DataFrame]
AS_OF = date(2021, 6, 30)
SETTINGS, PREDICTIONS, LEARNER = TrainingSettings(), PredictionSettings(), LightGBM("lightgbm")
PLANTED = "return_20"
FEATURES = FeatureLibrary({"core": ready_made("core")}).names


def train(
    market: Market,
    *horizons: int,
    settings: TrainingSettings = SETTINGS,
    sector: str = "it",
    learner: Learner[Any] = LEARNER,
) -> list[TrainedModel]:
    with tempfile.TemporaryDirectory() as folder:
        return train_checkpoint(
            *market, AS_OF, settings, PREDICTIONS, learner, horizons, sector, FEATURES, Path(folder)
        )


@pytest.fixture(scope="module")
def trained(market: Market) -> TrainedModel:
    return train(market, 20)[0]


def train_kept(market: Market, folder: Path) -> TrainedModel:
    """The training whose files stay."""
    return train_checkpoint(*market, AS_OF, SETTINGS, PREDICTIONS, LEARNER, (20,), "it", FEATURES, folder)[0]


@pytest.fixture(scope="module")
def manifest(trained: TrainedModel) -> dict:
    return json.loads(trained.manifest)


def test_a_planted_relation_is_found_out_of_sample(trained: TrainedModel, manifest: dict) -> None:
    metrics = trained.metrics
    assert metrics.rank_ic > 4 * metrics.rank_ic_standard_error
    assert metrics.ic > 4 * metrics.ic_standard_error
    gain = manifest["feature_importance"]["gain"]
    assert max(gain, key=gain.get) == PLANTED


def test_the_series_behind_the_metrics_is_kept(trained: TrainedModel) -> None:
    series, metrics = trained.out_of_fold, trained.metrics
    assert series is not None
    assert metrics is not None
    assert len(series) == metrics.ic_dates
    assert series["rank_ic"].mean() == pytest.approx(metrics.rank_ic, rel=1e-12)
    assert series["best_return"].mean() > 0.005  # the planted relation adds about 0.05 in 20 sessions to the best fifth
    assert series["date"].max() < AS_OF


@pytest.mark.slow
def test_permuted_labels_give_no_relation(market: Market) -> None:
    """Returns are dealt anew among the names of each date, every date by itself, which keeps everything but the
    relation.

    A correlation over n names that were dealt so has mean 0 and variance 1 / (n - 1) whatever the forecasts are (Pitman
    1937).
    """
    features, labels = market
    ordered = labels.filter(pl.col("horizon").is_in([5, 20])).sort("date", "horizon", "ticker")
    found = []
    for seed in (1, 2):
        drawn = ordered.with_columns(draw=pl.Series(np.random.default_rng(seed).random(len(ordered))))
        permuted = drawn.with_columns(pl.col("forward_return").sort_by("draw").over("date", "horizon"))
        found += [result.out_of_fold["rank_ic"] for result in train((features, permuted), 5, 20)]
    assert min(map(len, found)) > 40
    every = np.concatenate(found)
    assert abs(every.mean()) < 3 / np.sqrt((22 - 1) * len(every))


def test_an_oracle_feature_gives_almost_perfect_correlation(market: Market) -> None:
    features, labels = market
    answer = labels.filter(pl.col("horizon") == 5).select("ticker", "date", pl.col("forward_return").alias(PLANTED))
    metrics = train((features.drop(PLANTED).join(answer, on=["ticker", "date"], how="left"), labels), 5)[0].metrics
    assert metrics.rank_ic > 0.97
    assert metrics.r2 > 0.9


@pytest.mark.slow
def test_what_came_later_changes_no_byte(market: Market, trained: TrainedModel) -> None:
    features, labels = market
    cutoff = session_number(np.array([AS_OF], dtype="datetime64[D]"))[0] - SETTINGS.embargo_sessions
    known = pl.Series(session_number(labels["known_at"].to_numpy()) <= cutoff)
    earlier = train((features.filter(pl.col("date") <= AS_OF), labels.filter(known)), 20)[0]
    assert (earlier.model_sha256, earlier.manifest) == (trained.model_sha256, trained.manifest)
    # and not because it is ignored by accident: spoil everything later, with rows in another order
    spoiled = labels.with_columns(forward_return=pl.when(known).then("forward_return").otherwise(9.0)).sample(
        fraction=1, shuffle=True, seed=1
    )
    strange = features.with_columns(
        pl.when(pl.col("date") > AS_OF).then(-1.0).otherwise(pl.col(FEATURES)).name.keep()
    ).reverse()
    again = train((strange, spoiled), 20)[0]
    assert (again.model_sha256, again.manifest) == (trained.model_sha256, trained.manifest)


@pytest.mark.slow
def test_what_was_known_in_time_does_change_it(market: Market, trained: TrainedModel) -> None:
    """The last label that may be used is used, and the returns of one date decide the model's bytes."""
    features, labels = market
    last = training_rows(features, labels, AS_OF, SETTINGS, 20, FEATURES)["known_at"].max()
    without = train((features, labels.filter(pl.col("known_at") < last)), 20)[0]
    assert without.rows == trained.rows - 22
    assert without.last_known_at < last
    day = without.first_date
    other = labels.with_columns(
        forward_return=pl.when(pl.col("date") == day).then(-pl.col("forward_return")).otherwise("forward_return")
    )
    assert train((features, other), 20)[0].model_sha256 != trained.model_sha256


@pytest.mark.slow
def test_same_bytes_in_another_process(trained: TrainedModel, tmp_path: Path) -> None:
    code = (
        "import runpy, sys; from datetime import date; from pathlib import Path;"
        "from quant_assets.learning.models.lightgbm import LEARNER;"
        "from quant_assets.learning.training import train_checkpoint;"
        "from quant_assets.settings.domain import PredictionSettings, TrainingSettings;"
        f"market = runpy.run_path({str(Path(__file__).parents[1] / 'synthetic_learning.py')!r})['simulate']();"
        f"as_of = date.fromisoformat('{AS_OF}');"
        "settings = TrainingSettings(), PredictionSettings(), LEARNER('lightgbm');"
        f"found = train_checkpoint(*market, as_of, *settings, (20,), 'it', {FEATURES!r}, Path(sys.argv[1]));"
        "print(found[0].model_sha256, found[0].manifest_sha256)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [trained.model_sha256, trained.manifest_sha256]
    assert done.stderr == ""


def test_nothing_is_printed(market: Market, capfd: pytest.CaptureFixture[str]) -> None:
    train(market, 1)
    assert capfd.readouterr() == ("", "")


def test_rows_obey_window_sampling_and_embargo(market: Market) -> None:
    features, labels = market
    rows = training_rows(features, labels, AS_OF, SETTINGS, 60, FEATURES)
    assert training_start(AS_OF, 36) == date(2018, 6, 1)
    assert training_start(date(2020, 2, 28), 14) == date(2018, 12, 1)
    number = session_number(rows["date"].to_numpy())
    assert (number % SETTINGS.sample_every_sessions == 0).all()
    assert rows["date"].min() >= date(2018, 6, 1)
    as_of = session_number(np.array([AS_OF], dtype="datetime64[D]"))[0]
    assert session_number(rows["known_at"].to_numpy()).max() in range(as_of - 9, as_of - 4)
    assert rows.equals(rows.sort("date", "ticker"))
    every = training_rows(
        features, labels, AS_OF, SETTINGS.model_copy(update={"sample_every_sessions": 1}), 60, FEATURES
    )
    known = session_number(every["known_at"].to_numpy())
    assert known.max() == as_of - SETTINGS.embargo_sessions


def test_a_weekend_counts_as_the_session_before(market: Market) -> None:
    settings = SETTINGS.model_copy(update={"embargo_sessions": 0, "sample_every_sessions": 1})
    assert training_rows(*market, date(2021, 6, 27), settings, 5, FEATURES)["known_at"].max() == date(2021, 6, 25)


def test_early_stopping_never_sees_the_test_slice(market: Market, manifest: dict) -> None:
    for fold in manifest["folds"]:
        assert fold["train"]["last_known_at"] < fold["validation"]["first_date"]
        assert fold["validation"]["last_known_at"] < fold["test"]["first_date"]
    last = manifest["folds"][-1]["test"]
    assert manifest["final"]["train"]["last_known_at"] < last["first_date"]
    # Other returns in the last slice: they judge the last fold, and they stop the final model.
    features, labels = market
    changed = labels.with_columns(
        forward_return=pl.when(pl.col("date") >= date.fromisoformat(last["first_date"]))
        .then(-pl.col("forward_return"))
        .otherwise("forward_return")
    )
    other = json.loads(train((features, changed), 20)[0].manifest)
    assert other["folds"][0] == manifest["folds"][0]
    assert other["folds"][-1]["trees"] == manifest["folds"][-1]["trees"]
    assert other["folds"][-1]["metrics"]["rank_ic"] == pytest.approx(-manifest["folds"][-1]["metrics"]["rank_ic"])
    assert other["final"]["trees"] != manifest["final"]["trees"]


def test_manifest_says_what_was_done(market: Market, trained: TrainedModel, manifest: dict, tmp_path: Path) -> None:
    kept = train_kept(market, tmp_path)
    model = kept.files.paths[kept.model_name]
    assert hashlib.sha256(model.read_bytes()).hexdigest() == manifest["model_sha256"] == trained.model_sha256
    assert manifest["features"] == list(FEATURES)
    assert manifest["settings"] == SETTINGS.model_dump(mode="json") | {"lightgbm": LEARNER.parameters.model_dump()}
    assert manifest["data"] == {
        "rows": trained.rows,
        "first_date": trained.first_date.isoformat(),
        "last_date": "2021-05-18",
        "last_known_at": trained.last_known_at.isoformat(),
    }
    told = manifest["reference"]
    content = kept.files.paths[told["file"]].read_bytes()
    assert hashlib.sha256(content).hexdigest() == told["sha256"]
    assert told["rows"] == trained.rows
    reference = Reference.from_bytes(content)
    assert (reference.features, reference.distance) == (FEATURES, told["mean_distance"])
    assert len(reference.sample) == told["sampled"] == SETTINGS.reference_rows
    used = training_rows(*market, AS_OF, SETTINGS, 20, FEATURES)
    near = reference.dissimilarity(feature_matrix(used, FEATURES))
    assert (near < 0.1).sum() >= 0.5 * told["sampled"], "its rows are among those of the training"
    assert manifest["folds"][0]["test"]["rows"] + manifest["folds"][1]["test"]["rows"] == sum(
        manifest["residuals"]["rows"]
    )
    assert sum(manifest["residuals"]["rows"]) == manifest["metrics"]["rows"] == trained.metrics.rows
    assert set(manifest["libraries"]) == {"lightgbm", "numpy", "polars"}
    assert set(manifest["feature_importance"]["split"]) == set(FEATURES)
    canonical = json.dumps(manifest, sort_keys=True, indent=2) + "\n"
    assert trained.manifest == canonical.encode()
    assert str(Path.cwd()).encode() not in model.read_bytes() + trained.manifest


@pytest.mark.slow
def test_seed_depends_on_setting_sector_date_and_horizon(market: Market, manifest: dict) -> None:
    small = LightGBM("lightgbm", {"num_trees": 1})
    other = SETTINGS.model_copy(update={"seed": 1})
    seeds = [json.loads(result.manifest)["seed"] for result in train(market, 5, 20, learner=small)]
    seeds.append(json.loads(train(market, 20, learner=small, sector="energy")[0].manifest)["seed"])
    seeds.append(json.loads(train(market, 20, learner=small, settings=other)[0].manifest)["seed"])
    assert seeds[1] == manifest["seed"]
    assert len(set(seeds)) == 4


def test_too_little_history_has_no_model(market: Market) -> None:
    features, labels = market
    few = labels.filter(pl.col("ticker") < "T04")
    short = labels.filter(pl.col("date") >= date(2021, 1, 1))
    results = [
        *train((features, few), 20),
        *train((features, short), 20, settings=SETTINGS.model_copy(update={"min_rows": 50})),
        *train((features, labels.clear()), 20),
    ]
    for result, expected in zip(results, (True, True, False), strict=True):
        assert (result.files, result.manifest, result.metrics, result.model_name, result.manifest_name) == (None,) * 5
        assert (result.rows > 0) is expected
    frame = checkpoint_rows(results, "files")
    assert frame["status"].unique().to_list() == ["too_little_history"]
    assert (
        frame.select("model_version", "model_file", "manifest_sha256", "rmse", "rank_ic").null_count().row(0)
        == (3,) * 5
    )
    assert frame["rows"].to_list()[-1] == 0


def test_rows_of_the_dataset(trained: TrainedModel, market: Market) -> None:
    frame = checkpoint_rows([trained], "lightgbm_checkpoint/files/sector=it/month=2021-06")
    dataset = CHECKPOINTS
    dataset.conform(frame.with_columns(sector=pl.lit("it")))
    row = frame.row(0, named=True)
    assert row["status"] == "trained"
    assert row["model_version"] == trained.model_sha256[:12]
    assert (
        row["model_file"] == f"lightgbm_checkpoint/files/sector=it/month=2021-06/model_h20-{row['model_version']}.txt"
    )
    assert row["manifest_file"].endswith(f"/manifest_h20-{trained.manifest_sha256[:12]}.json")
    assert (row["rank_ic"], row["rmse"]) == (trained.metrics.rank_ic, trained.metrics.rmse)


@pytest.mark.slow
def test_another_ticker_count(simulate_market: Callable[..., Market]) -> None:
    result = train(simulate_market(tickers=60, horizons=(20,), first=date(2019, 1, 1), last=date(2021, 6, 30)), 20)[0]
    assert result.metrics.rank_ic > 4 * result.metrics.rank_ic_standard_error
