"""`quant label`, `quant train` and `quant infer` on a storage made by hand: the files, and what is refused."""

import hashlib
import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from scipy.special import ndtr

from quant_assets.inference import usable_models
from quant_assets.learning.forecast import forecast
from quant_assets.partitions import month_range
from quant_assets.settings.origin import ROOT
from quant_assets_tests.command import Quant, status_of
from quant_assets_tests.learning import ridge
from quant_assets_tests.synthetic_learning import simulate
from quant_assets_tests.synthetic_predictions import AS_OF, ENVIRONMENT, MODELS, NAMES, SECTOR, profile_at, write

MONTHS = month_range("2020-07", "2021-06")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features and labels of a year."""
    folder = tmp_path_factory.mktemp("stored")
    profile = write(folder)
    features, labels = simulate(tickers=len(NAMES), horizons=(1, 5, 20, 60), last=AS_OF)
    keys = [f"{month}|{SECTOR}" for month in MONTHS]
    for name, rows in (("features", features), ("labels", labels)):
        own = rows.filter(pl.col("date") >= pl.date(2020, 7, 1)).with_columns(sector=pl.lit(SECTOR))
        profile.store.write(profile.datasets[name], own, keys, lambda _: AS_OF)
    return folder


@pytest.fixture
def quant(storage: Path, monkeypatch: pytest.MonkeyPatch, command: Quant, tmp_path: Path) -> Quant:
    for name, value in {**ENVIRONMENT, "QUANT__STORAGE": str(storage)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return command


def trained(quant: Quant, *given: str) -> Path:
    outcome = quant("train", "--end", "2021-04-30", "--horizon", "5", "--n-splits", "2", "--output-dir", "made", *given)
    assert (outcome.status, outcome.err) == (0, "")
    return Path("made").absolute()


@pytest.mark.slow
def test_labels_are_those_that_were_known_at_the_last_day(quant: Quant) -> None:
    outcome = quant("label", "--tickers", "T01,T02", "--end", "2021-03-31", "--horizon", "20", "--output-dir", "out")
    rows = pl.read_parquet("out/labels_h20.parquet")
    assert f"{len(rows)} labels of 2 tickers, 2020-07-01 to " in outcome.out
    assert rows["known_at"].max() == pl.Series(["2021-03-31"]).str.to_date()[0]
    assert rows["horizon"].unique().to_list() == [20]


@pytest.mark.slow
def test_the_files_of_a_training_repeat_and_say_what_it_was(quant: Quant) -> None:
    folder = trained(quant)
    assert sorted(path.name for path in folder.iterdir()) == [
        "feature_importances.csv",
        "manifest.json",
        "metrics.json",
        "model.txt",
    ]
    metrics = json.loads((folder / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert list(metrics) == ["overall_metrics", "fold_metrics", "config"]
    assert metrics["overall_metrics"]["n_folds"] == len(metrics["fold_metrics"]) == 2
    assert metrics["config"]["embargo_sessions"] == 2
    assert metrics["fold_metrics"][0]["test_end"] < metrics["fold_metrics"][1]["test_start"]
    assert metrics["fold_metrics"][1]["test_end"] < "2021-04-30", "a label of April is known in April"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    trained(quant)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.slow
def test_forecasts_of_a_loaded_model_go_into_the_database(quant: Quant, storage: Path) -> None:
    import lightgbm

    folder = trained(quant)
    outcome = quant("infer", str(folder))
    assert (outcome.status, outcome.err) == (0, "")
    assert f"{folder / 'manifest.json'}: unsigned: QUANT_MODEL_KEY is not set" in outcome.out.replace("\n", "")
    with duckdb.connect(str(storage / "demo/exports/predictions.duckdb")) as connection:
        found = connection.execute("SELECT ticker, dt, horizon, yhat, yhat_std, prob_up FROM preds").fetchall()
    rows = pl.DataFrame(found, schema=["ticker", "dt", "horizon", "yhat", "yhat_std", "prob_up"], orient="row")
    assert len(rows) == len(NAMES) == len(outcome.rows)
    assert (rows["dt"].unique().to_list(), rows["horizon"].unique().to_list()) == ([AS_OF], [5])
    features = profile_at(storage).features.names
    month = pl.read_parquet(storage / "demo/features/sector=it/month=2021-06/part-0.parquet")
    given = month.filter(pl.col("date") == AS_OF).sort("ticker")
    booster = lightgbm.Booster(model_file=str(folder / "model.txt"))
    expected = booster.predict(given.select(features).to_numpy())
    assert (rows.sort("ticker")["yhat"].to_numpy() == expected).all(), "the bits of the model in memory"
    assert (rows["yhat_std"] > 0).all()
    assert np.ptp(rows["prob_up"].to_numpy()) > 0
    quant("infer", str(folder / "model.txt"), "--database", "preds.duckdb")
    quant("infer", "lightgbm", "--tickers", "T01,T02", "--database", "preds.duckdb", "--date", str(AS_OF))
    with duckdb.connect("preds.duckdb") as connection:
        counts = connection.execute("SELECT model, horizon, count(*) FROM preds GROUP BY ALL ORDER BY ALL").fetchall()
    name = f"lightgbm@{hashlib.sha256((folder / 'model.txt').read_bytes()).hexdigest()[:12]}"
    assert counts == [("lightgbm", 20, 2), (name, 5, 20)]
    shutil.copytree(folder, storage / "model")
    quant("infer", str(storage / "model"), "--database", "preds.duckdb")
    with duckdb.connect("preds.duckdb") as connection:
        assert connection.execute("SELECT count(*) FROM preds").fetchall() == [(22,)], "the same model again"


@pytest.mark.slow
def test_a_folders_forecasts_are_calibrated_by_its_own_test_windows(quant: Quant) -> None:
    folder = trained(quant)
    told = json.loads((folder / "manifest.json").read_text())
    assert told["calibration"]["rows"] == told["interval"]["rows"] > 100
    shown = quant("infer", str(folder), "--database", "preds.duckdb").rows
    assert len(shown) == len(NAMES)
    for row in shown:
        yhat, std = float(row["yhat"]), float(row["yhat_std"])
        odds = np.log(ndtr(yhat / std) / (1 - ndtr(yhat / std)))
        rises = 1 / (1 + np.exp(-(told["calibration"]["offset"] + told["calibration"]["slope"] * odds)))
        assert float(row["prob_up"]) == pytest.approx(rises, abs=0.003), row
        reach = told["interval"]["width"] * std
        ends = [float(each) for each in row["interval"].split()]
        assert ends == pytest.approx([yhat - reach, yhat + reach], abs=1e-3), row


@pytest.mark.slow
def test_a_models_forecasts_are_those_of_the_dataset(quant: Quant, storage: Path) -> None:
    profile = profile_at(storage)
    rows = profile.store.read(profile.datasets["features"], [f"2021-06|{SECTOR}"]).collect().drop("sector", "month")
    models, _ = usable_models(profile, SECTOR, "lightgbm", AS_OF, 20)
    expected = forecast(rows.filter(pl.col("date") == AS_OF), models, profile.settings.predictions)
    assert models[20].calibration.rows
    found = quant("infer", "lightgbm", "--date", str(AS_OF), "--database", "preds.duckdb").rows
    shown = {row["ticker"]: (row["prob_up"], row["interval"]) for row in found}
    assert shown == {
        each["ticker"]: (
            f"{each['prob_up']:.3f}",
            f"{each['prediction_lower']:+.3f} {each['prediction_upper']:+.3f}",
        )
        for each in expected.iter_rows(named=True)
    }


@pytest.mark.slow
def test_tickers_without_rows_are_said(quant: Quant) -> None:
    folder = trained(quant)
    found = quant("infer", str(folder), "--tickers", "T01,XX", "--database", "preds.duckdb")
    assert (found.status, len(found.rows)) == (0, 1)
    assert f"left out: XX: no features on {AS_OF}\n" in found.out
    assert "left out" not in quant("infer", str(folder), "--database", "preds.duckdb").out


@pytest.mark.slow
def test_options_of_trees_are_refused_for_other_kinds(quant: Quant) -> None:
    refused = quant("train", "--kind", "linear", "--n-estimators", "50")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "--n-estimators is only for kind lightgbm, not for linear" in refused.err


@pytest.mark.slow
def test_a_kind_of_ones_own_beside_the_settings_is_loaded_again(
    quant: Quant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(str(ridge.__file__), tmp_path / "conf/my_ridge.py")
    monkeypatch.setenv("QUANT_CONF_DIR", str(tmp_path / "conf"))
    folder = trained(quant, "--kind", "my_ridge:Ridge", "--horizon", "20")
    unnamed = quant("infer", str(folder))
    assert (unnamed.status, unnamed.err.count("\n")) == (1, 1)
    assert "there is no kind of model 'my_ridge:Ridge'" in unnamed.err
    monkeypatch.setenv("QUANT__MODELS", json.dumps({**MODELS, "mine": {"kind": "my_ridge:Ridge"}}))
    inferred = quant("infer", str(folder))
    assert (inferred.status, len(inferred.rows)) == (0, len(NAMES)), inferred.err
    registered = quant("models", "register", "mine", "--path", str(folder))
    assert registered.out.startswith("registered mine@"), registered.err
    said = registered.out.split()[1].strip(",")
    picked = quant("predict", "-s", SECTOR, "-y", "2021", "-m", "6", "--no-save", "--model", said)
    assert f"model {said}, version {said.partition('@')[2]}" in picked.out, picked.err


@pytest.mark.slow
def test_what_is_refused_is_one_line(quant: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trained(quant)
    for arguments, message in (
        (("infer", str(folder), "--date", "2021-04-30"), "was trained on data known up to 2021-04-30"),
        (("infer", str(folder), "--date", "2021-06-27"), "no ticker has features on 2021-06-27"),
        (("infer", "none"), "model 'none' is none of models"),
        (("infer", str(folder), "--tickers", "XX"), "no ticker has features"),
        (("train", "--start", "2021-05-01", "--end", "2021-04-01"), "is later than --end"),
        (("train", "--start", "yesterday"), "yesterday is not a day"),
        (("train", "--horizon", "7"), "--horizon 7 is not one of labels.horizons"),
        (("train", "--test-size", "1.5"), "must be at least"),
        (("train", "--kind", "nosuch"), "there is no kind of model 'nosuch'; kinds are"),
        (("train", "--tickers", "XX"), "no row has features and a known label"),
        (("label", "--tickers", "XX"), "no label is stored"),
    ):
        outcome = quant(*arguments)
        assert (outcome.status, outcome.out, outcome.err.count("\n")) == (status_of(outcome.err), "", 1), outcome.err
        assert message in outcome.err
    manifest = folder / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(whole.replace('"lightgbm"', '"quant_assets_tests.learning.ridge:Ridge"'))
    assert "there is no kind of model 'quant_assets_tests.learning.ridge:Ridge'" in quant("infer", str(folder)).err
    manifest.write_text(whole)
    monkeypatch.setenv("QUANT_MODEL_KEY", "secret")
    assert "is not signed, though there is a key" in quant("infer", str(folder)).err
    monkeypatch.delenv("QUANT_MODEL_KEY")
    model = folder / "model.txt"
    model.write_bytes(model.read_bytes()[:-5])
    assert "SHA-256" in quant("infer", str(folder)).err
