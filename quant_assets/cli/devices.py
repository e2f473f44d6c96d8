"""Body of `quant devices`: which devices there are, who holds what, and who waits. Takes nothing and starts nothing."""

from collections.abc import Iterator
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from quant_assets.cli.session import Session
from quant_assets.running.instance import home_of
from quant_assets.runtime.devices import device_ids, without_devices
from quant_assets.runtime.launch import device_locks
from quant_assets.runtime.lease import Devices, Held


def output(session: Session) -> Iterator[str | Table]:
    """What the command prints: each device with its holder, then who waits, in the order in which they are served.

    Raises:
        SettingsError: the environment names devices wrongly, or the instance is bound to another storage.

    """
    ids = device_ids()
    devices = Devices(device_locks(session.settings.launch, home_of(session.settings)), ids)
    held, waiting = devices.held(), devices.waiting()
    if not ids:
        yield f"no device here: {without_devices()}; trainings run on the CPU"
    if held:
        yield f"devices, locked in {devices.folder}:"
        yield _table("device", held)
    if waiting:
        yield "waiting, the next one first:"
        yield _table("devices wanted", waiting)


def _table(first: str, found: list[Held]) -> Table:
    table = Table(first, "run", "asset", "sector", "since", "pid")
    for each in found:
        if each.about is None:
            table.add_row(escape(each.device), "free", "", "", "", "")
            continue
        run, asset, subject, pid = (escape(str(each.about.get(key, ""))) for key in ("run", "asset", "subject", "pid"))
        since = each.about.get("since")
        when = f"{datetime.fromtimestamp(since).astimezone():%Y-%m-%d %H:%M:%S %Z}" if isinstance(since, float) else ""
        name = each.device if each.known else f"{each.device} (not named here)"
        table.add_row(escape(name), run or "just taken", asset, subject, when, pid)
    return table
