"""What a price file holds as a whole."""

from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.settings.providers import PriceFile
from quant_assets.sources.files_spans import tickers_by_day

FILE = PriceFile(file="prices.csv", provider="own", adjustment="as_traded")
DAYS = [date(2020, 1, day) for day in (2, 3, 6)]


@pytest.mark.parametrize(
    ("tickers", "days"),
    [
        pytest.param("AABB", (0, 1, 0, 1), id="in order"),
        pytest.param("AAAB", (0, 0, 1, 1), id="a bar repeated beside itself"),
        pytest.param("AAAB", (0, 1, 0, 1), id="a bar repeated later"),
        pytest.param("ABA", (0, 0, 0), id="a bar repeated behind another ticker's"),
        pytest.param("ABABAB", (0, 0, 1, 1, 2, 2), id="by day"),
        pytest.param("BA", (2, 0), id="backwards"),
        pytest.param("", (), id="none"),
    ],
)
def test_a_day_counts_each_ticker_once_whatever_the_order_of_the_rows(tickers: str, days: tuple[int, ...]) -> None:
    rows = pl.DataFrame(
        {"ticker": list(tickers), "date": [DAYS[day] for day in days]}, schema={"ticker": pl.String, "date": pl.Date}
    )
    found = tickers_by_day(FILE, rows.lazy()).sort("date")
    assert_frame_equal(found, rows.group_by("date").agg(tickers=pl.col("ticker").n_unique()).sort("date"))
