"""Ending a process with the one that started it. Workers import this before anything large."""

import os
import threading
import time

#: Seconds between two looks.
_PERIOD = 0.5


def end_with_parent(parent: int) -> None:
    """End this process at once, from whatever it is doing, soon after its parent has ended.

    Who is killed cannot end what it has started, and that would go on writing for nobody.

    Args:
        parent: process that started this one.

    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PERIOD)
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()
