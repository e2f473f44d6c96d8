"""Count and removal of dispensable events of finished runs in the instance's records.

Dagster never deletes events, and deleting a run deletes the state of its partitions. This module removes events that
only the log of a run's page shows: log lines, and inputs, outputs, resources and processes of steps. Events of assets
and checks, and the start and end of runs and steps, are kept.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from quant_assets.dagster_records import event_databases

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
#: Runs per batch.
_AT_ONCE = 200
#: Events that only the log of a run's page shows. An explicit list: kinds of later Dagster versions are kept.
_OF_THE_LOG = (
    "STEP_OUTPUT",
    "STEP_INPUT",
    "STEP_WORKER_STARTING",
    "STEP_WORKER_STARTED",
    "RESOURCE_INIT_STARTED",
    "RESOURCE_INIT_SUCCESS",
    "RESOURCE_INIT_FAILURE",
    "OBJECT_STORE_OPERATION",
    "ASSET_STORE_OPERATION",
    "LOADED_INPUT",
    "HANDLED_OUTPUT",
    "ENGINE_EVENT",
    "HOOK_COMPLETED",
    "HOOK_ERRORED",
    "HOOK_SKIPPED",
)


@dataclass(frozen=True)
class Vacuumed:
    """Removable or removed events.

    Attributes:
        runs: with such events.
        rows: number of events.
        bytes: of their text.
        freed: bytes of disk space; 0 if nothing was removed or the database keeps the space.

    """

    runs: int
    rows: int
    bytes: int
    freed: int = 0


def vacuum(
    instance: dg.DagsterInstance,
    keep_days: float,
    *,
    remove: bool,
    now: float | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Vacuumed:
    """Count the dispensable events of runs that ended some days ago, or remove them.

    It can be interrupted at any point and repeated.

    Args:
        instance: with records in a database.
        keep_days: days to keep the events of a finished run.
        remove: remove the events instead of counting them.
        now: Unix time.
        progress: receives the number of processed runs.

    Raises:
        SettingsError: the records of the instance are not in a database.

    """
    until = (time.time() if now is None else now) - 86_400 * keep_days
    runs = rows = size = freed = done = 0
    for part in _ended(instance, until):
        for run_ids, engine in event_databases(instance, part):
            handled = _handled(engine, run_ids, remove=remove)
            runs, rows, size = runs + handled.runs, rows + handled.rows, size + handled.bytes
            freed += _given_back(engine) if remove and handled.rows and _has_a_file(engine) else 0
        done += len(part)
        progress(done)
    if remove and rows:
        for _, engine in event_databases(instance, ["any"]):  # one for all runs: at the end
            _given_back(engine)
    return Vacuumed(runs, rows, size, freed)


def _handled(engine: Any, run_ids: Sequence[str], *, remove: bool) -> Vacuumed:
    """Count the dispensable events of runs in one database, and remove them."""
    import sqlalchemy as sa

    table = sa.table("event_logs", *map(sa.column, ("run_id", "event", "dagster_event_type", "asset_key")))
    column = table.c
    kind = column.dagster_event_type
    # Log lines have no kind. Events are ASCII JSON, so that their length is in bytes.
    chosen = column.run_id.in_(run_ids) & column.asset_key.is_(None) & (kind.is_(None) | kind.in_(_OF_THE_LOG))
    count = sa.select(
        sa.func.count(sa.distinct(column.run_id)), sa.func.count(), sa.func.sum(sa.func.length(column.event))
    ).where(chosen)
    with engine.begin() as connection:
        runs, rows, size = connection.execute(count).one()
        if remove and rows:
            connection.execute(sa.delete(table).where(chosen))
    return Vacuumed(int(runs), int(rows), int(size or 0))


def _has_a_file(engine: Any) -> bool:
    return bool(engine.dialect.name == "sqlite")


def _given_back(engine: Any) -> int:
    """Vacuum a database; returns the bytes of freed disk space."""
    import sqlalchemy as sa

    path = Path(engine.url.database) if _has_a_file(engine) else None
    before = _on_disk(path) if path else 0
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM" if path else "VACUUM (ANALYZE) event_logs"))
        if path:  # the log holds the smaller database until then
            connection.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)")).all()
    engine.dispose()
    return max(0, before - _on_disk(path)) if path else 0


def _on_disk(path: Path) -> int:
    """Bytes of an SQLite file with its log, in which its newest rows are."""
    return sum(file.stat().st_size for file in (path, path.with_name(f"{path.name}-wal")) if file.exists())


def _ended(instance: dg.DagsterInstance, until: float) -> list[list[str]]:
    """Identifiers of the runs that ended before a time, in batches."""
    ended, cursor = [], None
    while True:
        records = instance.get_run_records(dg.RunsFilter(statuses=_ENDED), limit=1000, cursor=cursor)
        ended += [
            record.dagster_run.run_id for record in records if record.end_time is not None and record.end_time < until
        ]
        if len(records) < 1000:
            return [ended[first : first + _AT_ONCE] for first in range(0, len(ended), _AT_ONCE)]
        cursor = records[-1].dagster_run.run_id
