from datetime import date
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from quant_assets.market import calendar
from quant_assets.market.macro import as_known
from quant_assets.schemas import DATASETS
from quant_assets.sources.base import MACRO

DAYS = calendar.sessions(date(2020, 1, 1), date(2020, 6, 30))


def _macro(*rows: tuple[Any, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=MACRO, orient="row")


def test_known_at_the_release_or_after_the_lag() -> None:
    macro = _macro(
        ("GDP", date(2020, 1, 1), date(2020, 4, 29), None, 1.0),
        ("GDP", date(2020, 1, 1), date(2020, 5, 28), None, 1.1),  # a revision
        ("CPI", date(2020, 3, 1), None, 50, 2.0),  # April 20
        ("CPI", date(2020, 4, 1), None, 50, None),
        ("CPI", date(2020, 2, 1), None, 44, 2.1),  # March 16
        ("CPI", date(2020, 5, 1), None, 61, 2.2),  # July 1
        ("FED", date(2020, 4, 10), date(2020, 4, 10), None, 3.0),  # Good Friday
    )
    result = as_known(macro, DAYS)
    assert result.schema == DATASETS["macro"].schema
    assert result.rows() == [
        ("CPI", date(2020, 2, 1), date(2020, 3, 16), 2.1),
        ("CPI", date(2020, 3, 1), date(2020, 4, 20), 2.0),
        ("FED", date(2020, 4, 10), date(2020, 4, 13), 3.0),
        ("GDP", date(2020, 1, 1), date(2020, 4, 29), 1.0),
        ("GDP", date(2020, 1, 1), date(2020, 5, 28), 1.1),
    ]


def test_of_the_time_before_only_the_newest_is_kept() -> None:
    macro = _macro(
        *(("RATE", date(2019, 12, day), None, 1, float(day)) for day in (27, 30, 31)),
        ("OLD", date(1990, 1, 1), None, 1, 7.0),
    )
    assert as_known(macro, DAYS).rows() == [
        ("OLD", date(1990, 1, 1), date(2020, 1, 2), 7.0),
        ("RATE", date(2019, 12, 31), date(2020, 1, 2), 31.0),
    ]
    assert as_known(macro, DAYS[:0]).is_empty()


def test_nothing_known_later_changes_the_real_series(real) -> None:  # type: ignore[no-untyped-def]
    def known(through: date) -> pl.DataFrame:
        return as_known(real.source.macro(through), calendar.sessions(date(2000, 1, 1), through))

    full = known(date(2025, 10, 7))
    for cut in (date(2005, 2, 28), date(2017, 1, 1)):
        assert_frame_equal(known(cut), full.filter(pl.col("known_at") <= cut), check_exact=True)
    assert not full.select(DATASETS["macro"].key).is_duplicated().any()
    cpi = full.filter((pl.col("series_id") == "CPIAUCSL") & (pl.col("period") == date(2016, 5, 1)))
    assert cpi["known_at"].to_list() == [date(2016, 6, 20)]
    gdp = full.filter((pl.col("series_id") == "GDP") & (pl.col("period") == date(2016, 1, 1)))
    assert gdp["known_at"].to_list() == [date(2016, 5, 2)]
