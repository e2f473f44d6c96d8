"""Body of `quant prune`: partitions before a month with their size, and their removal."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from quant_assets.cli.session import Session
from quant_assets.errors import SettingsError, UsageError, did_you_mean
from quant_assets.grains import MONTH
from quant_assets.partitions import parse_key
from quant_assets.running.instance import existing_instance
from quant_assets.running.pruning import KEPT, Old, old, remove


def output(
    session: Session, before: str, datasets: Sequence[str], sectors: Sequence[str], *, removing: bool
) -> Iterator[str | Table]:
    """Lines and the table of the command.

    Args:
        session: the profile.
        before: month; partitions of earlier months are pruned.
        datasets: names; empty for all.
        sectors: slugs; empty for all and for what spans sectors.
        removing: remove the partitions instead of only listing them.

    Raises:
        SettingsError: a dataset does not exist or is never pruned, or the instance is bound to another storage.
        InFlightError: a run is writing some of the partitions.

    """
    profile = session.profile
    MONTH.check(before)
    for name in datasets:
        if name not in profile.every_dataset and name not in KEPT:
            raise UsageError(
                f"there is no dataset '{name}'{did_you_mean(name, profile.every_dataset)}; choose one of "
                f"{', '.join(profile.every_dataset)}"
            )
        if name in KEPT:
            raise SettingsError(f"'{name}' belongs to the ledger of live decisions and is never pruned; leave it out")
    outdated = list(old(profile, datasets, sectors, before))
    if not outdated:
        yield f"nothing before {before} is in {profile.store.url}"
        return
    yield _table(outdated)
    partitions, files = sum(len(group.keys) for group in outdated), sum(len(group.files) for group in outdated)
    size = _size(sum(group.size for group in outdated))
    what = f"{partitions:,} partitions before {before}{f', {files:,} files' if files else ''}, {size}"
    if removing:
        with existing_instance(session.settings) as instance:
            remove(profile, instance, outdated)
        yield f"removed from {profile.store.url}: {what}"
    else:
        yield f"in {profile.store.url}: {what}; nothing was removed, the same command with --yes removes them"
    yield (
        "kept: the ledger of live decisions, the log of trials and registered models. A run whose windows reach back "
        "before that month recomputes the months that it needs"
    )


def _table(rows: Sequence[Old]) -> Table:
    table = Table("dataset", "sectors", "first", "last")
    for name in ("partitions", "files", "size"):
        table.add_column(name, justify="right")
    for row in rows:
        placed = [parse_key(key) for key in row.partitions]
        sectors = list(dict.fromkeys(sector for sector, _ in placed if sector))
        named = ", ".join(sectors) if len(sectors) < 4 else f"{len(sectors)} sectors"
        periods = [period for _, period in placed]
        table.add_row(
            row.dataset.name,
            named,
            min(periods),
            max(periods),
            f"{len(row.keys):,}",
            f"{len(row.files):,}" if row.files else "",
            _size(row.size),
        )
    return table


def _size(number: int) -> str:
    return f"{number / 1e6:,.1f} MB" if number >= 100_000 else f"{number / 1e3:,.1f} kB"
