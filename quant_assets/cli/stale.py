"""Body of `quant stale`: what would be computed otherwise today, and why. Writes nothing."""

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from quant_assets.errors import MissingPartitionError
from quant_assets.graph import build_defs
from quant_assets.planning.plan import Planner
from quant_assets.planning.staleness import Stale, Staleness
from quant_assets.profile import Profile


def output(profile: Profile, sectors: Sequence[str]) -> Iterator[str | Table]:
    """What the command prints: each asset's months with a reason, alike sectors in one line.

    Raises:
        MissingPartitionError: nothing is stored.

    """
    defs = build_defs(profile.settings)
    names = Planner(defs, profile).order
    if not any(profile.store.existing(profile.datasets[name]) for name in names):
        raise MissingPartitionError(f"nothing has been materialised in {profile.store.url}")
    found = list(Staleness(profile, (defs.resources or {})["parquet"].recorder).all(names, sectors))
    counted = [each for each in found if each.counts]
    told = [each for each in found if not each.counts]
    yield (
        f"{sum(each.partitions for each in counted)} stale partitions in {profile.store.url}"
        if counted
        else "nothing is stale"
    )
    if counted:
        yield _table(counted)
        of = "".join(f"--sector {each} " for each in sorted({each.sector for each in counted if each.sector}))
        yield (
            f"computed again by quant run {of}--from {min(each.first for each in counted)} "
            f"--to {max(each.last for each in counted)} "
            f"--select {','.join(dict.fromkeys(each.asset for each in counted))}, or for fewer months and assets"
        )
        yield (
            "quant run --refresh goes by code and settings: it computes those that a run reads, "
            "and none for its inputs alone"
        )
    if told:
        yield "for information; a run uses what is there, and quant repro tells whether the rows change:"
        yield _table(told)


def _table(found: Sequence[Stale]) -> Table:
    table = Table("asset", "sectors", "first", "last", "partitions", "why")
    lines: dict[tuple[str, str, str, str], list[Stale]] = {}
    for each in found:
        lines.setdefault((each.asset, each.first, each.last, each.why), []).append(each)
    for (asset, first, last, why), alike in lines.items():
        sectors = [each.sector for each in alike if each.sector]
        named = ", ".join(sectors) if len(sectors) < 4 else f"{len(sectors)} sectors"
        table.add_row(asset, named, first, last, str(sum(each.partitions for each in alike)), escape(why))
    return table
