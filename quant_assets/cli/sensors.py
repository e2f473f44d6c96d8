"""Body of `quant sensors`: which there are, and what one would ask for now. Nothing is launched and nothing written."""

import logging
from collections.abc import Iterator

import dagster as dg
from rich.markup import escape
from rich.table import Table

from quant_assets.automation.definitions import automation
from quant_assets.dagster_records import sensor_cursor
from quant_assets.errors import SettingsError
from quant_assets.graph import build_defs
from quant_assets.profile import Profile
from quant_assets.running.instance import existing_instance


def listed(profile: Profile) -> Iterator[str | Table]:
    """What `list` prints: each sensor of a profile, with what it does."""
    table = Table("sensor", "every", "at first", "what it does")
    for name, sensor in sorted(_sensors(automation(profile)).items()):
        at_first = "on" if sensor.default_status == dg.DefaultSensorStatus.RUNNING else "off"
        every = f"{sensor.minimum_interval_seconds or 30} s"
        table.add_row(name, every, at_first, escape(sensor.description or ""))
    yield table


def preview(profile: Profile, name: str) -> Iterator[str | Table]:
    """What `preview` prints: what a sensor says now, and the runs that it would ask for, with their tags.

    Args:
        profile: whose sensor.
        name: of the sensor.

    Raises:
        SettingsError: there is no such sensor; names those that there are.

    """
    own = automation(profile)
    sensors = _sensors(own)
    if name not in sensors:
        raise SettingsError(
            f"there is no sensor '{name}'; those of profile '{profile.settings.profile}' are "
            f"{', '.join(sorted(sensors))}"
        )
    defs = dg.Definitions.merge(build_defs(profile.settings), own)
    with existing_instance(profile.settings) as found, dg.DagsterInstance.ephemeral() as empty:
        if found is None:
            yield "no Dagster instance yet: there are no records of runs to look at"
        context = dg.build_sensor_context(
            found or empty,
            cursor=None if found is None else sensor_cursor(found, name),
            repository_def=defs.get_repository_def(),
            sensor_name=name,
        )
        said = _Said()
        context.log.handlers[:] = [said]  # neither the terminal nor the log of a tick
        result = sensors[name].evaluate_tick(context)
    yield from (line for text in said.texts for line in text.splitlines())
    if result.skip_message:
        yield from result.skip_message.splitlines()
    for request in result.run_requests or ():
        yield f"would ask for {request.run_key or 'a run without a key'}"
        table = Table("tag", "value")
        for tag, value in sorted(request.tags.items()):
            if tag != "dagster/sensor_name":
                table.add_row(escape(tag), escape(value))
        yield table


def _sensors(defs: dg.Definitions) -> dict[str, dg.SensorDefinition]:
    return {each.name: each for each in defs.sensors or ()}


class _Said(logging.Handler):
    """Keeps what a sensor writes into the log of its tick."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(str(record.msg))
