"""Body of `quant ui`: prepares the instance, starts the page server, and becomes Dagster's web UI and daemon."""

import os
import signal
import socket
import subprocess
import sys
from typing import NoReturn

from quant_assets.errors import SettingsError
from quant_assets.running.work import CODE_LOCATION

_HOST = "127.0.0.1"


def start(profile: str, port: int) -> NoReturn:
    """Start the web UI of a profile on loopback; this process becomes Dagster's.

    Raises:
        SettingsError: the port is taken, or the instance cannot be made.

    """
    refuse_taken(port)
    # In one process first: `dagster dev` starts several, and two at once corrupt the SQLite files of an empty home.
    initialised = subprocess.run(
        [sys.executable, "-m", "quant_assets.cli", "instance", "init", "--profile", profile],
        stdout=subprocess.PIPE,
        check=False,
    )
    if initialised.returncode:
        raise SystemExit(initialised.returncode)  # it has printed the error
    os.environ["DAGSTER_HOME"] = os.fsdecode(initialised.stdout).rstrip("\n")
    os.environ["QUANT_PROFILE"] = profile
    # This process becomes Dagster, so the page server ends with Dagster, also one that ends while the server imports.
    words = ["pages", "--parent", str(os.getpid()), "--profile", profile]
    subprocess.Popen([sys.executable, "-m", "quant_assets.cli", *words])
    # A shell ignores SIGINT in background processes, and Dagster handles SIGTERM as SIGINT.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = ["-m", "dagster", "dev", "-m", CODE_LOCATION, "-h", _HOST, "-p", str(port)]
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606 (no shell is wanted)


def refuse_taken(port: int) -> None:
    """Refuse a port that is in use.

    Raises:
        SettingsError: the port is in use or not allowed.

    """
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((_HOST, port))
        except OSError as error:
            raise SettingsError(
                f"port {port} cannot be used ({error.strerror}); choose another one: make ui PORT={port + 1}, or "
                f"quant ui --port {port + 1}"
            ) from None
