"""Worker processes: how they start and end, what they share of the machine, and how they tell what they do.

They import this before anything large, so it imports nothing large itself.
"""

import atexit
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import SpawnContext
from typing import Any

from quant_assets.runtime.parent import end_with_parent

#: What a worker tells: ("written", dataset, partitions) or ("began", what, its process identifier).
Told = tuple[str, str, int]

#: Seconds that the process which started the workers waits for what they tell.
_WAIT = 0.2


class Channel:
    """From the workers to the process that started them, and one word back: that it was interrupted.

    A pipe, and no queue of `multiprocessing`: a thread of the worker would send what it tells, later than its result.

    Args:
        context: by which the workers are started; the channel reaches them at their start only.

    """

    def __init__(self, context: SpawnContext) -> None:
        self._reader, self._writer = context.Pipe(duplex=False)
        self._lock, self._interrupted = context.Lock(), context.Event()

    def tell(self, kind: str, what: str, number: int) -> None:
        """Tell the process that started this one."""
        with self._lock:
            self._writer.send((kind, what, number))

    def told(self) -> Iterator[Told]:
        """What was told since the last time; ends when nothing has come for a moment."""
        while self._reader.poll(_WAIT):
            yield self._reader.recv()

    def interrupt(self) -> None:
        """Let no worker begin anything more."""
        self._interrupted.set()

    @property
    def interrupted(self) -> bool:
        """Whether no worker should begin anything more."""
        return bool(_INTERRUPTED) or self._interrupted.is_set()


#: Of this worker, where it was started with one.
_CHANNEL: list[Channel] = []

#: Filled where this worker got the Ctrl-C of its terminal.
_INTERRUPTED: list[bool] = []


def channel() -> Channel:
    """The channel of this worker."""
    return _CHANNEL[0]


def collect_rarely() -> None:
    """Let the interpreter look for cycles less often.

    The objects of Dagster and its libraries are many and stay. To look through them every 700 new ones takes a quarter
    of the time of their import and a twentieth of that of a short run.
    """
    gc.set_threshold(50_000)


def keep_what_is_there() -> None:
    """Let the interpreter look for no cycles among the objects that there are: those of a job that serves every run.

    Each of its full looks else goes through all of them, a tenth of a second. What was kept before and is not used any
    more is freed.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class _WorkerPool(ProcessPoolExecutor):
    """Its processes ignore Ctrl-C until `_begin` says otherwise: one that is still importing would print where."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Hand a call to a process; the first ones start the processes, which inherit what is ignored."""
        if threading.current_thread() is not threading.main_thread():
            return super().submit(function, *arguments, **named)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return super().submit(function, *arguments, **named)
        finally:
            signal.signal(signal.SIGINT, before)


def worker_pool(workers: int, context: SpawnContext, told: Channel | None = None) -> ProcessPoolExecutor:
    """Processes that end soon after this one, and say nothing at Ctrl-C, which a terminal sends to all of them.

    Args:
        workers: how many at most.
        context: by which they are started.
        told: their `channel`. At Ctrl-C those that have one finish or give up what they are at, by `interrupted`; those
            that have none end at once.

    """
    return _WorkerPool(workers, mp_context=context, initializer=_begin, initargs=(os.getpid(), told))


@contextmanager
def shared_cores(workers: int) -> Iterator[None]:
    """Let the threads of workers that start meanwhile together be as many as there are cores.

    Only meanwhile: numba refuses to compile anything in a process whose number of threads is another one than when it
    began. What the user has set is kept.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ours = [name for name in ("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS") if name not in os.environ]
    os.environ.update(dict.fromkeys(ours, str(max(1, cores // workers))))
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def _begin(parent: int, told: Channel | None) -> None:
    """Prepare this worker, and end it soon after its parent: one that was killed must not leave workers that write on.

    It ends without looking for cycles among Dagster's objects, which takes the interpreter five seconds after a run of
    minutes.
    """
    collect_rarely()
    _CHANNEL[:] = [] if told is None else [told]
    signal.signal(signal.SIGINT, (lambda *_: os._exit(130)) if told is None else (lambda *_: _INTERRUPTED.append(True)))
    atexit.register(os._exit, 0)
    end_with_parent(parent)
