"""Whether a schedule or sensor is on before anybody has said so."""

import dagster as dg

#: The profile that is there to be looked at: what runs by itself is on from the start.
_SHOWN = "demo"


def sensor_status(profile: str) -> dg.DefaultSensorStatus:
    """Running for the demo profile; elsewhere a person switches it on."""
    return dg.DefaultSensorStatus.RUNNING if profile == _SHOWN else dg.DefaultSensorStatus.STOPPED
