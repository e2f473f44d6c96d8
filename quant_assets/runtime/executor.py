"""The executor of every job: steps run in the run's own process, which ends with the code server that started it."""

import multiprocessing

import dagster as dg

from quant_assets.dagster_internals import sleep_while_pools_are_full
from quant_assets.runtime.parent import end_with_parent


def in_process_executor() -> dg.ExecutorDefinition:
    """Dagster's in-process executor: a step costs 0.07 s in the run's process and seconds in a process of its own.

    The processes of runs survive a killed code server, and would continue next to the runs that the daemon starts in
    their place. A process started otherwise (a command, a container) has no server.
    """
    own = dg.in_process_executor
    return dg.ExecutorDefinition(
        name=own.name,
        config_schema=own.config_schema,  # type: ignore[arg-type]
        requirements=own.get_requirements,
        executor_creation_fn=_begun,
        description=own.description,
    )


def _begun(context: dg.InitExecutorContext) -> dg.Executor:
    server = multiprocessing.parent_process()
    if server is not None and server.pid is not None:
        end_with_parent(server.pid)
    sleep_while_pools_are_full()
    create = dg.in_process_executor.executor_creation_fn
    assert create is not None  # noqa: S101 (Dagster's own has one)
    return create(context)
