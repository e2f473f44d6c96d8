"""Runs whose process is gone: of `quant run`, which nobody else would miss when it was killed.

Each process that executes runs of a plan holds a lock on a file in the instance's folder for as long as it lives, and
its runs name the file. A run that is on its way and whose file nobody holds is over.
"""

import re
import uuid
from pathlib import Path

import dagster as dg

from quant_assets.dagster_internals import MAX_RETRIES_TAG, free_slots
from quant_assets.runtime.lease import is_held, take

#: Run tag: the file of the process that executes a run.
PROCESS_TAG = "quant/process"

_NAME = "[0-9a-f]{32}"

_ON_THEIR_WAY = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]

#: Of this process, by folder: the name of its file. The lock lasts as long as the process.
_OWN: dict[Path, str] = {}


def process_tags(instance: dg.DagsterInstance) -> dict[str, str]:
    """Tags of the runs that this process executes; none for an instance that lives in the process.

    The daemon does not try such a run again: the same command does.
    """
    if not instance.is_persistent:
        return {}
    folder = _folder(instance)
    if folder not in _OWN:
        folder.mkdir(exist_ok=True)
        for each in folder.iterdir():  # of processes that have ended
            if re.fullmatch(_NAME, each.name) and not is_held(each):
                each.unlink(missing_ok=True)
        name = uuid.uuid4().hex
        unlocked = folder / f"{name}.new"  # under its name it is locked from the first moment on
        take(unlocked)
        unlocked.rename(folder / name)
        _OWN[folder] = name
    return {PROCESS_TAG: _OWN[folder], MAX_RETRIES_TAG: "0"}


def is_abandoned(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run names a process, and that one is gone."""
    name = run.tags.get(PROCESS_TAG, "")
    return bool(re.fullmatch(_NAME, name)) and not is_held(_folder(instance) / name)


def end_abandoned(instance: dg.DagsterInstance) -> list[str]:
    """Tell the instance of the runs whose process is gone, and free their slots of pools; identifiers of the runs."""
    found = [run for run in instance.get_runs(dg.RunsFilter(statuses=_ON_THEIR_WAY)) if is_abandoned(instance, run)]
    for run in found:
        instance.report_run_failed(run, "the process that executed this run is gone; run the same command again")
        free_slots(instance, run.run_id)
    return [run.run_id for run in found]


def _folder(instance: dg.DagsterInstance) -> Path:
    return Path(instance.root_directory) / "processes"
