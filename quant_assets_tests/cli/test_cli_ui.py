"""`quant ui`: no process that it has started is left after SIGTERM."""

import signal
import subprocess
import sys

import pytest

#: Interrupted by SIGTERM as `quant ui` is, over a process whose child reports when it sleeps.
SERVES = """
import sys
from quant_assets.cli import ui

ui._GRACE = float(sys.argv[1])
ui.interrupt_on_signals()
sys.exit(ui.serve(["-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])", sys.argv[2]]))
"""
SLEEPS = "import time; print('asleep', flush=True); time.sleep(3600)"
IGNORES = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"


@pytest.mark.parametrize(("child", "grace"), [(SLEEPS, "60"), (IGNORES, "0.5")], ids=["ends", "ignores it"])
def test_sigterm_ends_every_process(child: str, grace: str) -> None:
    """The child holds the pipe: it ends before the output does."""
    server = subprocess.Popen([sys.executable, "-c", SERVES, grace, child], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "asleep\n"
    server.send_signal(signal.SIGTERM)
    assert server.communicate()[0] == ""
    assert server.returncode == 0
