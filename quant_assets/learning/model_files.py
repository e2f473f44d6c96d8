"""The files of a model: named by their content, and verified before anything is loaded from them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from quant_assets.errors import ModelFileError

#: Length of a version: the first characters of a SHA-256.
VERSION_LENGTH = 12

#: Lists the files of a model that has several, as `sha256sum` does: `sha256sum -c SHA256SUMS` verifies them.
LISTING = "SHA256SUMS"


@dataclass(frozen=True)
class ModelFiles:
    """The files of a saved model: one file, or several and their listing.

    Attributes:
        sha256: of the file, or of the listing.
        name: stored name of that file; it follows from the content, so that no model overwrites another.
        paths: every file by its stored name, and other files that are stored with them.

    """

    sha256: str
    name: str
    paths: dict[str, Path]

    @classmethod
    def of(cls, folder: Path, stem: str) -> Self:
        """The files in a folder; their stored name is the stem and the version."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if len(paths) == 1 and paths[0] == folder / f"model{paths[0].suffix}":
            digest = sha256_of(paths[0])
            name = f"{stem}-{digest[:VERSION_LENGTH]}{paths[0].suffix}"
            return cls(digest, name, {name: paths[0]})
        names = [path.relative_to(folder).as_posix() for path in paths]
        lines = (f"{sha256_of(path)}  {name}\n" for path, name in zip(paths, names, strict=True))
        listing = folder / LISTING
        listing.write_text("".join(lines), encoding="utf-8")
        digest = sha256_of(listing)
        stored = f"{stem}-{digest[:VERSION_LENGTH]}"
        return cls(
            digest,
            f"{stored}/{LISTING}",
            {f"{stored}/{name}": path for name, path in zip([*names, LISTING], [*paths, listing], strict=True)},
        )

    @property
    def version(self) -> str:
        """First characters of the SHA-256."""
        return self.sha256[:VERSION_LENGTH]


def fetch(name: str, expected: str, read: Callable[[str], bytes], folder: Path) -> None:
    """Copy the files of a model into a folder, as `FittedModel.save` wrote them, with at most one of them in memory.

    Load nothing from the folder before this returns: only then is every file verified.

    Args:
        name: name of the file, or of the listing of several.
        expected: its SHA-256.
        read: returns the content of a file by its name.
        folder: an existing empty folder; after an error it holds some of the files.

    Raises:
        ModelFileError: a file has changed; names it and the remedy.

    """
    stored = PurePosixPath(name)
    content = verified(f"model of checkpoint {stored.name}", read(name), expected)
    if stored.name != LISTING:
        (folder / f"model{stored.suffix}").write_bytes(content)
        return
    for checksum, file in listed(content, f"checkpoint {stored.parent.name}"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(
            verified(f"file {file} of checkpoint {stored.parent.name}", read(str(stored.parent / file)), checksum)
        )


def listed(content: bytes, what: str) -> list[tuple[str, str]]:
    """SHA-256 and name of each file of a listing; the names are relative to its folder.

    Raises:
        ModelFileError: a line is not `sha256  name`, or its name leads out of the folder.

    """
    entries: list[tuple[str, str]] = []
    for line in content.decode("utf-8", "replace").splitlines():
        checksum, _, name = line.partition("  ")
        parts = PurePosixPath(name).parts
        if not parts or parts[0] == "/" or ".." in parts or "\\" in name:
            raise ModelFileError(
                f"{LISTING} of {what} has the line '{line[:120]}', which is not a SHA-256 and a file name below its "
                "folder; nothing was read: do not trust its source, or write the listing again with sha256sum"
            )
        entries.append((checksum, str(PurePosixPath(name))))
    return entries


def verified(what: str, content: bytes, expected: str) -> bytes:
    """Return the content after checking its SHA-256.

    Raises:
        ModelFileError: the SHA-256 is not the expected one.

    """
    digest = sha256(content)
    if digest != expected:
        raise ModelFileError(
            f"{what} has SHA-256 {digest[:VERSION_LENGTH]}…, its dataset records {expected[:VERSION_LENGTH]}…; "
            "the file was changed: materialise that month of the dataset again"
        )
    return content


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
