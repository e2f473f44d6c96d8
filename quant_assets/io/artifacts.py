"""Artifacts, the files that are not rows (models, reports, records): written as a whole, a stream or a folder.

They are under `artifacts/` of the storage, named by a row that is written after them. A file has a temporary name
until it is on disk, so readers see the old or the new content, also after a power failure. On a URL a file appears
with its last part, and a folder file by file.
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

_STALE_SECONDS, _CHUNK = 3600, 1 << 20


class FileState(NamedTuple):
    """The state of a local file, which changes when the file is replaced."""

    inode: int
    changed_ns: int
    size: int

    @classmethod
    def of(cls, stat: os.stat_result) -> "FileState":
        """The state that the system reports."""
        return cls(stat.st_ino, stat.st_mtime_ns, stat.st_size)


class ArtifactFolder(NamedTuple):
    """A folder of artifacts as written.

    Attributes:
        name: path below `artifacts/`.
        sha256: of the names and hashes of its files.
        files: SHA-256 of each file by its name in the folder, sorted.

    """

    name: str
    sha256: str
    files: Mapping[str, str]


class ArtifactWriter:
    """A file that is being written; `sha256` and `size` are of the content so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes | bytearray | memoryview) -> int:
        """Append and return the number of bytes, so that libraries can write to this as to a file."""
        self._digest.update(content)
        self._file.write(content)
        self.size += len(content)
        return len(content)

    @property
    def sha256(self) -> str:
        """SHA-256 of the content so far."""
        return self._digest.hexdigest()


class ArtifactStore:
    """Files below one folder or URL.

    Args:
        url: absolute local folder, or an fsspec URL such as `s3://bucket/prefix`.
        storage_options: passed to fsspec; credentials come from the environment.

    Raises:
        MissingPackageError: the URL needs a package that is not installed.

    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/")
        self._fs, self._root = file_system(self.url, storage_options)
        self.local = isinstance(self._fs, LocalFileSystem)

    @contextlib.contextmanager
    def open_artifact(self, name: str) -> Iterator[ArtifactWriter]:
        """Write the file `artifacts/<name>` as a stream; it replaces the old one when the block ends without error.

        At most one part of the file is in memory.
        """
        path = f"{self._root}/artifacts/{name}"
        with _replacing(Path(path)) if self.local else self._uploading(path) as file:
            yield ArtifactWriter(file)

    def write_artifact(self, name: str, content: bytes) -> None:
        """Replace the file `artifacts/<name>`."""
        self.write_file(f"artifacts/{name}", content)

    def write_artifacts(self, contents: Mapping[str, bytes | Path]) -> None:
        """Replace several artifacts in parallel, with bytes or a copy of a local file by name."""

        def write(name: str, content: bytes | Path) -> None:
            if isinstance(content, Path):
                self.write_artifact_file(name, content)
            else:
                self.write_artifact(name, content)

        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(write, contents, contents.values()))

    def write_artifact_file(self, name: str, source: Path) -> str:
        """Replace the file `artifacts/<name>` with a copy of a local one; returns the SHA-256."""
        with self.open_artifact(name) as target, source.open("rb") as file:
            shutil.copyfileobj(file, target, _CHUNK)
            return target.sha256

    def write_artifact_folder(self, name: str, folder: Path) -> ArtifactFolder:
        """Replace the folder `artifacts/<name>` with a copy of a local one.

        Args:
            name: of the folder; if derived from the content, it is never replaced while a reader uses it.
            folder: files and folders; links are followed.

        Raises:
            DatasetError: there is no file in the folder.

        """
        sources = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        if not sources:
            raise DatasetError(f"{folder} contains no file to store as {self.artifact_url(name)}")
        if not self.local:
            with ThreadPoolExecutor(WRITERS) as pool:
                hashes = list(
                    pool.map(self.write_artifact_file, [f"{name}/{file}" for file in sources], sources.values())
                )
            files = dict(zip(sources, hashes, strict=True))
            for old in set(self.artifacts(name)) - {f"{name}/{file}" for file in files}:
                self._fs.rm_file(f"{self._root}/artifacts/{old}")
            return _folder(name, files)
        target = Path(self._root, "artifacts", name)
        copy = _temporary_folder(target)
        try:
            with ThreadPoolExecutor(WRITERS) as pool:
                hashes = list(pool.map(_copy, sources.values(), [copy / file for file in sources]))
            for written in [copy, *(path for path in copy.rglob("*") if path.is_dir())]:
                _sync(written)
            if target.is_dir():
                # A folder cannot be renamed over another: move the old one away first. Readers see none in between.
                aside = _temporary_folder(target)
                old_folder = aside / target.name
                try:
                    os.replace(target, old_folder)
                    os.replace(copy, target)
                    shutil.rmtree(old_folder)
                except BaseException:
                    if old_folder.exists() and not target.exists():
                        os.replace(old_folder, target)
                    raise
                finally:
                    with contextlib.suppress(OSError):  # the old folder is still in it
                        aside.rmdir()
            else:
                os.replace(copy, target)
        except BaseException:
            shutil.rmtree(copy, ignore_errors=True)
            raise
        _sync(target.parent)
        return _folder(name, dict(zip(sources, hashes, strict=True)))

    @contextlib.contextmanager
    def artifact_folder(self, name: str) -> Iterator[Path]:
        """The folder `artifacts/<name>` as a local one to read: itself, or a copy that is removed after the block.

        Raises:
            DatasetError: it does not exist.

        """
        files = self.artifacts(name)
        if not files:
            raise _missing(self.artifact_url(name))
        if self.local:
            yield Path(self._root, "artifacts", name)
            return
        with tempfile.TemporaryDirectory(prefix="quant-artifacts-") as copy:
            targets = [Path(copy, file.removeprefix(f"{name}/")) for file in files]
            for folder in {target.parent for target in targets}:
                folder.mkdir(parents=True, exist_ok=True)
            self._fs.get([f"{self._root}/artifacts/{file}" for file in files], [str(target) for target in targets])
            yield Path(copy)

    def artifacts(self, folder: str) -> list[str]:
        """Sorted names of the files below `artifacts/<folder>`; none if it does not exist."""
        self._fs.invalidate_cache()
        root = f"{self._root}/artifacts/"
        names = [path[len(root) :] for path in self._fs.find(f"{root}{folder}")]
        return sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))

    def read_artifacts(self, names: Sequence[str]) -> list[bytes]:
        """Content of several artifacts, in parallel if the storage is remote.

        Raises:
            DatasetError: one does not exist.

        """
        if self.local:
            return [self.read_artifact(name) for name in names]
        with ThreadPoolExecutor(WRITERS) as pool:
            return list(pool.map(self.read_artifact, names))

    def read_artifact(self, name: str) -> bytes:
        """Content of the file `artifacts/<name>`; DatasetError if it does not exist."""
        try:
            return self.read_file(f"artifacts/{name}")
        except FileNotFoundError:
            raise _missing(self.artifact_url(name)) from None

    def read_file(self, name: str) -> bytes:
        """Content of a file below the store's folder; FileNotFoundError if it does not exist."""
        return bytes(self._fs.cat_file(f"{self._root}/{name}"))

    def has_artifact(self, name: str) -> bool:
        """Whether the file `artifacts/<name>` exists."""
        return bool(self._fs.exists(f"{self._root}/artifacts/{name}"))

    def artifact_url(self, name: str) -> str:
        """Path or URL of `artifacts/<name>`, for people."""
        return f"{self.url}/artifacts/{name}"

    def newest_below(self, folder: str, before: str, after: str) -> str:
        """The last in alphabetical order of the texts between `before` and `after` in file names; "" if none."""
        self._fs.invalidate_cache()
        names = [path.rpartition("/")[2] for path in self._fs.glob(f"{self._root}/{folder}/{before}*{after}")]
        return max((name.removeprefix(before).removesuffix(after) for name in names), default="")

    def write_file(self, name: str, content: bytes) -> None:
        """Replace a file below the store's folder as a whole."""
        self._begin(f"{self._root}/{name}", content)()

    def remove_file(self, name: str) -> bool:
        """Remove a file below the store's folder; returns whether it existed."""
        path = f"{self._root}/{name}"
        self._fs.invalidate_cache()
        if not self._fs.exists(path):
            return False
        self._fs.rm_file(path)
        return True

    def _begin(self, path: str, content: bytes) -> Callable[[], FileState | None]:
        """Start to replace a file as a whole; returns a function, for any thread, that waits for the disk or network.

        A local file is then complete under a temporary name. The function returns its state on disk.
        """
        if not self.local:
            return lambda: self._fs.pipe_file(path, content)  # an object store's put is atomic
        replacement = _Replacement(Path(path))
        try:
            with _naming(replacement.target):
                replacement.file.write(content)
        except BaseException:
            replacement.abandon()
            raise
        return replacement.finish

    @contextlib.contextmanager
    def _uploading(self, path: str) -> Iterator[BinaryIO]:
        """A file that appears when the block ends without error: an upload in parts to an object store."""
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
    """Add the file's name to errors of the disk, for example a full disk, that lack it."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from None


class _Replacement:
    """A file with a temporary name that is renamed to `target` when it is complete and on disk."""

    def __init__(self, target: Path) -> None:
        _prepare(target.parent)
        self.target = target
        descriptor, self._temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        self.file: BinaryIO = os.fdopen(descriptor, "wb")

    def finish(self) -> FileState:
        """Wait for the disk and rename the file; returns its state on disk."""
        try:
            with _naming(self.target), self.file:
                self.file.flush()
                os.fchmod(self.file.fileno(), 0o644)
                os.fsync(self.file.fileno())
                # By descriptor, because the name may already belong to another writer's file.
                state = FileState.of(os.fstat(self.file.fileno()))
            os.replace(self._temporary, self.target)
        except BaseException:
            self.abandon()
            raise
        _sync(self.target.parent)  # the rename must survive a power failure too
        return state

    def abandon(self) -> None:
        """Leave the target unchanged."""
        with contextlib.suppress(OSError):  # after a failed write, the flush may fail too
            self.file.close()
        Path(self._temporary).unlink(missing_ok=True)


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that is renamed to `target`, complete and on disk, when the block ends without error."""
    replacement = _Replacement(target)
    try:
        yield replacement.file
    except BaseException:
        replacement.abandon()
        raise
    replacement.finish()


def _temporary_folder(target: Path) -> Path:
    _prepare(target.parent)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    folder.chmod(0o755)
    return folder


def _prepare(folder: Path) -> None:
    """Create a folder, or remove old temporary files of killed runs from it; newer ones may be another run's.

    Ages are relative to the folder's own last change, because the file system's clock may differ from this machine's.
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
        with contextlib.suppress(FileNotFoundError):  # another writer may have removed it
            if _last_change(stale) < now - _STALE_SECONDS:
                if stale.is_dir():
                    shutil.rmtree(stale)
                else:
                    stale.unlink()


def _last_change(path: Path) -> float:
    """Last change of a file, or of a folder and all below it: a long copy changes files but not the folders above."""
    return max(item.lstat().st_mtime for item in (path, *path.rglob("*")))


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
    listed = "".join(f"{file} {digest}\n" for file, digest in files.items())
    return ArtifactFolder(name, hashlib.sha256(listed.encode()).hexdigest(), files)


def _missing(url: str) -> DatasetError:
    return DatasetError(f"{url} is missing; materialise the partition that names it again")
