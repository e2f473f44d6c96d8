"""Ends a process when its parent ends. Workers import this before anything large."""

import os
import threading
import time

#: Seconds between two checks.
_PERIOD = 0.5


def end_with_parent(parent: int) -> None:
    """End this process soon after its parent has ended, whatever it is doing.

    A killed process cannot end its children, which would continue to write.

    Args:
        parent: number of the parent process.

    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PERIOD)
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()
