"""Frames held against a dataset's schema, and what the schemas tell people."""

import re
from datetime import date

import polars as pl
import pytest

from quant_assets.errors import DatasetError
from quant_assets.schemas import DATASETS, LIVE, ON_DEMAND, Dataset
from quant_assets_tests.graph import demo_datasets


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


#: Words that say nothing by themselves.
_EMPTY = re.compile(
    r"an?|and|are|as|at|by|each|for|from|if|in|is|its?|no|null|of|on|one|or|than|that|the|to|where|with"
)


def words(text: str) -> set[str]:
    return {each for each in re.findall(r"[a-z0-9]+", text.lower()) if not _EMPTY.fullmatch(each)}


@pytest.mark.parametrize(
    "dataset", [*demo_datasets().values(), *LIVE, *ON_DEMAND], ids=lambda dataset: str(dataset.name)
)
def test_a_column_says_more_than_its_name_and_can_be_read_alone(dataset: Dataset) -> None:
    for name, column in dataset.columns.items():
        stems = tuple(each[:4] for each in re.findall(r"[a-z0-9]+", name))
        told = {each for each in words(column.meaning) if not each.startswith(stems)}
        assert len(told) >= 2, f"{dataset.name}.{name}: '{column.meaning}' only repeats the name"
        leans = re.match(
            r"(as given|likewise|its|of the name|of the other|of it|of them|the other|the rest|last of them)\b",
            column.meaning,
        )
        assert leans is None, f"{dataset.name}.{name}: '{column.meaning}' leans on the column before"
    assert len(words(dataset.meaning) - words(dataset.name)) >= 3, dataset.name
