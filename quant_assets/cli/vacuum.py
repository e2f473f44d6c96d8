"""Body of `quant vacuum`: counts or removes dispensable events in the records of the instance."""

from collections.abc import Iterator

from quant_assets.cli.session import Session
from quant_assets.errors import MissingPartitionError
from quant_assets.running.instance import existing_instance, home_of
from quant_assets.running.vacuum import vacuum


def output(session: Session, days: int | None, *, remove: bool) -> Iterator[str]:
    """Lines of the command.

    Args:
        session: the profile.
        days: to keep the events of a finished run; None for the setting.
        remove: remove the events instead of counting them.

    Raises:
        MissingPartitionError: there is no instance.
        SettingsError: the instance is bound to another storage.

    """
    keep = session.settings.vacuum.keep_days if days is None else days
    home = home_of(session.settings)
    with existing_instance(session.settings) as instance:
        if instance is None:
            raise MissingPartitionError(f"there is no Dagster instance in {home}; quant run or make ui creates one")
        result = vacuum(instance, keep, remove=remove)
    what = f"{result.rows:,} events of {result.runs:,} runs that ended more than {keep} days ago, {_size(result.bytes)}"
    if not result.rows:
        yield f"nothing to remove from {home}: no run that ended more than {keep} days ago has such events"
    elif remove:
        freed = f"; freed {_size(result.freed)} of disk space" if result.freed > 0 else ""
        yield f"removed from {home}: {what}{freed}"
    else:
        yield f"in {home}: {what}; nothing was removed, quant vacuum --yes removes them"
    yield "kept: events of assets and checks, and the start and end of every run and step"


def _size(number: int) -> str:
    return f"{number / 1e6:,.1f} MB" if number >= 100_000 else f"{number / 1e3:,.1f} kB"
