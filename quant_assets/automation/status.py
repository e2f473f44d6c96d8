"""Which schedules and sensors are on by themselves."""

from enum import Enum
from typing import TypeVar

from quant_assets.settings.loading import Settings

Status = TypeVar("Status", bound=Enum)


def default_status(settings: Settings, of: type[Status]) -> Status:
    """On for the demo profile, whose data costs nobody anything; elsewhere a person turns them on.

    Args:
        settings: of the profile.
        of: `dg.DefaultScheduleStatus` or `dg.DefaultSensorStatus`.

    """
    return of["RUNNING" if settings.profile == "demo" else "STOPPED"]
