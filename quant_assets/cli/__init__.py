"""The `quant` command: a thin layer over the same assets, store and plan as the web UI.

`commands` and the modules named `…_commands` declare the commands with their options and help; the body of a command
is in the module of its name.
"""

import io
import os
import sys
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from quant_assets.cli import automation_commands as automation_commands  # their commands join the others
from quant_assets.cli import collecting_commands as collecting_commands
from quant_assets.cli import decision_commands as decision_commands
from quant_assets.cli import instance_commands as instance_commands
from quant_assets.cli import learning_commands as learning_commands
from quant_assets.cli import live_commands as live_commands
from quant_assets.cli import sentiment_commands as sentiment_commands
from quant_assets.cli import storage_commands as storage_commands
from quant_assets.cli import trading_commands as trading_commands
from quant_assets.cli import weights_commands as weights_commands
from quant_assets.cli.commands import app as app
from quant_assets.cli.overview import arrange
from quant_assets.errors import (
    InterruptedRunError,
    MissingPartitionError,
    QuantError,
    UsageError,
    refused_by_the_machine,
)
from quant_assets.running.processes import collect_rarely

#: Remedy for an object store that refuses the credentials or does not exist.
_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_ENDPOINT_URL for a server other than Amazon's), or "
    "QUANT__STORAGE to a folder"
)

arrange(app)


def main() -> None:
    """Entry point: a QuantError or an error of the operating system is one line, no traceback.

    The exit status is 1, of a mistake in what was typed 2 (as for an option that does not exist), of Ctrl-C 130.
    """
    collect_rarely()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # shows "?" for characters outside the encoding
            stream.reconfigure(errors="replace")
    try:
        app(standalone_mode=True)
    except MissingPartitionError as error:
        from quant_assets.cli.stored import stored_months

        fail(QuantError(f"{error}{stored_months(error)}"))
    except QuantError as error:
        fail(error)
    except OSError as error:
        # No permission, a full disk: a traceback adds nothing.
        fail(QuantError(refused_by_the_machine(str(error.filename or ""), error.strerror or str(error))))
    except Exception as error:
        # Errors of libraries, by name, because the libraries are not imported here.
        if type(error).__module__.startswith("botocore."):
            fail(QuantError(f"the storage cannot be used: {_short(error)}; {_CREDENTIALS}"))
        # SQLAlchemy's: the disk or the server of Dagster's records refuses.
        if type(error).__name__ != "OperationalError" or not type(error).__module__.startswith("sqlalchemy."):
            raise
        refused = str(getattr(error, "orig", error)).strip().splitlines()[0]
        fail(QuantError(f"Dagster's records in {os.environ.get('DAGSTER_HOME')}: {refused}; fix that and run again"))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def fail(error: Exception) -> NoReturn:
    """Print an error that the user can fix, one `error:` line per line of its text, and exit."""
    for line in str(error).splitlines():
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error:[/] {escape(line)}")
    raise SystemExit(130 if isinstance(error, InterruptedRunError) else 2 if isinstance(error, UsageError) else 1)
