from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from quant_assets.market import calendar
from quant_assets.market.placement import entries, panel_tickers, place, sector_on, session_from, spells

Make = Callable[..., pl.DataFrame]
DAYS = calendar.sessions(date(2016, 12, 1), date(2017, 6, 30))


def test_session_from_takes_the_next_session_and_nothing_after_the_last() -> None:
    frame = pl.DataFrame({"day": [date(2016, 12, 31), date(2017, 6, 30), date(2017, 7, 1), None, date(1999, 1, 1)]})
    result = frame.select(session_from("day", DAYS)).to_series().to_list()
    assert result == [date(2017, 1, 3), date(2017, 6, 30), None, None, date(2016, 12, 1)]
    assert frame.select(session_from("day", DAYS[:0])).to_series().to_list() == [None] * 5


def test_a_snapshot_counts_from_its_session_and_the_first_one_before_it_too(make_snapshots: Make) -> None:
    snapshots = make_snapshots(
        ("A", "it", date(2016, 12, 31)),  # a Saturday, and the ticker's first
        ("A", "telecoms", date(2017, 2, 4)),  # a Saturday: counts from Monday the 6th
        ("A", "it", date(2017, 5, 1)),
        ("B", "telecoms", date(2030, 1, 1)),
        ("C", "it", date(2017, 1, 3)),
        ("C", "re", date(2017, 7, 4)),  # not yet known
    )
    assert spells(snapshots, DAYS).rows() == [
        ("A", "it", date(2016, 12, 1), date(2016, 12, 31)),
        ("A", "telecoms", date(2017, 2, 6), date(2016, 12, 31)),
        ("A", "it", date(2017, 5, 1), date(2016, 12, 31)),
        ("B", "telecoms", date(2016, 12, 1), date(2030, 1, 1)),
        ("C", "it", date(2016, 12, 1), date(2017, 1, 3)),
    ]
    assert entries(snapshots, "telecoms", DAYS).rows() == [("A", date(2017, 2, 6)), ("B", date(2016, 12, 1))]
    assert entries(snapshots, "it", DAYS).rows() == [("A", date(2016, 12, 1)), ("C", date(2016, 12, 1))]
    assert panel_tickers(snapshots, "telecoms", date(2017, 2, 3)) == ["B"]
    assert panel_tickers(snapshots, "telecoms", date(2017, 2, 4)) == ["A", "B"]

    days = pl.DataFrame(
        {
            "ticker": ["A"] * 5 + ["D"],
            "date": [
                date(2016, 12, 1),
                date(2017, 2, 3),
                date(2017, 2, 6),
                date(2017, 4, 28),
                date(2017, 5, 1),
                date(2017, 5, 1),
            ],
        }
    )
    assert sector_on(days, snapshots, DAYS)["sector"].to_list() == ["it", "it", "telecoms", "telecoms", "it", None]
    placed = place(days, snapshots, "telecoms", DAYS, "date")
    assert placed["panel_from"].to_list() == [date(2017, 2, 6)] * 3 + [date(2017, 4, 28), date(2017, 5, 1)]


def test_of_two_snapshots_of_one_session_the_later_counts(make_snapshots: Make) -> None:
    snapshots = make_snapshots(
        ("A", "it", date(2016, 1, 1)), ("A", "re", date(2017, 1, 1)), ("A", "energy", date(2017, 1, 2))
    )
    assert spells(snapshots, DAYS).select("sector", "first").rows() == [
        ("it", date(2016, 12, 1)),
        ("energy", date(2017, 1, 3)),
    ]
    # Computed from a later start, what came before is the state at the start.
    assert spells(snapshots, DAYS[60:]).select("sector", "first").rows() == [("energy", DAYS[60].item())]


@pytest.mark.parametrize("start", [0, 21, 60])
def test_which_tickers_are_in_a_panel_does_not_depend_on_where_the_history_starts(
    make_snapshots: Make, start: int
) -> None:
    """A ticker that left before the history starts stays in the panel, as one that leaves later does."""
    snapshots = make_snapshots(
        ("A", "it", date(2016, 1, 1)), ("A", "re", date(2017, 1, 1)), ("A", "energy", date(2017, 1, 2))
    )
    assert entries(snapshots, "it", DAYS[start:]).rows() == [("A", DAYS[start].item())]
    assert entries(snapshots, "energy", DAYS[start:]).rows() == [("A", max(date(2017, 1, 3), DAYS[start].item()))]
    assert entries(snapshots, "re", DAYS[start:]).is_empty(), "no session had it"
