"""Runs in the records of an instance that no process ever executed."""

import dagster as dg
from dagster import DagsterRunStatus as Status


@dg.job
def _job() -> None:
    """Without a step: only its records count."""


def run(instance: dg.DagsterInstance, tags: dict[str, str], status: Status, *assets: str) -> dg.DagsterRun:
    """A run of some assets with these tags, as the records of an instance have it."""
    selected = {dg.AssetKey(name) for name in assets} or None
    made = instance.create_run_for_job(_job, tags=tags, status=Status.STARTED)
    made = made._replace(asset_selection=frozenset(selected) if selected else None)
    instance.delete_run(made.run_id)
    instance.add_run(made)
    if status == Status.FAILURE:
        instance.report_run_failed(made, "its process died")
    elif status == Status.CANCELED:
        instance.report_run_canceled(made)
    elif status == Status.SUCCESS:
        instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, made.job_name), made.run_id
        )
    return made
