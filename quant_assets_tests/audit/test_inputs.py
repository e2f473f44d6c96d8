"""Altered sources: what was known by the cut is as it was, what came later is not, and all of it could be a market."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.audit.alterations import Shuffled, StartsLater, Truncated, Without
from quant_assets.audit.inputs import AlteredSource, altered_source, exempt, statements_known
from quant_assets.audit.perturbation import Perturbed
from quant_assets.market.placement import panel_tickers
from quant_assets.profile import Profile
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.settings.loading import load_settings
from quant_assets.settings.providers import FilesSettings
from quant_assets.settings.sectors import SECTORS
from quant_assets.sources.altered import Alteration
from quant_assets.sources.base import BARS, SECTOR_SNAPSHOTS, Source
from quant_assets.sources.files import FilesSource
from quant_assets.sources.files_altered import AlterableFiles

START, CUT, END = date(2023, 1, 1), date(2024, 5, 16), date(2024, 12, 31)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile(load_settings("demo", as_of=END, partitions={"start": "2023-01"}))


@pytest.fixture(scope="module")
def tickers(profile: Profile) -> list[str]:
    return panel_tickers(profile.source.sector_snapshots(END), "cons_staples", END)


def answers(source: Source, tickers: list[str], through: date = END) -> dict[str, pl.DataFrame]:
    return {
        "snapshots": source.sector_snapshots(through),
        "membership": source.membership(through),
        "bars": source.bars(tickers, START, through),
        "delistings": source.delistings(tickers, through),
        "statements": source.statements(tickers, through),
        "macro": source.macro(through),
        "crypto": source.crypto(through),
        "indices": source.indices(through),
    }


@pytest.mark.parametrize("alteration", [Truncated(CUT), Perturbed(CUT), Perturbed(CUT, published_later=True)])
def test_what_was_known_by_the_cut_stays(profile: Profile, tickers: list[str], alteration: Alteration) -> None:
    altered = answers(altered_source(profile, alteration, profile.settings), tickers, CUT)
    for name, rows in answers(profile.source, tickers, CUT).items():
        if name == "statements":  # published on the cut, usable from the day after
            rows, altered[name] = (each.filter(pl.col("published") < CUT) for each in (rows, altered[name]))
        assert_frame_equal(altered[name], rows, check_exact=True)
        assert len(rows)


def test_a_truncated_source_knows_nothing_later_whatever_it_is_asked(profile: Profile, tickers: list[str]) -> None:
    found = answers(altered_source(profile, Truncated(CUT), profile.settings), tickers)
    assert found["bars"]["date"].max() == CUT
    assert found["membership"].select(pl.max_horizontal("start_date", "end_date").max()).item() <= CUT
    assert found["delistings"]["known_at"].max() <= CUT
    assert (
        found["macro"].select(pl.coalesce("released", pl.col("period") + pl.duration(days="lag_days")).max()).item()
        <= CUT
    )
    later = found["snapshots"].filter(pl.col("known_at") > CUT)
    assert later["ticker"].is_unique().all()  # only a ticker's first one, which is assumed before it


def test_a_perturbed_future_is_another_market_that_could_be(profile: Profile, tickers: list[str]) -> None:
    source = altered_source(profile, Perturbed(CUT), profile.settings)
    found, real = answers(source, tickers), answers(profile.source, tickers)
    bars, given = (each["bars"].filter(pl.col("date") > CUT) for each in (found, real))
    assert bars.schema == BARS
    assert 0.7 * len(given) < len(bars) < len(given)
    both = bars.join(given.unique(["ticker", "date"]), on=["ticker", "date"]).filter(pl.col("close_right") > 0)
    assert (both["close"] != both["close_right"]).mean() > 0.99
    sound = given.filter(
        pl.col("high") >= pl.max_horizontal("open", "close"), pl.col("low") <= pl.min_horizontal("open", "close")
    )
    sound = bars.join(
        sound.filter(pl.col("low") > 0).select("ticker", "date").unique(), on=["ticker", "date"], how="semi"
    )
    valid = (
        (pl.col("high") >= pl.max_horizontal("open", "close"))
        & (pl.col("low") <= pl.min_horizontal("open", "close"))
        & (pl.col("low") > 0)
        & (pl.col("volume") >= 0)
    )
    assert sound.select(valid.all()).item()
    assert (bars["split_ratio"] == 2.0).any()
    moved = found["snapshots"].filter(pl.col("known_at") > CUT)
    assert moved.schema == SECTOR_SNAPSHOTS
    assert set(moved["sector"]) <= set(SECTORS)
    assert len(moved) > len(real["snapshots"].filter(pl.col("known_at") > CUT)) + 20
    assert (
        found["membership"].filter(pl.col("end_date") > CUT).height
        > real["membership"].filter(pl.col("end_date") > CUT).height
    )
    for name in ("statements", "macro"):
        assert not found[name].equals(real[name])


def test_a_ticker_that_stops_trading_is_delisted_after_its_last_bar(profile: Profile, tickers: list[str]) -> None:
    source = altered_source(profile, Perturbed(CUT), profile.settings)
    delistings = source.delistings(tickers, END).filter(pl.col("known_at") > CUT)
    new = delistings.join(profile.source.delistings(tickers, END), on=["ticker", "last_session"], how="anti")
    assert len(new) >= 2
    last = source.bars(tickers, START, END).group_by("ticker").agg(last=pl.col("date").max())
    assert new.join(last, on="ticker").select((pl.col("last") == pl.col("last_session")).all()).item()
    assert (new["known_at"] > new["last_session"]).all()
    days = source.bars(tickers, START, END)["date"].unique().to_list()
    held = source.held(tickers, days)
    assert_frame_equal(
        held.select("ticker", "date"),
        source.bars(tickers, START, END).select("ticker", "date").unique().sort("ticker", "date"),
    )


@pytest.mark.parametrize("cut", [date(2018, 12, 17), date(2021, 3, 1), date(2024, 12, 16)])
def test_nobody_is_known_to_have_stopped_by_the_cut(cut: date) -> None:
    early = Profile(load_settings("demo", as_of=END))
    source, every = (
        altered_source(early, Perturbed(cut), early.settings),
        early.source.sector_snapshots(END)["ticker"].unique().to_list(),
    )
    assert_frame_equal(source.delistings(every, cut), early.source.delistings(every, cut))
    assert len(source.delistings(every, END)) > len(early.source.delistings(every, END))


def test_part_of_an_input_is_altered_as_the_whole_is(profile: Profile, tickers: list[str]) -> None:
    source = altered_source(profile, Perturbed(CUT), profile.settings)
    some = tickers[3:6]
    assert_frame_equal(
        source.bars(some, START, END), source.bars(tickers, START, END).filter(pl.col("ticker").is_in(some))
    )
    assert_frame_equal(
        source.statements(some, END), source.statements(tickers, END).filter(pl.col("ticker").is_in(some))
    )


def test_only_what_waited_for_its_publication_changes(profile: Profile, tickers: list[str]) -> None:
    cut = date(2024, 4, 15)
    source = altered_source(profile, Perturbed(cut, published_later=True), profile.settings)
    given, found = profile.source.statements(tickers, END), source.statements(tickers, END)
    changed = given.filter(given["revenue"].ne_missing(found["revenue"]))
    assert len(changed) > 5
    assert changed.select(((pl.col("period_end") <= cut) & (pl.col("published") >= cut)).all()).item()
    assert_frame_equal(source.bars(tickers, START, END), profile.source.bars(tickers, START, END))
    known = statements_known(profile, tickers).filter(pl.col("period_end") <= cut, pl.col("known_at") > cut)
    assert len(known) >= len(changed)


def test_shuffled_rows_are_the_same_rows(profile: Profile, tickers: list[str]) -> None:
    shuffled, given = (
        answers(altered_source(profile, Shuffled(), profile.settings), tickers),
        answers(profile.source, tickers),
    )
    for name, rows in given.items():
        assert_frame_equal(shuffled[name], rows, check_row_order=False)
    assert_frame_equal(shuffled["bars"], given["bars"])  # the provider promises their order
    assert not shuffled["macro"].equals(given["macro"])


def test_a_ticker_is_left_out_everywhere_and_history_can_start_later(profile: Profile, tickers: list[str]) -> None:
    for name, rows in answers(altered_source(profile, Without(tickers[4]), profile.settings), tickers).items():
        assert name in ("macro", "crypto", "indices") or tickers[4] not in rows["ticker"]
    later = AlteredSource(profile.source, StartsLater(CUT), FundamentalSettings(), END)
    assert later.bars(tickers, START, END)["date"].min() == CUT


# --- The rows of files ------------------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {
    "prices": [
        {"file": "bars.csv", "provider": "bars", "adjustment": "as_traded", "columns": {"split_ratio": "split_ratio"}}
    ],
    "membership": {"file": "members.csv"},
    "securities": {"file": "sectors.csv", "sectors": {"Tech": "it", "Phones": "telecoms"}},
    "fundamentals": [
        {
            "file": "statements.csv",
            "provider": "vintages",
            "frequency": "quarterly",
            "shares_as_of": "snapshot",
            "columns": {"snapshot": "snapshot", "revenue": "revenue", "net_income": "net_income", "shares": "shares"},
        }
    ],
    "macro": [{"file": "macro.csv", "series": {"CPI": {"frequency": "monthly", "lag_days": 14}}}],
}
TABLES = {
    "bars": ["ticker,date,open,high,low,close,volume,split_ratio"]
    + [f"{ticker},2024-05-{day},10,11,9,10,100,1" for ticker in "ABC" for day in range(13, 18)],
    "members": ["ticker,start_date,end_date", "A,2020-01-01,", "B,2020-01-01,2024-05-20", "C,2024-05-20,"],
    "sectors": [
        "ticker,sector,known_at",
        "A,Tech,2020-01-01",
        "A,Phones,2024-06-01",
        "B,Phones,2024-06-01",
        "C,Tech,2020-01-01",
    ],
    "statements": [
        "ticker,period_end,published,snapshot,revenue,net_income,shares",
        "A,2023-12-31,2024-02-01,2024-09-01,100,10,50",
        "A,2023-12-31,2024-02-01,2024-12-01,110,10,100",
        "A,2024-03-31,2024-05-20,2024-09-01,120,10,50",
        "A,2023-09-30,2024-06-01,2024-09-01,90,10,50",  # the provider corrected the day: the first one counts
        "A,2023-09-30,2023-11-01,2024-12-01,90,10,50",
    ],
    "macro": ["series_id,period,value", "CPI,2024-03-01,3", "CPI,2024-04-01,4", "CPI,2024-05-01,5"],
}
Files = Callable[[Alteration | None], FilesSource]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    for name, lines in TABLES.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def make(alteration: Alteration | None) -> FilesSource:
        given = FilesSource(FilesSettings.model_validate(SETTINGS), tmp_path, date(2020, 1, 1))
        return AlterableFiles(given).altered(alteration, FundamentalSettings(), date(2020, 1, 1))

    return make


def test_files_are_cut_by_the_day_on_which_each_row_became_known(files: Files) -> None:
    source = files(Truncated(CUT))
    assert source.bars(["A"], START, END)["date"].max() == CUT
    assert source.membership(END).rows() == [("A", date(2020, 1, 1), None), ("B", date(2020, 1, 1), None)]
    # B's first snapshot is assumed for the time before it; A's second is not known yet.
    assert source.sector_snapshots(END).select("ticker", "sector").rows() == [
        ("A", "it"),
        ("B", "telecoms"),
        ("C", "it"),
    ]
    assert source.macro(END)["value"].to_list() == [3.0, 4.0]
    assert source.statements(["A"], END).select("period_end", "version").rows() == [(date(2023, 12, 31), 0)]


def test_what_files_say_later_is_replaced_and_share_counts_keep_their_splits(files: Files) -> None:
    given, source = files(None), files(Perturbed(CUT))
    bars = source.bars(["A", "B", "C"], START, END)
    assert_frame_equal(bars.filter(pl.col("date") <= CUT), given.bars(["A", "B", "C"], START, CUT))
    later = bars.filter(pl.col("date") > CUT)["close"]
    assert (later != 10.0).all()
    known = pl.col("period_end") == date(2023, 12, 31), pl.col("version") == 0
    statements = source.statements(["A"], END)
    assert statements.filter(*known).equals(given.statements(["A"], END).filter(*known))
    others = statements.join(statements.filter(*known), on=["period_end", "version"], how="anti").rows(named=True)
    assert {row["revenue"] for row in others}.isdisjoint({90.0, 110.0, 120.0})
    assert source.macro(END)["value"].to_list()[:2] == [3.0, 4.0]
    assert source.macro(END)["value"].to_list()[2] != 5.0
    assert (
        source.sector_snapshots(END)
        .filter(pl.col("known_at") <= CUT)
        .equals(given.sector_snapshots(CUT).filter(pl.col("known_at") <= CUT))
    )


def test_files_that_are_empty_by_then_are_no_error(files: Files) -> None:
    source = files(Truncated(date(2023, 1, 2)))
    assert source.bars(["A"], START, END).is_empty()
    assert source.delistings(["A"], END).is_empty()
    assert source.macro(END).is_empty()


def test_what_an_alteration_leaves_as_it_is_is_said(profile: Profile, tmp_path: Path) -> None:
    assert [note.partition(",")[0] for note in exempt(profile, "order")] == [
        "order: the provider promises an order of bars"
    ]
    assert exempt(profile, "perturbation") == []
    (tmp_path / "bars.csv").touch()
    read = profile.settings.model_copy(
        update={"source": "files", "files": FilesSettings.model_validate(SETTINGS), "data_dir": tmp_path}
    )
    assert exempt(Profile(read), "order") == []  # the rows of the files are shuffled
