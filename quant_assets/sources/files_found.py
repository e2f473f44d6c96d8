"""The files on disk and in archives that match a file name of the settings. Their contents are not read."""

import bz2
import gzip
import os
import re
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from quant_assets.errors import SourceError

#: File name suffixes with their readers. Compressed files have a second suffix.
TABLES = {
    ".parquet": "parquet",
    ".csv": "text",
    ".txt": "text",
    ".tsv": "text",
    ".tab": "text",
    ".json": "json",
    ".jsonl": "json lines",
    ".ndjson": "json lines",
}
#: Suffixes of workbooks, which are not read: see `workbook`.
WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
_PACKED = (".gz", ".bz2")
#: Placeholders in file names for a ticker or a macro series.
_NAMES = ("{ticker}", "{series}")


class Part(NamedTuple):
    """One table: a file, or a member of an archive.

    Attributes:
        path: of the file or the archive.
        member: name in the archive; empty for a file.
        ticker: or macro series in the name; None without one.

    """

    path: Path
    member: str
    ticker: str | None

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.path.name}/{self.member}" if self.member else self.path.name

    @property
    def kind(self) -> str:
        """Its reader, one of the values of `TABLES`; empty if it is not a table."""
        return kind_of(self.member or self.path.name)

    def content(self) -> bytes:
        """The whole content, decompressed.

        Raises:
            SourceError: the archive or the compressed file is damaged.

        """
        try:
            if self.member:
                with zipfile.ZipFile(self.path) as archive:
                    content = archive.read(self.member)
            else:
                content = self.path.read_bytes()
            end = PurePosixPath(self.member or self.path.name).suffix.lower()
            return gzip.decompress(content) if end == ".gz" else bz2.decompress(content) if end == ".bz2" else content
        except (OSError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
            raise SourceError(f"{self.path} cannot be unpacked: {error}; download it again") from None


def kind_of(name: str) -> str:
    """The reader of a file name; empty if it is not a table."""
    ends = [end.lower() for end in PurePosixPath(name).suffixes]
    if ends and ends[-1] in _PACKED:
        ends.pop()
    return TABLES.get(ends[-1], "") if ends else ""


def parts(folder: Path, file: str, others: Collection[str] = ()) -> list[Part]:
    """The tables that match a name in the settings, sorted by name; empty without a match.

    Args:
        folder: of the data.
        file: name, as in `settings.formats.GivenFile`.
        others: files with their own entry in the settings, which patterns do not match.

    Raises:
        SourceError: an archive is damaged or may not be read.

    """
    exact, others = folder / file, frozenset(others)
    if exact.is_file():
        return _of_archive(exact, "**") if exact.suffix.lower() == ".zip" else [Part(exact, "", None)]
    if exact.is_dir():
        return [part for path, _ in _matching(folder, f"{file.rstrip('/')}/**") for part in _plain(path)]
    archive, inside, within = file.partition(".zip/")
    if inside:
        archives = [path for path, _ in _matching(folder, f"{archive}.zip")]
        return [part for path in archives for part in _of_archive(path, within)]
    return [
        part._replace(ticker=ticker) if ticker else part
        for path, ticker in _matching(folder, file)
        if path.relative_to(folder).as_posix() not in others
        for part in (_of_archive(path, "**") if path.suffix.lower() == ".zip" else [Part(path, "", None)])
    ]


def workbook(name: str) -> SourceError:
    """The error for a workbook: we have no library to read it."""
    return SourceError(f"{name} is a workbook (Excel), which cannot be read; save its sheet as CSV and name that file")


def workbooks(folder: Path) -> list[str]:
    """Names of the workbooks below a folder; sorted."""
    paths = (path for path, _ in _matching(folder, "**") if path.suffix.lower() in WORKBOOKS)
    return [path.relative_to(folder).as_posix() for path in paths]


def tables(folder: Path) -> tuple[list[Part], list[tuple[str, SourceError]]]:
    """Every table below a folder, sorted by name, and each archive that cannot be opened with its error."""
    found: list[Part] = []
    closed: list[tuple[str, SourceError]] = []
    for path, _ in _matching(folder, "**"):
        try:
            found += _plain(path)
        except SourceError as error:
            closed.append((path.relative_to(folder).as_posix(), error))
    return found, closed


def on_disk(folder: Path, file: str) -> list[str]:
    """Names, relative to the folder, of the files on disk that match a name in the settings.

    The name itself without a match. Archives are not opened.
    """
    if (folder / file).is_file():
        return [file]
    archive, inside, _ = file.partition(".zip/")
    pattern = f"{archive}.zip" if inside else f"{file.rstrip('/')}/**" if (folder / file).is_dir() else file
    return [path.relative_to(folder).as_posix() for path, _ in _matching(folder, pattern)] or [file]


def _plain(path: Path) -> list[Part]:
    return (
        _of_archive(path, "**")
        if path.suffix.lower() == ".zip"
        else [Part(path, "", None)]
        if kind_of(path.name)
        else []
    )


def _of_archive(path: Path, pattern: str) -> list[Part]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if not name.endswith("/"))
    except (OSError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path} cannot be unpacked: {error}; download it again") from None
    wanted = _pattern(pattern)
    seen = (name for name in names if kind_of(name) and not name.startswith("__MACOSX/") and not _hidden(name))
    met = ((name, wanted.fullmatch(name)) for name in seen)
    return [Part(path, name, _ticker(match)) for name, match in met if match]


def _matching(folder: Path, pattern: str) -> Iterator[tuple[Path, str | None]]:
    """Files below the folder whose name matches, with the ticker in it; sorted.

    Raises:
        SourceError: one is a broken link; names it.

    """
    fixed = [*_fixed(pattern)]
    top, wanted = folder.joinpath(*fixed), _pattern(pattern)
    deep = "**" in pattern
    names = (
        (Path(at) / name for at, _, files in os.walk(top, onerror=_not_entered) for name in files)
        if deep
        else (path for path in folder.glob(re.sub("|".join(map(re.escape, _NAMES)), "*", pattern)) if not path.is_dir())
    )
    for path in sorted(names):
        name = path.relative_to(folder).as_posix()
        match = None if _hidden(name) else wanted.fullmatch(name)
        if match and path.is_file():
            yield path, _ticker(match)
        elif match and path.is_symlink() and (kind_of(name) or path.suffix.lower() == ".zip"):
            raise SourceError(f"{path} is a broken link; fix or remove it")


def _hidden(name: str) -> bool:
    return any(each.startswith(".") for each in name.split("/"))


def _not_entered(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise SourceError(f"{error.filename} cannot be opened: {error.strerror}; fix its permissions") from None


def _fixed(pattern: str) -> Iterator[str]:
    """The leading folders of a pattern without placeholders."""
    for folder in pattern.split("/")[:-1]:
        if any(sign in folder for sign in ("*", *_NAMES)):
            return
        yield folder


def _pattern(text: str) -> re.Pattern[str]:
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    found = "".join(
        signs.get(each) or ("(?P<ticker>[^/]+)" if each in _NAMES else re.escape(each))
        for each in re.split(r"(\*\*/|\*\*|\*|\{ticker\}|\{series\})", text)
    )
    return re.compile(found)


def _ticker(match: re.Match[str]) -> str | None:
    """The ticker in a matched name, in upper case, as file names often are not."""
    return match["ticker"].upper() if "ticker" in match.re.groupindex else None


def refuse_unusable(folder: Path, wanted: str) -> None:
    """Raise an error for a data folder that is missing, unreadable or empty; `wanted` names its expected files.

    Raises:
        SourceError: names the folder and the remedy.

    """
    try:
        empty = not any(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(
            f"the data folder {folder} does not exist; set QUANT_DATA_DIR to the folder with {wanted}"
        ) from None
    except OSError as error:
        raise SourceError(
            f"the data folder {folder} cannot be read: {error.strerror}; fix that, or set QUANT_DATA_DIR to the "
            f"folder that holds {wanted}"
        ) from None
    if empty:
        raise SourceError(
            f"the data folder {folder} is empty; put {wanted} there or set QUANT_DATA_DIR to another folder"
        )
