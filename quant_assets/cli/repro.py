"""Body of `quant repro`: whether a partition and all it follows from come out the same, if not why. Writes nothing."""

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from quant_assets.audit.reproduction import Recomputation
from quant_assets.audit.trained import said_of
from quant_assets.partitions import parse_key


def output(found: Recomputation) -> Iterator[str | Table]:
    """What the command prints: for each asset of the chain how many partitions are the same, and why others are not."""
    for line in found.since:
        yield f"not as it is today: {line}"
    if found.since:
        yield "computed again with the recorded settings and today's code"
    kinds = {"same": "same", "differs": "differ", "absent": "not stored"}
    if any(each.outcome == "taken over" for each in found.compared):
        kinds["taken over"] = "taken over"
    table = Table("asset", "first", "last", "partitions", *kinds.values(), "why")
    by_asset: dict[str, list[tuple[str, str, tuple[str, ...]]]] = {}
    for each in found.compared:
        by_asset.setdefault(each.asset, []).append((each.partition_key, each.outcome, each.why))
    for asset, partitions in by_asset.items():
        months = sorted(parse_key(key)[1] for key, _, _ in partitions)
        counts = [sum(outcome == wanted for _, outcome, _ in partitions) for wanted in kinds]
        reasons: dict[str, list[str]] = {}
        for key, outcome, why in partitions:
            if outcome == "differs":
                reasons.setdefault("; ".join(why), []).append(key)
        told = "\n".join(
            f"{keys[0] if len(keys) == 1 else f'{keys[0]} and {len(keys) - 1} more'}: {why}"
            for why, keys in reasons.items()
        )
        table.add_row(
            asset, months[0], months[-1], str(len(partitions)), *(str(count or "") for count in counts), escape(told)
        )
    yield table
    differ = sum(each.outcome == "differs" for each in found.compared)
    yield (
        "reproduced: every stored partition has the same rows"
        if found.reproduced
        else f"{differ} of {len(found.compared)} partitions differ"
    )
    yield from said_of(found.taken)
    if found.folder is not None:
        yield f"what was computed again is in {found.folder}"
