"""Body of `quant ui`: the instance and the page server, then Dagster's web UI and daemon in place of this process."""

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
    # By one process alone: two that meet an empty home corrupt its SQLite files, and `dagster dev` starts several.
    made = subprocess.run(
        [sys.executable, "-m", "quant_assets.cli", "instance", "init", "--profile", profile],
        stdout=subprocess.PIPE,
        check=False,
    )
    if made.returncode:
        raise SystemExit(made.returncode)  # which has said why
    os.environ["DAGSTER_HOME"] = os.fsdecode(made.stdout).rstrip("\n")
    os.environ["QUANT_PROFILE"] = profile
    # Dagster becomes this process, so the pages end with Dagster.
    subprocess.Popen([sys.executable, "-m", "quant_assets.cli", "pages", "--with-parent", "--profile", profile])
    # A shell starts what runs in the background with SIGINT ignored, and Dagster takes SIGTERM for it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = ["-m", "dagster", "dev", "-m", CODE_LOCATION, "-h", _HOST, "-p", str(port)]
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606 (no shell is wanted)


def refuse_taken(port: int) -> None:
    """Refuse a port on which something listens.

    Raises:
        SettingsError: it is taken, or may not be used.

    """
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((_HOST, port))
        except OSError as error:
            raise SettingsError(
                f"port {port} cannot be used ({error.strerror}); choose another one: make ui PORT={port + 1}, or "
                f"quant ui --port {port + 1}"
            ) from None
