"""Worker processes: their start and end, their share of the cores, and their progress reports.

Workers import this module first, so it imports nothing large.
"""

import atexit
import gc
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.context import SpawnContext
from typing import Any

from quant_assets.runtime.parent import end_with_parent

#: Message of a worker: ("written", dataset, partitions) or ("began", what, process identifier).
Told = tuple[str, str, int]

#: Seconds that the parent process waits for messages.
_WAIT = 0.2


class Channel:
    """Messages from the workers to their parent process, and one signal back: the interruption.

    A pipe, because a `multiprocessing` queue sends from a thread, possibly after the worker's result.

    Args:
        context: that starts the workers; they receive the channel at their start.

    """

    def __init__(self, context: SpawnContext) -> None:
        self._reader, self._writer = context.Pipe(duplex=False)
        self._lock, self._interrupted = context.Lock(), context.Event()

    def tell(self, kind: str, what: str, number: int) -> None:
        """Send a message to the parent process."""
        with self._lock:
            self._writer.send((kind, what, number))

    def told(self) -> Iterator[Told]:
        """New messages; ends after a moment without one."""
        while self._reader.poll(_WAIT):
            yield self._reader.recv()

    def interrupt(self) -> None:
        """Make the workers begin no more work."""
        self._interrupted.set()

    @property
    def interrupted(self) -> bool:
        """Whether the workers should begin no more work."""
        return bool(_INTERRUPTED) or self._interrupted.is_set()


#: The channel of this worker, if it has one.
_CHANNEL: list[Channel] = []

#: Filled when this worker gets Ctrl-C from the terminal.
_INTERRUPTED: list[bool] = []


def channel() -> Channel:
    """The channel of this worker."""
    return _CHANNEL[0]


def collect_rarely() -> None:
    """Make the garbage collector run less often.

    Dagster and its libraries have many long-lived objects. A collection every 700 new ones takes a quarter of their
    import time and a twentieth of a short run.
    """
    gc.set_threshold(50_000)


def keep_what_is_there() -> None:
    """Exclude the present objects, those of a job that serves every run, from garbage collection.

    Otherwise a full collection goes through all of them, which takes a tenth of a second. Earlier excluded objects that
    are not used any more are freed.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class _WorkerPool(ProcessPoolExecutor):
    """Its processes get Ctrl-C only from `_begin` on, so that they print no traceback during imports."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Submit a call; the first calls start the processes, which inherit the blocked signal.

        A Ctrl-C during the call is handled after it.
        """
        if threading.current_thread() is not threading.main_thread():
            return super().submit(function, *arguments, **named)
        handler, interrupted = signal.getsignal(signal.SIGINT), []
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            # Another thread, which does not block it, may receive the signal. A handler that is not Python's (None)
            # could not be restored.
            if handler is not None:
                signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
            return super().submit(function, *arguments, **named)
        finally:
            if handler is not None:
                signal.signal(signal.SIGINT, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            if interrupted:
                signal.raise_signal(signal.SIGINT)


def worker_pool(workers: int, context: SpawnContext, told: Channel | None = None) -> ProcessPoolExecutor:
    """Processes that end soon after this one, and print nothing at Ctrl-C, which a terminal sends to all of them.

    Args:
        workers: most processes.
        context: that starts them.
        told: their `channel`. At Ctrl-C workers with a channel finish or stop their work by `interrupted`; workers
            without one end at once.

    """
    return _WorkerPool(workers, mp_context=context, initializer=_begin, initargs=(os.getpid(), told))


@contextmanager
def beside(context: SpawnContext, calls: Iterable[Callable[..., object]], *arguments: object) -> Iterator[None]:
    """Call each function in a process of its own, until the context ends.

    The processes print nothing, at Ctrl-C either: what goes wrong in them the caller's own work meets too, and reports.
    """
    processes = [
        context.Process(target=_call, args=(os.getpid(), function, arguments), daemon=True) for function in calls
    ]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited, until `_begin`
    try:
        for process in processes:
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield
    finally:
        for process in processes:
            process.terminate()


def _call(parent: int, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    _begin(parent, None)
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")
        function(*arguments)


@contextmanager
def shared_cores(workers: int) -> Iterator[None]:
    """Divide the cores among the threads of workers that start within the context.

    Only within it: numba refuses to compile in a process whose number of threads has changed. Variables that the user
    has set are kept.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ours = [name for name in ("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS") if name not in os.environ]
    os.environ.update(dict.fromkeys(ours, str(max(1, cores // workers))))
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Treat SIGTERM, as of `kill` or a container that is stopped, like Ctrl-C: what is at work ends in an orderly way.

    By default it kills the process, and its runs stay unfinished until another command reports them as failed. Does
    nothing in other threads, or where Ctrl-C is handled or ignored by someone else.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _begin(parent: int, told: Channel | None) -> None:
    """Prepare this worker, and end it soon after its parent: a killed parent must not leave workers that write on.

    It ends without a last garbage collection, which takes five seconds after a run of minutes.
    """
    collect_rarely()
    _CHANNEL[:] = [] if told is None else [told]
    signal.signal(signal.SIGINT, (lambda *_: os._exit(130)) if told is None else (lambda *_: _INTERRUPTED.append(True)))
    # What the parent ignores or blocks is inherited, and a worker that ignores this could not be ended.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    atexit.register(os._exit, 0)
    end_with_parent(parent)
