from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from quant_assets.market import calendar
from quant_assets.market.universe import coverage, coverage_sessions, listed, members, unclassified
from quant_assets.schemas import DATASETS
from quant_assets.settings.providers import FilesSettings
from quant_assets.settings.sectors import SECTORS
from quant_assets.sources.base import DELISTINGS, HELD, MEMBERSHIP
from quant_assets.sources.files import FilesSource

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
        ("A", "it", date(2017, 1, 5)),
        ("A", "re", date(2017, 3, 31)),
        ("B", "it", date(2016, 1, 1)),
        ("C", "it", date(2016, 1, 1)),
    )
    result = members(_membership(), snapshots, "it", DAYS)
    assert result.rows() == [
        ("A", date(2017, 1, 3), True),
        ("A", date(2017, 1, 4), True),
        ("A", date(2017, 1, 5), False),
        ("A", date(2017, 1, 6), False),
        ("A", date(2017, 3, 30), False),
        ("B", date(2017, 2, 1), False),
        ("B", date(2017, 2, 2), False),
    ]
    assert result.schema == DATASETS["universe"].schema
    assert members(_membership(), snapshots, "re", DAYS).rows() == [("A", date(2017, 3, 31), False)]
    assert members(_membership(), snapshots, "energy", DAYS).is_empty()
    assert members(_membership(), snapshots, "it", DAYS[:0]).is_empty()


def test_a_range_holds_what_its_months_hold(make_snapshots: Make) -> None:
    snapshots = make_snapshots(
        ("A", "it", date(2017, 1, 5)),
        ("A", "re", date(2017, 2, 28)),
        ("B", "re", date(2016, 1, 1)),
        ("X", "re", date(2017, 2, 1)),
    )
    for sector in ("it", "re"):
        months = [
            members(
                _membership(),
                snapshots,
                sector,
                calendar.sessions(date(2017, m, 1), date(2017, m, 28 if m == 2 else 31)),
            )
            for m in (1, 2, 3)
        ]
        assert_frame_equal(
            pl.concat(months).sort("ticker", "date"), members(_membership(), snapshots, sector, DAYS), check_exact=True
        )


def test_members_without_a_sector_are_listed(make_snapshots: Make) -> None:
    snapshots = make_snapshots(("A", "it", date(2017, 1, 5)), ("B", "it", date(2017, 1, 5)))
    assert unclassified(_membership(), snapshots, DAYS).rows() == [("X", date(2017, 1, 30), date(2017, 3, 31))]


def test_membership_ends_when_a_delisting_was_first_known_whatever_the_order_of_its_rows() -> None:
    days = [date(2020, 1, 2), date(2020, 1, 3), date(2020, 6, 1)]
    known = [("T", days[1], date(2020, 2, 3), None, None), ("T", days[1], days[2], "trades_again", None)]
    held = pl.DataFrame({"ticker": "T", "date": days})
    begins = pl.DataFrame(schema={"ticker": pl.String, "since": pl.Date})
    for rows in (known, known[::-1]):
        result = listed(held, pl.DataFrame(rows, DELISTINGS, orient="row"), begins)
        assert result.rows() == [("T", days[0], date(2020, 2, 2)), ("T", days[2], None)]


def test_real_moves_between_sectors(real) -> None:  # type: ignore[no-untyped-def]
    days = calendar.sessions(date(2021, 4, 19), date(2021, 4, 22))
    membership = real.source.membership(date(2021, 4, 22))
    snapshots = real.source.sector_snapshots(date(2021, 4, 22))
    of = {sector: members(membership, snapshots, sector, days) for sector in SECTORS}
    for ticker in ("GOOGL", "GOOG", "FB", "NFLX", "DIS"):
        before = "cons_discretionary" if ticker == "DIS" else "it"
        for sector, until in ((before, date(2021, 4, 20)), ("telecoms", None)):
            held = of[sector].filter(pl.col("ticker") == ticker)["date"].to_list()
            assert held == [day for day in days.tolist() if (day <= date(2021, 4, 20)) == (until is not None)], (
                ticker,
                sector,
            )
    counts = pl.concat(of.values()).group_by("date").len()["len"].to_list()
    lacking = unclassified(membership, snapshots, days)
    assert set(counts) == {505 - len(lacking)}
    assert lacking["ticker"].to_list() == []


def test_coverage_of_the_index_and_of_a_sector(make_snapshots: Make) -> None:
    days = calendar.sessions(date(2016, 1, 1), date(2017, 3, 31))
    early, *as_ofs = [date(2016, 3, 31), date(2016, 12, 30), date(2017, 2, 28)]
    membership = pl.concat(
        [_membership(), pl.DataFrame([("D", date(2016, 1, 1), None)], schema=MEMBERSHIP, orient="row")]
    )
    snapshots = make_snapshots(
        ("A", "it", date(2016, 3, 1)), ("C", "re", date(2016, 3, 1)), ("C", "it", date(2016, 12, 1))
    )
    june = date(2016, 6, 1)
    assert coverage_sessions(days, as_ofs) == [june, *as_ofs]
    bars = [("A", june, "one"), ("A", june, "two"), ("C", june, "one"), ("D", as_ofs[1], "late"), ("B", june, "one")]
    held = pl.DataFrame(bars, schema=HELD, orient="row")
    result = coverage(membership, snapshots, held, ["it"], days, [early, *as_ofs]).drop("sector")
    assert result.schema == DATASETS["universe_coverage"].schema
    first = [row[1:] for row in result.filter(pl.col("as_of") == as_ofs[0]).rows()]
    assert first == [
        ("index", june, "any", 3, 2, 2),  # A, C and D; B is no member then
        ("index", june, "one", 3, 2, 2),
        ("index", june, "two", 3, 2, 1),
        ("index", as_ofs[0], "any", 3, 2, 0),
        ("index", as_ofs[0], "one", 3, 2, 0),
        ("index", as_ofs[0], "two", 3, 2, 0),
        ("sector", june, "any", 1, 1, 1),
        ("sector", june, "one", 1, 1, 1),
        ("sector", june, "two", 1, 1, 1),
        ("sector", as_ofs[0], "any", 2, 2, 0),  # C has come
        ("sector", as_ofs[0], "one", 2, 2, 0),
        ("sector", as_ofs[0], "two", 2, 2, 0),
    ]
    # The year's row stays as it was; a decision is computed alone as in a range.
    second = result.filter(pl.col("as_of") == as_ofs[1])
    again = second.filter((pl.col("date") == june) & (pl.col("provider") != "late"))
    assert [row[1:] for row in again.rows()] == [row for row in first if row[1] == june]
    newest = second.filter(pl.col("date") == as_ofs[1], pl.col("scope") == "index", pl.col("with_bar") > 0)
    assert [row[3:] for row in newest.rows()] == [
        ("any", 1, 0, 1),
        ("late", 1, 0, 1),
    ]  # A and C have left; D has no sector
    assert set(result.filter(pl.col("as_of") == early)["date"]) == {early}
    for as_of in (early, *as_ofs):
        until = pl.col("date") <= as_of
        alone = coverage(
            membership, snapshots, held.filter(until), ["re", "it"], days[days <= np.datetime64(as_of)], [as_of]
        )
        alone = alone.filter(pl.col("sector") == "it").drop("sector")
        assert_frame_equal(alone, result.filter(pl.col("as_of") == as_of))


#: The table of the data's README: first session of June, members, and those in the adjusted, the raw, the former
#: members' file and any.
COVERAGE = {
    2000: (493, 189, 0, 57, 246),
    2005: (496, 219, 239, 85, 328),
    2010: (499, 279, 309, 99, 414),
    2015: (500, 320, 362, 125, 492),
    2016: (505, 341, 391, 100, 496),
    2017: (506, 358, 412, 79, 495),
    2018: (506, 370, 431, 0, 435),
    2020: (505, 412, 487, 0, 488),
    2022: (504, 438, 0, 0, 438),
    2025: (503, 495, 0, 0, 495),
}


def _coverage(real, settings: FilesSettings) -> dict[int, dict[str, tuple[int, ...]]]:  # type: ignore[no-untyped-def]
    through = real.sessions[-1].item()
    source = FilesSource(settings, real.settings.data_dir, date(2000, 1, 1))
    membership = source.membership(through)
    held = source.held(membership["ticker"].unique().to_list(), coverage_sessions(real.sessions, [through]))
    result = coverage(membership, source.sector_snapshots(through), held, ["healthcare"], real.sessions, [through])
    years: dict[int, dict[str, tuple[int, ...]]] = {}
    for _, _, scope, day, provider, *counts in result.filter(pl.col("date") < through).rows():
        years.setdefault(day.year, {})[provider if scope == "index" else f"sector {provider}"] = tuple(counts)
    return years


def test_real_index_coverage_by_symbol_alone(real) -> None:  # type: ignore[no-untyped-def]
    plain = tuple(file.model_copy(update={"not_the_member": {}}) for file in real.settings.files.prices)
    years = _coverage(real, real.settings.files.model_copy(update={"prices": plain, "renames": ()}))
    files = [["yahoo_adjusted"], ["alpha_vantage"], ["stooq_2017", "yahoo_2015_2017"]]
    result = {}
    for year in COVERAGE:
        members, _, covered = years[year]["any"]
        result[year] = (members, *(sum(years[year][name][2] for name in names) for names in files), covered)
    assert result == COVERAGE


def test_real_index_coverage_with_renames_and_without_strangers(real) -> None:  # type: ignore[no-untyped-def]
    years = _coverage(real, real.settings.files)
    assert {year: years[year]["any"][2] for year in COVERAGE} == {
        2000: 248,
        2005: 328,
        2010: 416,
        2015: 494,
        2016: 498,
        2017: 496,
        2018: 447,
        2020: 490,
        2022: 449,
        2025: 496,
    }
    # Half of the members of 2000 have no sector in any snapshot: they are in no sector's universe, but they are
    # counted.
    assert {year: years[year]["any"][:2] for year in (2000, 2010, 2020)} == {
        2000: (493, 250),
        2010: (499, 390),
        2020: (505, 505),
    }
    assert years[2020]["sector any"][0] == 59
