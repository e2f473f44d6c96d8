"""The files of a model: named by their content, and verified before anything is loaded from them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from quant_assets.errors import ModelFileError

#: Characters of a SHA-256 that name a version.
VERSION_LENGTH = 12

#: Lists the files of a model that has several, as `sha256sum` does: `sha256sum -c SHA256SUMS` verifies them.
LISTING = "SHA256SUMS"


@dataclass(frozen=True)
class ModelFiles:
    """What a model was saved as: one file, or several and their listing.

    Attributes:
        sha256: of the file, or of the listing.
        name: of that file where it is kept: by its content, so that no model overwrites another.
        paths: every file by the name under which it is kept, and what else is kept beside them.

    """

    sha256: str
    name: str
    paths: dict[str, Path]

    @classmethod
    def of(cls, folder: Path, stem: str) -> Self:
        """The files in a folder, kept under a stem and their version."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if len(paths) == 1 and paths[0] == folder / f"model{paths[0].suffix}":
            found = sha256_of(paths[0])
            name = f"{stem}-{found[:VERSION_LENGTH]}{paths[0].suffix}"
            return cls(found, name, {name: paths[0]})
        names = [path.relative_to(folder).as_posix() for path in paths]
        lines = (f"{sha256_of(path)}  {name}\n" for path, name in zip(paths, names, strict=True))
        listing = folder / LISTING
        listing.write_text("".join(lines), encoding="utf-8")
        found = sha256_of(listing)
        kept = f"{stem}-{found[:VERSION_LENGTH]}"
        return cls(
            found,
            f"{kept}/{LISTING}",
            {f"{kept}/{name}": path for name, path in zip([*names, LISTING], [*paths, listing], strict=True)},
        )

    @property
    def version(self) -> str:
        """First characters of the SHA-256."""
        return self.sha256[:VERSION_LENGTH]


def fetch(name: str, expected: str, read: Callable[[str], bytes], folder: Path) -> None:
    """Put the files of a model into a folder, as `FittedModel.save` wrote them, at most one of them in memory.

    Nothing may be loaded from the folder before this returns: then every file has been verified.

    Args:
        name: of the file, or of the listing of several.
        expected: its SHA-256.
        read: gives the content of a file by its name.
        folder: exists, and is empty; after an error it holds some of the files.

    Raises:
        ModelFileError: a file is not the one that was written; names it and the remedy.

    """
    kept = PurePosixPath(name)
    content = verified(f"model of checkpoint {kept.name}", read(name), expected)
    if kept.name != LISTING:
        (folder / f"model{kept.suffix}").write_bytes(content)
        return
    for found, each in listed(content, f"checkpoint {kept.parent.name}"):
        (folder / each).parent.mkdir(parents=True, exist_ok=True)
        (folder / each).write_bytes(
            verified(f"file {each} of checkpoint {kept.parent.name}", read(str(kept.parent / each)), found)
        )


def listed(content: bytes, what: str) -> list[tuple[str, str]]:
    """SHA-256 and name of each file of a listing; the names lie below the folder of the listing.

    Raises:
        ModelFileError: a line is no `sha256  name`, or its name leads out of the folder.

    """
    found: list[tuple[str, str]] = []
    for line in content.decode("utf-8", "replace").splitlines():
        checksum, _, name = line.partition("  ")
        parts = PurePosixPath(name).parts
        if not parts or parts[0] == "/" or ".." in parts or "\\" in name:
            raise ModelFileError(
                f"{LISTING} of {what} has the line '{line[:120]}', which is no SHA-256 and name of a file below its "
                "folder; nothing was read: do not trust where it comes from, or list the files with sha256sum"
            )
        found.append((checksum, str(PurePosixPath(name))))
    return found


def verified(what: str, content: bytes, expected: str) -> bytes:
    """The content, if it has the SHA-256 that is recorded for it.

    Raises:
        ModelFileError: it has another.

    """
    found = sha256(content)
    if found != expected:
        raise ModelFileError(
            f"{what} has SHA-256 {found[:VERSION_LENGTH]}…, its dataset records {expected[:VERSION_LENGTH]}…; "
            "the file was changed: materialise the dataset that names it, of the month, again"
        )
    return content


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
