"""The pattern of what differs tells the mistake."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.audit.causes import likely_cause
from quant_assets.audit.compare import compare
from quant_assets.audit.findings import TestName
from quant_assets.market.calendar import sessions
from quant_assets.schemas import Column, Dataset

CUT = date(2024, 5, 16)
DAYS = sessions(date(2024, 1, 2), CUT)
ROWS = Dataset(
    "rows",
    "For a test",
    ("ticker", "date"),
    "date",
    "date",
    {"ticker": Column(pl.String, "t"), "date": Column(pl.Date, "d"), "value": Column(pl.Float64, "v", nullable=True)},
)


COMPARED = replace(ROWS, columns={**ROWS.columns, "value": replace(ROWS.columns["value"], across="ranked")})


def cause(change: np.ndarray, test: TestName = "perturbation", *, absent: int = 0, rows: Dataset = ROWS) -> str:
    rng = np.random.default_rng(1)
    parts = [
        pl.DataFrame({"sector": "it", "ticker": name, "date": DAYS, "value": rng.uniform(1, 2, len(DAYS))}).cast(
            {"date": pl.Date}
        )
        for name in "AB"
    ]
    expected = pl.concat(parts)
    found = expected.with_columns(value=pl.col("value") * np.tile(change, 2))[absent:]
    return likely_cause(test, rows, compare(rows, expected, found).differences[0], CUT)


def ones() -> np.ndarray:
    return np.ones(len(DAYS))


def test_the_last_sessions_before_the_cut_are_a_shift() -> None:
    change = ones()
    change[-3:] = [2.0, 3.0, 4.0]
    assert "only the last 3 sessions before the cut differ" in cause(change)
    assert "reaches 3 or more sessions ahead" in cause(change)


def test_no_distance_is_said_where_none_was_measured() -> None:
    # A rank of which few rows change places, from 54 sessions before the cut on.
    rank = ones()
    rank[[-54, -31, -7]] = 2.0
    # A column that compares tickers: what differs in one reaches the others.
    shift = ones()
    shift[-3:] = 2.0
    for said in (cause(rank), cause(shift, rows=COMPARED)):
        assert "near the cut" in said
        assert "ahead" not in said


def test_one_factor_for_each_ticker_is_anchored_at_the_end() -> None:
    assert "same factor" in cause(ones() * 1.5)


def test_every_row_is_a_statistic_over_the_sample() -> None:
    assert "whole sample" in cause(np.linspace(1.1, 2.0, len(DAYS)))


def test_the_month_of_the_cut_is_a_statistic_over_the_month() -> None:
    change = ones()
    change[np.datetime64("2024-05-01") <= DAYS] = np.linspace(1.1, 2, int((np.datetime64("2024-05-01") <= DAYS).sum()))
    assert "calendar month" in cause(change)


def test_rows_that_are_there_or_not_depend_on_what_came_later() -> None:
    assert "survivors" in cause(ones(), absent=5)


@pytest.mark.parametrize(
    ("test", "says"),
    [
        ("publication", "before it was published"),
        ("order", "order of the input"),
        ("company", "another ticker"),
        ("warm_up", "lookback"),
    ],
)
def test_the_other_tests_say_what_they_are_about(test: TestName, says: str) -> None:
    assert says in cause(ones() * 1.5, test)
