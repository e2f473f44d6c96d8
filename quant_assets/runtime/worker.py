"""The process that carries out a unit of work: `python -m quant_assets.runtime.worker PARENT [torchrun PROCESSES]`.

It ends with its parent, however that ends, and when it ends its own children do. Started by `runtime.launch` alone.
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
    """Tie this process to its parent, and whatever it starts to itself. Call it before any thread is started.

    On Linux the kernel ends it with its parent, whatever it is doing; elsewhere a thread watches the parent. A second
    process, which does nothing else, waits for the end of this one and then ends the rest of its group: loaders of data
    and the like, which nobody else would end when this process is killed.
    """
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    us = os.getpid()
    if os.fork() == 0:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for descriptor in (0, 1, 2):
            os.close(descriptor)  # whoever reads our output must not wait for this process
        while os.getppid() == us:
            time.sleep(_PERIOD)
        os.killpg(0, signal.SIGKILL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        end_with_parent(parent)
    if os.getppid() != parent:  # it ended before it was watched
        os._exit(1)


def carry_out(*, speaks: bool = True) -> int:
    """Carry out the unit that the session names; status of the process.

    Args:
        speaks: whether this process tells the step what failed; of several under torchrun only the first one does.

    """
    from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, PipesDefaultContextLoader, decode_param, open_dagster_pipes

    from quant_assets.runtime.launch import Folders, Unit

    where = decode_param(os.environ[DAGSTER_PIPES_CONTEXT_ENV_VAR])
    with (
        open_dagster_pipes() if speaks else nullcontext() as pipes,
        PipesDefaultContextLoader().load_context(where) as it,
    ):
        given = (it["extras"] or {})["unit"]
        try:
            Unit(
                given["function"], given["arguments"], Folders(Path(given["inputs"]), Path(given["outputs"]))
            ).carry_out()
        except Exception as error:  # noqa: BLE001 whatever it is, the step says it
            traceback.print_exc()
            if pipes is not None:
                # Short: a reader may meet a long message before it is whole.
                text = " ".join(str(error).split())[:2000]
                pipes.report_custom_message({"error": {"kind": type(error).__name__, "text": text}})
            return 1
    return 0


def main(arguments: list[str]) -> int:
    """Carry out the unit here, or start torchrun, whose processes each call this again as `rank`."""
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
