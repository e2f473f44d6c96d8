"""Partition mappings of days: to their month, and to the days before."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import dagster as dg

from quant_assets.dagster_internals import (
    DefaultPartitionsSubset,
    PartitionsSubset,
    UpstreamPartitionsResult,
    known_as,
    partition_loading_context,
)
from quant_assets.grains import DAY, MONTH, labels_of
from quant_assets.partitions import BetweenGrains, shift
from quant_assets.settings.sectors import SECTORS


def of_its_month(days: int = 0) -> dg.MultiPartitionMapping:
    """Sector × day to sector × month: the same sector, the months of the day and of the `days` before it."""
    return dg.MultiPartitionMapping(
        {
            MONTH.name: dg.DimensionPartitionMapping(
                DAY.name,
                dg.TimeWindowPartitionMapping(start_offset=-days, allow_nonexistent_upstream_partitions=days > 0),
            ),
            "sector": dg.DimensionPartitionMapping("sector", dg.IdentityPartitionMapping()),
        }
    )


@known_as(dg.MultiToSingleDimensionPartitionMapping)
class _DaysBefore(BetweenGrains):
    """Days to sector × day."""

    def get_upstream_mapped_partitions_result_for_partitions(
        self,
        downstream_partitions_subset: PartitionsSubset | None,
        downstream_partitions_def: dg.PartitionsDefinition | None,
        upstream_partitions_def: dg.PartitionsDefinition,
        current_time: datetime | None = None,
        dynamic_partitions_store: Any = None,
    ) -> UpstreamPartitionsResult:
        if downstream_partitions_subset is None or not isinstance(
            upstream_partitions_def, dg.MultiPartitionsDefinition
        ):
            raise TypeError("it maps days to sector × day")
        found = labels_of(downstream_partitions_subset.get_partition_keys())[None]
        with partition_loading_context(current_time, dynamic_partitions_store):
            existing = set(upstream_partitions_def.get_partitions_def_for_dimension(DAY.name).get_partition_keys())
            wanted = {shift(day, -before) for day in found for before in range(self.before + 1)}
            subset = upstream_partitions_def.empty_subset().with_partition_keys(_keys(sorted(wanted & existing)))
        return UpstreamPartitionsResult(
            partitions_subset=subset, required_but_nonexistent_subset=DefaultPartitionsSubset()
        )


def _keys(days: Iterable[str]) -> list[dg.MultiPartitionKey]:
    return [dg.MultiPartitionKey({DAY.name: day, "sector": sector}) for day in days for sector in SECTORS]


def days_before(days: int) -> dg.MultiToSingleDimensionPartitionMapping:
    """Day to sector × day: every sector of the day and of the `days` calendar days before it."""
    mapping = _DaysBefore(partition_dimension_name=DAY.name)
    mapping.before = days
    return mapping
