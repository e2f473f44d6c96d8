"""Files of prices alone: who is a member and in which sector by rule, as it could be told at the time."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from quant_assets.errors import SourceError
from quant_assets.market import calendar
from quant_assets.market.universe import members
from quant_assets.settings.providers import FilesSettings
from quant_assets.settings.sectors import SECTORS
from quant_assets.sources import sic
from quant_assets.sources.base import MEMBERSHIP, SECTOR_SNAPSHOTS
from quant_assets.sources.files import FilesSource

START, END = date(2020, 1, 1), date(2020, 6, 30)
SESSIONS = calendar.sessions(START, END)
DAYS = SESSIONS.tolist()
PRICES = {"file": "prices.parquet", "provider": "p", "adjustment": "as_traded"}


def series(ticker: str, first: int, stop: int, volume: float = 100.0) -> pl.DataFrame:
    """Bars of a ticker from a session of the half year to before another, at 10 dollars."""
    prices = dict.fromkeys(("open", "high", "low", "close"), 10.0)
    return pl.DataFrame({"ticker": ticker, "date": DAYS[first:stop], **prices, "volume": volume})


#: OLD ends in February and another company has the symbol from May on; NEW comes in March; SWAP becomes SWOP in April.
BARS = pl.concat(
    [
        series("ALL", 0, len(DAYS)),
        series("OLD", 0, 30, 900.0),
        series("OLD", 85, len(DAYS), 900.0),
        series("NEW", 45, len(DAYS), 500.0),
        series("SWAP", 0, 62, 50.0),
        series("SWOP", 62, len(DAYS), 50.0),
    ]
)
RENAMES = [{"old": "SWAP", "new": "SWOP", "since": "2020-04-01"}]


def opened(
    folder: Path, bars: pl.DataFrame = BARS, more: Mapping[str, pl.DataFrame] = {}, **settings: Any
) -> FilesSource:
    bars.write_parquet(folder / "prices.parquet")
    for name, table in more.items():
        table.write_parquet(folder / name)
    given = {"prices": [PRICES], "renames": RENAMES, "sector": "it", **settings}
    return FilesSource(FilesSettings.model_validate(given), folder, START)


def spread(source: FilesSource, through: date) -> pl.DataFrame:
    """The sector's members on each session up to a day, as they are told on that day."""
    days = SESSIONS[np.datetime64(through) >= SESSIONS]
    return members(source.membership(through), source.sector_snapshots(through), "it", days)


def test_without_a_membership_file_whoever_has_a_price_is_a_member_until_it_is_known_to_be_gone(tmp_path: Path) -> None:
    source = opened(tmp_path)
    found = source.membership(END)
    assert found.schema == MEMBERSHIP
    before = [day for day in DAYS if day < date(2020, 4, 1)]
    assert found.rows() == [
        ("ALL", DAYS[0], None),
        ("NEW", DAYS[45], None),
        ("OLD", DAYS[0], date(2020, 3, 5)),
        ("OLD", DAYS[85], None),
        ("SWAP", DAYS[0], before[-1]),
        ("SWOP", date(2020, 4, 1), None),
    ]
    assert source.left_out() == [
        "no membership file: every ticker with a price is a member; companies that have left the price files are "
        "missing, and returns look better than they were",
        "no securities file: every ticker is in sector 'it' (files.sector)",
    ]


@pytest.mark.parametrize("rule", [{}, {"tickers": ["OLD", "SWOP"]}, {"most_liquid": 2, "liquidity_sessions": 10}])
def test_what_is_told_on_a_day_does_not_change_later(rule: dict[str, Any], tmp_path: Path) -> None:
    source = opened(tmp_path, members=rule)
    late = spread(source, END)
    assert late["ticker"].n_unique() > 1
    for through in DAYS[::7]:
        assert_frame_equal(spread(source, through), late.filter(pl.col("date") <= through))
        # Neither does it depend on bars that come later.
        early = opened(tmp_path, BARS.filter(pl.col("date") <= through), members=rule, renames=RENAMES)
        told = late.filter(pl.col("date") <= through)
        assert_frame_equal(spread(early, through), told)


def test_the_most_liquid_are_chosen_at_the_end_of_the_month_before(tmp_path: Path) -> None:
    source = opened(tmp_path, members={"most_liquid": 2, "liquidity_sessions": 10})
    by_month = (
        spread(source, END)
        .group_by(pl.col("date").dt.month(), maintain_order=True)
        .agg(pl.col("ticker").unique().sort())
    )
    assert dict(by_month.rows()) == {
        2: ["ALL", "OLD"],
        3: ["ALL", "SWAP"],  # OLD has three bars in the window, and NEW comes during the month
        4: ["ALL", "NEW"],
        5: ["ALL", "NEW"],
        6: ["NEW", "OLD"],
    }
    assert (
        "of every ticker with a price the 2 with the largest dollar volume, chosen each month, are members"
        in (source.left_out()[0])
    )


def test_adjusted_prices_rank_nobody_where_there_are_others(tmp_path: Path) -> None:
    adjusted = {"file": "adjusted.parquet", "provider": "a", "adjustment": "total_return"}
    bars = pl.concat([series("ALL", 0, 60, 100.0), series("NEW", 0, 60, 90.0)])
    more = {"adjusted.parquet": pl.concat([series("NEW", 0, 60, 9_000.0), series("ALL", 0, 60, 1.0)])}
    rule = {"most_liquid": 1, "liquidity_sessions": 10}
    source = opened(tmp_path, bars, more, members=rule, prices=[adjusted, PRICES], renames=[])
    assert set(source.membership(END)["ticker"]) == {"ALL"}
    assert "members.most_liquid: the total_return prices of adjusted.parquet are not ranked" in source.left_out()


def test_adjusted_prices_rank_nobody_where_there_are_no_others(tmp_path: Path) -> None:
    """Their closes tell later dividends, so that who was chosen would depend on them."""
    adjusted = {"file": "adjusted.parquet", "provider": "a", "adjustment": "total_return"}
    bars = pl.concat([series("ALL", 0, 60, 100.0), series("NEW", 0, 60, 90.0)])
    rule = {"most_liquid": 1, "liquidity_sessions": 10}
    longer = {"adjusted.parquet": pl.concat([series("NEW", 0, 120, 9_000.0), series("ALL", 0, 120, 1.0)])}
    goes_on = opened(tmp_path, bars, longer, members=rule, prices=[adjusted, PRICES], renames=[])
    with pytest.raises(SourceError, match=r"most_liquid has only the prices of adjusted\.parquet for 2020-04 \(tick"):
        goes_on.membership(END)
    # A month that is not over chooses nobody.
    month = {"adjusted.parquet": series("NEW", 0, 70, 9_000.0)}
    begun = opened(tmp_path, bars, month, members=rule, prices=[adjusted, PRICES], renames=[])
    assert set(begun.membership(END)["ticker"]) == {"ALL"}
    with pytest.raises(
        ValidationError, match=r"members\.most_liquid ranks by close times volume, and adjusted\.parquet"
    ):
        opened(tmp_path, members=rule, prices=[adjusted], renames=[])


def test_dollar_volumes_in_several_currencies_are_not_compared(tmp_path: Path) -> None:
    bars = BARS.with_columns(currency=pl.when(pl.col("ticker") == "NEW").then(pl.lit("JPY")))
    told = [{**PRICES, "columns": {"currency": "currency"}}]
    with pytest.raises(
        SourceError, match=r"prices are in JPY \(NEW\) and in USD \(ALL\); choose tickers of one currency"
    ):
        opened(tmp_path, bars, members={"most_liquid": 1}, prices=told).membership(END)
    alike = {"most_liquid": 1, "tickers": ["ALL", "OLD"], "liquidity_sessions": 10}
    assert set(opened(tmp_path, bars, members=alike, prices=told).membership(END)["ticker"]) == {"ALL", "OLD"}
    assert "NEW" in opened(tmp_path, bars, prices=told).membership(END)["ticker"]


@pytest.mark.parametrize("end", [date(1989, 6, 30), date(2003, 6, 30), date(2019, 10, 31), date(2019, 12, 18)])
def test_who_died_before_the_profile_starts_is_no_member(end: date, tmp_path: Path) -> None:
    """Long before, or before the calendar begins, too; of one that is silent for days only, it is known in time."""
    prices = {**dict.fromkeys(("open", "high", "low", "close"), 10.0), "volume": 100.0}
    every = pl.date_range(date(1985, 1, 1), END, eager=True)
    lives = pl.DataFrame({"ticker": "ALL", "date": every}).filter(pl.col("date").dt.weekday() < 6)
    dead = lives.filter(pl.col("date") <= end).with_columns(ticker=pl.lit("DEAD"))
    source = opened(tmp_path, pl.concat([lives, dead]).with_columns(**{k: pl.lit(v) for k, v in prices.items()}))
    found = source.membership(END).filter(pl.col("ticker") == "DEAD")
    assert found["end_date"].null_count() == 0
    assert (spread(source, END)["ticker"] == "DEAD").any() == (end == date(2019, 12, 18))
    # What is told of delistings begins with the profile all the same.
    assert len(source.delistings(["DEAD"], END)) == (end == date(2019, 12, 18))


def test_tickers_of_the_settings_without_a_price_are_said(tmp_path: Path) -> None:
    source = opened(tmp_path, members={"tickers": ["ALL", "NOSUCH"]})
    assert source.membership(END).rows() == [("ALL", DAYS[0], None)]
    assert "members.tickers: no price file has NOSUCH" in source.left_out()


def test_one_sector_holds_every_ticker_under_each_of_its_symbols(tmp_path: Path) -> None:
    found = opened(tmp_path).sector_snapshots(END)
    assert found.schema == SECTOR_SNAPSHOTS
    assert found.rows() == [
        ("ALL", "it", DAYS[0], None),
        ("NEW", "it", DAYS[45], None),
        ("OLD", "it", DAYS[0], None),
        ("SWAP", "it", DAYS[0], None),
        ("SWOP", "it", DAYS[0], date(2020, 4, 1)),
        ("SWOP", "it", date(2020, 4, 1), date(2020, 4, 1)),
    ]
    nowhere = opened(tmp_path, sector=None)
    assert nowhere.sector_snapshots(END).is_empty()
    assert "no securities file and no files.sector: no ticker is in any sector's universe" in nowhere.left_out()


def test_sectors_by_sic_code(tmp_path: Path) -> None:
    table = pl.DataFrame(
        [("ALL", 7372, START), ("OLD", 2834, START), ("NEW", 9995, START), ("SWAP", None, START)],
        {"ticker": pl.String, "code": pl.Int64, "known_at": pl.Date},
        orient="row",
    )
    file = {"file": "sectors.parquet", "columns": {"sic": "code"}}
    source = opened(tmp_path, more={"sectors.parquet": table}, securities=file, sector=None)
    assert source.sector_snapshots(END).select("ticker", "sector").rows() == [("ALL", "it"), ("OLD", "healthcare")]
    assert source.left_out()[1:] == [
        "sectors.parquet: sectors come from SIC codes, an approximation of GICS",
        "sectors.parquet: 2 of 4 rows have no sector by their SIC code (NEW, SWAP)",
        "tickers with prices but without a sector in sectors.parquet are left out of every sector: NEW, SWAP, SWOP",
    ]


def test_the_narrowest_range_of_codes_counts_and_every_sector_is_reached() -> None:
    codes = pl.DataFrame({"code": [1311, 2834, 2851, 3571, 3599, 6798, 6799, 5912, 99, 10_000]})
    assert codes.select(sic.sector_of("code")).to_series().to_list() == [
        *("energy", "healthcare", "materials", "it", "industrials", "re", "financials", "cons_staples", None, None)
    ]
    assert {sector for _, _, sector in sic.RANGES} == set(SECTORS)
    overlapping = [
        (one, other)
        for place, one in enumerate(sic.RANGES)
        for other in sic.RANGES[:place]
        if one[0] <= other[1] and other[0] <= one[1] and not (other[0] <= one[0] and one[1] <= other[1])
    ]
    assert overlapping == [], "a narrower range lies in the wider one, so that the order of the table decides nothing"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"membership": {"file": "m.csv"}, "members": {"most_liquid": 5}}, "membership and members both define"),
        (
            {"securities": {"file": "s.csv", "sectors": {"Tech": "it"}}, "sector": "it"},
            "securities and sector both define",
        ),
        ({"securities": {"file": "s.csv"}}, "needs either sectors, or a column for sic"),
        ({"sector": "tech"}, "'tech' is not a sector"),
    ],
)
def test_two_answers_to_one_question_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FilesSettings.model_validate({"prices": [PRICES], **given})


def test_without_prices_nobody_is_a_member(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    source = FilesSource(FilesSettings(sector="it"), tmp_path, START)
    assert source.membership(END).is_empty()
    assert source.sector_snapshots(END).schema == SECTOR_SNAPSHOTS
