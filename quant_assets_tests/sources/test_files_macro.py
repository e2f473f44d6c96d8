"""When observations of macro files count as known."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.errors import SourceError
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.base import MACRO
from quant_assets.sources.files import FilesSource
from quant_assets.sources.files_evidence import series_of
from quant_assets_tests.synthetic_files import START, THROUGH, Write


def test_macro_lags_count_from_the_end_of_the_period(write: Write) -> None:
    source = write()
    found = source.macro(THROUGH)
    assert found.schema == MACRO
    assert found.select("series_id", "lag_days").rows() == [
        ("CLAIMS", 5),
        ("CPI", 28 + 20),
        ("GDP", 90 + 30),
        ("RATE", 1),
    ]
    assert source.macro(date(2020, 3, 19))["series_id"].to_list() == ["CLAIMS", "RATE"]
    assert source.macro(date(2020, 3, 20))["series_id"].to_list() == ["CLAIMS", "CPI", "RATE"]


def test_vintages_count_from_the_end_of_their_quarter_and_only_where_the_value_changes(tmp_path: Path) -> None:
    rows = [
        (date(2020, 1, 1), date(2020, 4, 1), 1.0),
        (date(2020, 1, 1), date(2020, 7, 1), 1.0),
        (date(2020, 1, 1), date(2020, 10, 1), 1.5),
        (date(2020, 4, 1), date(2020, 7, 1), 2.0),
    ]
    table = pl.DataFrame(rows, schema=["period", "vintage", "value"], orient="row").with_columns(
        series_id=pl.lit("GDP")
    )
    table.write_parquet(tmp_path / "vintages.parquet")
    file = {
        "file": "vintages.parquet",
        "columns": {"released": "vintage"},
        "vintage": "quarterly",
        "series": {"GDP": {"frequency": "quarterly", "lag_days": 0}},
    }
    source = FilesSource(FilesSettings.model_validate({"macro": [file]}), tmp_path, START)
    kept = [
        (date(2020, 1, 1), date(2020, 6, 30), 1.0),
        (date(2020, 1, 1), date(2020, 12, 31), 1.5),
        (date(2020, 4, 1), date(2020, 9, 30), 2.0),
    ]
    assert source.macro(date(2020, 12, 31)).select("period", "released", "value").rows() == kept
    assert source.macro(date(2020, 12, 30)).select("period", "released", "value").rows() == [kept[0], kept[2]]


def fred(folder: Path, files: Mapping[str, str], **entry: Any) -> FilesSource:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return FilesSource(FilesSettings.model_validate({"macro": [entry]}), folder, START)


DAILY, MONTHLY = {"frequency": "daily", "lag_days": 1}, {"frequency": "monthly", "lag_days": 14}
TABLE = "observation_date,DGS10,UNRATE,OTHER\n2020-01-01,,3.6,1\n2020-01-02,1.88,,\n2020-01-03,.,,\n2020-02-01,,3.5,2\n"


def test_a_table_of_fred_has_a_column_for_each_series_which_is_known_its_lag_after_its_period(tmp_path: Path) -> None:
    series = {"DGS10": DAILY, "UNRATE": MONTHLY}
    source = fred(tmp_path, {"fredgraph.csv": TABLE}, file="fredgraph.csv", series=series)
    first = ("DGS10", date(2020, 1, 2), 1.88)
    assert source.macro(date(2020, 1, 2)).is_empty()
    assert source.macro(date(2020, 2, 13)).select("series_id", "period", "value").rows() == [first]
    # The unemployment of January is that of a month, which its first day begins.
    known = [first, ("UNRATE", date(2020, 1, 1), 3.6)]
    assert source.macro(date(2020, 2, 14)).select("series_id", "period", "value").rows() == known
    assert source.macro(date(2020, 3, 14)).height == 3
    packed = tmp_path / "fred.parquet"
    pl.read_csv(tmp_path / "fredgraph.csv", null_values=".", try_parse_dates=True).write_parquet(packed)
    of_parquet = FilesSettings.model_validate({"macro": [{"file": packed.name, "series": series}]})
    assert_frame_equal(FilesSource(of_parquet, tmp_path, START).macro(THROUGH), source.macro(THROUGH))


def test_a_series_that_a_table_of_fred_lacks_is_refused(tmp_path: Path) -> None:
    source = fred(tmp_path, {"a.csv": TABLE}, file="a.csv", series={"DGS10": DAILY, "GDP": MONTHLY})
    with pytest.raises(SourceError, match=r"a\.csv has no series 'GDP'"):
        source.macro(THROUGH)
    source = fred(tmp_path, {"a.csv": TABLE}, file="a.csv", series={"GDP": MONTHLY})
    with pytest.raises(SourceError, match="nor one for any of the series GDP; it has observation_date, DGS10, UNRATE"):
        source.macro(THROUGH)


def test_a_column_of_values_is_of_the_only_series_or_of_that_in_the_name(tmp_path: Path) -> None:
    files = {
        "bulk/UNRATE.csv": "DATE,VALUE\n2020-01-01,3.6\n",
        "bulk/CPI.csv": "DATE,VALUE\n2020-01-01,.\n2020-02-01,9\n",
    }
    two = {"UNRATE": MONTHLY, "CPI": MONTHLY}
    both = fred(tmp_path, files, file="bulk/{series}.csv", series=two).macro(THROUGH)
    found = [("CPI", date(2020, 2, 1), 9.0), ("UNRATE", date(2020, 1, 1), 3.6)]
    assert both.select("series_id", "period", "value").rows() == found
    named = fred(tmp_path, files, file="bulk/CPI.csv", series={"INFLATION": MONTHLY}).macro(THROUGH)
    assert named.select("series_id", "value").rows() == [("INFLATION", 9.0)]
    with pytest.raises(SourceError, match=r"one column of values and may be of any of ONE, TWO; name one series"):
        fred(tmp_path, files, file="bulk/CPI.csv", series={"ONE": MONTHLY, "TWO": MONTHLY}).macro(THROUGH)


def test_a_column_for_each_vintage_tells_when_its_values_were_released(tmp_path: Path) -> None:
    table = "observation_date,GDPC1_20200130,GDPC1_20200227\n2019-10-01,100,101\n2019-07-01,99,99\n2020-01-01,,102\n"
    series = {"GDPC1": {"frequency": "quarterly", "lag_days": 0}}
    source = fred(tmp_path, {"alfred.csv": table}, file="alfred.csv", series=series)
    assert source.macro(date(2020, 1, 29)).is_empty()
    assert source.macro(date(2020, 2, 26)).select("period", "value").rows() == [
        (date(2019, 7, 1), 99.0),
        (date(2019, 10, 1), 100.0),
    ]
    assert source.macro(date(2020, 2, 27)).height == 4  # a value that stays is no new row


def test_a_year_is_known_after_its_end(tmp_path: Path) -> None:
    table = "DATE,WORLD\n2018-01-01,1\n2019-01-01,2\n"
    annual = {"WORLD": {"frequency": "annual", "lag_days": 30}}
    source = fred(tmp_path, {"a.csv": table}, file="a.csv", series=annual)
    assert source.macro(date(2020, 1, 29))["value"].to_list() == [1.0]
    assert source.macro(date(2020, 1, 30))["value"].to_list() == [1.0, 2.0]


def test_frequencies_that_are_guessed_are_never_shorter_than_the_periods() -> None:
    days = {
        "MONTH": ("1mo", "monthly"),
        "QUARTER": ("3mo", "quarterly"),
        "HALF": ("6mo", "annual"),
        "YEAR": ("1y", "annual"),
    }
    rows = [
        pl.DataFrame({"period": pl.date_range(START, date(2024, 1, 1), each, eager=True)}).select(
            pl.lit(name).alias("series_id"), "period"
        )
        for name, (each, _) in days.items()
    ]
    alone = pl.DataFrame({"series_id": ["ONCE"], "period": [START]})
    rare = pl.DataFrame({"series_id": ["RARE"] * 2, "period": [START, date(2025, 1, 1)]})
    found = series_of(pl.concat([*rows, alone, rare]))
    assert {name: each["frequency"] for name, each in found.items()} == {
        **{name: frequency for name, (_, frequency) in days.items()},
        "ONCE": "annual",
    }


def test_a_series_that_the_settings_have_for_more_frequent_than_it_is_is_refused(tmp_path: Path) -> None:
    table = "DATE,UNRATE\n2020-01-01,1\n2020-02-01,2\n2020-03-01,3\n"
    source = fred(tmp_path, {"a.csv": table}, file="a.csv", series={"UNRATE": DAILY})
    with pytest.raises(SourceError, match=r"a\.csv: series 'UNRATE' has an observation a month, .* daily: .* monthly"):
        source.macro(THROUGH)
    fred(tmp_path, {}, file="a.csv", series={"UNRATE": {"frequency": "quarterly", "lag_days": 0}}).macro(THROUGH)


def test_without_series_every_one_of_a_file_is_read_that_tells_its_releases(tmp_path: Path) -> None:
    """A value that is withdrawn is null from then on; one that was never there is none."""
    text = "series_id,period,released,value\n" + "\n".join(
        (
            "GDP,2020-01-01,2020-04-30,1.5",
            "GDP,2020-01-01,2020-05-28,",
            "GDP,2020-04-01,2020-07-30,",
            "RATE,2020-05-04,2020-05-05,0.6",
        )
    )
    columns = {"released": "released"}
    source = fred(tmp_path, {"a.csv": text + "\n"}, file="a.csv", columns=columns)
    assert source.macro(THROUGH).select("series_id", "released", "value").rows() == [
        ("GDP", date(2020, 4, 30), 1.5),
        ("GDP", date(2020, 5, 28), None),
        ("RATE", date(2020, 5, 5), 0.6),
    ]
    undated = fred(tmp_path, {"b.csv": text + "\nRATE,2020-05-05,,0.7\n"}, file="b.csv", columns=columns)
    with pytest.raises(
        SourceError, match=r"b\.csv: series 'RATE' has no released for 2020-05-05; add the day, or name"
    ):
        undated.macro(THROUGH)
    with pytest.raises(SourceError, match=r"a\.csv has neither series with their lags nor a column for released"):
        fred(tmp_path, {}, file="a.csv").macro(THROUGH)
