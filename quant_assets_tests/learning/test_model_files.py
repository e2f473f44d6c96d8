"""Files of a model: hashed piece by piece, fetched one by one, refused where one was changed."""

import hashlib
from pathlib import Path

import pytest

from quant_assets.errors import DatasetError, ModelFileError
from quant_assets.learning.model_files import LISTING, ModelFiles, fetch, sha256

CONTENTS = {"a/weights.bin": b"w" * 3_000_000, "b.json": b"{}", "c/d/empty": b""}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelFiles:
    for name, content in CONTENTS.items():
        path = tmp_path / "saved" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read whole"))
        return ModelFiles.of(tmp_path / "saved", "model")


def test_the_listing_is_that_of_sha256sum(files: ModelFiles) -> None:
    listing = files.paths[files.name].read_bytes()
    assert listing.decode().splitlines() == [
        f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in CONTENTS.items()
    ]
    assert files.sha256 == sha256(listing)
    assert files.name == f"model-{files.version}/{LISTING}"


def test_a_model_of_one_file_is_named_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.bin").write_bytes(b"w")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read whole"))
    assert ModelFiles.of(tmp_path, "m").sha256 == hashlib.sha256(b"w").hexdigest()


def test_each_file_is_on_disk_before_the_next_one_is_read(files: ModelFiles, tmp_path: Path) -> None:
    (folder := tmp_path / "fetched").mkdir()
    asked: list[str] = []

    def read(name: str) -> bytes:
        assert all((folder / each).is_file() for each in asked), "more than one file was in memory"
        if name != files.name:
            asked.append(name.partition("/")[2])
        return files.paths[name].read_bytes()

    fetch(files.name, files.sha256, read, folder)
    assert asked == list(CONTENTS)
    assert {name: (folder / name).read_bytes() for name in CONTENTS} == CONTENTS
    (other := tmp_path / "other").mkdir()
    files.paths[f"model-{files.version}/c/d/empty"].write_bytes(b"changed")
    with pytest.raises(DatasetError, match=r"file c/d/empty of checkpoint model-.* the file was changed"):
        fetch(files.name, files.sha256, lambda name: files.paths[name].read_bytes(), other)


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "{folder}/out.txt", "..\\out.txt", ""])
def test_nothing_is_written_outside_the_folder(tmp_path: Path, name: str) -> None:
    (folder := tmp_path / "fetched").mkdir()
    said = name.format(folder=tmp_path)
    listing = f"{sha256(b'out')}  {said}\n".encode()
    with pytest.raises(ModelFileError, match="not a SHA-256 and a file name below its folder"):
        fetch(f"m/{LISTING}", sha256(listing), lambda each: listing if each.endswith(LISTING) else b"out", folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["fetched"]
