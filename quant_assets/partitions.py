"""The partition contract: sectors, months, keys, and the mappings from a partition to the partitions it reads.

Nothing else in the project knows what a month key looks like or how far back an asset reads.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

from quant_assets.dagster_internals import (
    DefaultPartitionsSubset,
    PartitionsSubset,
    UpstreamPartitionsResult,
    known_as,
    partition_loading_context,
)
from quant_assets.errors import SettingsError
from quant_assets.settings.loading import PartitionSettings
from quant_assets.settings.sectors import SECTORS

MONTH_FORMAT = "%Y-%m"
_MONTH = re.compile(r"^\d{4}-(0[1-9]|1[0-2])$")


def check_sector(sector: str) -> str:
    """Return the slug, or raise a SettingsError that lists the eleven."""
    if sector not in SECTORS:
        raise SettingsError(f"sector '{sector}' does not exist; choose one of {', '.join(SECTORS)}")
    return sector


def check_month(month: str) -> str:
    """Return the month key, or raise a SettingsError."""
    if not _MONTH.match(month):
        raise SettingsError(f"month '{month}' is not a month; write it as YYYY-MM, for example 2024-06")
    return month


def key(sector: str, month: str) -> str:
    """Partition key of a sector and month: `key("healthcare", "2024-06") == "2024-06|healthcare"`."""
    return f"{check_month(month)}|{check_sector(sector)}"


def parse_key(partition_key: str) -> tuple[str | None, str]:
    """Sector (None for a month-grain key) and month of a partition key."""
    month, _, sector = partition_key.partition("|")
    return (check_sector(sector) if sector else None), check_month(month)


def month_of(day: date) -> str:
    """Month key of a date."""
    return f"{day.year:04d}-{day.month:02d}"


def shift_month(month: str, offset: int) -> str:
    """The month `offset` calendar months later (earlier where negative)."""
    index = int(month[:4]) * 12 + int(month[5:]) - 1 + offset
    return f"{index // 12:04d}-{index % 12 + 1:02d}"


def month_start(month: str) -> date:
    """First calendar day of a month."""
    return date(int(month[:4]), int(month[5:]), 1)


def month_end(month: str) -> date:
    """Last calendar day of a month."""
    return month_start(shift_month(month, 1)) - timedelta(days=1)


def month_range(first: str, last: str) -> list[str]:
    """All months from `first` to `last`, both included; empty where first is later."""
    months = []
    while first <= last:
        months.append(first)
        first = shift_month(first, 1)
    return months


def months_covering(sessions: int) -> int:
    """Months that hold at least `sessions` XNYS sessions wherever they lie.

    Since 1999 any m consecutive months hold at least 20 m - 5 sessions (the worst is September 2001 with 15).
    """
    return math.ceil((sessions + 5) / 20)


@dataclass(frozen=True)
class Months:
    """The months of a profile, and the Dagster definitions built from them.

    Attributes:
        start: first month.
        end: last month, or None where the running month is the last.

    """

    start: str
    end: str | None

    @classmethod
    def of(cls, settings: PartitionSettings, as_of: date | None) -> "Months":
        """Months of a profile; a pinned `as_of` closes the set at its month."""
        end = settings.end
        if as_of is not None and (end is None or month_of(as_of) < end):
            end = month_of(as_of)
        return cls(settings.start, end)

    @property
    def monthly(self) -> dg.MonthlyPartitionsDefinition:
        """Month-grain partitions.

        The offset makes the running month one of them, also where it is the last by `end`.
        """
        after = None if self.end is None else shift_month(self.end, 1)
        return dg.MonthlyPartitionsDefinition(start_date=self.start, end_date=after, fmt=MONTH_FORMAT, end_offset=1)

    @property
    def by_sector(self) -> dg.MultiPartitionsDefinition:
        """Sector x month partitions: the grain of the graph."""
        return dg.MultiPartitionsDefinition(
            {"month": self.monthly, "sector": dg.StaticPartitionsDefinition(list(SECTORS))}
        )


@known_as(dg.MultiPartitionMapping)
class _Window(dg.MultiPartitionMapping):
    """Dagster's mapping, with the upstream partitions told by arithmetic on months.

    Dagster resolves the window of each month alone: 5 ms a month, for every input of a run and twice, which for 25
    years took longer than all computations. To its serialisation, which goes by the name of the class, this is the
    mapping that it is.
    """

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
            raise TypeError("a window leads from sector x month to sector x month")
        first, last = month_offsets(self)
        months: dict[str, set[str]] = {}
        for partition_key in downstream_partitions_subset.get_partition_keys():
            month, _, sector = partition_key.partition("|")
            months.setdefault(sector, set()).add(month)
        with partition_loading_context(current_time, dynamic_partitions_store):
            return _upstream(upstream_partitions_def, months, first, last)


def _upstream(
    upstream: dg.MultiPartitionsDefinition, months: Mapping[str, set[str]], first: int, last: int
) -> UpstreamPartitionsResult:
    """Partitions of each sector from `first` to `last` months relative to those of `months`, as far as they exist."""
    existing = set(upstream.get_partitions_def_for_dimension("month").get_partition_keys())
    keys = [
        dg.MultiPartitionKey({"month": month, "sector": sector})
        for sector, found in months.items()
        for month in sorted(
            {shift_month(each, offset) for each in found for offset in range(first, last + 1)} & existing
        )
    ]
    subset = upstream.empty_subset().with_partition_keys(keys)
    return UpstreamPartitionsResult(partitions_subset=subset, required_but_nonexistent_subset=DefaultPartitionsSubset())


def window(first_offset: int, last_offset: int) -> dg.MultiPartitionMapping:
    """Same sector, months from `first_offset` to `last_offset` relative to the partition's month."""
    return _Window(
        {
            "month": dg.DimensionPartitionMapping(
                "month",
                dg.TimeWindowPartitionMapping(
                    start_offset=first_offset, end_offset=last_offset, allow_nonexistent_upstream_partitions=True
                ),
            ),
            "sector": dg.DimensionPartitionMapping("sector", dg.IdentityPartitionMapping()),
        }
    )


def lookback(months: int) -> dg.MultiPartitionMapping:
    """The partition's month and the `months` before it."""
    return window(-months, 0)


def lag(first: int, last: int = 1) -> dg.MultiPartitionMapping:
    """The months from `first` before to `last` before the partition's month, which itself is left out."""
    return window(-first, -last)


def forward(months: int) -> dg.MultiPartitionMapping:
    """The partition's month and the `months` after it. Only labels look ahead."""
    return window(0, months)


def history(months: int, last: int = 0) -> dg.TimeWindowPartitionMapping:
    """Month grain on month grain: the months from `months` before to `last` before the month, by default itself."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-months, end_offset=-last, allow_nonexistent_upstream_partitions=True
    )


@known_as(dg.MultiToSingleDimensionPartitionMapping)
class _AllSectors(dg.MultiToSingleDimensionPartitionMapping):
    """Dagster's mapping, with months before the partition's own, for which Dagster has none.

    To its serialisation this is the mapping that it is: the web UI shows the sectors of the partition's own month.
    """

    months = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _AllSectors) and (tuple(self), self.months) == (tuple(other), other.months)

    def __ne__(self, other: object) -> bool:  # a tuple has one of its own
        return not self == other

    def __hash__(self) -> int:
        return hash((tuple(self), self.months))

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
            raise TypeError("it leads from months to sector x month")
        months = set(downstream_partitions_subset.get_partition_keys())
        with partition_loading_context(current_time, dynamic_partitions_store):
            return _upstream(upstream_partitions_def, dict.fromkeys(SECTORS, months), -self.months, 0)


def all_sectors(months: int = 0) -> dg.MultiToSingleDimensionPartitionMapping:
    """Month grain on sector x month: every sector of the month and of the `months` before it."""
    mapping = _AllSectors(partition_dimension_name="month")
    mapping.months = months
    return mapping


def month_offsets(mapping: dg.PartitionMapping | None) -> tuple[int, int]:
    """First and last month that a mapping reads, relative to the partition's month; (0, 0) for the same month."""
    if isinstance(mapping, dg.MultiPartitionMapping):
        mapping = mapping.downstream_mappings_by_upstream_dimension["month"].partition_mapping
    if isinstance(mapping, dg.TimeWindowPartitionMapping):
        return mapping.start_offset, mapping.end_offset
    return (-mapping.months, 0) if isinstance(mapping, _AllSectors) else (0, 0)


@dataclass(frozen=True)
class RunPartitions:
    """The rectangle of partitions that a run materialises.

    Attributes:
        sectors: slugs in GICS order; empty for a month-grain run.
        months: month keys, sorted and without a gap.

    """

    sectors: tuple[str, ...]
    months: tuple[str, ...]

    @classmethod
    def from_keys(cls, keys: Iterable[str]) -> "RunPartitions":
        """Build from the partition keys of a run."""
        parsed = [parse_key(item) for item in keys]
        found = {sector for sector, _ in parsed if sector}
        return cls(tuple(s for s in SECTORS if s in found), tuple(sorted({month for _, month in parsed})))

    @property
    def first_day(self) -> date:
        """First calendar day of the run."""
        return month_start(self.months[0])

    @property
    def last_day(self) -> date:
        """Last calendar day of the run."""
        return month_end(self.months[-1])


def describe(keys: Sequence[str], most: int = 6) -> str:
    """A short list of partition keys for an error message."""
    shown = ", ".join(keys[:most])
    return shown if len(keys) <= most else f"{shown} … and {len(keys) - most} more"
