"""Partition keys, months, mappings and windows."""

import time
from datetime import UTC, date, datetime

import dagster as dg
import numpy as np
import pytest
from dagster._serdes import deserialize_value, serialize_value
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.dagster_internals import partition_loading_context
from quant_assets.errors import SettingsError
from quant_assets.grains import check_month
from quant_assets.market.calendar import sessions
from quant_assets.partitions import (
    Months,
    RunPartitions,
    _upstream,
    all_sectors,
    forward,
    key,
    lag,
    lookback,
    market,
    month_end,
    month_of,
    month_offsets,
    month_range,
    month_start,
    months_covering,
    parse_key,
    shift_month,
)
from quant_assets.settings.loading import PartitionSettings
from quant_assets.settings.sectors import SECTORS
from quant_assets_tests.upstream_by_sets import upstream_by_sets

MONTHS = Months("2018-01", "2024-12")


def test_key_is_month_then_sector_as_dagster_orders_dimensions() -> None:
    assert key("healthcare", "2024-06") == "2024-06|healthcare"
    assert parse_key("2024-06|healthcare") == ("healthcare", "2024-06")
    assert parse_key("2024-06") == (None, "2024-06")
    assert key("healthcare", "2024-06") in MONTHS.by_sector.get_partition_keys()


def test_unknown_sector_and_month_say_what_exists() -> None:
    with pytest.raises(SettingsError, match=r"'helthcare' does not exist; did you mean healthcare\?; choose one of"):
        key("helthcare", "2024-06")
    with pytest.raises(SettingsError, match=r"'tech' does not exist; choose one of energy, .* re"):
        key("tech", "2024-06")
    for month in ("2024-6", "2024-13", "June", "2024-06-01"):
        with pytest.raises(SettingsError, match="write it as YYYY-MM"):
            check_month(month)


@given(st.integers(1990, 2060), st.integers(1, 12), st.integers(-600, 600))
def test_shift_month_is_calendar_arithmetic(year: int, month: int, offset: int) -> None:
    start = f"{year:04d}-{month:02d}"
    moved = shift_month(start, offset)
    assert shift_month(moved, -offset) == start
    assert np.datetime64(moved, "M") - np.datetime64(start, "M") == np.timedelta64(offset, "M")


def test_month_boundaries() -> None:
    assert month_start("2024-02") == date(2024, 2, 1)
    assert month_end("2024-02") == date(2024, 2, 29)
    assert month_of(date(2024, 2, 29)) == "2024-02"
    assert month_range("2023-11", "2024-02") == ["2023-11", "2023-12", "2024-01", "2024-02"]
    assert month_range("2024-03", "2024-02") == []


def test_months_covering_holds_for_every_window_of_the_calendar() -> None:
    days = sessions(date(1999, 1, 1), date(2026, 12, 31)).astype("datetime64[M]")
    counts = np.unique(days, return_counts=True)[1]
    totals = np.concatenate([[0], np.cumsum(counts)])
    for wanted in (1, 5, 20, 21, 61, 120, 252, 253, 501, 750, 751, 1000):
        months = months_covering(wanted)
        assert (totals[months:] - totals[:-months]).min() >= wanted


def test_running_month_exists_and_a_pinned_as_of_closes_the_set() -> None:
    running = Months.of(PartitionSettings(start="2018-01"), None)
    assert datetime.now(UTC).strftime("%Y-%m") in running.monthly.get_partition_keys()
    pinned = Months.of(PartitionSettings(start="2018-01"), date(2020, 5, 7))
    assert pinned.monthly.get_last_partition_key() == "2020-05"
    assert Months.of(PartitionSettings(start="2018-01", end="2019-01"), date(2020, 5, 7)).end == "2019-01"
    today = datetime.now(UTC).date()
    assert Months.of(PartitionSettings(start="2018-01"), today).monthly.get_last_partition_key() == month_of(today)


def mapped(mapping: dg.PartitionMapping, *keys: str) -> set[str]:
    definition = MONTHS.by_sector
    subset = definition.subset_with_partition_keys(keys)
    result = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, definition, definition)
    return set(result.partitions_subset.get_partition_keys())


def test_mappings_read_the_months_they_say_in_the_same_sector() -> None:
    assert mapped(lookback(2), "2020-02|it") == {"2019-12|it", "2020-01|it", "2020-02|it"}
    assert mapped(lag(3), "2020-02|it") == {"2019-11|it", "2019-12|it", "2020-01|it"}
    assert mapped(lag(2, 2), "2020-02|it") == {"2019-12|it"}
    assert mapped(forward(1), "2020-02|re") == {"2020-02|re", "2020-03|re"}
    assert mapped(lookback(1), "2020-02|it", "2020-02|re") == {"2020-01|it", "2020-02|it", "2020-01|re", "2020-02|re"}


def test_mappings_are_clipped_at_the_edges() -> None:
    assert mapped(lookback(38), "2018-02|it") == {"2018-01|it", "2018-02|it"}
    assert mapped(lag(6), "2018-01|it") == set()
    assert mapped(forward(4), "2024-12|it") == {"2024-12|it"}


@pytest.mark.parametrize("mapping", [lookback(5), lag(3), lag(2, 2), forward(4)])
def test_mappings_say_what_dagsters_own_say(mapping: dg.MultiPartitionMapping) -> None:
    own = dg.MultiPartitionMapping(mapping.downstream_mappings_by_upstream_dimension)
    runs = (
        ["2018-01|it"],
        ["2024-12|re", "2024-11|re"],
        [key(sector, month) for sector in ("it", "re") for month in month_range("2018-02", "2018-09")],
    )
    for keys in runs:
        assert mapped(mapping, *keys) == mapped(own, *keys)


@given(
    st.dictionaries(st.sampled_from(["it", "re", "energy"]), st.lists(st.integers(-30, 110), max_size=6), max_size=3),
    st.integers(-70, 30),
    st.integers(0, 60),
    st.booleans(),
    st.booleans(),
)
def test_the_months_that_are_read_are_those_found_month_by_month_in_sets(
    months: dict[str, list[int]], first: int, length: int, by_sector: bool, exist: bool
) -> None:
    """Also before the first month and after the last, and of nothing."""
    around = Months("2018-01", "2024-12") if exist else Months("2999-01", None)
    of: dg.PartitionsDefinition = around.by_sector if by_sector else around.monthly
    found = {
        sector if by_sector else None: [shift_month("2018-01", each) for each in offsets]
        for sector, offsets in months.items()
    }
    with partition_loading_context(datetime(2026, 6, 1, tzinfo=UTC)):
        ours, sets = (
            each(of, found, first, first + length).partitions_subset for each in (_upstream, upstream_by_sets)
        )
    assert type(ours) is type(sets)
    assert ours == sets
    assert sorted(ours.get_partition_keys()) == sorted(sets.get_partition_keys())
    if by_sector:
        assert {type(each) for each in ours.get_partition_keys()} <= {dg.MultiPartitionKey}


def test_mappings_are_told_to_other_processes_as_dagsters_own() -> None:
    told = deserialize_value(serialize_value(lookback(2)))
    assert type(told) is dg.MultiPartitionMapping
    assert told == lookback(2)
    assert type(deserialize_value(serialize_value(all_sectors(2)))) is dg.MultiToSingleDimensionPartitionMapping


def test_a_month_reads_every_sector_of_it_and_of_the_months_before() -> None:
    def read(mapping: dg.PartitionMapping, *months: str) -> set[str]:
        subset = MONTHS.monthly.subset_with_partition_keys(months)
        result = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, MONTHS.monthly, MONTHS.by_sector)
        return set(result.partitions_subset.get_partition_keys())

    assert read(all_sectors(), "2020-02") == {f"2020-02|{sector}" for sector in SECTORS}
    assert read(all_sectors(), "2020-02", "2020-03") == read(
        dg.MultiToSingleDimensionPartitionMapping("month"), "2020-02", "2020-03"
    )
    assert read(all_sectors(2), "2018-02", "2018-03") == {
        f"2018-0{month}|{sector}" for month in (1, 2, 3) for sector in SECTORS
    }
    assert (month_offsets(all_sectors(2)), month_offsets(all_sectors())) == ((-2, 0), (0, 0))
    assert all_sectors(2) == all_sectors(2)
    assert all_sectors(2) != all_sectors()
    assert len({all_sectors(2), all_sectors(2), all_sectors()}) == 2


def test_a_sectors_month_reads_the_market_of_it_and_of_the_months_before() -> None:
    def read(mapping: dg.PartitionMapping, *keys: str) -> set[str]:
        subset = MONTHS.by_sector.subset_with_partition_keys(keys)
        result = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, MONTHS.by_sector, MONTHS.monthly)
        return set(result.partitions_subset.get_partition_keys())

    assert read(market(), "2020-02|it") == {"2020-02"}
    own = dg.MultiToSingleDimensionPartitionMapping("month")
    assert read(market(), "2020-02|it", "2020-03|re") == read(own, "2020-02|it", "2020-03|re")
    assert read(market(2), "2020-02|it", "2020-02|re") == {"2019-12", "2020-01", "2020-02"}
    assert read(market(2), "2018-02|it") == {"2018-01", "2018-02"}, "there is no month before the first"
    assert (month_offsets(market(2)), month_offsets(market())) == ((-2, 0), (0, 0))
    assert market(2) == market(2) != market()
    told = deserialize_value(serialize_value(market(2)))
    assert type(told) is dg.MultiToSingleDimensionPartitionMapping
    with pytest.raises(TypeError, match="maps months to sector x month, or the reverse"):
        mapped(market(2), "2020-02|it")


def test_the_market_of_a_whole_history_is_mapped_in_a_fraction_of_a_second() -> None:
    """Dagster's own resolution takes 5 ms a month, for every input and twice."""
    long = Months("2000-01", "2024-12")
    subset = long.by_sector.subset_with_partition_keys(
        key(sector, month) for sector in SECTORS for month in month_range("2000-01", "2024-12")
    )
    begun = time.thread_time()  # a busy machine makes it wait, not work
    result = market(60).get_upstream_mapped_partitions_result_for_partitions(subset, long.by_sector, long.monthly)
    assert time.thread_time() - begun < 1
    assert len(result.partitions_subset.get_partition_keys()) == 300


def test_run_partitions_are_sorted_by_month_and_gics_order() -> None:
    run = RunPartitions.from_keys(["2020-02|it", "2020-01|it", "2020-02|energy", "2020-01|energy"])
    assert run == RunPartitions(("energy", "it"), ("2020-01", "2020-02"))
    assert (run.first_day, run.last_day) == (date(2020, 1, 1), date(2020, 2, 29))
    assert RunPartitions.from_keys(["2020-01"]).sectors == ()


def test_sectors_are_the_eleven_of_gics() -> None:
    assert len(SECTORS) == 11
    codes = [sector.code for sector in SECTORS.values()]
    assert codes == sorted(codes)
    assert SECTORS["telecoms"].code == 50
    assert SECTORS["re"].code == 60
