"""Body of `quant prune`: which partitions lie before a month and how large they are, and their removal."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from quant_assets.cli.session import Session
from quant_assets.errors import SettingsError
from quant_assets.grains import MONTH
from quant_assets.partitions import parse_key
from quant_assets.running.instance import existing_instance
from quant_assets.running.pruning import KEPT, Old, old, remove


def output(
    session: Session, before: str, datasets: Sequence[str], sectors: Sequence[str], *, removing: bool
) -> Iterator[str | Table]:
    """What the command prints.

    Args:
        session: the profile.
        before: month; partitions of earlier ones are pruned.
        datasets: names; every one where empty.
        sectors: slugs.
        removing: whether they are removed; else they are only shown.

    Raises:
        SettingsError: a dataset does not exist or is never pruned, or the instance is bound to another storage.
        InFlightError: a run is writing some of the partitions.

    """
    profile = session.profile
    MONTH.check(before)
    for name in datasets:
        if name not in profile.every_dataset and name not in KEPT:
            raise SettingsError(f"there is no dataset '{name}'; choose one of {', '.join(profile.every_dataset)}")
        if name in KEPT:
            raise SettingsError(f"'{name}' is what was said at the time and is never pruned; leave it out")
    found = list(old(profile, datasets or list(profile.every_dataset), sectors, before))
    if not found:
        yield f"nothing before {before} is in {profile.store.url}"
        return
    yield _table(found)
    partitions, size = sum(len(each.keys) for each in found), _size(sum(each.size for each in found))
    what = f"{partitions:,} partitions before {before}, {size}"
    if removing:
        with existing_instance(session.settings) as instance:
            remove(profile, instance, found)
        yield f"removed from {profile.store.url}: {what}"
    else:
        yield f"in {profile.store.url}: {what}; nothing was removed, the same command with --yes removes them"
    yield (
        "kept: the ledger of what was said, the log of trials and registered models. A run whose windows reach back "
        "before that month computes what it needs again"
    )


def _table(found: Sequence[Old]) -> Table:
    table = Table("dataset", "sectors", "first", "last")
    for name in ("partitions", "files", "size"):
        table.add_column(name, justify="right")
    for each in found:
        placed = [parse_key(key) for key in each.keys]
        sectors = list(dict.fromkeys(sector for sector, _ in placed if sector))
        named = ", ".join(sectors) if len(sectors) < 4 else f"{len(sectors)} sectors"
        periods = [period for _, period in placed]
        table.add_row(
            each.dataset.name,
            named,
            min(periods),
            max(periods),
            f"{len(placed):,}",
            f"{len(each.artifacts):,}" if each.artifacts else "",
            _size(each.size),
        )
    return table


def _size(number: int) -> str:
    return f"{number / 1e6:,.1f} MB" if number >= 100_000 else f"{number / 1e3:,.1f} kB"
