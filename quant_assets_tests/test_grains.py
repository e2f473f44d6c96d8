"""Grains: keys, folders, loaded columns and Dagster's definitions of all four, and a store that holds each."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.errors import DatasetError, SettingsError
from quant_assets.grains import (
    DAILY,
    MONTHLY,
    SECTOR_DAILY,
    SECTOR_MONTHLY,
    Grain,
    grain_of,
    labels_of,
)
from quant_assets.io.store import DatasetStore
from quant_assets.partitions import Months, parse_key
from quant_assets.schemas import Column, Dataset
from quant_assets.settings.sectors import SECTORS

#: Of each grain: name, example, folder of the example, columns of a loaded frame.
GRAINS = {
    SECTOR_MONTHLY: ("sector × month", "2016-06|healthcare", "sector=healthcare/month=2016-06", ["sector", "month"]),
    MONTHLY: ("month", "2016-06", "month=2016-06", ["month"]),
    SECTOR_DAILY: ("sector × day", "2016-06-14|healthcare", "sector=healthcare/day=2016-06-14", ["sector", "day"]),
    DAILY: ("day", "2016-06-14", "day=2016-06-14", ["day"]),
}
EACH = pytest.mark.parametrize("grain", GRAINS, ids=lambda grain: grain.name)


def dataset(grain: Grain) -> Dataset:
    columns = {"date": Column(pl.Date, "day"), "value": Column(pl.Float64, "number")}
    return Dataset("numbers", "Numbers", ("date",), "date", "date", columns, grain)


@EACH
def test_a_key_and_its_folder_are_one_for_one(grain: Grain) -> None:
    name, example, folder, columns = GRAINS[grain]
    assert (grain.name, grain.example, grain.folder(example)) == (name, example, folder)
    assert [*grain.levels] == columns == list(dataset(grain).loaded_schema)[: len(columns)]
    assert grain_of(example) == grain
    sector, period = grain.parse(example)
    assert parse_key(example) == (sector, period) == ("healthcare" if grain.by_sector else None, example.split("|")[0])
    assert grain.key(period, sector) == grain.key_at(f"/a=b/numbers/{folder}/part-0.parquet") == example
    other = "2016-06-14" if grain.by_sector else "2016-06-14|healthcare"
    with pytest.raises(
        SettingsError, match=f"'{other}' is not a partition by {name}; write {example}".replace("|", "\\|")
    ):
        grain.parse(other)
    with pytest.raises(SettingsError, match=f"a partition by {name} has (a|no) sector"):
        grain.key(period, None if grain.by_sector else "it")
    wrong = "2016-13" if grain.period.name == "month" else "2016-06-32"
    with pytest.raises(SettingsError, match=rf"{wrong}' is not a {grain.period.name}; write it as YYYY-MM"):
        grain.key(wrong, sector)
    if grain.by_sector:
        with pytest.raises(SettingsError, match="sector 'tech' does not exist"):
            grain.key(period, "tech")


@EACH
@given(day=st.dates(date(1990, 1, 1), date(2060, 12, 31)), sector=st.sampled_from(list(SECTORS)))
def test_a_row_lies_in_the_partition_of_its_date_and_sector(grain: Grain, day: date, sector: str) -> None:
    frame = pl.DataFrame({"sector": [sector], "date": [day]})
    (key,) = frame.select(grain.of_rows("date")).to_series()
    assert grain.parse(key) == (sector if grain.by_sector else None, grain.period.of(day))
    assert day.isoformat().startswith(grain.period.of(day))
    placed = pl.DataFrame({level: [value] for level, value in grain.placed(key).items()})
    assert len(placed.filter(grain.holds(key))) == 1
    elsewhere = grain.key(grain.period.of(day + timedelta(days=31)), sector if grain.by_sector else None)
    assert placed.filter(grain.holds(elsewhere)).is_empty()


@EACH
def test_dagster_has_the_same_keys(grain: Grain) -> None:
    definition = Months("2016-05", "2016-07").definition(grain, go_live=date(2016, 6, 10))
    keys = definition.get_partition_keys(current_time=datetime(2016, 6, 14, 22, tzinfo=UTC))
    assert grain.example in keys
    assert {grain_of(key) for key in keys} == {grain}
    assert definition.has_partition_key(grain.example)
    periods = sorted({grain.parse(key)[1] for key in keys})
    if grain.period.name == "day":  # weekends too, and the running day
        assert periods == [f"2016-06-{day}" for day in range(10, 15)]
        with pytest.raises(SettingsError, match="begin on a go-live day"):
            Months("2016-05", "2016-07").definition(grain)
    assert len(keys) == len(periods) * (len(SECTORS) if grain.by_sector else 1)
    assert isinstance(definition, dg.MultiPartitionsDefinition) == grain.by_sector


def test_todays_grains_have_the_definitions_that_they_had() -> None:
    months = Months("2018-01", None)
    assert months.definition(SECTOR_MONTHLY) == months.by_sector
    assert months.definition(MONTHLY) == months.monthly


@EACH
@pytest.mark.parametrize("where", ["local", "memory"])
def test_a_store_holds_partitions_of_each_grain(grain: Grain, where: str, tmp_path: Path) -> None:
    store = DatasetStore(str(tmp_path) if where == "local" else f"memory://{tmp_path}")
    numbers, days = dataset(grain), [date(2016, 6, 14), date(2016, 6, 15), date(2016, 7, 1)]
    sectors = ["it", "energy"] if grain.by_sector else [None]
    rows = [
        {"sector": sector, "date": day, "value": float(place)} for place, day in enumerate(days) for sector in sectors
    ]
    frame = pl.DataFrame(rows).select(*numbers.grain.head, "date", "value")
    keys = {grain.key(grain.period.of(day), sector) for day in days for sector in sectors}
    assert store.write(numbers, frame, keys) == {
        key: sum(grain.period.of(day) == grain.parse(key)[1] for day in days) for key in keys
    }
    assert store.existing(numbers) == keys
    assert store.missing(numbers, keys) == []
    found = store.read(numbers, keys).collect()
    assert found.columns == [*grain.levels, "date", "value"]
    assert found.select(*numbers.grain.head, "date", "value").sort("value", *numbers.grain.head).rows() == (
        frame.sort("value", *numbers.grain.head).rows()
    )
    assert (
        found.select(grain.of_rows("date")).to_series().to_list()
        == [grain.key(*row[::-1]) for row in found.select(grain.levels).rows()]
        if grain.by_sector
        else [grain.key(*row) for row in found.select(grain.levels).rows()]
    )
    one = min(keys)
    assert store.read(numbers, [one]).collect().equals(found.filter(grain.holds(one)))
    with pytest.raises(DatasetError, match="rows lie outside the run's partitions"):
        store.write(numbers, frame, [one])


def test_labels_are_told_apart_by_sector() -> None:
    assert labels_of(["2016-05|it", "2016-06|it", "2016-06|re"]) == {"it": ["2016-05", "2016-06"], "re": ["2016-06"]}
    assert labels_of(["2016-05", "2016-06"]) == {None: ["2016-05", "2016-06"]}
    assert SECTOR_MONTHLY.keys(["2016-05", "2016-06"], ["re"]) == ["2016-05|re", "2016-06|re"]
    assert MONTHLY.keys(["2016-05", "2016-06"], ["re"]) == ["2016-05", "2016-06"]


def test_a_key_with_the_sector_first_is_told_how_to_write_it() -> None:
    with pytest.raises(SettingsError, match=r"^'it\|2024-02' has the sector first; write '2024-02\|it'$"):
        SECTOR_MONTHLY.parse("it|2024-02")
    with pytest.raises(SettingsError, match="month 'june' is not a month"):
        SECTOR_MONTHLY.parse("it|june")
