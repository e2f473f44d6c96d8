"""Bodies of `quant automation start`, `stop` and `status`."""

from collections.abc import Iterator, Sequence

import dagster as dg
from rich.table import Table

from quant_assets.automation.switches import instigators, shown, turn, without_daemon
from quant_assets.profile import Profile
from quant_assets.running.instance import existing_instance
from quant_assets.running.preparation import prepare
from quant_assets.settings.loading import Settings


def turned(settings: Settings, names: Sequence[str], *, on: bool) -> Iterator[str]:
    """Turn schedules and sensors on or off in the instance, which is created if it does not exist.

    Raises:
        SettingsError: a schedule or sensor does not exist, or the instance is bound to another storage.

    """
    switches = instigators(Profile(settings))
    yield from prepare(settings.profile, {}).said
    with dg.DagsterInstance.get() as instance:
        yield from turn(instance, switches, names, on=on)
        warning = without_daemon(instance) if on else None
        if warning:
            yield warning


def output(settings: Settings) -> Iterator[str | Table]:
    """A table of schedules and sensors, and a warning if no daemon runs.

    Raises:
        SettingsError: the instance is bound to another storage.

    """
    switches = instigators(Profile(settings))
    with existing_instance(settings) as instance:
        if instance is None:
            yield f"no Dagster instance yet; make ui PROFILE={settings.profile} creates it"
            return
        table = Table(title=f"schedules and sensors of profile {settings.profile}")
        for heading in ("name", "kind", "state", "last tick (New York)"):
            table.add_column(heading, overflow="fold")
        for switch in shown(instance, switches):
            table.add_row(switch.name, switch.kind, "on" if switch.on else "off", switch.tick)
        yield table
        warning = without_daemon(instance)
        if warning:
            yield warning
