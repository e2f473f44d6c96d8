"""Bodies of `quant automation start`, `stop`, `status` and `test-alert`."""

import logging
import os
from collections.abc import Iterator, Sequence

import dagster as dg
from rich.table import Table

from quant_assets.automation.alerts import VARIABLE, Alert, tell
from quant_assets.automation.switches import instigators, shown, turn, without_daemon
from quant_assets.errors import SettingsError
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


def alerted(settings: Settings) -> Iterator[str]:
    """Send a test alert the way that failures are reported.

    Raises:
        SettingsError: `QUANT_ALERT_URL` is not set, or no URL.
        SourceError: the webhook could not be reached or refused the message; names its host.

    """
    if not os.environ.get(VARIABLE):
        raise SettingsError(
            f"{VARIABLE} is not set, so that alerts go to the daemon's log alone; set it to the URL of a webhook, in "
            "the environment or in .env"
        )
    name = settings.profile
    test = Alert(f"{name}: test", "a test alert of quant automation test-alert; nothing has failed", {"profile": name})
    log = logging.getLogger("quant_assets.test_alert")
    log.addHandler(logging.NullHandler())  # the line below says it
    log.propagate = False
    yield f"a test alert was taken by {tell(test, log)} ({VARIABLE}): {test.title}: {test.text}"


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
