import math
from collections.abc import Callable
from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.checks import breaches
from quant_assets.errors import SourceError
from quant_assets.market import calendar
from quant_assets.market.adjustment import adjust
from quant_assets.market.bars import company_bars, sector_bars
from quant_assets.market.universe import panel_tickers
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import BarSettings
from quant_assets.sources.base import DELISTINGS

Make = Callable[..., pl.DataFrame]
DAYS = calendar.sessions(date(2020, 1, 1), date(2020, 3, 31))
SETTINGS = BarSettings()
NONE = DELISTINGS.to_frame()


def _market(make_bars: Make, make_snapshots: Make) -> tuple[pl.DataFrame, pl.DataFrame]:
    closes = [(10.0 + 0.1 * k) / (1 if k < 10 else 2) for k in range(len(DAYS))]
    bars = pl.concat(
        make_bars(DAYS, closes, ticker=ticker, split_ratio=[1.0] * 10 + [2.0] + [1.0] * (len(DAYS) - 11))
        for ticker in ("LATER", "MOVER", "STAYER")
    )
    bad = (pl.col("date") == DAYS[5].item()) | (pl.col("date") == DAYS[40].item())
    bars = bars.with_columns(high=pl.when(bad).then(0.5).otherwise("high"))
    snapshots = make_snapshots(
        ("MOVER", "it", date(2016, 12, 31)),
        ("MOVER", "telecoms", date(2020, 2, 15)),  # a Saturday before a holiday: counts from Tuesday the 18th
        ("STAYER", "telecoms", date(2016, 12, 31)),
        ("LATER", "it", date(2016, 12, 31)),
        ("LATER", "telecoms", date(2020, 4, 1)),
    )
    return bars, snapshots


def test_a_ticker_that_moves_in_brings_its_earlier_bars_along(make_bars: Make, make_snapshots: Make) -> None:
    bars, snapshots = _market(make_bars, make_snapshots)
    ohlcv, quarantine, *_ = sector_bars(company_bars(bars, NONE, DAYS, SETTINGS), snapshots, "telecoms", DAYS)
    assert ohlcv["ticker"].unique(maintain_order=True).to_list() == ["MOVER", "STAYER"]
    moved = date(2020, 2, 18)
    for row in ohlcv.filter(pl.col("ticker") == "MOVER").iter_rows(named=True):
        assert row["panel_from"] == max(row["date"], moved)
        assert row["in_sector"] == (row["date"] >= moved)
    stayer = ohlcv.filter(pl.col("ticker") == "STAYER")
    assert (stayer["panel_from"] == stayer["date"]).all()
    assert stayer["in_sector"].all()
    assert set(ohlcv.group_by("ticker").len()["len"]) == {len(DAYS) - 2}
    # The earlier bars carry the factors of the whole history.
    assert ohlcv.filter(pl.col("date") == DAYS[39].item())["split_factor"].to_list() == [2.0, 2.0]
    # The refused bar of the time before the move is listed by the sector it came from.
    assert quarantine.select("ticker", "date").rows() == [
        ("MOVER", DAYS[40].item()),
        ("STAYER", DAYS[5].item()),
        ("STAYER", DAYS[40].item()),
    ]
    for name, frame in (("ohlcv", ohlcv), ("quarantine", quarantine), ("prices", adjust(ohlcv))):
        assert frame.schema == DATASETS[name].schema


def test_events_are_repaired_and_listed_with_the_disagreements(make_bars: Make, make_snapshots: Make) -> None:
    bars, snapshots = _market(make_bars, make_snapshots)
    bars = bars.filter(pl.col("ticker") == "MOVER")
    unflagged = bars.with_columns(
        split_ratio=1.0, volume=pl.when(pl.col("date") >= DAYS[10].item()).then(2000.0).otherwise(1000.0)
    )
    other = bars.with_columns(
        close=1.0, provider=pl.lit("other"), precedence=pl.lit(1, pl.Int32), adjustment=pl.lit("total_return")
    )
    other = other.with_columns(open=1.0, high=1.0, low=1.0, split_ratio=1.0)
    result = sector_bars(
        company_bars(pl.concat([unflagged, other]).sort("date", "precedence"), NONE, DAYS, SETTINGS),
        snapshots,
        "telecoms",
        DAYS,
    )
    moved = date(2020, 2, 18)
    split = DAYS[10].item()
    assert result.price_events.select("date", "kind", "split_used", "panel_from").rows() == [
        (split, "split_unflagged", 2.0, moved)
    ]
    assert result.ohlcv.filter(pl.col("split_ratio") != 1.0).select("date", "split_ratio", "split_factor").rows() == [
        (split, 2.0, 2.0)
    ]
    apart = result.price_disagreements
    assert apart.select("date", "panel_from", "explanation").rows() == [
        (split, moved, "stale_close")
    ]  # of the returns as given
    assert apart["difference"][0] == pytest.approx(11.0 / 2 / 10.9 - 1.0)
    for name in ("price_events", "price_disagreements"):
        assert getattr(result, name).schema == DATASETS[name].schema


def test_a_refused_bar_is_listed_with_null_in_the_place_of_no_number(make_bars: Make, make_snapshots: Make) -> None:
    """Not a number and infinite are no prices: as values they would break the contract of the list of refused bars."""
    bars = make_bars(DAYS[:3], [10.0, 10.0, math.nan], high=[10.0, math.inf, 10.0], open=[10.0] * 3, low=[10.0] * 3)
    snapshots = make_snapshots(("A", "it", date(2016, 12, 31)))
    panel = sector_bars(company_bars(bars, NONE, DAYS, SETTINGS), snapshots, "it", DAYS)
    assert panel.quarantine.select("reason", "close", "high").rows() == [
        ("missing_price", 10.0, None),
        ("missing_price", None, 10.0),
    ]
    loaded = panel.quarantine.with_columns(sector=pl.lit("it"))
    assert not any(breaches(DATASETS["quarantine"], loaded, DAYS[-1].item()).values())


def test_a_ticker_that_moves_out_stays_in_the_panel(make_bars: Make, make_snapshots: Make) -> None:
    bars, snapshots = _market(make_bars, make_snapshots)
    ohlcv, quarantine, *_ = sector_bars(company_bars(bars, NONE, DAYS, SETTINGS), snapshots, "it", DAYS)
    assert ohlcv["ticker"].unique(maintain_order=True).to_list() == ["LATER", "MOVER"]
    mover = ohlcv.filter(pl.col("ticker") == "MOVER")
    assert (mover["panel_from"] == mover["date"]).all()
    assert (mover["in_sector"] == (mover["date"] < date(2020, 2, 18))).all()
    assert len(quarantine) == 4


@pytest.mark.parametrize(
    ("order", "named"),
    [
        (
            ["date", "ticker", "precedence"],
            "bars of raw: LATER on 2020-01-03 comes after STAYER on 2020-01-02 of other",
        ),
        (["ticker", "precedence", "date"], "bars of other: LATER on 2020-01-02 comes after LATER on 2020-03-31 of raw"),
        (["ticker", "date", "provider"], "bars of raw: LATER on 2020-01-02 comes after LATER on 2020-01-02 of other"),
    ],
)
def test_bars_out_of_order_are_refused(order: list[str], named: str, make_bars: Make, make_snapshots: Make) -> None:
    bars, _ = _market(make_bars, make_snapshots)
    both = pl.concat([bars, bars.with_columns(provider=pl.lit("other"), precedence=pl.lit(1, pl.Int32))])
    with pytest.raises(SourceError, match=f"{named}; the source must sort them by ticker, date and precedence"):
        company_bars(both.sort(order), NONE, DAYS, SETTINGS)
    assert company_bars(both.sort("ticker", "date", "precedence"), NONE, DAYS, SETTINGS).series["ticker"].is_sorted()


def test_a_sector_without_tickers_is_empty(make_bars: Make, make_snapshots: Make) -> None:
    bars, snapshots = _market(make_bars, make_snapshots)
    for rows, days in ((bars, DAYS), (bars.clear(), DAYS), (bars.clear(), DAYS[:0])):
        ohlcv, quarantine, *_ = sector_bars(company_bars(rows, NONE, days, SETTINGS), snapshots, "re", days)
        assert ohlcv.is_empty()
        assert quarantine.is_empty()
        assert adjust(ohlcv).schema == DATASETS["prices"].schema


@pytest.mark.parametrize("cut", [date(2014, 3, 31), date(2021, 5, 14)])
def test_nothing_known_later_changes_a_real_sector(real, cut: date) -> None:  # type: ignore[no-untyped-def]
    ohlcv, quarantine, *about = sector_bars(
        company_bars(real.bars, NONE, real.sessions, real.settings.bars), real.snapshots, real.sector, real.sessions
    )
    snapshots = real.source.sector_snapshots(cut)
    tickers = panel_tickers(snapshots, real.sector, cut)
    days = calendar.sessions(date(2000, 1, 1), cut)
    rows = real.source.bars(tickers, date(2000, 1, 1), cut)
    assert_frame_equal(
        rows, real.bars.filter(pl.col("ticker").is_in(tickers) & (pl.col("date") <= cut)), check_exact=True
    )
    early, early_quarantine, *early_about = sector_bars(
        company_bars(rows, NONE, days, real.settings.bars), snapshots, real.sector, days
    )
    assert_frame_equal(early, ohlcv.filter(pl.col("panel_from") <= cut), check_exact=True)
    assert_frame_equal(adjust(early), adjust(ohlcv).filter(pl.col("panel_from") <= cut), check_exact=True)
    assert_frame_equal(early_quarantine, quarantine.filter(pl.col("date") <= cut), check_exact=True)
    assert len(early) > 100_000
    for mine, all_of_them in zip(early_about, about, strict=True):  # price_events, price_disagreements
        assert_frame_equal(mine, all_of_them.filter(pl.col("panel_from") <= cut), check_exact=True)
        assert len(mine) > 3


def test_a_real_sector(real) -> None:  # type: ignore[no-untyped-def]
    ohlcv, quarantine, *_ = sector_bars(
        company_bars(real.bars, NONE, real.sessions, real.settings.bars), real.snapshots, real.sector, real.sessions
    )
    ohlcv = DATASETS["ohlcv"].conform(ohlcv.with_columns(sector=pl.lit(real.sector)))
    assert not ohlcv.select("ticker", "date").is_duplicated().any()
    assert set(quarantine["reason"]) == {"stale_zero_volume", "disputed_stale_close"}
    moved = (
        ohlcv.filter(pl.col("panel_from") > pl.col("date"))
        .group_by("ticker")
        .agg(pl.col("panel_from").unique(), pl.len())
        .sort("ticker")
    )
    assert moved.drop("len").rows() == [
        ("COR", [date(2023, 8, 30)]),  # a new symbol of ABC
        ("CVS", [date(2021, 4, 21)]),  # from staples, by the snapshot of 2021
        ("DHR", [date(2021, 4, 21)]),  # from industrials
        ("ELV", [date(2022, 6, 28)]),
        ("RVTY", [date(2023, 5, 16)]),
        ("VTRS", [date(2020, 11, 17)]),
    ]
    # Every ticker of both files changes over to adjusted prices when the raw file ends, without a jump.
    switch = (
        ohlcv.sort("ticker", "date")
        .with_columns(
            change=(
                (pl.col("close") * pl.col("price_factor")) / (pl.col("close") * pl.col("price_factor")).shift() - 1.0
            ).over("ticker"),
            before=pl.col("provider").shift().over("ticker"),
        )
        .filter((pl.col("date") == date(2021, 4, 22)) & (pl.col("before") == "alpha_vantage"))
    )
    assert len(switch) == 56
    assert switch["change"].abs().max() < 0.12
    alone, *_ = sector_bars(
        company_bars(real.bars.filter(pl.col("ticker") == "PFE"), NONE, real.sessions, real.settings.bars),
        real.snapshots,
        real.sector,
        real.sessions,
    )
    assert_frame_equal(alone, ohlcv.filter(pl.col("ticker") == "PFE").drop("sector"), check_exact=True)
