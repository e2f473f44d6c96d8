"""What a process needs for bulk runs: memory, and Dagster's records at their pace.

Records take fewer and larger writes, and SQLite no flush for each.

Measured on 480 partitions: three quarters of a run's time was SQLite's flushing, twice for each event.
"""

import ctypes
import os
import sqlite3
from functools import cache
from typing import Any

from quant_assets.running.processes import collect_rarely

#: Connections kept open: SQLite flushes its whole log whenever the last connection to a file closes, and Dagster opens
#: one per event.
_KEPT: dict[str, sqlite3.Connection] = {}


@cache
def prepare_bulk_runs() -> None:
    """Prepare this process for bulk runs.

    Events are planned once for each asset instead of once for each partition, and PostgreSQL gets a thousand of them at
    a time. SQLite syncs its log at checkpoints only: after a power cut the newest records may be missing, never broken
    ones, and the data itself is synced by the store.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    collect_rarely()
    os.environ.setdefault("DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS", "1")
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    event.listen(Engine, "connect", _on_connect)


def return_freed_memory() -> None:
    """Return freed memory to the system between runs.

    C's allocator keeps half a gigabyte of it after a sector's history.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)


def _on_connect(connection: Any, _record: object) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.execute("PRAGMA synchronous=NORMAL")
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    if path and path not in _KEPT:
        _KEPT[path] = sqlite3.connect(path, check_same_thread=False)
        # Only a connection that has read keeps the log open.
        _KEPT[path].execute("SELECT count(*) FROM sqlite_master").fetchone()
