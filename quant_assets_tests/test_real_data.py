"""The whole graph on real prices, some tickers over some months: nothing depends on what became known later, and a
range equals its months.

What became known later is not asked for with an earlier date; it is deleted from the files.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.settings.economy import MacroFile
from quant_assets.settings.loading import Settings
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.files import FilesSource
from quant_assets_tests.graph import Graph, compare_known_by

pytestmark = pytest.mark.slow

IT = ["AAPL", "APH", "CSCO", "IBM", "MSFT", "NVDA", "GEN"]
#: EBAY moves to consumer discretionary, the others from "it" to "telecoms"; all by the snapshot of 2021-04-21.
MOVES = ["ATVI", "EA", "EBAY", "FB", "GOOG", "GOOGL", "NFLX"]
#: CMCSA and DIS come from consumer discretionary on that day; CTL becomes LUMN, FB becomes META in another file, VIAC
#: PSKY.
TELECOMS = ["CMCSA", "CTL", "DIS", "LUMN", "META", "PSKY", "T", "TMUS", "TTWO", "TWTR", "VIAC", "VZ"]
#: LLTC was bought in March 2017, LVLT in October 2017, VAR and FLIR in April and May 2021; DTV has a gap of a year; MJN
#: shows that the file of LLTC goes on after it.
LEAVE = ["DTV", "FLIR", "LLTC", "LVLT", "MJN", "VAR"]
#: HON spun off two companies in October 2018, TT one in March 2020, HWM one in April 2020 and MMM one in April 2024.
INDUSTRIALS = ["HON", "HWM", "MMM", "TT"]
TICKERS = sorted([*IT, *MOVES, *TELECOMS, *LEAVE, *INDUSTRIALS])

#: Spin-offs that the prices give as splits and by which SimFin did not multiply the share counts, as it did by those of
#: HON and IBM.
NOT_IN_COUNTS = pl.DataFrame({"ticker": ["MMM"], "date": [date(2024, 4, 1)]})

PRICES = ("prices_sp500_raw", "prices_sp500_adjusted", "prices_former_members")
MACRO = ("macro_fred", "macro_us_gdp_vintages")
STATEMENTS = ("fundamentals_simfin_quarterly", "fundamentals_simfin_annual", "fundamentals_sec_filings_2015_2017")
FILES = (*PRICES, "sp500_membership", "securities", *STATEMENTS)

_WINDOWS = {"moving_average": 10, "momentum_lag": 20}
SMALL: dict[str, Any] = {
    "indicators": {
        "windows": {"it": _WINDOWS, "telecoms": _WINDOWS},
        "garch": {"window": 120, "min_observations": 100, "distribution": "normal"},  # a third of the time
        "history_sessions": 120,
    },
    "candidates": {
        "long_fraction": 0.5,
        "volatility_weight": 2.0,
        "min_volatility": 0.0,
    },  # so that LLTC is held, bought at a fixed price
    "labels": {"horizons": (5, 20)},
    "training": {
        "window_months": 9,
        "min_rows": 150,
        "cadence_months": 2,
    },
    "models": {"lightgbm": {"parameters": {"min_data_in_leaf": 10, "num_trees": 30}}},
}


@dataclass(frozen=True)
class Case:
    """Months in which something happens."""

    sectors: tuple[str, ...]
    start: str
    first: str
    last: str
    as_of: date

    def graph(self, storage: Path, data: Path, as_of: date) -> Graph:
        """The graph on a folder of files."""
        return Graph.at(storage, "files", **SMALL, data_dir=data, as_of=as_of, partitions={"start": self.start})


#: Tickers change their sector on 2021-04-21; the raw price file ends on that day.
MOVE = Case(("telecoms", "it"), "2019-11", "2021-03", "2021-05", as_of=date(2021, 12, 31))
#: A takeover that is known on 2017-03-17.
TAKEOVER = Case(("it",), "2016-05", "2017-02", "2017-03", as_of=date(2017, 12, 29))
#: Spin-offs of TT and HWM that one provider does not flag, and about which the providers disagree.
SPIN_OFFS = Case(("industrials",), "2019-01", "2020-03", "2020-05", as_of=date(2021, 6, 30))


@pytest.fixture(scope="module")
def everything(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files with the chosen tickers alone."""
    folder = tmp_path_factory.mktemp("everything")
    for name in FILES:
        chosen = pl.scan_parquet(shared_data / f"{name}.parquet").filter(pl.col("ticker").is_in(TICKERS))
        chosen.collect().write_parquet(folder / f"{name}.parquet")
    for name in (*MACRO, "crypto_daily"):
        shutil.copyfile(shared_data / f"{name}.parquet", folder / f"{name}.parquet")
    return folder


def _known_by(cut: date, everything: Path, folder: Path, settings: FilesSettings) -> Path:
    """Copy the files without what became known after `cut`."""
    folder.mkdir()

    def copy(name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        change(pl.read_parquet(everything / f"{name}.parquet")).write_parquet(folder / f"{name}.parquet")

    for name in PRICES:
        copy(name, lambda bars: bars.filter(pl.col("date") <= cut))
    ended = pl.when(pl.col("end_date") <= cut).then("end_date")
    copy("sp500_membership", lambda members: members.filter(pl.col("start_date") <= cut).with_columns(end_date=ended))
    # A ticker's first snapshot stands for the time before it.
    first = pl.col("as_of") == pl.col("as_of").min().over("ticker")
    copy("securities", lambda snapshots: snapshots.filter((pl.col("as_of") <= cut) | first))
    for name in STATEMENTS:
        copy(
            name,
            (lambda filings: filings.filter(_published("filed_date") <= cut))
            if "sec" in name
            else _simfin(cut, everything),
        )
    released = _released(settings.macro[0])
    copy("macro_fred", lambda observations: observations.filter(released <= cut))
    copy("crypto_daily", lambda closes: closes.filter(pl.col("date") < cut))  # a UTC day ends after New York's close
    ended = pl.col("vintage_quarter").dt.offset_by("3mo").dt.offset_by("-1d")
    copy("macro_us_gdp_vintages", lambda estimates: estimates.filter(ended <= cut))
    return folder


def _published(day: str) -> pl.Expr:
    """Day of publication; one not after the end of the period is a mistake, and 90 days are assumed."""
    return pl.when(pl.col(day) > pl.col("period_end")).then(day).otherwise(pl.col("period_end").dt.offset_by("90d"))


def _simfin(cut: date, everything: Path) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Cut a file of two snapshots, both of which may be later.

    By the contract of the source a period's figures were known when they were published, whatever snapshot has them
    first; what the later snapshot says differently was known with that. Share counts reflect the splits up to the
    snapshot, and most spin-offs: those after the cut are taken out.
    """
    raw, adjusted = (
        pl.read_parquet(everything / f"{name}.parquet", columns=["ticker", "date", "split_ratio"])
        for name in PRICES[:2]
    )
    splits = pl.concat([raw, adjusted.join(raw, on=["ticker", "date"], how="anti")])
    splits = splits.filter(pl.col("date") > cut, ~pl.col("split_ratio").is_in([0.0, 1.0])).join(
        NOT_IN_COUNTS, on=["ticker", "date"], how="anti"
    )

    def change(statements: pl.DataFrame) -> pl.DataFrame:
        first = pl.col("snapshot_date") == pl.col("snapshot_date").min().over("ticker", "period_end")
        kept = statements.with_row_index().filter(
            pl.when(first).then(_published("publish_date")).otherwise("snapshot_date") <= cut
        )
        later = kept.join(splits, on="ticker").filter(pl.col("date") <= pl.col("snapshot_date"))
        ratios = later.group_by("index").agg(ratio=pl.col("split_ratio").cast(pl.Float64).product())
        restated = kept.join(ratios, on="index", how="left", maintain_order="left")
        return restated.with_columns(pl.col("shares_diluted") / pl.col("ratio").fill_null(1.0)).drop("index", "ratio")

    return change


def _released(macro: MacroFile) -> pl.Expr:
    """The series' lag after the last day of the period; a series that is not read counts as released on the day."""
    name = pl.col("series_id")
    lengths = {"daily": "1d", "weekly": "1d", "monthly": "1mo", "quarterly": "1q"}
    length = name.replace_strict(
        {series: lengths[each.frequency] for series, each in macro.series.items()}, default="1d"
    )
    lag = name.replace_strict({series: each.lag_days for series, each in macro.series.items()}, default=0)
    return pl.col("date").dt.offset_by(length).dt.offset_by("-1d") + pl.duration(days=lag)


def _settings(data: Path) -> Settings:
    return MOVE.graph(data, data, MOVE.as_of).settings


@pytest.mark.parametrize("cut", [date(2016, 2, 5), date(2017, 3, 24), date(2021, 4, 20), date(2021, 5, 14)], ids=str)
def test_what_files_say_later_changes_no_earlier_answer(everything: Path, tmp_path: Path, cut: date) -> None:
    """Share counts go through one more division in one of the two; everything else is equal."""
    settings, start = _settings(everything).files, date(2000, 1, 1)
    late = date(2026, 12, 31)
    whole, part = (
        FilesSource(settings, data, start)
        for data in (everything, _known_by(cut, everything, tmp_path / "cut", settings))
    )
    # Asked at the cut: a new symbol's first snapshot is in the cut files however late it is, and its company may have
    # an earlier one.
    assert_frame_equal(part.sector_snapshots(cut), whole.sector_snapshots(cut))
    assert_frame_equal(part.membership(late), whole.membership(cut))
    assert_frame_equal(part.bars(TICKERS, start, late), whole.bars(TICKERS, start, cut))
    assert_frame_equal(part.macro(late), whole.macro(cut))
    assert_frame_equal(part.crypto(late), whole.crypto(cut))
    assert len(part.crypto(late))
    assert_frame_equal(part.delistings(TICKERS, late), whole.delistings(TICKERS, cut))
    known = whole.statements(TICKERS, cut).filter(
        pl.coalesce("published", pl.col("period_end").dt.offset_by("90d")) <= cut
    )
    assert_frame_equal(part.statements(TICKERS, late), known, rel_tol=1e-15)
    assert whole.statements(TICKERS, cut)["published"].max() <= cut  # type: ignore[operator]
    assert all(len(frame) for frame in (whole.delistings(TICKERS, cut), known))
    assert len(whole.bars(TICKERS, start, late)) > len(whole.bars(TICKERS, start, cut)) > 100_000


@pytest.fixture(scope="module")
def truth(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Graph]:
    """Every asset of a case in range runs on all files, run once."""
    done: dict[Case, Graph] = {}

    def run(case: Case) -> Graph:
        if case not in done:
            done[case] = case.graph(tmp_path_factory.mktemp("truth"), everything, case.as_of)
            done[case].run(case.sectors, case.first, case.last)
        return done[case]

    return run


@pytest.mark.parametrize(
    ("case", "cut", "empty"),
    [
        pytest.param(MOVE, date(2021, 4, 20), {"absences"}, id="before the move", marks=pytest.mark.nightly),
        pytest.param(MOVE, date(2021, 5, 14), set[str](), id="after the move", marks=pytest.mark.nightly),
        # The last bar is five days old, but nobody knows yet that it is the last.
        pytest.param(TAKEOVER, date(2017, 3, 15), {"quarantine", "delistings"}, id="during the takeover"),
        # Silent for fifteen sessions.
        pytest.param(TAKEOVER, date(2017, 3, 31), {"quarantine"}, id="after the takeover", marks=pytest.mark.nightly),
    ],
)
def test_what_became_known_later_changes_no_row_known_before(
    truth: Callable[[Case], Graph], case: Case, cut: date, empty: set[str], everything: Path, tmp_path: Path
) -> None:
    data = _known_by(cut, everything, tmp_path / "cut", _settings(everything).files)
    earlier = case.graph(tmp_path / "storage", data, cut)
    earlier.run(case.sectors, case.first, cut.strftime("%Y-%m"))
    compared = compare_known_by(cut, truth(case), earlier)
    none = {"price_events", "price_disagreements", "sentiment", "episode_returns", "benchmark"}
    assert {name for name, rows in compared.items() if not rows} == empty | none
    assert sum(compared.values()) > 20_000


def test_events_and_disagreements_known_later_change_none_known_before(everything: Path, tmp_path: Path) -> None:
    """The bars alone: an event in the month before the cut and one in its own; what the files say later is deleted."""
    cut = date(2020, 4, 7)
    data = _known_by(cut, everything, tmp_path / "cut", _settings(everything).files)
    graphs = [
        SPIN_OFFS.graph(tmp_path / str(as_of), folder, as_of)
        for folder, as_of in ((everything, SPIN_OFFS.as_of), (data, cut))
    ]
    for graph, last in zip(graphs, (SPIN_OFFS.last, "2020-04"), strict=True):
        plan = graph.planner.plan(["price_events", "price_disagreements"], ["industrials"], SPIN_OFFS.first, last)
        for phase in plan.phases:
            graph.materialise(phase.assets, tags=phase.range_tags)
    compared = compare_known_by(cut, *graphs)
    days = set(graphs[0].read("price_events").filter(pl.col("date") <= cut)["date"])
    assert days == {date(2020, 3, 2), date(2020, 4, 1)}
    for name in ("price_events", "price_disagreements"):
        assert compared[name] == len(graphs[0].read(name).filter(pl.col("panel_from") <= cut)) >= 2


def test_the_cases_show_what_they_are_for(truth: Callable[[Case], Graph]) -> None:
    move, takeover = truth(MOVE), truth(TAKEOVER)
    moved = date(2021, 4, 21)
    members = move.read("universe").filter(pl.col("ticker").is_in(MOVES))
    assert set(members.filter(pl.col("date") < moved)["sector"]) == {"it"}
    assert set(members.filter(pl.col("date") >= moved)["sector"]) == {"telecoms"}
    prices = move.read("prices").filter(pl.col("ticker") == "GOOGL")
    assert prices.filter(pl.col("sector") == "telecoms")["panel_from"].min() == moved
    assert prices.filter((pl.col("sector") == "telecoms") & (pl.col("panel_from") == moved))["date"].min() == date(
        2019, 11, 1
    )
    left = pl.col("ticker").is_in(MOVES) & (pl.col("sector") == "it")
    # Labels of the last days in the old sector end after the move, and holdings bought before it are carried through
    # it.
    assert move.read("labels").filter(left & (pl.col("exit_date") > moved))["date"].max() == date(2021, 4, 20)
    held = move.read("weights").filter(left & (pl.col("as_of") == date(2021, 3, 31)))
    assert len(held) >= 2
    # Earlier months, which the backtest's lookback reads, have no model yet.
    asked = move.read("weights").filter(pl.col("as_of").dt.strftime("%Y-%m") >= MOVE.first)
    assert set(asked["score_source"]) == {"prediction"}
    lost = takeover.read("labels").filter("delisted")
    assert set(lost["ticker"]) == {"LLTC"}
    assert lost["exit_date"].max() == date(2017, 3, 10)
    assert "LLTC" in takeover.read("weights").filter(pl.col("as_of") == date(2017, 2, 28))["ticker"]


def test_a_range_run_equals_single_runs_byte_for_byte(
    truth: Callable[[Case], Graph], everything: Path, tmp_path: Path
) -> None:
    single = MOVE.graph(tmp_path, everything, MOVE.as_of)
    shutil.copytree(truth(MOVE).profile.store.url, single.profile.store.url)
    assert single.again_month_by_month("telecoms", MOVE.first, MOVE.last) == 3 * len(single.datasets)
    expected, found = truth(MOVE).files(), single.files()
    assert sorted(found) == sorted(expected)
    assert [path for path, content in expected.items() if found[path] != content] == []
