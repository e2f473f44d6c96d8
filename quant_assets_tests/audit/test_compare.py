"""Two frames of a dataset, bit by bit."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import polars as pl

from quant_assets.audit.compare import compare, known_rows, rows_after
from quant_assets.schemas import Column, Dataset

ROWS = Dataset(
    "rows",
    "For a test",
    ("ticker", "date"),
    "date",
    "date",
    {
        "ticker": Column(pl.String, "t"),
        "date": Column(pl.Date, "d"),
        "value": Column(pl.Float64, "v", nullable=True),
        "name": Column(pl.String, "n"),
    },
)
DAY = date(2024, 1, 2)


def frame(*values: Any, tickers: str = "AAAA", **more: Any) -> pl.DataFrame:
    days = [DAY + timedelta(days=number) for number in range(len(values))]
    data = {"sector": "it", "ticker": list(tickers)[: len(values)], "date": days, "value": values, "name": "x"} | more
    return pl.DataFrame(data, {"sector": pl.String, **dict(ROWS.schema)}, strict=False)


def test_equal_bits_are_equal_and_nan_equals_nan_but_not_null_nor_minus_zero() -> None:
    assert not compare(ROWS, frame(1.0, None, float("nan")), frame(1.0, None, float("nan"))).differences
    for expected, found in ((0.0, -0.0), (None, float("nan")), (1.0, 1.0 + 2**-52), (1.0, None)):
        (difference,) = compare(ROWS, frame(2.0, expected), frame(2.0, found)).differences
        assert (difference.column, len(difference.rows), difference.compared) == ("value", 1, 2)
        assert difference.rows["date"].to_list() == [DAY + timedelta(days=1)]


def test_every_column_that_differs_is_named_with_the_first_day_first() -> None:
    found = frame(1.0, 3.0, 4.0).with_columns(name=pl.lit("y"))
    value, name = compare(ROWS, frame(1.0, 2.0, 2.0), found).differences
    assert (value.column, value.rows["found"].to_list(), value.deviation) == ("value", [3.0, 4.0], 0.5)
    assert (name.column, len(name.rows), name.deviation) == ("name", 3, None)
    only = {"value": ROWS.columns["value"]}
    assert [each.column for each in compare(ROWS, frame(1.0), found[:1], only).differences] == []


def test_a_row_of_one_side_alone_is_a_difference_also_where_a_key_is_there_twice() -> None:
    (difference,) = compare(ROWS, frame(1.0, 2.0), frame(1.0)).differences
    assert difference.column is None
    assert difference.rows.select("date", "expected", "found").row(0) == (DAY + timedelta(days=1), "row", "no row")
    twice = pl.concat([frame(1.0), frame(1.0)])
    assert [each.column for each in compare(ROWS, twice, frame(1.0)).differences] == [None]
    assert not compare(ROWS, twice, twice).differences


def test_a_tolerance_is_relative_to_the_number_or_to_its_column() -> None:
    expected, near = frame(1000.0, 1e-9), frame(1000.0 * (1 + 1e-9), 2e-9)
    compared = compare(ROWS, expected, near, tolerance=1e-6)
    assert not compared.differences
    assert compared.settled["value"] < 1e-8
    (difference,) = compare(ROWS, frame(1000.0, 1.0), frame(1000.0 * (1 + 1e-9), 2.0), tolerance=1e-6).differences
    assert difference.rows["found"].to_list() == [2.0]  # the one within is none
    assert compare(ROWS, frame(1.0), frame(None), tolerance=1e-6).differences


def test_a_tolerance_hides_no_missing_or_infinite_value_and_no_other_tickers_scale() -> None:
    nan, infinity = float("nan"), float("inf")
    for value, other in (
        (nan, 5.0),
        (5.0, nan),
        (None, 5.0),
        (infinity, 5.0),
        (infinity, -infinity),
        (nan, infinity),
        (1.0, 9.0),
    ):
        expected, found = frame(1000.0, value, infinity), frame(1000.0 * (1 + 1e-9), other, infinity)
        (difference,) = compare(ROWS, expected, found, tolerance=1e-6).differences
        assert difference.rows["date"].to_list() == [DAY + timedelta(days=1)]
    (difference,) = compare(
        ROWS, frame(3e9, 1.0, tickers="AB"), frame(3e9, 9.0, tickers="AB"), tolerance=1e-6
    ).differences
    assert difference.rows["ticker"].to_list() == ["B"]
    assert compare(ROWS, frame(0.0), frame(-0.0), tolerance=1e-6).settled == {"value": 0.0}


def test_rows_known_by_a_day_and_the_decisions_that_both_took() -> None:
    assert len(known_rows(ROWS, frame(1.0, 2.0, 3.0), DAY + timedelta(days=1))) == 2
    decided = replace(
        ROWS, key=("ticker", "as_of"), dated_by="as_of", columns=ROWS.columns | {"as_of": Column(pl.Date, "a")}
    )
    rows = frame(1.0, 2.0).with_columns(as_of=pl.col("date"))
    assert len(known_rows(decided, rows, None, {DAY})) == 1
    assert len(known_rows(ROWS, frame(1.0, 2.0), None, {DAY})) == 2  # no decisions


def test_rows_of_days_before_a_history_begins_say_nothing_of_its_length() -> None:
    assert rows_after(ROWS, frame(1.0, 2.0, 3.0), DAY)["value"].to_list() == [2.0, 3.0]
