from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import HistoryError
from quant_assets.market.calendar import sessions
from quant_assets.market.panel import Panel
from quant_assets.windows.columns import check_sessions, member_mask, member_rows

DAYS = sessions(date(2020, 3, 2), date(2020, 5, 29))


def frame(*rows: tuple[str, date]) -> pl.DataFrame:
    return pl.DataFrame(
        {"ticker": [t for t, _ in rows], "date": [d for _, d in rows], "close": [10.0 + i for i in range(len(rows))]}
    )


def test_rows_are_members_with_a_bar() -> None:
    prices = frame(("A", date(2020, 4, 1)), ("A", date(2020, 4, 2)), ("B", date(2020, 4, 1)), ("C", date(2020, 3, 31)))
    universe = frame(
        ("D", date(2020, 4, 1)),
        ("B", date(2020, 4, 2)),
        ("C", date(2020, 3, 31)),
        ("A", date(2020, 4, 2)),
        ("B", date(2020, 4, 1)),
    )
    panel = Panel.from_long(prices, DAYS, ["close"])
    rows = member_rows(panel, {"double": 2.0 * panel["close"]}, universe, date(2020, 4, 1), date(2020, 4, 30))
    assert rows.rows() == [("A", date(2020, 4, 2), 11.0, 22.0), ("B", date(2020, 4, 1), 12.0, 24.0)]
    mask = member_mask(panel, universe, date(2020, 4, 1), date(2020, 4, 30))
    assert {(panel.tickers[i], DAYS[j].item()) for i, j in zip(*np.nonzero(mask), strict=True)} == {
        ("A", date(2020, 4, 2)),
        ("B", date(2020, 4, 1)),
        ("B", date(2020, 4, 2)),
    }


def test_history_that_was_cut_off_is_an_error_and_history_that_does_not_exist_is_not() -> None:
    begins = frame(("A", date(2020, 3, 2)))
    check_sessions("indicators", begins, begins, DAYS, date(2020, 3, 1), date(2020, 5, 31), 750)
    older = frame(("A", date(2020, 2, 28)))
    with pytest.raises(HistoryError, match="indicators: 22 sessions before 2020-04 are in the panel, 30 are needed"):
        check_sessions("indicators", older, begins, DAYS, date(2020, 4, 1), date(2020, 5, 31), 30)
    check_sessions("indicators", older, begins, DAYS, date(2020, 4, 1), date(2020, 5, 31), 22)


def test_sessions_must_reach_the_last_row() -> None:
    universe = frame(("A", date(2020, 6, 1)))
    with pytest.raises(HistoryError, match="rows on 2020-06-01, the sessions end on 2020-05-29"):
        check_sessions("features", frame(), universe, DAYS, date(2020, 5, 1), date(2020, 6, 30), 0)
