"""The partition contract: months, Dagster's definitions of the grains, and mappings between partitions.

Only this module knows how far back an asset reads. The format of keys is in `grains`.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
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
from quant_assets.grains import DAY, MONTH, Grain, grain_of, labels_of, period_of
from quant_assets.settings.loading import PartitionSettings
from quant_assets.settings.sectors import SECTORS


def key(sector: str | None, month: str) -> str:
    """Partition key of a sector and month (or day), or of a month without sector.

    >>> key("healthcare", "2024-06"), key(None, "2024-06")
    ('2024-06|healthcare', '2024-06')
    """
    return Grain(period_of(month), by_sector=bool(sector)).key(month, sector)


def parse_key(partition_key: str) -> tuple[str | None, str]:
    """Sector (None without sectors) and month (or day) of a partition key of any grain."""
    return grain_of(partition_key).parse(partition_key)


def month_of(day: date) -> str:
    """Month of a date."""
    return MONTH.of(day)


def shift_month(month: str, offset: int) -> str:
    """The month `offset` calendar months later (earlier if negative)."""
    return _numbered(_number(month) + offset)


def _number(month: str) -> int:
    """Months since the year 0."""
    return int(month[:4]) * 12 + int(month[5:]) - 1


def _numbered(number: int) -> str:
    return f"{number // 12:04d}-{number % 12 + 1:02d}"


def month_start(month: str) -> date:
    """First calendar day of a month."""
    return date(int(month[:4]), int(month[5:]), 1)


def month_end(month: str) -> date:
    """Last calendar day of a month."""
    return month_start(shift_month(month, 1)) - timedelta(days=1)


def month_range(first: str, last: str) -> list[str]:
    """All months from `first` to `last`, both included; empty if first is later.

    >>> month_range("2023-11", "2024-02")
    ['2023-11', '2023-12', '2024-01', '2024-02']
    """
    months = []
    while first <= last:
        months.append(first)
        first = shift_month(first, 1)
    return months


def first_day(period: str) -> date:
    """First calendar day of a month; a day itself."""
    return date.fromisoformat(period) if period_of(period) == DAY else month_start(period)


def last_day(period: str) -> date:
    """Last calendar day of a month; a day itself."""
    return date.fromisoformat(period) if period_of(period) == DAY else month_end(period)


def shift(period: str, offset: int) -> str:
    """The period of the same length `offset` later (earlier if negative)."""
    if period_of(period) == DAY:
        return DAY.of(date.fromisoformat(period) + timedelta(days=offset))
    return shift_month(period, offset)


def period_range(first: str, last: str) -> list[str]:
    """All months, or all calendar days, from `first` to `last`, both included; empty if first is later."""
    if period_of(first) != DAY:
        return month_range(first, last)
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [DAY.of(start + timedelta(days=number)) for number in range((end - start).days + 1)]


def months_covering(sessions: int) -> int:
    """Number of consecutive months that always hold at least `sessions` XNYS sessions.

    Since 1999 any m consecutive months hold at least 20 m - 5 sessions (the worst is September 2001 with 15).

    >>> months_covering(20), months_covering(252)
    (2, 13)
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

        The offset includes the running month, even if it is the last one by `end`.
        """
        after = None if self.end is None else shift_month(self.end, 1)
        return dg.MonthlyPartitionsDefinition(start_date=self.start, end_date=after, fmt=MONTH.pattern, end_offset=1)

    @property
    def by_sector(self) -> dg.MultiPartitionsDefinition:
        """Sector x month partitions: the grain of the graph."""
        return _with_sectors(MONTH.name, self.monthly)

    def definition(self, grain: Grain, go_live: date | None = None) -> dg.PartitionsDefinition:
        """Dagster's definition of a grain.

        Args:
            grain: of a dataset.
            go_live: first day of a daily grain, whose last day is the running one. In UTC with all weekdays, because
                with a calendar of trading days Dagster maps the ends of months wrongly.

        Raises:
            SettingsError: a daily grain has no first day.

        """
        periods: dg.TimeWindowPartitionsDefinition = self.monthly
        if grain.period == DAY:
            if go_live is None:
                raise SettingsError(f"partitions by {grain.name} begin on a go-live day; name one")
            periods = dg.DailyPartitionsDefinition(start_date=DAY.of(go_live), fmt=DAY.pattern, end_offset=1)
        return _with_sectors(grain.period.name, periods) if grain.by_sector else periods


def _with_sectors(name: str, periods: dg.TimeWindowPartitionsDefinition) -> dg.MultiPartitionsDefinition:
    return dg.MultiPartitionsDefinition({name: periods, "sector": dg.StaticPartitionsDefinition(list(SECTORS))})


@known_as(dg.MultiPartitionMapping)
class _Window(dg.MultiPartitionMapping):
    """Dagster's mapping, but upstream partitions are computed by arithmetic on months.

    Dagster resolves the window of each month separately: 5 ms a month, twice for every input of a run, which for 25
    years took longer than all computations. Dagster's serialisation uses the class name, and so treats this class as
    its own.
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
            raise TypeError("a window maps sector x month to sector x month")
        first, last = month_offsets(self)
        months = labels_of(downstream_partitions_subset.get_partition_keys())
        with partition_loading_context(current_time, dynamic_partitions_store):
            return _upstream(upstream_partitions_def, months, first, last)


def _upstream(
    upstream: dg.PartitionsDefinition, months: Mapping[str | None, Iterable[str]], first: int, last: int
) -> UpstreamPartitionsResult:
    """Partitions from `first` to `last` months relative to those of `months`, as far as they exist.

    Args:
        upstream: partitions that are read, by sector or by month alone.
        months: by sector that is read; by None without sectors.
        first: offset of the first month that is read.
        last: offset of the last month.

    """
    by_month = upstream
    if isinstance(upstream, dg.MultiPartitionsDefinition):
        by_month = upstream.get_partitions_def_for_dimension(MONTH.name)
    begin, end = by_month.get_first_partition_key(), by_month.get_last_partition_key()
    existing = range(0) if begin is None or end is None else range(_number(begin), _number(end) + 1)
    keys = [
        _numbered(number) if sector is None else _multi_key(number, sector)
        for sector, found in months.items()
        for stretch in _stretches(set(map(_number, found)), first, last)
        for number in range(max(stretch.start, existing.start), min(stretch.stop, existing.stop))
    ]
    subset = upstream.empty_subset().with_partition_keys(keys)
    return UpstreamPartitionsResult(partitions_subset=subset, required_but_nonexistent_subset=DefaultPartitionsSubset())


def _stretches(numbers: Collection[int], first: int, last: int) -> Iterator[range]:
    """Ranges from `first` to `last` relative to the numbers, in order and without overlap.

    Merged, because the web UI and backfills ask for the inputs of all months of an asset, and each month of a window of
    ten years reads 120.
    """
    done = None
    for number in sorted(numbers):
        begin, end = number + first, number + last + 1
        stretch = range(begin if done is None else max(begin, done), end)
        if stretch:
            yield stretch
            done = end


@cache
def _multi_key(number: int, sector: str) -> dg.MultiPartitionKey:
    """Dagster's key, cached: its validation takes longer than everything else here."""
    return dg.MultiPartitionKey({MONTH.name: _numbered(number), "sector": sector})


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
    """Month grain to month grain: the months from `months` before to `last` before the month [default: itself]."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-months, end_offset=-last, allow_nonexistent_upstream_partitions=True
    )


class BetweenGrains(dg.MultiToSingleDimensionPartitionMapping):
    """Dagster's mapping, extended by periods before the partition's own.

    Dagster's serialisation treats a subclass that is `known_as` this as its own: the web UI shows the partition's own
    period.
    """

    #: Number of periods before its own that are read.
    before = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and (tuple(self), self.before) == (tuple(other), other.before)

    def __ne__(self, other: object) -> bool:  # a tuple defines its own
        return not self == other

    def __hash__(self) -> int:
        return hash((tuple(self), self.before))


@known_as(dg.MultiToSingleDimensionPartitionMapping)
class _MonthsBetweenGrains(BetweenGrains):
    """Months to sector x month, or the reverse."""

    def get_upstream_mapped_partitions_result_for_partitions(
        self,
        downstream_partitions_subset: PartitionsSubset | None,
        downstream_partitions_def: dg.PartitionsDefinition | None,
        upstream_partitions_def: dg.PartitionsDefinition,
        current_time: datetime | None = None,
        dynamic_partitions_store: Any = None,
    ) -> UpstreamPartitionsResult:
        sectors_are_read = isinstance(upstream_partitions_def, dg.MultiPartitionsDefinition)
        if downstream_partitions_subset is None or sectors_are_read == isinstance(
            downstream_partitions_def, dg.MultiPartitionsDefinition
        ):
            raise TypeError("it maps months to sector x month, or the reverse")
        found = labels_of(downstream_partitions_subset.get_partition_keys())
        months = {month for each in found.values() for month in each}
        places: Iterable[str | None] = SECTORS if sectors_are_read else (None,)
        with partition_loading_context(current_time, dynamic_partitions_store):
            return _upstream(upstream_partitions_def, dict.fromkeys(places, months), -self.before, 0)


def all_sectors(months: int = 0) -> dg.MultiToSingleDimensionPartitionMapping:
    """Month grain to sector x month: every sector of the month and of the `months` before it."""
    mapping = _MonthsBetweenGrains(partition_dimension_name=MONTH.name)
    mapping.before = months
    return mapping


def market(months: int = 0) -> dg.MultiToSingleDimensionPartitionMapping:
    """Sector x month to month grain: the month and the `months` before it."""
    return all_sectors(months)


def month_offsets(mapping: dg.PartitionMapping | None) -> tuple[int, int]:
    """First and last month that a mapping reads, relative to the partition's month; (0, 0) for the same month."""
    if isinstance(mapping, dg.MultiPartitionMapping):
        mapping = mapping.downstream_mappings_by_upstream_dimension[MONTH.name].partition_mapping
    if isinstance(mapping, dg.TimeWindowPartitionMapping):
        return mapping.start_offset, mapping.end_offset
    if days := getattr(mapping, "days", 0):  # of `daily_partitions`, which are counted in days
        return -days, 0
    return (-mapping.before, 0) if isinstance(mapping, _MonthsBetweenGrains) else (0, 0)


@dataclass(frozen=True)
class RunPartitions:
    """The rectangle of partitions that a run materialises.

    Attributes:
        sectors: slugs in GICS order; empty for a month-grain run.
        months: labels of months (or days), sorted and without gaps.

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
    def keys(self) -> list[str]:
        """Partition keys, by sector and month."""
        return [key(sector, month) for sector in self.sectors or (None,) for month in self.months]

    @property
    def first_day(self) -> date:
        """First calendar day of the run."""
        return first_day(self.months[0])

    @property
    def last_day(self) -> date:
        """Last calendar day of the run."""
        return last_day(self.months[-1])


def describe(keys: Sequence[str], most: int = 6) -> str:
    """A short list of partition keys for an error message."""
    shown = ", ".join(keys[:most])
    return shown if len(keys) <= most else f"{shown} … and {len(keys) - most} more"
