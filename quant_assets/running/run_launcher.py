"""The launcher of the instance's runs (conf/dagster.yaml): Dagster's own, with a check for dead processes.

Dagster's launcher starts a run in a process of a code server and does not check it again. The server reports the death
of the process, but nothing reports the death of the server or its container: the run stays "started" and keeps its
slots forever.
"""

from collections import Counter

import dagster as dg

from quant_assets.dagster_internals import (
    CheckRunHealthResult,
    DefaultRunLauncher,
    WorkerStatus,
    has_code_server,
    runs_of_server,
)
from quant_assets.running.abandoned import is_abandoned

#: Consecutive checks without an answer until a code server counts as gone: a busy one misses one or two.
_MISSES = 3


class CheckedRunLauncher(DefaultRunLauncher):
    """Dagster's launcher with a health check, which the daemon's run monitoring calls for unfinished runs."""

    _missed: Counter[str] = Counter()  # noqa: RUF012 (of this process, whose only launcher this is)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a started run is alive.

        A run of `quant run` has no code server: the process that it names counts. A result other than running or
        success makes the daemon fail the run, so a run with an unknown state counts as running.
        """
        if not has_code_server(run):
            if is_abandoned(self._instance, run):
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the process of its command is gone")
            return CheckRunHealthResult(WorkerStatus.RUNNING, "executed by a command, without a code server")
        running = runs_of_server(self, run)
        if running is None:
            self._missed[run.run_id] += 1
            if self._missed[run.run_id] < _MISSES:
                return CheckRunHealthResult(WorkerStatus.RUNNING, "its code server does not answer this time")
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its code server is gone")
        self._missed.pop(run.run_id, None)
        if run.run_id in running:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its code server was started anew and does not know it")
