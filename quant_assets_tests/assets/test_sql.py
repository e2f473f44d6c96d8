"""SQL models: SELECT only, dependencies read from the SQL, results against the same query in Polars."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.assets.sql import SQL_DIR, SqlModel, execute, load_model
from quant_assets.errors import SettingsError
from quant_assets.schemas import DATASETS


def model(tmp_path: Path, sql: str, name: str = "data_quality") -> SqlModel:
    path = tmp_path / f"{name}.sql"
    path.write_text(sql)
    return load_model(path)


def test_dependencies_are_the_datasets_that_the_sql_reads() -> None:
    assert load_model(SQL_DIR / "sector_scorecard.sql").reads == ("candidates", "indicators", "regime_state")
    assert load_model(SQL_DIR / "data_quality.sql").reads == ("absences", "ohlcv", "quarantine", "universe")


def test_a_cte_is_not_a_dependency(tmp_path: Path) -> None:
    assert model(tmp_path, "WITH prices_now AS (SELECT * FROM prices) SELECT * FROM prices_now JOIN universe USING (ticker)").reads == (
        "prices",
        "universe",
    )


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DROP TABLE prices", "exactly one SELECT"),
        ("SELECT 1; SELECT 2", "exactly one SELECT"),
        ("INSERT INTO prices SELECT * FROM ohlcv", "exactly one SELECT"),
        ("SELECT * FROM pricez", "reads pricez, which is not a dataset"),
        ("SELECT * FROM read_parquet('/etc/*.parquet')", "which is not a dataset"),
        ("SELECT FROM WHERE", "cannot be parsed|exactly one SELECT"),
    ],
)
def test_anything_but_a_select_from_datasets_is_refused(tmp_path: Path, sql: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        model(tmp_path, sql)


def test_a_model_without_a_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="declare dataset 'my_model'"):
        model(tmp_path, "SELECT * FROM prices", "my_model")


def test_scorecard_counts_the_last_session_only() -> None:
    days = [date(2024, 6, 27), date(2024, 6, 28)]
    columns = DATASETS["indicators"].loaded_schema
    rows = [
        {"sector": "it", "month": "2024-06", "ticker": ticker, "date": day, "close": close, "moving_average": 10.0, "momentum": momentum}
        for day in days
        for ticker, close, momentum in (("A", 11.0, 0.1), ("B", 9.0, 0.3), ("C", 12.0 if day == days[1] else 1.0, 0.2))
    ]
    rows.append(rows[-1] | {"ticker": "D", "moving_average": None, "momentum": None})
    inputs = {
        "indicators": pl.DataFrame(rows, schema=columns),
        "candidates": DATASETS["candidates"].empty().with_columns(month=pl.lit("")),
        "regime_state": DATASETS["regime_state"].empty().with_columns(month=pl.lit("")),
    }
    (row,) = execute(load_model(SQL_DIR / "sector_scorecard.sql"), **inputs).rows(named=True)
    assert (row["as_of"], row["members"], row["longs"], row["regime"]) == (days[1], 4, 0, None)
    assert row["above_moving_average"] == pytest.approx(2 / 3)
    assert row["median_momentum"] == pytest.approx(0.2)
