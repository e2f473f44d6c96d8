"""Sensor `on_failure`: an alert for each run that failed and that Dagster does not retry."""

import logging
from collections.abc import Sequence

import dagster as dg

from quant_assets.automation.alerts import Alert, tell
from quant_assets.automation.moment import Moment
from quant_assets.automation.status import default_status
from quant_assets.dagster_internals import job_of_all_assets
from quant_assets.planning.plan import Phase
from quant_assets.profile import Profile
from quant_assets.running.abandoned import PROCESS_TAG
from quant_assets.running.execute import failure, interrupted_by_signal
from quant_assets.running.work import ORIGIN, REASONS, RESUMED_BY, Work, work_of

_EVENTS = {
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
}


def failure_sensor(profile: Profile) -> dg.SensorDefinition:
    """The sensor of a profile, which posts alerts with `alerts.tell`."""
    name = profile.settings.profile

    @dg.run_failure_sensor(
        name="on_failure",
        default_status=default_status(profile.settings, dg.DefaultSensorStatus),
        description="Alerts about runs that failed and are not retried: in the daemon's log, and at the webhook of "
        "QUANT_ALERT_URL.",
    )
    def on_failure(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        # Read again: the retry tag is set with the failure, and the run of the context may lack it.
        run = context.instance.get_run_by_id(context.dagster_run.run_id) or context.dagster_run
        if run.tags.get("dagster/will_retry") == "true":
            return dg.SkipReason(f"run {run.run_id} is tried again")
        moment = Moment(name)
        entries = context.instance.all_logs(run.run_id, of_type=_EVENTS)
        events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
        if PROCESS_TAG in run.tags and interrupted_by_signal(events):
            return dg.SkipReason(f"run {run.run_id} belongs to a command that its user interrupted")
        tell(_alert(run, events, moment), logging.getLogger("quant_assets.on_failure"))
        return None

    return on_failure


def _alert(run: dg.DagsterRun, events: Sequence[dg.DagsterEvent], moment: Moment) -> Alert:
    """The alert about a run: where it failed, the first line of the reason, and how to continue.

    Args:
        run: the failed run.
        events: its evaluations of checks and failures, in order.
        moment: profile and graph.

    """
    profile, work = moment.profile, work_of(run)
    assets: tuple[str, ...] = ()
    if work is not None:  # else a run that names no partitions of ours
        assets = tuple(name for name in profile.datasets if work.assets is None or name in work.assets)
        phase = Phase(assets, work.first, work.last, work.sectors)
        reason = failure(job_of_all_assets(moment.defs), events, run.run_id, phase)
        subject = f"{_first_three(assets) or run.job_name} ({work.where})"
    else:
        messages = [_message(event) for event in events]
        reason = next((message for message in messages if message), "see the run in the web UI")
        subject = run.job_name
    outcome = "failed"
    if interrupted_by_signal(events):
        outcome, reason = "interrupted", "its process was told to end (SIGINT or SIGTERM); the run itself did not fail"
    title = f"{profile.settings.profile}: {outcome}: {subject}"
    reason = reason.splitlines()[0]
    remedy = run.tags.get(RESUMED_BY) or _command(profile, work, assets)
    trigger = f"\nwhy it ran: {run.tags[REASONS]}" if run.tags.get(REASONS) else ""
    return Alert(
        title,
        f"{reason}\nrun {run.run_id}{trigger}\ngo on with: {remedy}",
        {
            "run_id": run.run_id,
            "job": run.job_name,
            "origin": run.tags.get(ORIGIN, ""),
            "assets": ",".join(assets),
            "sectors": ",".join(work.sectors) if work else "",
            "first": work.first if work else "",
            "last": work.last if work else "",
            "reason": reason,
            "command": remedy,
        },
    )


def _first_three(assets: Sequence[str]) -> str:
    return ", ".join(assets[:3]) + (f" and {len(assets) - 3} more" if len(assets) > 3 else "")


def _message(event: dg.DagsterEvent) -> str:
    """Message of the first cause of a failed step, else of the event."""
    if not event.is_step_failure:
        return " ".join((event.message or "").split())
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return "" if error is None else " ".join(error.message.split()).removeprefix("quant_assets.errors.")


def _command(profile: Profile, work: Work | None, assets: Sequence[str]) -> str:
    """How to compute what the run did not: a command if it wrote months, else a place in the web UI."""
    if work is None or len(work.first) != len("2024-06"):  # `quant run` takes months
        return "the run's page in the web UI (re-execute from failure)"
    sectors = "".join(f" -s {sector}" for sector in work.sectors)
    selected = f" --select {','.join(assets)}" if work.assets is not None else ""
    return f"quant run -p {profile.settings.profile}{sectors} --from {work.first} --to {work.last}{selected}"
