"""Which months a mapping reads, worked out month by month in sets: the slow reference of `partitions`."""

from collections.abc import Iterable, Mapping

import dagster as dg

from quant_assets.dagster_internals import DefaultPartitionsSubset, UpstreamPartitionsResult
from quant_assets.partitions import shift_month


def upstream_by_sets(
    upstream: dg.PartitionsDefinition, months: Mapping[str | None, Iterable[str]], first: int, last: int
) -> UpstreamPartitionsResult:
    by_month = upstream
    if isinstance(upstream, dg.MultiPartitionsDefinition):
        by_month = upstream.get_partitions_def_for_dimension("month")
    existing = set(by_month.get_partition_keys())
    keys = [
        month if sector is None else dg.MultiPartitionKey({"month": month, "sector": sector})
        for sector, found in months.items()
        for month in sorted(
            {shift_month(each, offset) for each in set(found) for offset in range(first, last + 1)} & existing
        )
    ]
    subset = upstream.empty_subset().with_partition_keys(keys)
    return UpstreamPartitionsResult(partitions_subset=subset, required_but_nonexistent_subset=DefaultPartitionsSubset())
