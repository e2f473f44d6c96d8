"""A process in other surroundings: other clock, time zone, locale, home, hash seed; and a record of what it opens.

`audit.surroundings` starts it with a folder that holds the request. Only the standard library is imported here, so that
the record covers what other modules read at import, and these modules see the other clock.

Python's clock and locale are replaced, not the system's: a locale that is not installed cannot be set, and the system
clock is shared. Compiled code that asks the system itself (NumPy's `datetime64("now")`) is not covered; a SQL model
that asks DuckDB for the time is refused when it is loaded.
"""

import gc
import hashlib
import importlib
import json
import locale
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from ctypes import py_object, pythonapi
from datetime import UTC, datetime, tzinfo
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

REQUEST, ANSWER = "request.pickle", "answer.json"

#: Seconds that the other clock is ahead: another year, month, weekday and hour, on the same calendar.
AHEAD = 400 * 86_400 + 7 * 3_600 + 11 * 60

#: Events of Python's audit hook that leave the process, and the index of the argument with the target.
_EVENTS = {
    "open": 0,
    "os.listdir": 0,
    "os.scandir": 0,
    "sqlite3.connect": 0,
    "socket.connect": 1,
    "socket.getaddrinfo": 0,
    "socket.sendto": 1,
    "subprocess.Popen": 1,
    "os.exec": 0,
    "os.posix_spawn": 0,
    "os.system": 0,
}

_FILES = ("open", "os.listdir", "os.scandir", "sqlite3.connect")

#: Name prefixes, by module, of functions that open files in compiled code, which the hook does not see.
_COMPILED = {
    "polars": ("read_", "scan_"),
    "pyarrow.parquet": ("read_", "ParquetFile", "ParquetDataset"),
    "duckdb": ("connect", "read_", "from_parquet", "from_csv"),
}


class Opened(NamedTuple):
    """Something outside the process that was used.

    Attributes:
        during: assets that were being computed; empty during imports.
        event: name of Python's audit event; `open` also for compiled code.
        what: path, address or command.
        by_provider: whether a method of the provider opened it: then it is an input.

    """

    during: str
    event: str
    what: str
    by_provider: bool = False


class Record:
    """Everything that the process opens from now on, without duplicates.

    Attributes:
        during: assets being computed, for `Opened.during`.
        provider: the provider's class, for `Opened.by_provider`.

    """

    def __init__(self) -> None:
        self.during = ""
        self.provider: type = object
        self._seen: dict[Opened, None] = {}
        self._on = True

    def begin(self) -> None:
        """Record what Python and the compiled readers open."""
        sys.addaudithook(self._heard)
        for module, prefixes in _COMPILED.items():
            loaded = importlib.import_module(module)
            for name in dir(loaded):
                function = getattr(loaded, name)
                if not name.startswith(prefixes) or not callable(function):
                    continue
                if isinstance(function, type):
                    function.__init__ = self._noting(function.__init__, 1)  # type: ignore[misc]
                else:
                    setattr(loaded, name, self._noting(function, 0))

    def end(self) -> list[Opened]:
        """Stop recording, and return what was opened."""
        self._on = False
        return list(self._seen)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        place = _EVENTS.get(event)
        if place is not None and self._on:
            self._note(event, arguments[place])

    def _note(self, event: str, what: Any) -> None:
        if isinstance(what, int):
            return  # a file descriptor: opened before
        if isinstance(what, (list, tuple)) and event == "subprocess.Popen":
            text = " ".join(map(str, what))
        else:
            text = os.fsdecode(what) if isinstance(what, (str, bytes, os.PathLike)) else repr(what)
        if event in _FILES and "://" not in text:
            if text.startswith(":") or "mode=memory" in text:
                return  # a database in memory
            if not os.path.isabs(text) and not os.path.lexists(text):
                return  # missing, or relative to an open folder, as `shutil.rmtree` names files
            text = os.path.abspath(text)
        opened = Opened(self.during, "open" if event in _FILES else event, text)
        if opened not in self._seen:
            self._seen[opened._replace(by_provider=self._provider_asks())] = None

    def _provider_asks(self) -> bool:
        """Whether a method of the provider's class, or a function in one, is on the call stack."""
        own = {
            (getattr(sys.modules.get(base.__module__), "__file__", None), f"{base.__qualname__}.")
            for base in self.provider.__mro__
            if base is not object
        }
        frame: FrameType | None = sys._getframe(1) if own else None
        while frame is not None:
            code = frame.f_code
            if any(file == code.co_filename and code.co_qualname.startswith(name) for file, name in own):
                return True
            frame = frame.f_back
        return False

    def _noting(self, function: Callable[..., Any], place: int) -> Callable[..., Any]:
        @wraps(function)
        def noting(*arguments: Any, **named: Any) -> Any:
            sources = [
                *arguments[place : place + 1],
                *(named[name] for name in ("source", "database") if name in named),
            ]
            for source in sources:
                for path in source if isinstance(source, (list, tuple)) else [source]:
                    if self._on and isinstance(path, (str, os.PathLike)):
                        self._note("open", path)
            return function(*arguments, **named)

        return noting


def set_clock_ahead(seconds: int) -> None:
    """Put the clocks of `time` and `datetime` ahead, for this process."""
    real, local, utc = time.time, time.localtime, time.gmtime
    strftime, ctime = time.strftime, time.ctime
    time.time = lambda: real() + seconds
    time.time_ns = lambda: int((real() + seconds) * 1e9)
    time.localtime = lambda at=None: local(time.time() if at is None else at)
    time.gmtime = lambda at=None: utc(time.time() if at is None else at)
    time.ctime = lambda at=None: ctime(time.time() if at is None else at)
    time.strftime = lambda form, *at: strftime(form, *(at or (time.localtime(),)))

    # `date.today` asks `time.time`; these two ask the system. The class is compiled and takes no attributes, but its
    # own dictionary does. A replacement class would not be the class of existing values.
    def now(cls: type[datetime], tz: tzinfo | None = None) -> datetime:
        return cls.fromtimestamp(time.time(), tz)

    def utcnow(cls: type[datetime]) -> datetime:
        return cls.fromtimestamp(time.time(), UTC).replace(tzinfo=None)

    (own,) = (value for value in gc.get_referents(datetime.__dict__) if isinstance(value, dict))
    own |= {"now": classmethod(now), "utcnow": classmethod(utcnow)}
    pythonapi.PyType_Modified(py_object(datetime))


def set_other_locale() -> None:
    """Give Python's `locale` and the names of days and months the values of a country that does not exist.

    Its alphabet runs backwards and its decimal mark is a comma, so a dependence on the locale shows on every machine.
    """
    strftime = time.strftime

    def other(form: str, *at: Any) -> str:
        for name in "aAbBpcxX":
            form = form.replace(f"%{name}", f"¤{name}")
        return strftime(form, *at)

    def backwards(text: str) -> str:
        return "".join(chr(0xD7FF - min(ord(char), 0xD7FE)) for char in text)

    time.strftime = other  # formatting a date calls it too
    locale.strxfrm = backwards
    locale.strcoll = lambda one, two: (backwards(one) > backwards(two)) - (backwards(one) < backwards(two))
    locale._override_localeconv.update({"decimal_point": ",", "thousands_sep": "."})  # type: ignore[attr-defined]


def _end_with_parent() -> None:
    """End when the parent process ends, which closes its end of the pipe."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Carry out the request in the folder, and write the answer there.

    Arguments: the folder, the SHA-256 of the request, and the changes of the surroundings.
    """
    _end_with_parent()
    folder, digest, *changes = Path(sys.argv[1]), *sys.argv[2:]
    request = (folder / REQUEST).read_bytes()
    if hashlib.sha256(request).hexdigest() != digest:
        raise SystemExit(f"{folder / REQUEST} is not the request of the parent process")
    if "clock" in changes:
        set_clock_ahead(AHEAD)
    if "locale" in changes:
        set_other_locale()
    record = Record()
    record.begin()
    do, *arguments = pickle.loads(request)  # noqa: S301  # of the parent process, by its hash
    answer = do(*arguments, record)
    (folder / ANSWER).write_text(json.dumps(answer.plain()), encoding="utf-8")
    os._exit(0)  # without collecting cycles of Dagster's objects, which takes seconds
