from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import DatasetError
from quant_assets.market import calendar
from quant_assets.market.panel import Panel

DAYS = calendar.sessions(date(2024, 1, 2), date(2024, 1, 5))


def _frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ticker": ["B", "A", "A", "B", "A"],
            "date": [date(2024, 1, 3), date(2024, 1, 2), date(2024, 1, 4), date(2024, 1, 5), date(2023, 12, 29)],
            "close": [20.0, 1.0, 3.0, None, 99.0],
        }
    )


def test_spread_is_dense_with_nan_where_no_bar_is() -> None:
    panel = Panel.from_long(_frame(), DAYS, ["close"])
    assert panel.tickers == ("A", "B")
    assert panel.shape == (2, 4)
    np.testing.assert_array_equal(panel["close"], [[1.0, np.nan, 3.0, np.nan], [np.nan, 20.0, np.nan, np.nan]])
    assert panel["close"].flags["C_CONTIGUOUS"]


def test_a_frame_without_rows_gives_an_empty_panel() -> None:
    panel = Panel.from_long(_frame().clear(), DAYS, ["close"])
    assert panel.shape == (0, 4)
    assert panel["close"].shape == (0, 4)


def test_a_day_that_is_no_session_is_refused() -> None:
    frame = pl.DataFrame({"ticker": ["A", "A"], "date": [date(2024, 1, 2), date(2024, 1, 6)], "close": [1.0, 2.0]})
    with pytest.raises(DatasetError, match="ticker A: 2024-01-06 is not an XNYS session"):
        Panel.from_long(frame, calendar.sessions(date(2024, 1, 2), date(2024, 1, 8)), ["close"])


def test_a_repeated_row_is_refused() -> None:
    frame = pl.concat([_frame(), _frame()[:1]])
    with pytest.raises(DatasetError, match="ticker B has two rows on 2024-01-03"):
        Panel.from_long(frame, DAYS, ["close"])


def test_a_symbol_of_two_companies_has_a_row_for_each() -> None:
    days = [day.item() for day in DAYS]
    frame = pl.DataFrame(
        {
            "ticker": ["A", "B", "B", "B"],
            "date": [days[0], days[0], days[1], days[3]],
            "listed": [days[0], days[0], days[0], days[3]],
            "close": [1.0, 10.0, 11.0, 50.0],
        }
    )
    panel = Panel.from_long(frame, DAYS, ["close"])
    assert panel.companies() == [("A", days[0]), ("B", days[0]), ("B", days[3])]
    nan = np.nan
    np.testing.assert_array_equal(panel["close"], [[1.0, nan, nan, nan], [10.0, 11.0, nan, nan], [nan, nan, nan, 50.0]])
    pairs = pl.DataFrame({"ticker": ["B", "B", "A", "C", "B"], "date": [days[3], days[2], days[2], days[0], days[0]]})
    assert panel.rows(pairs).tolist() == [2, 1, 0, -1, 1]
    late = Panel.from_long(frame.filter(pl.col("ticker") == "B"), DAYS, ["close"])
    assert late.rows(pl.DataFrame({"ticker": ["B"], "date": [date(2000, 1, 3)]})).tolist() == [
        0
    ]  # before the first: the first
    one = Panel.from_long(frame.filter(pl.col("date") < days[3]), DAYS, ["close"])
    assert one.rows(pairs).tolist() == [1, 1, 0, -1, 1]
    with pytest.raises(DatasetError, match="ticker B has two rows"):
        Panel.from_long(pl.concat([frame, frame[-1:]]), DAYS, ["close"])
