"""Body of `quant daily`: one session carried out by hand, or what that would be."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

from quant_assets.assets.live import DAILY_REPORT
from quant_assets.cli.screen import show
from quant_assets.errors import SettingsError
from quant_assets.grains import DAY
from quant_assets.graph import build_defs
from quant_assets.profile import Profile
from quant_assets.running.collecting import collect_first, refuse_lacking
from quant_assets.running.daily import Daily
from quant_assets.running.instance import dagster_home
from quant_assets.running.sessions import Sessions


def parsed(day: str | None, profile: Profile) -> date:
    """The day of an option; the last session that has closed where it is left out.

    Raises:
        SettingsError: it is no day.

    """
    if day is None:
        return profile.last_session()
    try:
        return date.fromisoformat(day)
    except ValueError:
        raise SettingsError(f"'{day}' is not a day; write it as YYYY-MM-DD, for example 2024-06-28") from None


def carry_out(profile: Profile, day: str | None, workers: int) -> Iterator[str]:
    """Collect, and carry out a session; gives what to print at the end.

    Raises:
        SettingsError: the profile has no ledger, or the day is no session of it that has closed.
        SourceError: most of the prices of the last session could not be collected.
        RunFailedError: something failed.

    """
    Sessions(profile).check(parsed(day, profile))  # before anybody is asked
    collect_first(profile, show)
    profile = replace(profile)  # one that knows what was collected
    refuse_lacking(profile)
    daily = Daily(profile, build_defs(profile.settings), workers=workers)
    session = daily.sessions.check(parsed(day, profile))
    dagster_home(profile.settings.profile)
    due = daily.sessions.missing().get(session, [])
    daily.carry_out([session], "quant daily", tell=show)
    yield f"{session}: said of {', '.join(due)}" if due else f"{session}: everything had been said already"
    yield f"report: {profile.store.artifact_url(f'{DAILY_REPORT}/{DAY.of(session)}/report.html')}"
    yield from _before(daily, session)


def planned(profile: Profile, day: str | None) -> Iterator[str]:
    """What `carry_out` would do; nothing is changed."""
    daily = Daily(profile, build_defs(profile.settings))
    session = daily.sessions.check(parsed(day, profile))
    nothing = True
    for each in daily.unfinished([session]):
        for phase in each.plan.phases:
            nothing = False
            months = phase.first if phase.first == phase.last else f"{phase.first} to {phase.last}"
            where = ", ".join(phase.sectors) or "across sectors"
            yield f"{months} ({where}): {', '.join(phase.assets)}"
        yield from each.plan.notes
    for found, chains, _ in daily.said([session]):
        nothing = False
        said: dict[str, list[str]] = {}
        for (phase,) in chains:
            said.setdefault(" and ".join(phase.assets), []).extend(phase.sectors)
        told = "".join(f"{names} of {', '.join(sectors)}, then " for names, sectors in said.items())
        yield f"{found}: {told}the day's report"
    if nothing:
        yield f"{session}: everything is said, and nothing is unfinished"
    yield from _before(daily, session)
    yield "nothing was changed (--dry-run)"


def _before(daily: Daily, session: date) -> Iterator[str]:
    missing = [day for day in daily.sessions.missing() if day < session]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        yield (
            f"nothing, or not of every sector, was said of {', '.join(map(str, missing[:3]))}{more}: "
            "quant daily --as-of DAY says it late, and so does the schedule after_close"
        )
