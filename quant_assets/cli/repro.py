"""Body of `quant repro`: whether a partition and its upstream are reproducible, and why not. Writes nothing."""

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from quant_assets.audit.reproduction import Recomputation
from quant_assets.audit.trained import said_of
from quant_assets.partitions import parse_key


def output(recomputation: Recomputation) -> Iterator[str | Table]:
    """A table by asset: the number of equal and different partitions, with the reasons; then the verdict."""
    for line in recomputation.since:
        yield f"differs from today: {line}"
    if recomputation.since:
        yield "recomputed with the recorded settings and today's code"
    kinds = {"same": "same", "differs": "differ", "absent": "not stored"}
    if any(comparison.outcome == "taken over" for comparison in recomputation.compared):
        kinds["taken over"] = "taken over"
    table = Table("asset", "first", "last", "partitions", *kinds.values(), "why")
    by_asset: dict[str, list[tuple[str, str, tuple[str, ...]]]] = {}
    for comparison in recomputation.compared:
        by_asset.setdefault(comparison.asset, []).append((comparison.partition_key, comparison.outcome, comparison.why))
    for asset, partitions in by_asset.items():
        months = sorted(parse_key(key)[1] for key, _, _ in partitions)
        counts = [sum(outcome == wanted for _, outcome, _ in partitions) for wanted in kinds]
        reasons: dict[str, list[str]] = {}
        for key, outcome, why in partitions:
            if outcome == "differs":
                reasons.setdefault("; ".join(why), []).append(key)
        explained = "\n".join(
            f"{keys[0] if len(keys) == 1 else f'{keys[0]} and {len(keys) - 1} more'}: {why}"
            for why, keys in reasons.items()
        )
        numbers = (str(count or "") for count in counts)
        table.add_row(asset, months[0], months[-1], str(len(partitions)), *numbers, escape(explained))
    yield table
    differ = sum(comparison.outcome == "differs" for comparison in recomputation.compared)
    yield (
        "reproduced: every stored partition has the same rows"
        if recomputation.reproduced
        else f"{differ} of {len(recomputation.compared)} partitions differ"
    )
    yield from said_of(recomputation.taken)
    if recomputation.folder is not None:
        yield f"the recomputed partitions are in {recomputation.folder}"
