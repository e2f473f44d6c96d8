"""Body of `quant ui`: prepares the instance, starts the page server and Dagster's web UI and daemon, and ends them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from quant_assets.errors import SettingsError
from quant_assets.running.work import CODE_LOCATION

_HOST = "127.0.0.1"
#: Seconds that Dagster's processes get to end after SIGTERM. Runs that they execute are interrupted.
_GRACE = 20.0
#: `dagster dev` prints that `dg dev` supersedes it; `dg` does not come with the demo.
_QUIET = "ignore:Function `dev_command` is superseded:FutureWarning"


def start(profile: str, port: int) -> NoReturn:
    """Serve the web UI of a profile on loopback until Ctrl-C or SIGTERM.

    Raises:
        SettingsError: the port is taken, or the instance cannot be made.

    """
    refuse_taken(port)
    interrupt_on_signals()
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
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), _QUIET)))
    # A group of its own: Ctrl-C in a terminal would print its traceback. It ends with this process, however that ends.
    words = ["pages", "--parent", str(os.getpid()), "--profile", profile]
    pages = subprocess.Popen([sys.executable, "-m", "quant_assets.cli", *words], process_group=0)
    try:
        status = serve(["-m", "dagster", "dev", "-m", CODE_LOCATION, "-h", _HOST, "-p", str(port)])
    finally:
        pages.terminate()
    raise SystemExit(status)


def interrupt_on_signals() -> None:
    """Let SIGTERM and a closed terminal interrupt as Ctrl-C does, and SIGINT where a shell has turned it off."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def serve(arguments: Sequence[str]) -> int:
    """Run Python with arguments until it ends or this process is interrupted, and end every process that it started.

    They are a process group: Dagster's code server would otherwise outlive it by a minute, or by the compilation of
    the numerical loops.

    Returns:
        Its exit status; 0 after an interruption.

    """
    group = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.DEVNULL, process_group=0)
    try:
        return group.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(group)


def _end(group: "subprocess.Popen[bytes]") -> None:
    """End a process group: politely, then after `_GRACE` or another interruption at once."""
    try:
        if _sent(group, signal.SIGTERM):
            deadline = time.monotonic() + _GRACE
            while _sent(group, 0) and time.monotonic() < deadline:
                time.sleep(0.1)
    except KeyboardInterrupt:
        pass
    finally:
        _sent(group, signal.SIGKILL)


def _sent(group: "subprocess.Popen[bytes]", number: int) -> bool:
    """Send a signal to a group (0 for none); whether a process of it is left."""
    group.poll()  # an ended leader that nobody asks about counts as left
    try:
        os.killpg(group.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS refuses where only ended ones are left
        return False
    return True


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
