"""Default status of schedules and sensors."""

from enum import Enum
from typing import TypeVar

from quant_assets.settings.loading import Settings

Status = TypeVar("Status", bound=Enum)


def default_status(settings: Settings, of: type[Status]) -> Status:
    """On for the demo profile, whose data are free; off elsewhere, until a person turns them on.

    Args:
        settings: settings of the profile.
        of: `dg.DefaultScheduleStatus` or `dg.DefaultSensorStatus`.

    """
    return of["RUNNING" if settings.profile == "demo" else "STOPPED"]
