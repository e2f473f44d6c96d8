"""When observations of macro files count as known."""

from datetime import date
from pathlib import Path

import polars as pl

from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.base import MACRO
from quant_assets.sources.files import FilesSource
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
