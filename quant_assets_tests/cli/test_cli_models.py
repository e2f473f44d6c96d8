"""`quant models` on a storage made by hand: what is whole, versions that never change, and whom picks follow."""

import json
import re
import shutil
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.errors import DatasetError, SettingsError
from quant_assets.learning.model_files import ModelFiles, sha256
from quant_assets.learning.registry import MissingModelError, signed
from quant_assets.model_versions import ModelVersions
from quant_assets.schemas import CHECKPOINTS
from quant_assets_tests.command import Quant, status_of
from quant_assets_tests.synthetic_predictions import AS_OF, ENVIRONMENT, SECTOR, TRAININGS, profile_at, write

OF_FILE = ("--kind", "lightgbm", "--trained-until", "2021-03-31")
PICKED = ("predict", "-s", SECTOR, "-y", "2021", "-m", "6", "--no-save")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    write(folder)
    return folder


@pytest.fixture
def storage(made: Path, tmp_path: Path) -> Path:
    """A copy for each test."""
    shutil.copytree(made, tmp_path / "storage")
    return tmp_path / "storage"


@pytest.fixture
def quant(storage: Path, monkeypatch: pytest.MonkeyPatch, command: Quant) -> Quant:
    for name, value in {**ENVIRONMENT, "QUANT__STORAGE": str(storage)}.items():
        monkeypatch.setenv(name, value)
    return command


def registered(quant: Quant, *given: str) -> str:
    outcome = quant("models", "register", *(given or ("lightgbm", "--sector", SECTOR)))
    assert outcome.status == 0, outcome.err
    return re.search(r"registered (\S+),", outcome.out).group(1)  # type: ignore[union-attr]


def with_baseline(storage: Path, better: float) -> None:
    """Checkpoints of a linear model whose rank IC is that of the trees and something more."""
    profile = profile_at(storage)
    for as_of in TRAININGS:
        keys = [f"{as_of:%Y-%m}|{SECTOR}"]
        rows = profile.store.read(CHECKPOINTS, keys).collect().drop("month")
        line = rows.with_columns(model=pl.lit("ridge"), kind=pl.lit("linear"), rank_ic=pl.col("rank_ic") + better)
        line = line.with_columns(model_sha256=pl.lit("0" * 64))
        profile.store.write(CHECKPOINTS, pl.concat([rows, line]), keys, lambda _, day=as_of: day)


def files(storage: Path, said: str) -> Path:
    return storage / "demo/artifacts/registry/versions" / said.replace("@", "/")


@pytest.mark.slow
def test_the_newest_checkpoints_are_listed_and_whole(quant: Quant) -> None:
    rows = quant("models", "list", "-s", SECTOR).rows
    assert [(row["model"], row["as of"], row["status"], row["horizon"], row["champion"]) for row in rows] == [
        ("lightgbm", "2021-03-31", "trained", "20", "yes")
    ]
    shown = quant("models", "show", "lightgbm", "-s", SECTOR).rows
    assert [row["as_of"] for row in shown] == ["2020-12-31", "2021-03-31"]
    assert quant("models", "verify").out == quant("models", "verify", "lightgbm").out == "2 of 2 models are intact\n"
    for status, given in ((2, ("lightgmb",)), (2, ("lightgbm", "lightgbm@0")), (1, ("lightgbm", "-s", "energy"))):
        refused = quant("models", "verify", *given)
        assert (refused.status, refused.out, refused.err.count("\n")) == (status, "", 1)
        assert "has no checkpoint in" in refused.err
    assert "there are: lightgbm" in quant("models", "verify", "lightgmb").err


@pytest.mark.slow
def test_verify_names_what_was_changed(quant: Quant, storage: Path) -> None:
    said = registered(quant)
    (path,) = (storage / "demo/artifacts/lightgbm_checkpoint/it/2021-03").glob("model_*")
    path.write_bytes(path.read_bytes()[:-10])
    outcome = quant("models", "verify")
    assert outcome.status == 1
    assert "it 2021-03-31, model lightgbm, horizon 20: model of checkpoint model_h20" in outcome.out
    assert f"{said}: unsigned" in outcome.out, "the version has files of its own"
    (files(storage, said) / "model.txt").write_bytes(b"tree")
    outcome = quant("models", "verify", said)
    assert (outcome.status, "file model.txt was changed" in outcome.out) == (1, True)


@pytest.mark.slow
def test_a_version_is_named_by_its_content_and_never_changes(
    quant: Quant, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = registered(quant)
    before = {path: path.stat().st_mtime_ns for path in files(storage, said).iterdir()}
    assert "unsigned" in quant("models", "show", said).out
    assert f"model {said}: unsigned" in quant(*PICKED, "--model", said).out
    assert registered(quant) == said
    assert {path: path.stat().st_mtime_ns for path in files(storage, said).iterdir()} == before
    monkeypatch.setenv("QUANT_MODEL_KEY", "secret")
    assert "is not signed, though there is a key" in quant("models", "show", said).err
    assert registered(quant) == said
    after = {path: path.stat().st_mtime_ns for path in files(storage, said).iterdir()}
    assert {path.name for path in before if after[path] != before[path]} == {"manifest.json"}, "it is signed, no more"
    manifest = json.loads(quant("models", "show", said).out.partition("\n")[2])
    assert (manifest["kind"], manifest["horizons"], manifest["sector"]) == ("lightgbm", [20], SECTOR)
    (newest,) = (storage / "demo/artifacts/lightgbm_checkpoint/it/2021-03").glob("model_*")
    other = registered(quant, "mine", "--path", str(newest), *OF_FILE)
    assert other.startswith("mine@")
    outcome = quant("models", "list")
    for each in (said, other):
        assert f"registered {each}: kind lightgbm, signed\n" in outcome.out
    monkeypatch.setenv("QUANT_MODEL_KEY", "another")
    assert "changed after signing" in quant("models", "show", other).err
    monkeypatch.delenv("QUANT_MODEL_KEY")
    assert "signed, not checked" in quant("models", "show", other).out
    path = files(storage, other) / "manifest.json"
    path.write_text(path.read_text().replace('"lightgbm"', '"linear"'))
    assert "was changed" in quant("models", "show", other).err


@pytest.mark.slow
def test_picks_follow_the_champion_until_it_is_rolled_back(quant: Quant, storage: Path) -> None:
    with_baseline(storage, -0.01)
    first = quant(*PICKED)
    (older,) = (storage / "demo/artifacts/lightgbm_checkpoint/it/2020-12").glob("model_*")
    said = registered(quant, "mine", "--path", str(older), *OF_FILE)
    assert (
        quant("models", "promote", said, "-s", SECTOR).out
        == f"it: {said} is the champion of decisions from 2021-06-30 on, before it lightgbm\n"
    )
    second = quant(*PICKED)
    assert f"model {said}, version {said.partition('@')[2]}" in second.out
    assert second.rows != first.rows
    assert quant(*PICKED, "--model", "lightgbm").out == first.out
    assert quant("models", "promote", "lightgbm", "-s", SECTOR).status == 0
    assert quant(*PICKED).out == first.out
    assert quant("models", "roll-back", "-s", SECTOR).out == f"it: {said} is the champion again, before it lightgbm\n"
    assert quant(*PICKED).out == second.out
    assert "no previous champion" in quant("models", "roll-back", "-s", "energy").err
    (files(storage, said) / "model.txt").unlink()
    fallen = quant(*PICKED)
    assert "selection score, no usable model" in fallen.out
    assert "model.txt is missing" in fallen.out


@pytest.mark.slow
def test_a_model_that_the_baseline_beats_is_promoted_on_demand_alone(quant: Quant, storage: Path) -> None:
    profile = profile_at(storage)
    unknown = quant("models", "promote", "lightgbm", "-s", SECTOR)
    assert (unknown.status, "no linear baseline to compare with" in unknown.err) == (1, True)
    with_baseline(storage, 0.01)
    refused = quant("models", "promote", "lightgbm", "-s", SECTOR)
    assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert "model lightgbm is not promoted: it 2021-03-31 lightgbm, 20 sessions: rank IC" in refused.err
    assert ModelVersions(profile.store).champion(SECTOR) is None
    assert "promoted anyway" in quant("models", "promote", "lightgbm", "-s", SECTOR, "--force").out
    assert ModelVersions(profile.store).champion(SECTOR).model == "lightgbm"  # type: ignore[union-attr]


@pytest.mark.slow
def test_versions_and_the_ensemble_pass_the_same_gate(quant: Quant, storage: Path, tmp_path: Path) -> None:
    (newest,) = (storage / "demo/artifacts/lightgbm_checkpoint/it/2021-03").glob("model_*")
    whole, versions = registered(quant), ModelVersions(profile_at(storage).store)
    (other := tmp_path / "other.txt").write_bytes(newest.read_bytes() + b"\n")
    unknown = registered(quant, "mine", "--path", str(other), *OF_FILE)
    short = registered(quant, "mine", "--path", str(newest), "--horizon", "5", *OF_FILE)
    with_baseline(storage, 0.01)
    for given, message in (
        ((whole, "-s", SECTOR), f"model {whole} is not promoted: it 2021-03-31 lightgbm, 20 sessions: rank IC"),
        ((whole, "-s", "energy"), f"model {whole} is of sector it, not of energy; give --sector it"),
        ((whole,), "is of sector it, not of"),
        ((short, "-s", SECTOR, "--force"), "forecasts [5] sessions ahead, weights.horizon is 20"),
        ((unknown, "-s", SECTOR), "it: no checkpoint of it has an IC over 20 sessions"),
        (("ensemble", "-s", SECTOR), "it: none of its models beats the linear baseline"),
        (("ensemble", "-s", "energy"), "energy: no checkpoint of it has an IC"),
    ):
        refused = quant("models", "promote", *given)
        assert (refused.status, refused.out, message in refused.err) == (1, "", True), refused.err
    assert [versions.champion(sector) for sector in (SECTOR, "energy")] == [None, None]
    assert "promoted anyway" in quant("models", "promote", unknown, "-s", SECTOR, "--force").out


@pytest.mark.slow
def test_versions_and_the_ensemble_that_beat_the_baseline_are_promoted(quant: Quant, storage: Path) -> None:
    whole = registered(quant)
    with_baseline(storage, -0.01)
    for given in (whole, "ensemble"):
        assert f"it: {given} is the champion" in quant("models", "promote", given, "-s", SECTOR).out


@pytest.mark.slow
def test_a_version_is_not_asked_about_days_that_it_was_trained_on(quant: Quant) -> None:
    said = registered(quant)
    refused = quant("predict", "-s", SECTOR, "-y", "2021", "-m", "3", "--model", said)
    assert refused.status == 1
    assert "'candidates' are missing" in refused.err or "was trained on what became known" in refused.err
    from quant_assets.inference import inference_pipeline

    with pytest.raises(SettingsError, match="was trained on what became known up to 2021-03"):
        inference_pipeline(["T02"], "2021-03-16", said, sequence_length=5, profile=profile_at(_storage()))


@pytest.mark.slow
def test_a_file_is_registered_with_the_day_until_which_it_was_trained(
    quant: Quant, storage: Path, tmp_path: Path
) -> None:
    (newest,) = (storage / "demo/artifacts/lightgbm_checkpoint/it/2021-03").glob("model_*")
    refused = quant("models", "register", "mine", "--path", str(newest), "--kind", "lightgbm")
    assert (refused.status, "needs --trained-until DAY" in refused.err) == (2, True)
    assert ModelVersions(profile_at(storage).store).versions() == []
    said = registered(quant, "mine", "--path", str(newest), "--kind", "lightgbm", "--trained-until", "2021-06-30")
    assert "was trained on what became known up to 2021-06-30" in quant(*PICKED, "--model", said).err
    path = files(storage, said) / "manifest.json"
    without = {name: each for name, each in json.loads(path.read_text()).items() if name != "last_known_at"}
    told = {name: each for name, each in without.items() if name not in ("version", "signature")}
    name = sha256(json.dumps(told, sort_keys=True).encode())[:12]
    (shutil.copytree(path.parent, path.parent.with_name(name)) / "manifest.json").write_text(json.dumps(without))
    assert "does not record its last training day" in quant(*PICKED, "--model", f"mine@{name}").err

    (folder := tmp_path / "trained").mkdir()
    shutil.copy(newest, folder / "model.txt")
    manifest = {"kind": "lightgbm", "model_sha256": sha256(newest.read_bytes()), "horizons": [20]}
    (folder / "manifest.json").write_bytes(signed(manifest | {"last_known_at": "2021-05-31"}, None))
    of_folder = ("mine", "--path", str(folder / "model.txt"))
    for more, known in (((), "2021-05-31"), (("--trained-until", "2021-04-30"), "2021-05-31")):
        found = ModelVersions(profile_at(storage).store).version(registered(quant, *of_folder, *more))
        assert (found.manifest["last_known_at"], found.manifest["horizons"]) == (known, [20])
    for options, message in (
        (("--kind", "linear"), "--kind linear differs from"),
        (("--horizon", "5"), "--horizon 5 differs from"),
        (("--trained-until", "May"), "--trained-until May is not a day"),
    ):
        assert message in quant("models", "register", *of_folder, *options).err
    (folder / "model.txt").write_bytes(b"tree")
    assert "belongs to another model than" in quant("models", "register", *of_folder).err


@pytest.mark.slow
def test_what_is_registered_has_a_plain_name_and_is_what_its_listing_names(
    quant: Quant, storage: Path, tmp_path: Path
) -> None:
    (newest,) = (storage / "demo/artifacts/lightgbm_checkpoint/it/2021-03").glob("model_*")
    there = sorted(storage.rglob("*"))
    for name in ("../../../out/x", "a/b", "x@y", "Ä", "", "a\n"):
        refused = quant("models", "register", name, "--path", str(newest), *OF_FILE)
        assert (refused.status, "has characters other than a to z, 0 to 9 and _" in refused.err) == (1, True), (
            refused.err
        )
    for said in ("../versions/mine@0", "mine/..@0"):
        assert f"model {said} is not registered" in quant("models", "show", said).err
    (folder := tmp_path / "several").mkdir()
    shutil.copy(newest, folder / "model.txt")
    (gone := folder / "fill.json").write_text("{}")
    ModelFiles.of(folder, "mine")
    given = ("mine", "--path", str(folder), *OF_FILE)
    away = gone.rename(tmp_path / "away")
    missing = quant("models", "register", *given)
    assert (missing.status, "fill.json is missing, but SHA256SUMS lists it" in missing.err) == (1, True), missing.err
    with pytest.raises(MissingModelError, match="is missing"):
        ModelVersions(profile_at(storage).store).register(
            "mine",
            {"SHA256SUMS": (folder / "SHA256SUMS").read_bytes()},
            "SHA256SUMS",
            {"kind": "lightgbm", "horizons": [20], "last_known_at": "2021-03-31"},
        )
    assert sorted(storage.rglob("*")) == there
    away.rename(gone)
    (folder / "feature_importances.csv").write_text("feature")
    said = registered(quant, *given)
    assert {path.name for path in files(storage, said).iterdir()} == {
        "SHA256SUMS",
        "fill.json",
        "manifest.json",
        "model.txt",
    }


@pytest.mark.slow
def test_a_version_that_cannot_be_read_is_a_line_of_the_list(quant: Quant, storage: Path) -> None:
    said, (newest,) = registered(quant), (storage / "demo/artifacts/lightgbm_checkpoint/it/2021-03").glob("model_*")
    other = registered(quant, "mine", "--path", str(newest), *OF_FILE)
    (files(storage, said) / "manifest.json").write_text("{")
    outcome = quant("models", "list")
    assert (outcome.status, outcome.err) == (0, "")
    assert f"registered {said}: not usable: manifest of model {said} is not a manifest" in outcome.out
    assert f"registered {other}: kind lightgbm" in outcome.out


def _storage() -> Path:
    import os

    return Path(os.environ["QUANT__STORAGE"])


@pytest.mark.slow
def test_two_models_are_compared_and_mistakes_are_one_line(quant: Quant, storage: Path) -> None:
    profile = profile_at(storage)
    features = pl.read_parquet(storage / "demo/features/sector=it/month=2021-05/part-0.parquet")
    made = features.select("ticker", "date", one="return_20").drop_nulls()
    schema = profile.datasets["predictions"].empty().schema
    base = made.with_columns(
        sector=pl.lit(SECTOR), horizon=pl.lit(20, pl.Int32), prediction_std=pl.lit(0.1), prob_up=pl.lit(0.5),
        confidence=pl.lit(0.0), model_version=pl.lit("v"),
    )  # fmt: skip
    predictions = pl.concat(
        [
            base.with_columns(prediction="one", model=pl.lit("good")),
            base.with_columns(prediction=-pl.col("one"), model=pl.lit("bad")),
        ]
    )
    predictions = pl.concat([pl.DataFrame(schema=schema), predictions], how="diagonal").select(list(schema))
    labels = made.with_columns(
        sector=pl.lit(SECTOR), horizon=pl.lit(20, pl.Int32), forward_return="one", unexplained=pl.lit(False)
    )
    schema = profile.datasets["labels"].empty().schema
    labels = pl.concat([pl.DataFrame(schema=schema), labels], how="diagonal").select(list(schema))
    for name, rows in (("predictions", predictions), ("labels", labels)):
        profile.store.write(profile.datasets[name], rows, [f"2021-05|{SECTOR}"])
    given = ("models", "compare", "good", "-s", SECTOR, "--from", "2021-05", "--to", "2021-05")
    outcome = quant(*given, "--against", "bad")
    rows = {row["figure"]: row for row in outcome.rows}
    assert [rows["rank_ic"][name] for name in ("champion", "challenger", "difference")] == [
        "-1.0000",
        "+1.0000",
        "+2.0000",
    ]
    assert set(rows) == {"ic", "rank_ic", "spread", "turnover"}
    refused = quant(*given)
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "lack model lightgbm; models: bad, good" in refused.err
    for arguments, message in (
        (("promote", "none", "-s", SECTOR), "model 'none' does not exist; choose one of lightgbm"),
        (("promote", "none@0", "-s", SECTOR), "model none@0 is not registered"),
        (("register", "mine"), "register needs --path FILE --kind KIND"),
        (("register", "mine", "--path", str(storage / "none.txt"), *OF_FILE), "does not exist"),
        (("register", "mine", "--path", __file__, *OF_FILE), "format '.py' is unknown"),
    ):
        refused = quant("models", *arguments)
        assert (refused.status, refused.out, refused.err.count("\n")) == (status_of(refused.err), "", 1), refused.err
        assert message in refused.err


@pytest.mark.slow
def test_a_decision_follows_the_champion_of_its_day_and_a_roll_back_rewrites_none(storage: Path) -> None:
    versions = ModelVersions(profile_at(storage).store)
    versions.promote("it", "a", date(2021, 1, 29))
    versions.promote("it", "b", date(2021, 3, 31))
    versions.roll_back("it", date(2021, 5, 28))
    days = [date(2021, 1, 28), date(2021, 1, 29), date(2021, 3, 30), date(2021, 3, 31), date(2021, 5, 27)]
    assert [versions.champion_on("it", day) for day in days] == [None, "a", "a", "b", "b"]
    assert versions.champion_on("it", date(2021, 5, 28)) == "a"
    assert versions.champion_on("energy", AS_OF) is None


@pytest.mark.slow
def test_months_before_a_promotion_keep_their_picks(quant: Quant, storage: Path) -> None:
    """A version promoted today neither decides past months nor makes those fail that it was trained on."""
    may = ("predict", "-s", SECTOR, "-y", "2021", "-m", "5", "--no-save")
    first, june = quant(*may), quant(*PICKED)
    said = registered(quant)
    assert quant("models", "promote", said, "-s", SECTOR, "--force").status == 0
    assert quant(*may).out == first.out
    assert f"model {said}," in quant(*PICKED).out != june.out
    pointer = ModelVersions(profile_at(storage).store).champion(SECTOR)
    assert pointer is not None
    assert pointer.since == AS_OF


@pytest.mark.slow
def test_a_model_is_promoted_by_the_newest_stored_checkpoint_whatever_the_day(
    quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last run was years ago, as that of the demo."""
    monkeypatch.setenv("QUANT__AS_OF", "2024-06-28")
    outcome = quant("models", "promote", "lightgbm", "-s", SECTOR, "--force")
    assert (outcome.status, outcome.err) == (0, "")
    assert "lightgbm is the champion of decisions from 2024-06-28 on" in outcome.out


@pytest.mark.slow
def test_a_version_is_champion_after_what_it_was_trained_on_alone(quant: Quant, storage: Path) -> None:
    versions = ModelVersions(profile_at(storage).store)
    said = registered(quant)
    known = date.fromisoformat(versions.version(said).manifest["last_known_at"])
    assert versions.promote(SECTOR, said, date(2021, 3, 1)).since == known + timedelta(days=1)
    assert versions.champion_on(SECTOR, known) is None


@pytest.mark.slow
@pytest.mark.parametrize("how", ["changed", "missing", "signed with another key"])
def test_a_version_without_its_manifest_is_replaced_by_the_composite_score(
    quant: Quant, storage: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_MODEL_KEY", "secret")
    said = registered(quant)
    path = files(storage, said) / "manifest.json"
    if how == "changed":
        path.write_text(path.read_text().replace('"it"', '"energy"'))
    elif how == "missing":
        path.unlink()
    else:
        monkeypatch.setenv("QUANT_MODEL_KEY", "another")
    outcome = quant(*PICKED, "--model", said)
    assert outcome.status == 0, outcome.err
    assert "selection score, no usable model" in outcome.out
    assert f"manifest.json of model {said} is missing" in outcome.out or "was changed after signing" in outcome.out
    monkeypatch.setenv("QUANT__REGISTRY__FALLBACK", "refuse")
    assert quant(*PICKED, "--model", said).status == 1


@pytest.mark.slow
def test_a_pointer_is_replaced_as_a_whole_and_a_broken_one_is_told(storage: Path) -> None:
    versions = ModelVersions(profile_at(storage).store)
    assert versions.champion("it") is None
    for model in ("a", "a", "b", "c"):
        versions.promote("it", model, date(2021, 6, 30))
    assert (versions.champion("it").model, versions.champion("it").before) == ("c", ("a", "b"))  # type: ignore[union-attr]
    assert versions.roll_back("it", date(2021, 6, 30)).model == "b"
    (path,) = (storage / "demo/artifacts/registry/champions").iterdir()
    path.write_text("{")
    with pytest.raises(DatasetError, match="is not a record of a champion"):
        versions.champion("it")
