"""The launcher of the instance's runs (conf/dagster.yaml): Dagster's own, and it notices when a process is gone.

Dagster's launcher starts a run in a process of a code server and never asks for it again. That server tells when the
process dies, but nobody tells when the server dies, or the container with all of it: the run stays "started" and keeps
its slots for ever.
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

#: Looks in a row at which a code server does not answer until it counts as gone: a busy one misses one or two.
_MISSES = 3


class CheckedRunLauncher(DefaultRunLauncher):
    """Dagster's launcher with a health check, which the daemon's run monitoring makes for each run on its way."""

    _missed: Counter[str] = Counter()  # noqa: RUF012 (of this process, whose only launcher this is)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run that has started is there.

        A run of `quant run` has no code server: it is there as long as the process that it names. Whatever is neither
        running nor a success makes the daemon fail the run, so that a run of which nothing can be known counts as
        running.
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
