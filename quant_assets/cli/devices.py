"""Body of `quant devices`: the devices, the runs that hold them, and the runs that wait. Reserves nothing."""

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
    """Tables of the devices with their holders, and of the waiting runs in order of service.

    Raises:
        SettingsError: the environment names devices wrongly, or the instance is bound to another storage.

    """
    ids = device_ids()
    devices = Devices(device_locks(session.settings.launch, home_of(session.settings)), ids)
    held, waiting = devices.held(), devices.waiting()
    if not ids:
        yield f"no device on this machine: {without_devices()}; trainings run on the CPU"
    if held:
        yield f"devices, locked in {devices.folder}:"
        yield _table("device", held)
    if waiting:
        yield "waiting, the next one first:"
        yield _table("devices wanted", waiting)


def _table(first: str, rows: list[Held]) -> Table:
    table = Table(first, "run", "asset", "sector", "since", "pid")
    for row in rows:
        if row.about is None:
            table.add_row(escape(row.device), "free", "", "", "", "")
            continue
        run, asset, subject, pid = (escape(str(row.about.get(key, ""))) for key in ("run", "asset", "subject", "pid"))
        since = row.about.get("since")
        when = f"{datetime.fromtimestamp(since).astimezone():%Y-%m-%d %H:%M:%S %Z}" if isinstance(since, float) else ""
        name = row.device if row.known else f"{row.device} (not named here)"
        table.add_row(escape(name), run or "just taken", asset, subject, when, pid)
    return table
