"""Current work and memory of the worker processes of a plan, to describe a killed one."""

import multiprocessing
import signal
from multiprocessing.process import BaseProcess

import psutil

#: Seconds to wait for the exit status of a process that is gone.
_GONE = 2.0


class Workers:
    """The workers of a pool, as known to their parent process."""

    def __init__(self) -> None:
        self._at: dict[int, str] = {}
        self._processes: dict[int, BaseProcess] = {}
        self._resident: dict[int, int] = {}
        self._most: dict[int, int] = {}

    def began(self, pid: int, what: str) -> None:
        """Record what a worker has begun."""
        self._at[pid] = what

    def look(self) -> None:
        """Record the memory of the workers."""
        for process in multiprocessing.active_children():
            if process.pid is None:
                continue
            self._processes[process.pid] = process
            try:
                held = int(psutil.Process(process.pid).memory_info().rss)
            except psutil.Error:  # gone since
                continue
            if held:  # one that is gone and not yet waited for holds nothing
                self._resident[process.pid] = held
                self._most[process.pid] = max(self._most.get(process.pid, 0), held)

    def killed(self) -> str:
        """The work of killed workers, and their last recorded memory."""
        texts = []
        for pid, process in self._processes.items():
            process.join(_GONE)
            # The pool ends the others by SIGTERM as soon as one is gone.
            if process.exitcode is not None and process.exitcode < 0 and process.exitcode != -signal.SIGTERM:
                held, most = (each.get(pid, 0) / 2**30 for each in (self._resident, self._most))
                texts.append(
                    f"it had begun {self._at.get(pid, 'nothing yet')} and held {held:.2f} GiB of memory "
                    f"(at most {most:.2f})"
                )
        return "; ".join(texts)
