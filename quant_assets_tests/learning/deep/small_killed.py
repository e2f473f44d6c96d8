"""The training of `small` as a whole, and killed with `kill -9` at moments drawn by chance, in processes forked here.

`python -m …small_killed FOLDER KILLS` prints what happened as JSON.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from quant_assets.learning.deep.states import States
from quant_assets_tests.learning.deep.small import run

#: Long enough to be killed in.
LONG = {"max_epochs": 80, "patience": 80, "count": 400, "learning_rate": 0.003}


def started(folder: Path, result: Path) -> int:
    if (child := os.fork()) == 0:
        status = 1
        try:
            run(folder, result, **LONG)
            status = 0
        finally:
            os._exit(status)
    return child


def main(folder: Path, kills: int) -> None:
    whole, cut = folder / "whole", folder / "killed"
    for each in (whole, cut):
        each.mkdir()
    began = time.monotonic()
    _, status = os.waitpid(started(whole, folder / "expected"), 0)
    took = time.monotonic() - began
    assert status == 0
    told: list[str] = []
    improved = States(whole, 100, told.append).newest()["history"]  # type: ignore[index]
    rng, died = random.Random(20_240_601), 0
    for _ in range(kills):
        before = States(cut, 100, told.append).listed()
        child = started(cut, folder / "found")
        time.sleep(rng.uniform(0.05, 0.9) * took / (1 if kills < 3 else 3))
        os.kill(child, signal.SIGKILL)
        died += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        left = States(cut, 100, told.append)
        assert not list(cut.glob("*.part")), "what was not whole is gone"
        newest, listed = left.newest(), left.listed()
        assert (newest is None) == (not listed)
        if newest is not None:
            assert newest["epoch"] == listed[0].epoch >= (before[0].epoch if before else 0)
        assert not told, "the newest state can always be read"
    _, status = os.waitpid(started(cut, folder / "found"), 0)
    assert status == 0
    sys.stdout.write(json.dumps({"improved": len(improved), "killed": died, "seconds": took}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
