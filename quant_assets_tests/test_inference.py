"""Picks of a session from what is stored: who is valid, by which model, with which weights, and what stands in for a
model that cannot be read."""

import json
import logging
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.candidate_pool import candidates_of
from quant_assets.errors import HistoryError, MissingPartitionError, ModelFileError, SettingsError
from quant_assets.inference import Asked, inference_pipeline, pick, usable_models
from quant_assets.learning.forecast import forecast
from quant_assets.learning.inference import picks, proportional
from quant_assets.model_versions import ModelVersions
from quant_assets.profile import Profile
from quant_assets_tests.synthetic_predictions import AS_OF, NAMES, SECTOR, profile_at, write

COMPOSITE = {name: float(place) for place, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    write(folder)
    return folder


@pytest.fixture
def profile(stored: Path) -> Profile:
    return profile_at(stored)


@pytest.fixture
def damaged(stored: Path, tmp_path: Path) -> Profile:
    """A copy that a test may damage."""
    shutil.copytree(stored, tmp_path / "copy")
    return profile_at(tmp_path / "copy")


def model_files(profile: Profile, month: str) -> list[Path]:
    return sorted(Path(profile.store.url, "artifacts/lightgbm_checkpoint", SECTOR, month).glob("model_*"))


@pytest.mark.slow
def test_the_result_has_the_forecasts_of_the_stored_model_and_weights_of_the_best(profile: Profile) -> None:
    found = inference_pipeline([*NAMES, "NONE"], AS_OF, top_n=4, profile=profile)
    models, notes = usable_models(profile, SECTOR, "lightgbm", AS_OF, 20)
    features = pl.read_parquet(f"{profile.store.url}/features/sector=it/month=2021-06/part-0.parquet")
    expected = forecast(features.filter(pl.col("date") == AS_OF), models, profile.settings.predictions)
    best = expected.filter(pl.col("ticker") != "T00").sort("prediction", descending=True).head(4)
    assert found["predicted_scores"] == dict(best.select("ticker", "prediction").iter_rows())
    assert found["selected_stocks"] == list(found["predicted_scores"]) == best["ticker"].to_list()
    positive = best.filter(pl.col("prediction") > 0)
    assert found["portfolio_weights"] == pytest.approx(
        {name: score / positive["prediction"].sum() for name, score in positive.select("ticker", "prediction").rows()}
    )
    assert sum(found["portfolio_weights"].values()) == pytest.approx(1, abs=1e-12)
    metadata = found["metadata"]
    assert found["source"] == "model"
    assert (metadata["total_candidates"], metadata["valid_stocks"], notes) == (21, 19, [])
    assert metadata["excluded_stocks"] == ["NONE", "T00"]
    assert "bars on 16 of 32 sessions" in metadata["exclusion_reasons"]["T00"]
    assert metadata["model_version"] == models[20].version
    json.dumps(found, allow_nan=False)


@pytest.mark.slow
def test_a_loaded_model_and_a_day_without_a_session_give_the_same(profile: Profile) -> None:
    models, _ = usable_models(profile, SECTOR, "lightgbm", date(2021, 5, 28), 20)
    by_name = inference_pipeline(NAMES, date(2021, 5, 28), profile=profile)
    assert inference_pipeline(NAMES, "2021-05-30", models[20], profile=profile, sector=SECTOR) == by_name
    assert inference_pipeline({"tickers": NAMES}, "2021-05-30", "lightgbm", profile=profile) == by_name


@pytest.mark.slow
def test_a_model_is_of_an_earlier_month_and_of_no_later_session(profile: Profile) -> None:
    rows = pl.read_parquet(f"{profile.store.url}/lightgbm_checkpoint/**/*.parquet").sort("as_of")
    versions = rows["model_version"].to_list()
    assert versions[0] != versions[1]
    for day, version in ((date(2021, 3, 31), versions[0]), (date(2021, 4, 30), versions[1])):
        assert usable_models(profile, SECTOR, "lightgbm", day, 20)[0][20].version == version


@pytest.mark.slow
def test_nine_tenths_of_the_window_decide_who_is_valid(damaged: Profile) -> None:
    with pytest.raises(MissingPartitionError, match="2021-02"):
        inference_pipeline(NAMES, AS_OF, sequence_length=95, profile=damaged)
    damaged.store.write(damaged.datasets["prices"], damaged.datasets["prices"].empty(), [f"2021-02|{SECTOR}"])
    # There are bars of 86 sessions.
    found = inference_pipeline(NAMES, AS_OF, sequence_length=95, profile=damaged)
    assert (found["metadata"]["valid_stocks"], found["metadata"]["excluded_stocks"]) == (19, ["T00"])
    with pytest.raises(HistoryError, match=r"0 of 20 names are valid, 5 are needed \(T00: bars on 43 of 96 sessions"):
        inference_pipeline(NAMES, AS_OF, sequence_length=96, profile=damaged)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["tampered", "truncated", "missing"])
def test_a_model_that_cannot_be_read_is_replaced_by_the_version_before_and_said(
    damaged: Profile, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = inference_pipeline(NAMES, AS_OF, profile=damaged)
    (newest,) = model_files(damaged, "2021-03")
    if how == "missing":
        newest.unlink()
    else:
        content = newest.read_bytes()
        newest.write_bytes(content[: len(content) // 2] if how == "truncated" else content.replace(b"leaf", b"Leaf"))
    _forget()
    with caplog.at_level(logging.WARNING, "quant_assets"):
        found = inference_pipeline(NAMES, AS_OF, profile=damaged)
    before = pl.read_parquet(f"{damaged.store.url}/lightgbm_checkpoint/**/*.parquet").sort("as_of")["model_version"][0]
    assert found["metadata"]["model_version"] == before != whole["metadata"]["model_version"]
    assert found["source"] == "model"
    (note,) = found["metadata"]["notes"]
    assert "checkpoint of 2021-03-31 is not usable" in note
    assert note in caplog.text
    with pytest.raises(ModelFileError, match=newest.name if how == "missing" else "SHA-256"):
        inference_pipeline(
            NAMES, AS_OF, profile=profile_at(Path(damaged.settings.storage), registry={"fallback": "refuse"})
        )


@pytest.mark.slow
def test_without_any_usable_model_the_composite_score_decides_and_says_so(damaged: Profile) -> None:
    for month in ("2020-12", "2021-03"):
        for path in model_files(damaged, month):
            path.write_bytes(b"")
    _forget()
    market_data = {"tickers": NAMES, "metadata": {"selection_scores": COMPOSITE}}
    found = inference_pipeline(market_data, AS_OF, top_n=3, profile=damaged)
    assert (found["source"], found["metadata"]["model_version"]) == ("algorithmic_only", "composite")
    assert found["selected_stocks"] == ["T19", "T18", "T17"]
    assert found["portfolio_weights"] == pytest.approx({"T19": 19 / 54, "T18": 18 / 54, "T17": 17 / 54})
    assert len(found["metadata"]["notes"]) == 2


@pytest.mark.slow
def test_what_the_dictionary_says_is_read_and_an_argument_goes_first(profile: Profile) -> None:
    types = dict.fromkeys(NAMES, "short")
    market_data = {"tickers": NAMES, "prediction_date": "2021-05-28", "sequence_length": 5, "metadata": {}}
    given = inference_pipeline(market_data, profile=profile)
    assert given == inference_pipeline(NAMES, date(2021, 5, 28), sequence_length=5, profile=profile)
    assert given["metadata"]["date"] == "2021-05-28"
    later = inference_pipeline(market_data, AS_OF, sequence_length=32, profile=profile)
    assert later == inference_pipeline(NAMES, AS_OF, profile=profile)
    shorts = inference_pipeline({**market_data, "metadata": {"candidate_types": types}}, profile=profile)
    scores = list(shorts["predicted_scores"].values())
    assert scores == sorted(scores) != list(given["predicted_scores"].values())
    assert set(shorts["selected_stocks"]).isdisjoint(given["selected_stocks"][:5])
    mixed = {**market_data, "metadata": {"candidate_types": {**types, NAMES[2]: "long"}}}
    assert inference_pipeline(mixed, profile=profile) == given
    with pytest.raises(SettingsError, match="there is no prediction_date"):
        inference_pipeline(NAMES, profile=profile)


def _forget() -> None:
    from quant_assets import inference

    inference._LOADED._entries.clear()


@pytest.mark.slow
def test_few_candidates_are_joined_by_the_next_ones_of_their_side(profile: Profile) -> None:
    three = candidates_of(profile, SECTOR, "2021-06", "long", 3)
    assert (three.as_of, three.count, len(three.composite)) == (AS_OF, 3, 3)
    more = candidates_of(profile, SECTOR, "2021-06", "long", 6)
    assert list(more.composite)[:3] == list(three.composite)
    assert (more.count, len(more.composite)) == (3, 6)
    assert min(three.composite.values()) >= max(list(more.composite.values())[3:])
    assert min(more.composite.values()) > 0
    shorts = candidates_of(profile, SECTOR, "2021-06", "short", 6)
    assert max(shorts.composite.values()) < 0
    assert not set(shorts.composite) & set(more.composite)
    both = candidates_of(profile, SECTOR, "2021-06", "both", 20)
    assert (both.count, len(both.composite)) == (6, 20)


@pytest.mark.slow
def test_a_model_of_another_horizon_is_said(profile: Profile) -> None:
    models, _ = usable_models(profile, SECTOR, "lightgbm", AS_OF, 20)
    for horizon, source in ((20, "model"), (5, "algorithmic_only")):
        found = pick(profile, Asked(NAMES, AS_OF, models[20], sectors=[SECTOR], horizon=horizon)).document()
        assert found["source"] == source
        notes = ["it: model lightgbm forecasts 20 sessions ahead, but 5 are requested"] if horizon == 5 else []
        assert found["metadata"]["notes"] == notes


@pytest.mark.slow
def test_a_training_month_that_was_not_run_is_no_reason_for_an_older_model(damaged: Profile) -> None:
    folder = Path(damaged.store.url, "lightgbm_checkpoint/sector=it")
    shutil.rmtree(folder / "month=2020-12")
    assert usable_models(damaged, SECTOR, "lightgbm", AS_OF, 20)[0], "the newest one is there"
    shutil.rmtree(folder / "month=2021-03")
    with pytest.raises(MissingPartitionError, match=r"2 of 2 partitions of 'lightgbm_checkpoint' .*2020-12"):
        inference_pipeline(NAMES, AS_OF, profile=damaged)


@pytest.mark.slow
def test_names_of_two_sectors_follow_each_its_own_champion(damaged: Profile) -> None:
    sectors, store = ("it", "energy"), damaged.store
    for dataset in ("features", "prices", "candidates", "lightgbm_checkpoint"):
        for path in sorted(Path(store.url, dataset, "sector=it").rglob("*.parquet")):
            month = path.parent.name.removeprefix("month=")
            rows = store.read(damaged.datasets[dataset], [f"{month}|it"]).collect().drop("month")
            other = rows.with_columns(sector=pl.lit("energy"))
            if "ticker" in rows.columns:
                other = other.with_columns(pl.col("ticker").str.replace("T", "E"))
            store.write(damaged.datasets[dataset], other, [f"{month}|energy"], lambda _: AS_OF)
    names = [*NAMES, *(name.replace("T", "E") for name in NAMES)]
    versions = ModelVersions(store)
    (older,) = model_files(damaged, "2020-12")
    facts = {"kind": "lightgbm", "horizons": [20], "last_known_at": "2020-12-31"}
    said = versions.register("mine", {"model.txt": older.read_bytes()}, "model.txt", facts).said
    versions.promote("energy", said, date(2021, 5, 28))
    found = pick(damaged, Asked(names, AS_OF, sectors=sectors, top_n=40))
    assert found.model in {f"lightgbm, {said}", f"{said}, lightgbm"}
    alone = pick(damaged, Asked(names, AS_OF, said, sectors=["energy"], top_n=40))
    newest = pick(damaged, Asked(names, AS_OF, "lightgbm", sectors=["it"], top_n=40))
    assert found.scores == pytest.approx({**alone.scores, **newest.scores})
    assert alone.scores["E05"] != newest.scores["T05"]


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    profile = profile_at(tmp_path)
    for arguments, message in (
        ({"prediction_date": date(2021, 7, 30)}, "2021-07 .* closed session|outside the range"),
        ({"sequence_length": 0}, "must be at least 1"),
        ({"top_n": 0}, "must be at least 1"),
    ):
        given: dict[str, Any] = {"prediction_date": AS_OF} | arguments
        with pytest.raises(SettingsError, match=message):
            inference_pipeline(NAMES, profile=profile, **given)


def test_picks_are_ordered_by_score_then_ticker_from_either_end() -> None:
    scores = {"E": 0.1, "A": 0.2, "D": -0.3, "B": 0.2, "C": -0.1, "F": float("nan")}
    long = picks(scores, {"Z": "no bars"}, AS_OF, 3, "long", "m", "v")
    assert (long.picked, list(long.scores)) == (("A", "B", "E"), ["A", "B", "E", "C", "D"])
    assert long.weights == pytest.approx({"A": 0.4, "B": 0.4, "E": 0.2})
    assert long.excluded == {"F": "no score", "Z": "no bars"}
    short = picks(scores, {}, AS_OF, 3, "short", "m", "v")
    assert (short.picked, short.weights) == (("D", "C", "E"), pytest.approx({"D": 0.75, "C": 0.25}))
    none = picks(scores, {}, AS_OF, 1, "long", "m", "v")
    assert none.weights == {"A": 1.0}
    with pytest.raises(HistoryError, match=r"4 of 5 names are valid, 5 are needed \(E: halted\)"):
        picks(dict.fromkeys("ABCD", 1.0), {"E": "halted"}, AS_OF, 3, "long", "m", "v")


def test_no_positive_score_weighs_nothing_and_says_so() -> None:
    found = picks(dict.fromkeys("ABCDE", -1.0), {}, AS_OF, 3, "long", "m", "v")
    assert (found.weights, found.notes) == ({}, ("no long score is positive: nothing is weighed",))
    assert found.document(sector="it")["metadata"]["notes"]


@pytest.mark.parametrize("scale", [1e-310, 1.0, 1e307])
def test_weights_do_not_depend_on_the_scale_of_the_scores(scale: float) -> None:
    found = proportional({"A": 3 * scale, "B": 1 * scale, "C": -2 * scale, "D": 0.0})
    assert found == pytest.approx({"A": 0.75, "B": 0.25}, rel=1e-6)
