"""The raw store: every answer unchanged and never overwritten, so that tables can be made from it again at any time.

A body is stored once, compressed, under its SHA-256: `raw/<provider>/bodies/ab/ab12….gz`. The journal of a day,
`raw/<provider>/journal/2026-11-30.jsonl`, has a line for each answer: the request, its time, the status, and the body's
hash. The body is written before its line, and a line counts only with the line feed at its end: after a crash at any
moment an answer is either in the store or not, and stored answers stay.
"""

import fcntl
import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path

from quant_assets.collectors.http import Received
from quant_assets.errors import SourceError
from quant_assets.io.whole_file import write_whole

#: Headers that are stored: the type of the body, and the rest of a quota.
_KEPT = ("content-type", "retry-after", "x-ratelimit-remaining", "x-ratelimit-reset", "x-mbx-used-weight-1m", "date")


#: Position up to which the journal has been read: a day, and lines of that day.
Position = tuple[str, int]


@dataclass(frozen=True)
class Entry:
    """A line of the journal: one answer.

    Attributes:
        endpoint: kind of request, in this project's words: `chart`, `income-statement`.
        subject: a ticker, a series, a search.
        url: without secrets.
        status: of HTTP; 0 without an answer.
        fetched_at: UTC, ISO 8601 with microseconds.
        sha256: of the body; None without an answer.
        size: of the body in bytes.
        headers: the stored headers.
        outcome: kind of answer: rows, nothing, refused, exhausted, broken.
        why: the reason; empty for rows.
        whole: whether the answer is complete; an incomplete one has no meaning.

    """

    endpoint: str
    subject: str
    url: str
    status: int
    fetched_at: str
    sha256: str | None
    size: int
    headers: dict[str, str]
    outcome: str
    why: str
    whole: bool = True

    @property
    def at(self) -> datetime:
        """When it was fetched."""
        return datetime.fromisoformat(self.fetched_at)


class RawStore:
    """The answers of one provider.

    Args:
        root: folder of the profile's raw store.
        provider: name of the provider and its folder.

    """

    def __init__(self, root: Path, provider: str) -> None:
        self._folder = root / provider
        self.provider = provider

    def keep(self, endpoint: str, subject: str, received: Received, outcome: str, why: str = "") -> Entry:
        """Store an answer: the body, then its line.

        Raises:
            SourceError: the folder cannot be written to.

        """
        sha256 = hashlib.sha256(received.body).hexdigest() if received.body else None
        entry = Entry(
            endpoint,
            subject,
            received.url,
            received.status,
            received.fetched_at.isoformat(timespec="microseconds"),
            sha256,
            len(received.body),
            {name: received.headers[name] for name in _KEPT if name in received.headers},
            outcome,
            why,
            received.failure is None,
        )
        try:
            if sha256 is not None:
                self._keep_body(sha256, received.body)
            self._append(received.fetched_at.date(), json.dumps(asdict(entry), ensure_ascii=False))
        except OSError as error:
            raise SourceError(
                f"{error.filename or self._folder}: {error.strerror}; what was collected before stays, and the same "
                "command goes on from there"
            ) from None
        return entry

    def entries(self, since: date | None = None, through: datetime | None = None) -> Iterator[Entry]:
        """The journal in the order of collection.

        Args:
            since: first day.
            through: leave out answers fetched later.

        Raises:
            SourceError: a line cannot be read; names file and line.

        """
        for (day, _), entry in self.after((f"{since or ''}", 0)):
            if through is not None and day > through.date().isoformat():
                return
            if through is None or entry.at <= through:
                yield entry

    def after(self, position: Position) -> Iterator[tuple[Position, Entry]]:
        """The journal after a position, each answer with its own position.

        Raises:
            SourceError: a line cannot be read; names file and line.

        """
        for file in sorted((self._folder / "journal").glob("*.jsonl")):
            if file.stem < position[0]:
                continue
            read = position[1] if file.stem == position[0] else 0
            for number, line in enumerate(_whole_lines(file.read_bytes())[read:], read + 1):
                try:
                    entry = Entry(**json.loads(line))
                except (ValueError, TypeError):
                    raise SourceError(
                        f"{file}, line {number} is no answer of the raw store; take the line out, or take the file "
                        "from a copy"
                    ) from None
                yield (file.stem, number), entry

    def body(self, entry: Entry) -> bytes:
        """The body of an answer, unchanged.

        Raises:
            SourceError: it is missing or changed; names the file.

        """
        if entry.sha256 is None:
            return b""
        path = self._path(entry.sha256)
        try:
            body = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, gzip.BadGzipFile) as error:
            raise SourceError(f"{path}: {_said(error)}; collect {entry.subject} again") from None
        if hashlib.sha256(body).hexdigest() != entry.sha256:
            raise SourceError(f"{path} is not the answer of {entry.fetched_at}; collect {entry.subject} again")
        return body

    def _keep_body(self, sha256: str, body: bytes) -> None:
        path = self._path(sha256)
        if not path.exists():
            write_whole(path, gzip.compress(body, mtime=0))

    def _append(self, day: date, line: str) -> None:
        path = self._folder / "journal" / f"{day}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent), path.open("r+b" if path.exists() else "x+b") as file:
            end = file.seek(0, os.SEEK_END)
            if end and (file.seek(end - 1), file.read(1))[1] != b"\n":
                file.seek(0)  # a line that a crash cut off was never confirmed
                file.truncate(file.read().rfind(b"\n") + 1)
                file.seek(0, os.SEEK_END)
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _path(self, sha256: str) -> Path:
        return self._folder / "bodies" / sha256[:2] / f"{sha256}.gz"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _whole_lines(text: bytes) -> list[bytes]:
    return text[: text.rfind(b"\n") + 1].splitlines()


def _said(error: Exception) -> str:
    return (error.strerror or "cannot be read") if isinstance(error, OSError) and error.strerror else "is cut off"
