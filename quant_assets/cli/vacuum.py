"""Body of `quant vacuum`: how many events of the instance's records nobody needs, and their removal."""

from collections.abc import Iterator

from quant_assets.cli.session import Session
from quant_assets.errors import MissingPartitionError
from quant_assets.running.instance import existing_instance, home_of
from quant_assets.running.vacuum import vacuum


def output(session: Session, days: int | None, *, remove: bool) -> Iterator[str]:
    """What the command prints.

    Args:
        session: the profile.
        days: for which the events of an ended run are kept; those of the settings where None.
        remove: whether they are removed; else they are counted.

    Raises:
        MissingPartitionError: there is no instance.
        SettingsError: it is bound to another storage.

    """
    keep = session.settings.vacuum.keep_days if days is None else days
    home = home_of(session.settings)
    with existing_instance(session.settings) as instance:
        if instance is None:
            raise MissingPartitionError(f"there is no Dagster instance in {home}; quant run or make ui makes one")
        found = vacuum(instance, keep, remove=remove)
    what = f"{found.rows:,} events of {found.runs:,} runs that ended more than {keep} days ago, {_size(found.bytes)}"
    if not found.rows:
        yield f"nothing to remove from {home}: no run that ended more than {keep} days ago has such events"
    elif remove:
        freed = f"; the disk got {_size(found.freed)} back" if found.freed > 0 else ""
        yield f"removed from {home}: {what}{freed}"
    else:
        yield f"in {home}: {what}; nothing was removed, quant vacuum --yes removes them"
    yield "kept: what tells of assets and checks, and when each run and step began and how it ended"


def _size(number: int) -> str:
    return f"{number / 1e6:,.1f} MB" if number >= 100_000 else f"{number / 1e3:,.1f} kB"
