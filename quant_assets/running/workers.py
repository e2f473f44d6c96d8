"""What the worker processes of a plan are at and how much memory they hold, so that a killed one can be named."""

import multiprocessing
import signal
from multiprocessing.process import BaseProcess

import psutil

#: Seconds to wait for the exit status of a process that is gone.
_GONE = 2.0


class Workers:
    """The workers of a pool, as they are known to the process that started them."""

    def __init__(self) -> None:
        self._at: dict[int, str] = {}
        self._processes: dict[int, BaseProcess] = {}
        self._resident: dict[int, int] = {}
        self._most: dict[int, int] = {}

    def began(self, pid: int, what: str) -> None:
        """Note what a worker has begun."""
        self._at[pid] = what

    def look(self) -> None:
        """Note how much memory each worker holds."""
        for each in multiprocessing.active_children():
            if each.pid is None:
                continue
            self._processes[each.pid] = each
            try:
                held = int(psutil.Process(each.pid).memory_info().rss)
            except psutil.Error:  # gone since
                continue
            if held:  # one that is gone and not yet waited for holds nothing
                self._resident[each.pid] = held
                self._most[each.pid] = max(self._most.get(each.pid, 0), held)

    def killed(self) -> str:
        """What the workers that were killed were at, and the memory that each of them held when last looked at."""
        found = []
        for pid, process in self._processes.items():
            process.join(_GONE)
            # The pool ends the others by SIGTERM as soon as one is gone.
            if process.exitcode is not None and process.exitcode < 0 and process.exitcode != -signal.SIGTERM:
                held, most = (each.get(pid, 0) / 2**30 for each in (self._resident, self._most))
                found.append(
                    f"it had begun {self._at.get(pid, 'nothing yet')} and held {held:.2f} GiB of memory "
                    f"(at most {most:.2f})"
                )
        return "; ".join(found)
