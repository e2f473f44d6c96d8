"""Body of `quant vacuum`: counts or removes old log events in the records of the Dagster instance."""

from collections.abc import Iterator

from quant_assets.cli.session import Session
from quant_assets.errors import MissingPartitionError
from quant_assets.running.instance import existing_instance, home_of
from quant_assets.running.vacuum import vacuum


def output(session: Session, days: int | None, *, remove: bool) -> Iterator[str]:
    """Lines of the command.

    Args:
        session: settings and profile of the command.
        days: days to keep the events of a finished run; None for `vacuum.keep_days`.
        remove: remove the events instead of counting them.

    Raises:
        MissingPartitionError: there is no instance.
        SettingsError: the instance is bound to another storage.

    """
    keep_days = session.settings.vacuum.keep_days if days is None else days
    home = home_of(session.settings)  # refuses an instance of another storage
    with existing_instance(session.settings) as instance:
        if instance is None:
            raise MissingPartitionError(f"there is no Dagster instance in {home}; quant run or make ui creates one")
        result = vacuum(instance, keep_days, remove=remove)
    old_events = (
        f"{result.rows:,} events of {result.runs:,} runs that ended more than {keep_days} days ago, "
        f"{_size(result.bytes)}"
    )
    if not result.rows:
        yield f"nothing to remove from {home}: no run that ended more than {keep_days} days ago has such events"
    elif remove:
        freed = f"; freed {_size(result.freed)} of disk space" if result.freed > 0 else ""
        yield f"removed from {home}: {old_events}{freed}"
    else:
        yield f"in {home}: {old_events}; nothing was removed, quant vacuum --yes removes them"
    yield "kept: events of assets and checks, and the start and end of every run and step"


def _size(count: int) -> str:
    """A number of bytes in kB or MB."""
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count / 1e3:,.1f} kB"
