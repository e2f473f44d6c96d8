"""Schedules and sensors of a profile: turned on and off in its Dagster instance, and what their last ticks gave."""

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

#: Seconds after which a daemon that said nothing counts as gone. It writes a heartbeat every 30 seconds.
_GONE = 120.0


@dataclass(frozen=True)
class Shown:
    """A schedule or sensor as the command shows it: name, kind, whether it is on, its last tick in words."""

    name: str
    kind: str
    on: bool
    tick: str


def instigators(profile: Profile) -> Sequence[Instigator]:
    """Every schedule and sensor of the profile's code location."""
    defs = automation(profile)
    found = [*(defs.schedules or ()), *(defs.sensors or ())]
    return [each for each in found if isinstance(each, dg.ScheduleDefinition | dg.SensorDefinition)]


def turn(instance: dg.DagsterInstance, of: Sequence[Instigator], names: Collection[str], *, on: bool) -> Iterator[str]:
    """Turn schedules and sensors on or off; a sentence for each, also where it was so already.

    Args:
        instance: of the profile.
        of: all there are.
        names: of those that are meant; all of them where empty.
        on: or off.

    Raises:
        SettingsError: a name is that of none.

    """
    known = {each.name: each for each in of}
    for name in names:
        if name not in known:
            raise SettingsError(
                f"there is no schedule or sensor '{name}'; choose one of {', '.join(known) or '(there is none)'}"
            )
    for each in [known[name] for name in dict.fromkeys(names)] if names else of:
        word = "on" if on else "off"
        if switch_state(instance, CODE_LOCATION, each).on == on:
            yield f"{each.name} is {word} already"
        else:
            switch(instance, CODE_LOCATION, each, on=on)
            yield f"{each.name} is {word} now"


def shown(instance: dg.DagsterInstance, of: Sequence[Instigator]) -> list[Shown]:
    """Each schedule and sensor with its state; times are those of New York."""
    found = []
    for each in of:
        state = switch_state(instance, CODE_LOCATION, each)
        tick = "none yet"
        if state.tick is not None:
            at = datetime.fromtimestamp(state.tick.at, ZoneInfo("America/New_York"))
            tick = f"{at:%Y-%m-%d %H:%M} {state.tick.status.lower()}"
            tick += f": {state.tick.reason}" if state.tick.reason else ""
        kind = "sensor" if isinstance(each, dg.SensorDefinition) else f"schedule, {each.cron_schedule}"
        found.append(Shown(each.name, kind, state.on, tick))
    return found


def without_daemon(instance: dg.DagsterInstance) -> str | None:
    """A sentence where no daemon serves schedules and sensors, so that those that are on do nothing."""
    last = max((at for name, at in heartbeats(instance).items() if name in ("SCHEDULER", "SENSOR")), default=None)
    if last is not None and time.time() - last < _GONE:
        return None
    return "no daemon of this instance is alive, so nothing runs by itself: make ui (PROFILE=…) starts one"
