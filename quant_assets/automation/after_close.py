"""After each session: the job that writes the missing decisions, and the two schedules that request it.

Due sessions are read from the ledger in the store, and unfinished runs from the run records: the run key of a schedule
does not persist between ticks, and a cursor would be a second state.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

import dagster as dg

from quant_assets.assets.live import DECISIONS, IN_TIME
from quant_assets.automation.collecting import recorded
from quant_assets.automation.moment import Moment
from quant_assets.automation.status import default_status
from quant_assets.errors import QuantError
from quant_assets.grains import DAY
from quant_assets.market.calendar import closes_early, why_closed
from quant_assets.partitions import key
from quant_assets.profile import Profile
from quant_assets.running.sessions import SESSION, SESSIONS, Sessions
from quant_assets.running.work import ORIGIN, UNFINISHED

NEW_YORK = "America/New_York"
AFTER_CLOSE, BEFORE_OPEN = "after_close", "before_open"


class Asked(dg.Config):
    """Configuration of a run of the job.

    Attributes:
        sessions: days, as YYYY-MM-DD, in order; days that are complete by then are skipped.
        missed: by late session, the sectors without decisions; empty if no session is known to be late.

    """

    sessions: list[str]
    missed: dict[str, list[str]]


def _job(name: str) -> dg.JobDefinition:
    @dg.op(
        description="Collects data, computes unfinished partitions, and writes the missing decisions of each session."
    )
    def carry_out(context: dg.OpExecutionContext, config: Asked) -> None:
        _carry_out(context, config, name)

    return dg.JobDefinition(
        name=AFTER_CLOSE,
        description="Writes the missing decisions of sessions; requested by the schedules after_close and before_open.",
        graph_def=dg.GraphDefinition(name=AFTER_CLOSE, node_defs=[carry_out]),
        executor_def=dg.in_process_executor,
    )


def _carry_out(context: dg.OpExecutionContext, config: Asked, name: str) -> None:
    from quant_assets.running.collecting import collect_first, refuse_lacking
    from quant_assets.running.daily import Daily  # only runs load the executor

    for day, sectors in config.missed.items():
        record_missed(context.instance, day, sectors)
    asking = Moment(name).profile
    for event in recorded(asking, collect_first(asking, context.log.info)):
        context.instance.report_runless_asset_event(event)
    moment = Moment(name)  # new, so that it includes the collected data
    daily, origin = Daily(moment.profile, moment.defs), context.run.tags.get(ORIGIN, AFTER_CLOSE)
    days = [daily.sessions.check(date.fromisoformat(day)) for day in config.sessions]
    try:
        if days:
            refuse_lacking(moment.profile)
        daily.carry_out(days, origin, tell=context.log.info)
    except QuantError as error:
        raise dg.Failure(str(error), allow_retries=False) from None


def record_missed(instance: dg.DagsterInstance, day: str, sectors: Sequence[str]) -> None:
    """Record that the decisions of a session were missing when the next one opened."""
    for sector in sectors:
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(DECISIONS),
                check_name=IN_TIME,
                passed=False,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{sector}: no decision of {day} was recorded before the next session opened",
                # As metadata: Dagster refuses a second evaluation of a partition from outside a run.
                metadata={"partition": key(sector, day)},
            )
        )


def live_automation(profile: Profile) -> dg.Definitions:
    """The job and its schedules; empty without a go-live day."""
    if profile.settings.live.go_live is None:
        return dg.Definitions()
    name = profile.settings.profile
    job = _job(name)

    def asks_after_close(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return after_close(context, Moment(name))

    def asks_before_open(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return before_open(context, Moment(name))

    after = dg.ScheduleDefinition(
        name=AFTER_CLOSE,
        job=job,
        cron_schedule="30 17 * * 1-5",
        execution_timezone=NEW_YORK,
        execution_fn=asks_after_close,
        default_status=default_status(profile.settings, dg.DefaultScheduleStatus),
        description="After each session's close, computes the running month and writes the session's decisions.",
    )
    before = dg.ScheduleDefinition(
        name=BEFORE_OPEN,
        job=job,
        cron_schedule="0 8 * * 1-5",
        execution_timezone=NEW_YORK,
        execution_fn=asks_before_open,
        default_status=default_status(profile.settings, dg.DefaultScheduleStatus),
        description="Before each session, checks the decisions of the last one, and requests the missing ones.",
    )
    return dg.Definitions(jobs=[job], schedules=[after, before])


def after_close(context: dg.ScheduleEvaluationContext, moment: Moment) -> dg.RunRequest | dg.SkipReason:
    """One run over the sessions with missing decisions, or the reason for none."""
    day = _day(context)
    due, closed = Sessions(moment.profile).missing(), why_closed(day)
    last = moment.profile.last_session()
    if not due:
        if closed:
            return dg.SkipReason(f"{day} is no session: {closed}; the decisions up to {last} are recorded")
        if day > last:
            pinned = moment.profile.settings.as_of
            why = f" (as_of pins it to {pinned})" if pinned is not None and pinned < day else ""
            return dg.SkipReason(f"the last closed session is {last}{why}; the decisions up to it are recorded")
        return dg.SkipReason(f"the decisions up to {last} are recorded")
    half = ", a half day" if closes_early(day) else ""
    return _asked(context, moment.profile, due, AFTER_CLOSE, f"{day}{f' is no session: {closed}' if closed else half}")


def before_open(context: dg.ScheduleEvaluationContext, moment: Moment) -> dg.RunRequest | dg.SkipReason:
    """A run that records and writes missing decisions; the reason for none if the last session is complete."""
    day = _day(context)
    ledger, closed = Sessions(moment.profile), why_closed(day)
    due, last = ledger.missing(), moment.profile.last_session()
    if due:
        reason = f"{day} is no session: {closed}" if closed else f"before the session of {day}"
        return _asked(context, moment.profile, due, BEFORE_OPEN, reason, missed=ledger.undecided())
    from quant_assets.running.daily import Daily

    daily = Daily(moment.profile, moment.defs)
    waiting = next(daily.unfinished([]), None)
    if waiting is not None:
        months = waiting.first if waiting.first == waiting.last else f"{waiting.first} to {waiting.last}"
        reason = f"the decisions up to {last} are recorded; unfinished in {months}: {', '.join(waiting.names)}"
        return _asked(context, moment.profile, {}, BEFORE_OPEN, reason)
    return dg.SkipReason(f"the decisions up to {last} are recorded, those of {len(ledger.sectors)} sectors")


def _day(context: dg.ScheduleEvaluationContext) -> date:
    """The day of a tick in New York."""
    at: datetime = context.scheduled_execution_time
    return at.astimezone(ZoneInfo(NEW_YORK)).date()


def _asked(
    context: dg.ScheduleEvaluationContext,
    profile: Profile,
    due: Mapping[date, Sequence[str]],
    origin: str,
    reason: str,
    missed: Mapping[date, Sequence[str]] | None = None,
) -> dg.RunRequest | dg.SkipReason:
    """A run over the due sessions, unless one is unfinished."""
    unfinished = context.instance.get_runs(dg.RunsFilter(job_name=AFTER_CLOSE, statuses=UNFINISHED), limit=1)
    if unfinished:
        run = unfinished[0]
        about = run.tags.get(SESSIONS, "unfinished months")
        return dg.SkipReason(
            f"{reason}: run {run.run_id} over {about} is {run.status.value.lower()}; nothing is asked twice"
        )
    days = sorted(due)[: profile.settings.live.longest_gap]
    labels = [DAY.of(day) for day in days]
    config = {"sessions": labels, "missed": {DAY.of(day): list(names) for day, names in (missed or {}).items()}}
    tags = {ORIGIN: origin, "quant/reasons": _reasons(reason, due, days)}
    if labels:
        tags |= {SESSION: labels[-1], SESSIONS: " to ".join(dict.fromkeys((labels[0], labels[-1])))}
    return dg.RunRequest(run_config={"ops": {"carry_out": {"config": config}}}, tags=tags)


def _reasons(reason: str, due: Mapping[date, Sequence[str]], days: Sequence[date]) -> str:
    if not days:
        return reason
    sectors = sorted({name for day in days for name in due[day]})
    left = len(due) - len(days)
    missed = len(days) - (1 if days[-1] == max(due) and len(due) == len(days) else 0)
    return (
        f"{reason}: {len(days)} session{'' if len(days) == 1 else 's'} to say of {len(sectors)} sectors"
        f"{f', {missed} of them missed' if missed else ''}{f'; {left} more follow' if left else ''}"
    )
