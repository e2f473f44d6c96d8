"""Artifacts as streams and folders: whole or not at all, their hashes, on a disk and on a URL."""

import hashlib
import os
import resource
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from quant_assets.errors import DatasetError
from quant_assets.io.artifacts import ArtifactStore
from quant_assets_tests.graph import PROJECT


@pytest.fixture(params=["disk", "url"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path) if request.param == "disk" else f"memory://{uuid.uuid4().hex}")


def folder(path: Path, **files: bytes) -> Path:
    for name, content in files.items():
        target = path / name.replace("__", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return path


def test_a_stream_is_hashed_while_it_is_written_and_seen_when_it_is_whole(tmp_path: Path) -> None:
    """Of S3 the same is tested in test_io; the file system in memory knows no upload in parts."""
    store = ArtifactStore(str(tmp_path))
    store.write_artifact("models/m.bin", b"old")
    with store.open_artifact("models/m.bin") as stream:
        for part in (b"one ", bytearray(b"two "), memoryview(b"three")):
            assert stream.write(part) == len(part)
        assert store.read_artifact("models/m.bin") == b"old"
        assert store.artifacts("models") == ["models/m.bin"]
    content = b"one two three"
    assert store.read_artifact("models/m.bin") == content
    assert (stream.sha256, stream.size) == (hashlib.sha256(content).hexdigest(), len(content))


def test_a_stream_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    store.write_artifact("models/m.bin", b"old")
    for name in ("models/m.bin", "models/new.bin"):
        with pytest.raises(ZeroDivisionError), store.open_artifact(name) as stream:
            stream.write(b"x" * (stream.write(b"x" * 100) // 0))
    assert store.artifacts("models") == ["models/m.bin"]
    assert store.read_artifact("models/m.bin") == b"old"
    assert os.listdir(tmp_path / "artifacts" / "models") == ["m.bin"]


@pytest.mark.parametrize("size", [1, 1_000_000], ids=["at the end", "on the way"])
def test_a_full_disk_is_named_with_the_file_and_leaves_what_was_there(tmp_path: Path, size: int) -> None:
    """A limit on the size of files refuses as a full disk does, in the write itself or when it is flushed."""
    store = ArtifactStore(str(tmp_path))
    store.write_file("report.html", b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            store.write_file("report.html", b"n" * size)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_is_replaced_as_a_whole(store: ArtifactStore, tmp_path: Path) -> None:
    first = store.write_artifact_folder("models/a", folder(tmp_path / "1", one=b"1", below__two=b"2", gone=b"3"))
    assert first.files == {name: hashlib.sha256(each).hexdigest() for name, each in
                           {"below/two": b"2", "gone": b"3", "one": b"1"}.items()}  # fmt: skip
    assert list(first.files) == sorted(first.files)
    assert store.artifacts("models") == ["models/a/below/two", "models/a/gone", "models/a/one"]
    second = store.write_artifact_folder("models/a", folder(tmp_path / "2", one=b"1", below__two=b"other"))
    assert store.artifacts("models") == ["models/a/below/two", "models/a/one"]
    with store.artifact_folder("models/a") as local:
        found = {path.relative_to(local).as_posix(): path.read_bytes() for path in local.rglob("*") if path.is_file()}
    assert found == {"one": b"1", "below/two": b"other"}
    same = store.write_artifact_folder("models/b", folder(tmp_path / "3", below__two=b"other", one=b"1"))
    assert same.sha256 == second.sha256 != first.sha256
    if store.local:
        assert sorted(os.listdir(f"{store.url}/artifacts/models")) == ["a", "b"], "nothing temporary is left"
        assert (Path(store.url) / "artifacts/models/a").stat().st_mode & 0o777 == 0o755, "others may read it"


def test_a_folder_that_cannot_take_its_name_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(str(tmp_path))
    store.write_artifact_folder("models/a", folder(tmp_path / "1", below__one=b"old"))
    replace, calls = os.replace, list[Path]()

    def second_fails(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError("no space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", second_fails)
        with pytest.raises(OSError, match="no space left"):
            store.write_artifact_folder("models/a", folder(tmp_path / "2", one=b"new"))
    assert calls[1] == tmp_path / "artifacts" / "models" / "a"
    assert store.artifacts("models") == ["models/a/below/one"]
    assert store.read_artifact("models/a/below/one") == b"old"
    assert os.listdir(tmp_path / "artifacts" / "models") == ["a"], "nothing temporary is left"


def test_a_folder_without_files_or_that_is_not_there_is_named(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "empty" / "below").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"empty contains no file to store as .*artifacts/models/a"):
        store.write_artifact_folder("models/a", tmp_path / "empty")
    with pytest.raises(DatasetError, match=r"artifacts/models/a is missing"), store.artifact_folder("models/a"):
        pass


def test_what_killed_writers_left_is_removed_after_an_hour_and_never_seen(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    code = (
        "import os, signal, sys; from pathlib import Path; import quant_assets.io.artifacts as io\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "store = io.ArtifactStore(sys.argv[1]); Path(sys.argv[2]).write_bytes(b'new')\n"
        "if sys.argv[3] == 'folder': store.write_artifact_folder('models/a', Path(sys.argv[2]).parent)\n"
        "with store.open_artifact('models/b') as stream: stream.write(b'new')\n"
    )
    (tmp_path / "given").mkdir()
    for what in ("folder", "stream"):
        given = str(tmp_path / "given" / "file")
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), given, what], cwd=PROJECT, check=False, capture_output=True
        )
        assert done.returncode == -9, done.stderr
    left = sorted((tmp_path / "artifacts" / "models").iterdir())
    assert [each.is_dir() for each in left] == [True, False]
    assert store.artifacts("models") == []
    store.write_artifact("models/c", b"c")
    assert len(list((tmp_path / "artifacts" / "models").iterdir())) == 3, "it may be another run's"
    past, below = (time.time() - 7200,) * 2, next(left[0].iterdir())
    for each in left:
        os.utime(each, past)
    store.write_artifact("models/c", b"c")
    assert below.exists(), "a long copy changes its files alone"
    assert not left[1].exists()
    os.utime(below, past)
    os.utime(left[0], past)
    store.write_artifact("models/c", b"c")
    assert [each.name for each in (tmp_path / "artifacts" / "models").iterdir()] == ["c"]


@pytest.mark.slow
def test_a_file_larger_than_the_memory_that_is_allowed_can_be_written_and_copied(tmp_path: Path) -> None:
    """A stream of 512 MB under a limit that leaves less than half of it."""
    code = (
        "import resource, sys; from pathlib import Path; from quant_assets.io.artifacts import ArtifactStore\n"
        "store = ArtifactStore(sys.argv[1]); used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2); part = bytes(1 << 20)\n"
        "with store.open_artifact('big/file') as stream:\n"
        "    for _ in range(512): stream.write(part)\n"
        "print(store.write_artifact_folder('copy', Path(sys.argv[1], 'artifacts/big')).files['file'], stream.sha256)\n"
    )
    if not hasattr(resource, "RLIMIT_AS") or not Path("/proc/self/statm").exists():
        pytest.skip("no limit of memory on this system")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    copied, written = done.stdout.split()
    assert copied == written == hashlib.sha256(bytes(512 << 20)).hexdigest()
