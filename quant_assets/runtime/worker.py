"""The process that runs a unit of work: `python -m quant_assets.runtime.worker PARENT [torchrun PROCESSES]`.

It ends when its parent ends, and its own children end with it. Only `runtime.launch` starts it.
"""

import ctypes
import os
import signal
import sys
import time
import traceback
from contextlib import nullcontext
from pathlib import Path

from quant_assets.runtime.parent import end_with_parent

_PR_SET_PDEATHSIG = 1
_PERIOD = 0.2


def end_with(parent: int) -> None:
    """End this process with its parent, and its own children with it. Call it before any thread is started.

    On Linux the kernel ends it with its parent; elsewhere a thread watches the parent. A second process waits for the
    end of this one and then ends the rest of its group: data loaders, for example, would survive if this process were
    killed.
    """
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    us = os.getpid()
    if os.fork() == 0:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for descriptor in (0, 1, 2):
            os.close(descriptor)  # readers of our output must not wait for this process
        while os.getppid() == us:
            time.sleep(_PERIOD)
        os.killpg(0, signal.SIGKILL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        end_with_parent(parent)
    if os.getppid() != parent:  # it ended before the watch began
        os._exit(1)


def carry_out(*, speaks: bool = True) -> int:
    """Run the unit of the Pipes session; returns the exit status of the process.

    Args:
        speaks: whether this process reports errors to the step; under torchrun only the first one does.

    """
    from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, PipesDefaultContextLoader, decode_param, open_dagster_pipes

    from quant_assets.runtime.launch import Folders, Unit

    where = decode_param(os.environ[DAGSTER_PIPES_CONTEXT_ENV_VAR])
    with (
        open_dagster_pipes() if speaks else nullcontext() as pipes,
        PipesDefaultContextLoader().load_context(where) as it,
    ):
        unit = (it["extras"] or {})["unit"]
        try:
            Unit(unit["function"], unit["arguments"], Folders(Path(unit["inputs"]), Path(unit["outputs"]))).carry_out()
        except Exception as error:  # noqa: BLE001 the step reports any error
            traceback.print_exc()
            if pipes is not None:
                # Short, because a long message may be read before it is complete.
                text = " ".join(str(error).split())[:2000]
                pipes.report_custom_message({"error": {"kind": type(error).__name__, "text": text}})
            return 1
    return 0


def main(arguments: list[str]) -> int:
    """Run the unit here, or start torchrun, whose processes call this again with `rank`."""
    if arguments == ["rank"]:
        end_with(os.getppid())
        return carry_out(speaks=os.environ["RANK"] == "0")
    end_with(int(arguments[0]))
    if arguments[1:2] != ["torchrun"]:
        return carry_out()
    from torch.distributed.run import main as torchrun

    torchrun(["--standalone", f"--nproc-per-node={arguments[2]}", "-m", "quant_assets.runtime.worker", "rank"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
