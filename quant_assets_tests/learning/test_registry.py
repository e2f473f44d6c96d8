"""A model is verified before it is opened: formats, hashes, payloads that would leave a mark, the cache, signatures."""

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quant_assets.errors import DatasetError, ModelFileError
from quant_assets.learning.model_files import ModelFiles, sha256_of
from quant_assets.learning.models.base import FittedModel
from quant_assets.learning.models.lightgbm import LightGBM
from quant_assets.learning.registry import (
    Loaded,
    MissingModelError,
    ModelSpec,
    UnknownKindError,
    load_model,
    read_signed,
    signed,
)
from quant_assets.learning.rows import Rows

NAMES = ("one", "two")


def rows(count: int = 200, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(count, 2))
    days = np.datetime64("2024-01-01") + np.arange(count)
    return Rows(NAMES, np.array(["A"] * count, dtype=object), days, matrix, (5,), matrix[:, :1] * 0.1)


@pytest.fixture(scope="module")
def fitted() -> FittedModel:
    return LightGBM("m", {"min_data_in_leaf": 5, "num_trees": 5}).fit(rows(), rows(seed=1), 0)


@pytest.fixture
def path(fitted: FittedModel, tmp_path: Path) -> Path:
    fitted.save(tmp_path)
    return tmp_path / "model.txt"


def spec(path: Path, **given: Any) -> ModelSpec:
    return ModelSpec(str(path), **{"kind": "lightgbm", "horizons": (5,), "sha256": sha256_of(path), **given})


def fresh() -> Loaded[FittedModel]:
    return Loaded(4)


def test_a_loaded_model_says_what_the_one_in_memory_says(path: Path, fitted: FittedModel) -> None:
    model, checksum = load_model(spec(path, features=NAMES), loaded=fresh())
    assert checksum == sha256_of(path)
    assert (model.predict(rows(seed=2)).mean == fitted.predict(rows(seed=2)).mean).all()


def test_everything_but_path_and_kind_is_optional_and_what_is_unverified_is_logged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "quant_assets"):
        model, _ = load_model(ModelSpec(path=str(path), kind="lightgbm"), loaded=fresh())
    assert model.features == NAMES
    assert "loaded unverified" in caplog.text


def test_a_module_that_a_manifest_alone_names_is_not_imported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = path.with_name("mark")
    path.with_name("payload_of_manifest.py").write_text(f"open({str(mark)!r}, 'w')\nclass Mine: pass\n")
    monkeypatch.syspath_prepend(str(path.parent))
    with pytest.raises(UnknownKindError, match="as the kind of a model in the settings"):
        load_model(spec(path, kind="payload_of_manifest:Mine"))
    assert not mark.exists()
    told = {"kind": "external", "model_sha256": "0", "horizons": [5], "parameters": {"trusted_types": ["os.system"]}}
    assert ModelSpec.of_manifest(told, str(path), "m").parameters == {}


def test_unknown_kinds_and_missing_files_have_their_own_types(path: Path) -> None:
    with pytest.raises(ValueError, match=r"no kind of model 'tarot'; kinds are .*lightgbm") as unknown:
        load_model(spec(path, kind="tarot"))
    assert isinstance(unknown.value, UnknownKindError)
    with pytest.raises(UnknownKindError, match="no kind of model 'quant_assets_tests"):
        load_model(spec(path, kind="quant_assets_tests.learning.ridge:Ridge"))
    with pytest.raises(FileNotFoundError) as missing:
        load_model(ModelSpec(str(path.with_name("none.txt")), "lightgbm"))
    assert isinstance(missing.value, MissingModelError)
    assert "none.txt is missing" in str(missing.value)


@pytest.mark.parametrize("how", ["tampered", "truncated", "empty"])
def test_a_changed_file_is_refused_before_it_is_opened(path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known, content = spec(path), path.read_bytes()
    changed = {"tampered": content.replace(b"tree", b"Tree", 1), "truncated": content[:100], "empty": b""}[how]
    path.write_bytes(changed)
    monkeypatch.setattr(LightGBM, "load", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(ModelFileError, match="SHA-256"):
        load_model(known, loaded=fresh())


@pytest.mark.parametrize("content", [b"", b"no trees", b"tree\nversion=v4\n"])
def test_what_is_no_model_is_told_in_one_line_also_without_a_recorded_hash(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="is not LightGBM text") as refused:
        load_model(spec(path, sha256=None), loaded=fresh())
    assert "\n" not in str(refused.value)


class Payload:
    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)

    def __init__(self, mark: Path) -> None:
        self.mark = mark


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".joblib", ".skops", ".pt", ".PKL"])
def test_a_payload_never_runs(tmp_path: Path, suffix: str) -> None:
    mark, bad = tmp_path / "mark", tmp_path / f"model{suffix}"
    bad.write_bytes(pickle.dumps(Payload(mark)))
    read: list[str] = []

    def content_of(name: str) -> bytes:
        read.append(name)
        return Path(name).read_bytes()

    with pytest.raises(DatasetError, match="can execute code in it"):
        load_model(ModelSpec(str(bad), "lightgbm", sha256=sha256_of(bad)), content_of)
    assert not mark.exists()
    assert read == [], "not even read"
    with pytest.raises(DatasetError, match=r"format '.exe' is unknown"):
        load_model(ModelSpec("model.exe", "lightgbm"), content_of)


def test_the_files_of_a_listing_are_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "weights.npz").write_bytes(b"1")
    (tmp_path / "fill.pkl").write_bytes(b"2")
    files = ModelFiles.of(tmp_path, "model")
    with pytest.raises(DatasetError, match=r"fill\.pkl: opening a \.pkl file"):
        load_model(ModelSpec(str(tmp_path / "SHA256SUMS"), "lightgbm", sha256=files.sha256), loaded=fresh())


def test_a_listing_that_leads_out_of_its_folder_is_refused_before_its_files_are_read(tmp_path: Path) -> None:
    listing = tmp_path / "SHA256SUMS"
    listing.write_text(f"{'0' * 64}  ../model.txt\n")
    with pytest.raises(ModelFileError, match=r"of model model \(.*\.\./model\.txt"):
        load_model(spec(listing), lambda name: listing.read_bytes() if name == str(listing) else pytest.fail(name))


def test_other_features_are_listed(path: Path) -> None:
    with pytest.raises(DatasetError, match="unexpected are two"):
        load_model(spec(path, features=("one",)), loaded=fresh())
    with pytest.raises(DatasetError, match="another order"):
        load_model(spec(path, features=("two", "one")), loaded=fresh())


def test_a_model_is_loaded_once_and_a_replaced_file_is_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, opened = fresh(), 0
    load = LightGBM.load

    def counted(*given: Any) -> FittedModel:
        nonlocal opened
        opened += 1
        return load(*given)

    monkeypatch.setattr(LightGBM, "load", counted)
    first, _ = load_model(spec(path), loaded=loaded)
    assert load_model(spec(path), loaded=loaded)[0] is first
    assert opened == 1
    path.write_bytes(path.read_bytes() + b"\n")
    assert load_model(spec(path), loaded=loaded)[0] is not first
    assert opened == 2


def test_the_cache_has_a_bound_and_lets_go_of_what_was_not_asked_for_the_longest_time() -> None:
    cache, made = Loaded[str](2), list[str]()
    for name in ("a", "b", "a", "c", "a", "b"):
        cache.get(name, lambda name=name: made.append(name) or name)  # type: ignore[misc]
    assert made == ["a", "b", "c", "b"]
    assert len(cache) == 2


def test_manifests_are_signed_or_say_that_they_are_not() -> None:
    told, key = {"name": "ä", "figure": 0.1}, b"secret"
    assert read_signed(signed(told, key), key, "m") == (told, "signed")
    assert read_signed(signed(told, None), None, "m") == (told, "unsigned")
    with pytest.raises(DatasetError, match="m is not signed, though there is a key"):
        read_signed(signed(told, None), key, "m")
    assert read_signed(signed(told, key), None, "m") == (told, "not checked")
    assert signed(told, key) == signed({**told, "signature": "old"}, key)
    for content in (signed(told, key).replace(b"0.1", b"0.2"), signed(told, b"other")):
        with pytest.raises(DatasetError, match="was changed after signing"):
            read_signed(content, key, "m")
    for content in (b"", b"{}", b"[]", signed(told, key)[:30]):
        with pytest.raises(DatasetError, match="m is not a manifest"):
            read_signed(content, key, "m")
