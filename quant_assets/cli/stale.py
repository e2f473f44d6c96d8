"""Body of `quant stale`: stored partitions that are out of date, and why. Writes nothing."""

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Column, Table

from quant_assets.errors import MissingPartitionError
from quant_assets.graph import build_defs
from quant_assets.planning.plan import Planner
from quant_assets.planning.staleness import Stale, Staleness
from quant_assets.profile import Profile


def output(profile: Profile, sectors: Sequence[str]) -> Iterator[str | Table]:
    """A table of the stale months by asset and reason, equal sectors in one line.

    Raises:
        MissingPartitionError: nothing is stored.

    """
    defs = build_defs(profile.settings)
    names = Planner(defs, profile).order
    if not any(profile.store.existing(profile.datasets[name]) for name in names):
        raise MissingPartitionError(f"nothing has been materialised in {profile.store.url}")
    all_stale = list(Staleness(profile, (defs.resources or {})["parquet"].recorder).all(names, sectors))
    outdated = [stale for stale in all_stale if stale.counts]
    informative = [stale for stale in all_stale if not stale.counts]
    yield (
        f"{sum(stale.partitions for stale in outdated)} stale partitions in {profile.store.url}"
        if outdated
        else "nothing is stale"
    )
    if outdated:
        yield _table(outdated)
        of = "".join(f"--sector {stale} " for stale in sorted({stale.sector for stale in outdated if stale.sector}))
        yield (
            f"computed again by quant run -p {profile.settings.profile} {of}"
            f"--from {min(stale.first for stale in outdated)} --to {max(stale.last for stale in outdated)} "
            f"--select {','.join(dict.fromkeys(stale.asset for stale in outdated))}, or for fewer months and assets"
        )
        yield (
            "quant run --refresh looks at code and settings only: it recomputes the stale months that a run reads, "
            "but not those with changed inputs only"
        )
    if informative:
        yield "for information (runs use these months as they are; quant repro shows whether their rows change):"
        yield _table(informative)


def _table(rows: Sequence[Stale]) -> Table:
    table = Table("asset", "sectors", "first", "last", "partitions", Column("why", overflow="fold"))
    lines: dict[tuple[str, str, str, str], list[Stale]] = {}
    for row in rows:
        lines.setdefault((row.asset, row.first, row.last, row.why), []).append(row)
    for (asset, first, last, why), same in lines.items():
        sectors = [row.sector for row in same if row.sector]
        named = ", ".join(sectors) if len(sectors) < 4 else f"{len(sectors)} sectors"
        table.add_row(asset, named, first, last, str(sum(row.partitions for row in same)), escape(why))
    return table
