"""Body of `quant daily`: processes one session, or shows what it would do."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

from quant_assets.assets.live import DAILY_REPORT
from quant_assets.cli.screen import show
from quant_assets.errors import UsageError
from quant_assets.grains import DAY
from quant_assets.graph import build_defs
from quant_assets.profile import Profile
from quant_assets.running.collecting import collect_first, refuse_lacking
from quant_assets.running.daily import Daily
from quant_assets.running.instance import dagster_home
from quant_assets.running.sessions import Sessions


def parsed(day: str | None, profile: Profile) -> date:
    """Parse the day of an option; None means the last closed session.

    Raises:
        SettingsError: the value is not a day.

    """
    if day is None:
        return profile.last_session()
    try:
        return date.fromisoformat(day)
    except ValueError:
        raise UsageError(f"'{day}' is not a day; write it as YYYY-MM-DD, for example 2024-06-28") from None


def carry_out(profile: Profile, day: str | None, workers: int) -> Iterator[str]:
    """Collect, and process a session; yields the lines to print at the end.

    Raises:
        SettingsError: the profile has no ledger, or the day is not a closed session of it.
        SourceError: most of the prices of the last session could not be collected.
        RunFailedError: a run failed.

    """
    Sessions(profile).check(parsed(day, profile))  # before any request
    collect_first(profile, show)
    profile = replace(profile)  # reads the collected files
    refuse_lacking(profile)
    daily = Daily(profile, build_defs(profile.settings), workers=workers)
    session = daily.sessions.check(parsed(day, profile))
    dagster_home(profile.settings.profile)
    due = daily.sessions.missing().get(session, [])
    daily.carry_out([session], "quant daily", tell=show)
    yield f"{session}: recorded for {', '.join(due)}" if due else f"{session}: was recorded before"
    yield f"report: {profile.store.artifact_url(f'{DAILY_REPORT}/{DAY.of(session)}/report.html')}"
    yield from _before(daily, session)


def planned(profile: Profile, day: str | None) -> Iterator[str]:
    """The runs of `carry_out`; changes nothing."""
    daily = Daily(profile, build_defs(profile.settings))
    session = daily.sessions.check(parsed(day, profile))
    nothing = True
    for unfinished in daily.unfinished([session]):
        for phase in unfinished.plan.phases:
            nothing = False
            months = phase.first if phase.first == phase.last else f"{phase.first} to {phase.last}"
            where = ", ".join(phase.sectors) or "across sectors"
            yield f"{months} ({where}): {', '.join(phase.assets)}"
        yield from unfinished.plan.notes
    for open_day, chains, _ in daily.said([session]):
        nothing = False
        sectors_by_assets: dict[str, list[str]] = {}
        for (phase,) in chains:
            sectors_by_assets.setdefault(" and ".join(phase.assets), []).extend(phase.sectors)
        steps = "".join(f"{names} of {', '.join(sectors)}, then " for names, sectors in sectors_by_assets.items())
        yield f"{open_day}: {steps}the day's report"
    if nothing:
        yield f"{session}: everything is recorded, and nothing is unfinished"
    yield from _before(daily, session)
    yield "nothing was changed (--dry-run)"


def _before(daily: Daily, session: date) -> Iterator[str]:
    missing = [day for day in daily.sessions.missing() if day < session]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        yield (
            f"not every sector is recorded for {', '.join(map(str, missing[:3]))}{more}: "
            f"quant daily --as-of {missing[0]} and the schedule after_close record it late"
        )
