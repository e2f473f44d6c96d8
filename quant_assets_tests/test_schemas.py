"""Frames held against a dataset's schema."""

from datetime import date

import polars as pl
import pytest

from quant_assets.errors import DatasetError
from quant_assets.schemas import DATASETS


def test_conform_sorts_by_sector_and_key_and_names_what_is_wrong() -> None:
    delistings = DATASETS["delistings"]
    frame = pl.DataFrame(
        {
            "known_at": [date(2024, 1, 3)] * 2,
            "ticker": ["B", "A"],
            "sector": ["it"] * 2,
            "last_session": [date(2024, 1, 2)] * 2,
        }
    ).with_columns(rule=pl.lit("unknown"), delisting_return=pl.lit(None, pl.Float64), successor=pl.lit(None, pl.String))
    assert delistings.conform(frame)["ticker"].to_list() == ["A", "B"]
    assert delistings.conform(frame).columns == [
        "sector",
        "ticker",
        "last_session",
        "known_at",
        "rule",
        "delisting_return",
        "successor",
    ]
    with pytest.raises(DatasetError, match=r"missing columns \['ticker'\]"):
        delistings.conform(frame.drop("ticker"))
