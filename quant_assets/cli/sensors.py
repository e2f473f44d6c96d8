"""Bodies of `quant sensors`: the sensors, and the runs that one would request now. Launches and writes nothing."""

import logging
from collections.abc import Iterator

import dagster as dg
from rich.markup import escape
from rich.table import Column, Table

from quant_assets.automation.definitions import automation
from quant_assets.dagster_records import sensor_cursor
from quant_assets.errors import SettingsError
from quant_assets.graph import build_defs
from quant_assets.profile import Profile
from quant_assets.running.instance import existing_instance


def listed(profile: Profile) -> Iterator[str | Table]:
    """A table of the sensors of a profile."""
    table = Table("sensor", "every", "by default", Column("what it does", overflow="fold"))
    for name, sensor in sorted(_sensors(automation(profile)).items()):
        at_first = "on" if sensor.default_status == dg.DefaultSensorStatus.RUNNING else "off"
        every = f"{sensor.minimum_interval_seconds or 30} s"
        table.add_row(name, every, at_first, escape(sensor.description or ""))
    yield table


def preview(profile: Profile, name: str) -> Iterator[str | Table]:
    """The messages of a sensor now, and tables of the runs that it would request, with their tags.

    Args:
        profile: of the sensor.
        name: of the sensor.

    Raises:
        SettingsError: the sensor does not exist; names the sensors.

    """
    automations = automation(profile)
    sensors = _sensors(automations)
    if name not in sensors:
        raise SettingsError(
            f"there is no sensor '{name}'; profile '{profile.settings.profile}' has {', '.join(sorted(sensors))}"
        )
    defs = dg.Definitions.merge(build_defs(profile.settings), automations)
    with existing_instance(profile.settings) as existing, dg.DagsterInstance.ephemeral() as empty:
        if existing is None:
            yield "no Dagster instance yet: there are no records of runs"
        context = dg.build_sensor_context(
            existing or empty,
            cursor=None if existing is None else sensor_cursor(existing, name),
            repository_def=defs.get_repository_def(),
            sensor_name=name,
        )
        log = _TickLog()
        context.log.handlers[:] = [log]  # neither the terminal nor the log of a tick
        result = sensors[name].evaluate_tick(context)
    yield from (line for text in log.texts for line in text.splitlines())
    if result.skip_message:
        yield from result.skip_message.splitlines()
    for request in result.run_requests or ():
        yield f"would request {request.run_key or 'a run without a key'}"
        table = Table("tag", "value")
        for tag, value in sorted(request.tags.items()):
            if tag != "dagster/sensor_name":
                table.add_row(escape(tag), escape(value))
        yield table


def _sensors(defs: dg.Definitions) -> dict[str, dg.SensorDefinition]:
    return {sensor.name: sensor for sensor in defs.sensors or ()}


class _TickLog(logging.Handler):
    """Collects the log of a tick."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(str(record.msg))
