"""Preparation of a process for bulk runs: memory, and fast writes of Dagster's records.

Records are written in fewer and larger batches, and SQLite does not flush every one.

Measured on 480 partitions: SQLite's flushing, twice per event, took three quarters of a run's time.
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

    Planned events are written per asset instead of per partition, and PostgreSQL gets a thousand events at a time.
    SQLite syncs its log only at checkpoints: after a power cut the newest records may be missing, but none is broken,
    and the store syncs the data itself.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    collect_rarely()
    os.environ.setdefault("DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS", "1")
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    event.listen(Engine, "connect", _on_connect)


def return_freed_memory() -> None:
    """Return freed memory to the system between runs.

    C's allocator holds half a gigabyte after a sector's history.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
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
