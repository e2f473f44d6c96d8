"""Files that are not rows (models, reports, records): written as a whole, as a stream or as a folder; read again.

They stand under `artifacts/` of the profile's storage and are named by a row, which is written after them. Whatever is
written has another name until it is whole and on disk, so that a reader, or a machine that lost power, sees the old
content or the new one. On a URL a file appears with its last part, and a folder file by file: its row is what makes it
count.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fsspec.implementations.local import LocalFileSystem

from quant_assets.errors import DatasetError
from quant_assets.io.file_system import file_system

#: The disk flushes the files of several writers together: 0.5 instead of 5 ms each.
WRITERS = 8

_STALE_SECONDS = 3600
_CHUNK = 1 << 20


class FileState(NamedTuple):
    """What tells a local file from the one that replaces it."""

    inode: int
    changed_ns: int
    size: int

    @classmethod
    def of(cls, found: os.stat_result) -> "FileState":
        """The state that the system reports."""
        return cls(found.st_ino, found.st_mtime_ns, found.st_size)


class ArtifactFolder(NamedTuple):
    """A folder of artifacts as it was written.

    Attributes:
        name: below `artifacts/`.
        sha256: of the names and hashes of its files.
        files: SHA-256 of each file by its name in the folder, sorted.

    """

    name: str
    sha256: str
    files: Mapping[str, str]


class ArtifactWriter:
    """A file that is being written; `sha256` and `size` are of what was written so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes | bytearray | memoryview) -> int:
        """Append; the number of bytes, as a file gives it, so that libraries can write to this as to a file."""
        self._digest.update(content)
        self._file.write(content)
        self.size += len(content)
        return len(content)

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written so far."""
        return self._digest.hexdigest()


class ArtifactStore:
    """Files below one folder or URL.

    Args:
        url: absolute local folder, or an fsspec URL such as `s3://bucket/prefix`.
        storage_options: handed to fsspec; credentials come from the environment.

    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/")
        self._fs, self._root = file_system(self.url, dict(storage_options or {}))
        self.local = isinstance(self._fs, LocalFileSystem)

    @contextlib.contextmanager
    def open_artifact(self, name: str) -> Iterator[ArtifactWriter]:
        """Write the file `artifacts/<name>` piece by piece; it replaces the old one when the block ends without error.

        At most one part of the file is in memory: what a library writes to the stream may be larger than that.
        """
        path = f"{self._root}/artifacts/{name}"
        with _replacing(Path(path)) if self.local else self._uploading(path) as file:
            yield ArtifactWriter(file)

    def write_artifact(self, name: str, content: bytes) -> None:
        """Replace the file `artifacts/<name>`."""
        self.write_file(f"artifacts/{name}", content)

    def write_artifacts(self, contents: Mapping[str, bytes]) -> None:
        """Replace several of them, `contents` by name, side by side."""
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(self.write_artifact, contents, contents.values()))

    def write_artifact_file(self, name: str, source: Path) -> str:
        """Replace the file `artifacts/<name>` by a copy of a local one; its SHA-256."""
        with self.open_artifact(name) as target, source.open("rb") as file:
            shutil.copyfileobj(file, target, _CHUNK)
            return target.sha256

    def write_artifact_folder(self, name: str, folder: Path) -> ArtifactFolder:
        """Replace the folder `artifacts/<name>` by a copy of a local one.

        Args:
            name: of the folder; a name that its content decides is never replaced under a reader.
            folder: files and folders; links are followed.

        Raises:
            DatasetError: there is no file in it.

        """
        sources = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        if not sources:
            raise DatasetError(f"{folder} holds no file to keep as {self.artifact_url(name)}")
        if not self.local:
            with ThreadPoolExecutor(WRITERS) as pool:
                hashes = list(
                    pool.map(self.write_artifact_file, [f"{name}/{each}" for each in sources], sources.values())
                )
            files = dict(zip(sources, hashes, strict=True))
            for old in set(self.artifacts(name)) - {f"{name}/{each}" for each in files}:
                self._fs.rm_file(f"{self._root}/artifacts/{old}")
            return _folder(name, files)
        target = Path(self._root, "artifacts", name)
        made = _temporary_folder(target)
        try:
            with ThreadPoolExecutor(WRITERS) as pool:
                hashes = list(pool.map(_copy, sources.values(), [made / each for each in sources]))
            for each in [made, *(path for path in made.rglob("*") if path.is_dir())]:
                _sync(each)
            if target.is_dir():
                # A folder cannot be renamed over another: the old one steps aside. A reader in between finds none.
                aside = _temporary_folder(target)
                stood = aside / target.name
                try:
                    os.replace(target, stood)
                    os.replace(made, target)
                    shutil.rmtree(stood)
                except BaseException:
                    if stood.exists() and not target.exists():
                        os.replace(stood, target)
                    raise
                finally:
                    with contextlib.suppress(OSError):  # it holds the old one, which could not be put back
                        aside.rmdir()
            else:
                os.replace(made, target)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        _sync(target.parent)
        return _folder(name, dict(zip(sources, hashes, strict=True)))

    @contextlib.contextmanager
    def artifact_folder(self, name: str) -> Iterator[Path]:
        """The folder `artifacts/<name>` as a local one to read from: itself, or a copy that goes with the block.

        Raises:
            DatasetError: it is not there.

        """
        files = self.artifacts(name)
        if not files:
            raise _missing(self.artifact_url(name))
        if self.local:
            yield Path(self._root, "artifacts", name)
            return
        with tempfile.TemporaryDirectory(prefix="quant-artifacts-") as made:
            targets = [Path(made, each.removeprefix(f"{name}/")) for each in files]
            for folder in {target.parent for target in targets}:
                folder.mkdir(parents=True, exist_ok=True)
            self._fs.get([f"{self._root}/artifacts/{each}" for each in files], [str(target) for target in targets])
            yield Path(made)

    def artifacts(self, folder: str) -> list[str]:
        """Names of the files below `artifacts/<folder>`, sorted; none where it is not there."""
        self._fs.invalidate_cache()
        root = f"{self._root}/artifacts/"
        found = [path[len(root) :] for path in self._fs.find(f"{root}{folder}")]
        return sorted(name for name in found if not any(part.startswith(".") for part in name.split("/")))

    def read_artifacts(self, names: Sequence[str]) -> list[bytes]:
        """Content of several, side by side where each is a request.

        Raises:
            DatasetError: one is not there.

        """
        if self.local:
            return [self.read_artifact(name) for name in names]
        with ThreadPoolExecutor(WRITERS) as pool:
            return list(pool.map(self.read_artifact, names))

    def read_artifact(self, name: str) -> bytes:
        """Content of the file `artifacts/<name>`; a DatasetError where it is not there."""
        try:
            return self.read_file(f"artifacts/{name}")
        except FileNotFoundError:
            raise _missing(self.artifact_url(name)) from None

    def read_file(self, name: str) -> bytes:
        """Content of a file below the store's folder; FileNotFoundError where there is none."""
        return bytes(self._fs.cat_file(f"{self._root}/{name}"))

    def has_artifact(self, name: str) -> bool:
        """Whether the file `artifacts/<name>` is there."""
        return bool(self._fs.exists(f"{self._root}/artifacts/{name}"))

    def artifact_url(self, name: str) -> str:
        """Where a person finds `artifacts/<name>`."""
        return f"{self.url}/artifacts/{name}"

    def newest_below(self, folder: str, before: str, after: str) -> str:
        """The last, in order of the alphabet, of what stands between `before` and `after` in names of files; or ""."""
        self._fs.invalidate_cache()
        names = [path.rpartition("/")[2] for path in self._fs.glob(f"{self._root}/{folder}/{before}*{after}")]
        return max((name.removeprefix(before).removesuffix(after) for name in names), default="")

    def write_file(self, name: str, content: bytes) -> None:
        """Replace a file below the store's folder as a whole."""
        self._replace(f"{self._root}/{name}", content)

    def remove_file(self, name: str) -> bool:
        """Take a file below the store's folder away; whether there was one."""
        path = f"{self._root}/{name}"
        self._fs.invalidate_cache()
        if not self._fs.exists(path):
            return False
        self._fs.rm_file(path)
        return True

    def _replace(self, path: str, content: bytes) -> FileState | None:
        """Replace a file as a whole; its state on disk where it is local."""
        return self._begin(path, content)()

    def _begin(self, path: str, content: bytes) -> Callable[[], FileState | None]:
        """Begin to replace a file as a whole: the function to call, in any thread, waits for the disk or the network.

        A file that is local has all its content under another name by then. The function gives its state on disk.
        """
        if not self.local:
            return lambda: self._fs.pipe_file(path, content)  # an object store's put is atomic
        made = _Replacement(Path(path))
        try:
            with _naming(made.target):
                made.file.write(content)
        except BaseException:
            made.abandon()
            raise
        return made.finish

    @contextlib.contextmanager
    def _uploading(self, path: str) -> Iterator[BinaryIO]:
        """A file that appears when the block ends without error, as object stores have it: an upload in parts."""
        file = self._fs.open(path, "wb", autocommit=False)
        try:
            yield file
            file.close()
        except BaseException:
            file.discard()
            raise
        file.commit()


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let what the disk refuses in a write name the file: a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from None


class _Replacement:
    """A file that is written under another name and takes the name `target` when it is whole and on disk."""

    def __init__(self, target: Path) -> None:
        _prepare(target.parent)
        self.target = target
        descriptor, self._temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        self.file: BinaryIO = os.fdopen(descriptor, "wb")

    def finish(self) -> FileState:
        """Wait for the disk and take the name; the state on disk."""
        try:
            with _naming(self.target), self.file:
                self.file.flush()
                os.fchmod(self.file.fileno(), 0o644)
                os.fsync(self.file.fileno())
                # Asked of the open file: by its name it may be another writer's already.
                state = FileState.of(os.fstat(self.file.fileno()))
            os.replace(self._temporary, self.target)
        except BaseException:
            self.abandon()
            raise
        _sync(self.target.parent)  # the rename itself must survive a power cut
        return state

    def abandon(self) -> None:
        """Leave the target as it is."""
        with contextlib.suppress(OSError):  # what could not be written may not be flushed either
            self.file.close()
        Path(self._temporary).unlink(missing_ok=True)


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the name `target` when the block ends without error, whole and on disk."""
    made = _Replacement(target)
    try:
        yield made.file
    except BaseException:
        made.abandon()
        raise
    made.finish()


def _temporary_folder(target: Path) -> Path:
    _prepare(target.parent)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    made.chmod(0o755)
    return made


def _prepare(folder: Path) -> None:
    """Make a folder, and remove what a killed run left in it; what is younger may be another run's.

    Young against the folder's own last change: both times are the file system's, which need not be this machine's.
    """
    try:
        names, now = os.listdir(folder), folder.stat().st_mtime
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        return
    for name in names:
        if not (name.startswith(".") and name.endswith(".tmp")):
            continue
        stale = folder / name
        with contextlib.suppress(FileNotFoundError):  # another writer may be quicker
            if _last_change(stale) < now - _STALE_SECONDS:
                if stale.is_dir():
                    shutil.rmtree(stale)
                else:
                    stale.unlink()


def _last_change(path: Path) -> float:
    """Of a file, or of a folder and all below it: a long copy changes its files, and none of the folders above."""
    return max(each.lstat().st_mtime for each in (path, *path.rglob("*")))


def _copy(source: Path, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as read, target.open("wb") as file:
        writer = ArtifactWriter(file)
        shutil.copyfileobj(read, writer, _CHUNK)
        file.flush()
        os.fsync(file.fileno())
    return writer.sha256


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folder(name: str, files: Mapping[str, str]) -> ArtifactFolder:
    listed = "".join(f"{each} {digest}\n" for each, digest in files.items())
    return ArtifactFolder(name, hashlib.sha256(listed.encode()).hexdigest(), files)


def _missing(url: str) -> DatasetError:
    return DatasetError(f"{url} is missing; materialise the partition that names it again")
