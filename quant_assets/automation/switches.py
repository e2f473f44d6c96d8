"""Schedules and sensors of a profile: switches in its Dagster instance, and results of their last ticks."""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg

from quant_assets.automation.definitions import automation
from quant_assets.dagster_records import Instigator, heartbeats, switch, switch_state
from quant_assets.errors import SettingsError
from quant_assets.profile import Profile
from quant_assets.running.work import CODE_LOCATION

#: Seconds without a heartbeat after which a daemon counts as dead. It writes one every 30 seconds.
_GONE = 120.0


@dataclass(frozen=True)
class Shown:
    """A row of the command's output: name, kind, whether it is on, its last tick in words."""

    name: str
    kind: str
    on: bool
    tick: str


def instigators(profile: Profile) -> Sequence[Instigator]:
    """All schedules and sensors of the profile's code location."""
    defs = automation(profile)
    members = [*(defs.schedules or ()), *(defs.sensors or ())]
    return [member for member in members if isinstance(member, dg.ScheduleDefinition | dg.SensorDefinition)]


def turn(instance: dg.DagsterInstance, of: Sequence[Instigator], names: Collection[str], *, on: bool) -> Iterator[str]:
    """Turn schedules and sensors on or off; yields a sentence for each.

    Args:
        instance: instance of the profile.
        of: all schedules and sensors.
        names: names of those to turn; all if empty.
        on: on or off.

    Raises:
        SettingsError: a name does not exist.

    """
    known = {instigator.name: instigator for instigator in of}
    for name in names:
        if name not in known:
            raise SettingsError(
                f"there is no schedule or sensor '{name}'; choose one of {', '.join(known) or '(there is none)'}"
            )
    for instigator in [known[name] for name in dict.fromkeys(names)] if names else of:
        word = "on" if on else "off"
        if switch_state(instance, CODE_LOCATION, instigator).on == on:
            yield f"{instigator.name} is {word} already"
        else:
            switch(instance, CODE_LOCATION, instigator, on=on)
            yield f"{instigator.name} is {word} now"


def shown(instance: dg.DagsterInstance, of: Sequence[Instigator]) -> list[Shown]:
    """Schedules and sensors with their states; times in New York."""
    rows = []
    for instigator in of:
        state = switch_state(instance, CODE_LOCATION, instigator)
        tick = "none yet"
        if state.tick is not None:
            at = datetime.fromtimestamp(state.tick.at, ZoneInfo("America/New_York"))
            tick = f"{at:%Y-%m-%d %H:%M} {state.tick.status.lower()}"
            tick += f": {state.tick.reason}" if state.tick.reason else ""
        kind = "sensor" if isinstance(instigator, dg.SensorDefinition) else f"schedule, {instigator.cron_schedule}"
        rows.append(Shown(instigator.name, kind, state.on, tick))
    return rows


def without_daemon(instance: dg.DagsterInstance) -> str | None:
    """A warning if no daemon serves schedules and sensors; else None."""
    last = max((at for name, at in heartbeats(instance).items() if name in ("SCHEDULER", "SENSOR")), default=None)
    if last is not None and time.time() - last < _GONE:
        return None
    return "no daemon of this instance is alive, so nothing runs by itself: make ui (PROFILE=…) starts one"
