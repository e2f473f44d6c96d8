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
    """Turn schedules and sensors on or off in the instance, which is made where it is not there.

    Raises:
        SettingsError: a name is that of none, or the instance is bound to another storage.

    """
    found = instigators(Profile(settings))
    yield from prepare(settings.profile, {}).said
    with dg.DagsterInstance.get() as instance:
        yield from turn(instance, found, names, on=on)
        alone = without_daemon(instance) if on else None
        if alone:
            yield alone


def output(settings: Settings) -> Iterator[str | Table]:
    """A table of schedules and sensors, and whether a daemon is there that looks at them.

    Raises:
        SettingsError: the instance is bound to another storage.

    """
    found = instigators(Profile(settings))
    with existing_instance(settings) as instance:
        if instance is None:
            yield f"no Dagster instance yet; make ui PROFILE={settings.profile} makes it"
            return
        table = Table(title=f"schedules and sensors of profile {settings.profile}")
        for heading in ("name", "kind", "state", "last tick (New York)"):
            table.add_column(heading, overflow="fold")
        for each in shown(instance, found):
            table.add_row(each.name, each.kind, "on" if each.on else "off", each.tick)
        yield table
        alone = without_daemon(instance)
        if alone:
            yield alone
