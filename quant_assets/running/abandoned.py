"""Detection of runs whose process is gone, such as those of a killed `quant run`.

A process that executes runs of a plan locks a file in the instance's folder as long as it lives, and its runs name the
file. An unfinished run whose file is not locked is abandoned.
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

#: File name of this process, by folder. The lock lasts as long as the process.
_OWN: dict[Path, str] = {}


def process_tags(instance: dg.DagsterInstance) -> dict[str, str]:
    """Tags of the runs that this process executes; none for an ephemeral instance.

    The daemon does not retry such a run; the user repeats the command.
    """
    if not instance.is_persistent:
        return {}
    folder = _folder(instance)
    if folder not in _OWN:
        folder.mkdir(exist_ok=True)
        for file in folder.iterdir():  # of processes that have ended
            if re.fullmatch(_NAME, file.name) and not is_held(file):
                file.unlink(missing_ok=True)
        name = uuid.uuid4().hex
        unlocked = folder / f"{name}.new"  # renamed once it is locked
        take(unlocked)
        unlocked.rename(folder / name)
        _OWN[folder] = name
    return {PROCESS_TAG: _OWN[folder], MAX_RETRIES_TAG: "0"}


def is_abandoned(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run names a process that is gone."""
    name = run.tags.get(PROCESS_TAG, "")
    return bool(re.fullmatch(_NAME, name)) and not is_held(_folder(instance) / name)


def end_abandoned(instance: dg.DagsterInstance) -> list[str]:
    """Report abandoned runs as failed, and free their pool slots; returns the run identifiers."""
    runs = [run for run in instance.get_runs(dg.RunsFilter(statuses=_ON_THEIR_WAY)) if is_abandoned(instance, run)]
    for run in runs:
        instance.report_run_failed(run, "the process that executed this run is gone; run the same command again")
        free_slots(instance, run.run_id)
    return [run.run_id for run in runs]


def _folder(instance: dg.DagsterInstance) -> Path:
    return Path(instance.root_directory) / "processes"
