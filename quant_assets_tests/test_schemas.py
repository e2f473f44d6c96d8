"""The registry against the README, and frames held against it."""

from datetime import date

import polars as pl
import pytest

from quant_assets.errors import DatasetError
from quant_assets.schemas import DATASETS, FEATURES
from quant_assets.schemas.__main__ import with_table
from quant_assets_tests.graph import PROJECT


def test_the_readme_shows_every_dataset_as_it_is() -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert with_table(text) == text, "run make docs"
    assert all(f"| `{name}` |" in text for name in DATASETS)


def test_features_are_the_feature_columns_in_order() -> None:
    assert tuple(DATASETS["features"].columns)[2:] == FEATURES
    assert len([name for name in FEATURES if name.endswith("_to_peak")]) == 25


def test_conform_sorts_by_sector_and_key_and_names_what_is_wrong() -> None:
    delistings = DATASETS["delistings"]
    frame = pl.DataFrame(
        {"known_at": [date(2024, 1, 3)] * 2, "ticker": ["B", "A"], "sector": ["it"] * 2, "last_session": [date(2024, 1, 2)] * 2}
    ).with_columns(rule=pl.lit("unknown"), delisting_return=pl.lit(None, pl.Float64))
    assert delistings.conform(frame)["ticker"].to_list() == ["A", "B"]
    assert delistings.conform(frame).columns == ["sector", "ticker", "last_session", "known_at", "rule", "delisting_return"]
    with pytest.raises(DatasetError, match=r"missing columns \['ticker'\]"):
        delistings.conform(frame.drop("ticker"))
