"""Bodies of `quant stale` and `quant repro`: what is stale and why, and whether a partition comes out the same again."""

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from quant_assets.audit.reproduction import Recomputation
from quant_assets.errors import MissingPartitionError
from quant_assets.profile import Profile
from quant_assets.provenance.staleness import Stale, Staleness


def stale(profile: Profile, sectors: Sequence[str]) -> Iterator[str | Table]:
    """What `quant stale` prints: each asset's months with a reason, alike sectors in one line.

    Raises:
        MissingPartitionError: nothing is stored.

    """
    from quant_assets.definitions import build_defs
    from quant_assets.running.plan import Planner

    defs = build_defs(profile.settings)
    names = Planner(defs, profile).order
    if not any(profile.store.existing(profile.datasets[name]) for name in names):
        raise MissingPartitionError(f"nothing has been materialised in {profile.store.url}")
    found = list(Staleness(profile, (defs.resources or {})["parquet"].recorder).all(names, sectors))
    counted = [each for each in found if each.counts]
    told = [each for each in found if not each.counts]
    yield f"{sum(each.partitions for each in counted)} stale partitions in {profile.store.url}" if counted else "nothing is stale"
    if counted:
        yield _table(counted)
        of = "".join(f"--sector {each} " for each in sorted({each.sector for each in counted if each.sector}))
        yield (
            f"computed again by quant run {of}--from {min(each.first for each in counted)} --to {max(each.last for each in counted)} "
            f"--select {','.join(dict.fromkeys(each.asset for each in counted))}, or for fewer months and assets"
        )
        yield "quant run --refresh goes by code and settings: it computes those that a run reads, and none for its inputs alone"
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


def compared(found: Recomputation) -> Iterator[str | Table]:
    """What `quant repro` prints: for each asset of the chain how many partitions are the same, and why others are not."""
    for line in found.since:
        yield f"not as it is today: {line}"
    if found.since:
        yield "computed again with the recorded settings and today's code"
    table = Table("asset", "first", "last", "partitions", "same", "differ", "not stored", "why")
    by_asset: dict[str, list[tuple[str, str, tuple[str, ...]]]] = {}
    for each in found.compared:
        by_asset.setdefault(each.asset, []).append((each.partition_key, each.outcome, each.why))
    for asset, partitions in by_asset.items():
        months = sorted(key.partition("|")[0] for key, _, _ in partitions)
        counts = [sum(outcome == wanted for _, outcome, _ in partitions) for wanted in ("same", "differs", "absent")]
        reasons: dict[str, list[str]] = {}
        for key, outcome, why in partitions:
            if outcome == "differs":
                reasons.setdefault("; ".join(why), []).append(key)
        told = "\n".join(f"{keys[0] if len(keys) == 1 else f'{keys[0]} and {len(keys) - 1} more'}: {why}" for why, keys in reasons.items())
        table.add_row(asset, months[0], months[-1], str(len(partitions)), *(str(count or "") for count in counts), escape(told))
    yield table
    differ = sum(each.outcome == "differs" for each in found.compared)
    yield (
        "reproduced: every stored partition has the same rows"
        if found.reproduced
        else f"{differ} of {len(found.compared)} partitions differ"
    )
    if found.folder is not None:
        yield f"what was computed again is in {found.folder}"
