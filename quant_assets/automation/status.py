"""Whether a schedule or sensor is on before anybody has touched it."""

import dagster as dg

from quant_assets.profile import Profile


def schedule_status(profile: Profile) -> dg.DefaultScheduleStatus:
    """On for the demo, whose market is made up; with data of one's own it is one's own decision."""
    return dg.DefaultScheduleStatus.RUNNING if profile.settings.profile == "demo" else dg.DefaultScheduleStatus.STOPPED
