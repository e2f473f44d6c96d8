from collections.abc import Callable
from datetime import date

import polars as pl
from polars.testing import assert_frame_equal

from quant_assets.market import calendar
from quant_assets.market.universe import members, unclassified
from quant_assets.schemas import DATASETS
from quant_assets.settings import SECTORS
from quant_assets.sources.base import MEMBERSHIP

Make = Callable[..., pl.DataFrame]
DAYS = calendar.sessions(date(2017, 1, 1), date(2017, 3, 31))


def _membership() -> pl.DataFrame:
    rows = [
        ("A", date(2016, 1, 1), date(2017, 1, 7)),  # ends on a Saturday
        ("A", date(2017, 3, 30), None),
        ("B", date(2017, 2, 1), date(2017, 2, 2)),
        ("C", date(2010, 1, 1), date(2016, 12, 30)),
        ("X", date(2017, 1, 28), date(2017, 2, 5)),
        ("X", date(2017, 3, 31), None),
    ]
    return pl.DataFrame(rows, schema=MEMBERSHIP, orient="row")


def test_members_of_each_session_with_the_sector_of_the_time(make_snapshots: Make) -> None:
    snapshots = make_snapshots(
        ("A", "it", date(2017, 1, 5)), ("A", "re", date(2017, 3, 31)), ("B", "it", date(2016, 1, 1)), ("C", "it", date(2016, 1, 1))
    )
    found = members(_membership(), snapshots, "it", DAYS)
    assert found.rows() == [
        ("A", date(2017, 1, 3), True),
        ("A", date(2017, 1, 4), True),
        ("A", date(2017, 1, 5), False),
        ("A", date(2017, 1, 6), False),
        ("A", date(2017, 3, 30), False),
        ("B", date(2017, 2, 1), False),
        ("B", date(2017, 2, 2), False),
    ]
    assert found.schema == DATASETS["universe"].schema
    assert members(_membership(), snapshots, "re", DAYS).rows() == [("A", date(2017, 3, 31), False)]
    assert members(_membership(), snapshots, "energy", DAYS).is_empty()
    assert members(_membership(), snapshots, "it", DAYS[:0]).is_empty()


def test_a_range_holds_what_its_months_hold(make_snapshots: Make) -> None:
    snapshots = make_snapshots(
        ("A", "it", date(2017, 1, 5)), ("A", "re", date(2017, 2, 28)), ("B", "re", date(2016, 1, 1)), ("X", "re", date(2017, 2, 1))
    )
    for sector in ("it", "re"):
        months = [
            members(_membership(), snapshots, sector, calendar.sessions(date(2017, m, 1), date(2017, m, 28 if m == 2 else 31)))
            for m in (1, 2, 3)
        ]
        assert_frame_equal(pl.concat(months).sort("ticker", "date"), members(_membership(), snapshots, sector, DAYS), check_exact=True)


def test_members_without_a_sector_are_listed(make_snapshots: Make) -> None:
    snapshots = make_snapshots(("A", "it", date(2017, 1, 5)), ("B", "it", date(2017, 1, 5)))
    assert unclassified(_membership(), snapshots, DAYS).rows() == [("X", date(2017, 1, 30), date(2017, 3, 31))]


def test_real_moves_between_sectors(real) -> None:  # type: ignore[no-untyped-def]
    days = calendar.sessions(date(2021, 4, 19), date(2021, 4, 22))
    membership = real.source.membership(date(2021, 4, 22))
    snapshots = real.source.sector_snapshots(date(2021, 4, 22))
    of = {sector: members(membership, snapshots, sector, days) for sector in SECTORS}
    for ticker in ("GOOGL", "GOOG", "FB", "NFLX", "DIS"):
        before = "cons_discretionary" if ticker == "DIS" else "it"
        for sector, until in ((before, date(2021, 4, 20)), ("telecoms", None)):
            held = of[sector].filter(pl.col("ticker") == ticker)["date"].to_list()
            assert held == [day for day in days.tolist() if (day <= date(2021, 4, 20)) == (until is not None)], (ticker, sector)
    counts = pl.concat(of.values()).group_by("date").len()["len"].to_list()
    lacking = unclassified(membership, snapshots, days)
    assert set(counts) == {505 - len(lacking)}
    assert lacking["ticker"].to_list() == []


def test_real_index_coverage(real) -> None:  # type: ignore[no-untyped-def]
    for day, expected, with_bar in ((date(2005, 6, 1), 496, 328), (date(2016, 6, 1), 505, 496), (date(2022, 6, 1), 504, 438)):
        interval = pl.lit(day).is_between("start_date", pl.col("end_date").fill_null(day))
        tickers = real.source.membership(day).filter(interval)["ticker"].to_list()
        assert len(tickers) == len(set(tickers)) == expected
        assert real.source.bars(tickers, day, day)["ticker"].n_unique() == with_bar
