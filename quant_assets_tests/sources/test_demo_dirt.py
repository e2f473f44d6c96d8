"""The dirt of the simulated market: each kind is there, in every sector, append-only, and on no other ticker."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.market import calendar
from quant_assets.market.delistings import TRADES_AGAIN, with_listing
from quant_assets.settings.providers import DemoSettings
from quant_assets.settings.sectors import SECTORS
from quant_assets.sources.demo import DemoSource
from quant_assets.sources.demo_dirt import PRESUMED_AFTER, PROVIDER, REVERSE_SPLIT, WRONG_KINDS, Dirt, plan
from quant_assets.sources.demo_events import WARM_UP
from quant_assets.sources.demo_market import Market, simulate

START, END = date(2018, 1, 1), date(2026, 10, 30)
SETTINGS = DemoSettings()


@pytest.fixture(scope="module")
def source() -> DemoSource:
    return DemoSource(SETTINGS, START)


@pytest.fixture(scope="module")
def world() -> Market:
    return simulate(SETTINGS, calendar.sessions(WARM_UP, END))


@pytest.fixture(scope="module")
def dirt(world: Market) -> Dirt:
    return plan(world)


@pytest.fixture(scope="module")
def bars(source: DemoSource, world: Market, dirt: Dirt) -> pl.DataFrame:
    return source.bars([world.tickers[k] for k in dirt.tickers], START, END)


def truth(world: Market, ticker: int, session: int) -> dict[str, float]:
    return {name: round(float(getattr(world, name)[session, ticker]), 2) for name in ("open", "high", "low", "close")}


def test_three_tickers_of_each_sector_come_from_the_other_provider(
    source: DemoSource, world: Market, dirt: Dirt, bars: pl.DataFrame
) -> None:
    assert np.bincount(dirt.tickers // SETTINGS.tickers_per_sector).tolist() == [3] * len(SECTORS)
    assert set(bars["provider"]) == {PROVIDER}
    others = [ticker for place, ticker in enumerate(world.tickers) if place not in dirt.tickers]
    assert set(source.bars(others, START, END)["provider"]) == {"demo"}


def test_a_shorter_simulation_has_the_dirt_up_to_its_end(world: Market, dirt: Dirt) -> None:
    short = plan(simulate(SETTINGS, calendar.sessions(WARM_UP, date(2022, 3, 15))))
    count = len(calendar.sessions(WARM_UP, date(2022, 3, 15)))
    assert np.array_equal(short.tickers, dirt.tickers)
    assert short.wrong == tuple(wrong for wrong in dirt.wrong if wrong.session < count)
    for name in ("thin", "silent", "lost"):
        kept = getattr(dirt, name)
        assert np.array_equal(getattr(short, name)[getattr(short, name)[:, -2] < count], kept[kept[:, -2] < count])
    assert set(np.flatnonzero(short.reverse_split < count)) == set(np.flatnonzero(dirt.reverse_split < count))


@pytest.mark.parametrize("kind", WRONG_KINDS)
def test_wrong_bars_of_each_kind_every_year_and_sector(
    kind: str, world: Market, dirt: Dirt, bars: pl.DataFrame
) -> None:
    found = [wrong for wrong in dirt.wrong if wrong.kind == kind]
    assert len(found) >= 90
    given = {(row["ticker"], row["date"]): row for row in bars.to_dicts()}
    for wrong in found:
        row = given.get((world.tickers[wrong.ticker], world.sessions[wrong.session].item()))
        real = truth(world, wrong.ticker, wrong.session)
        if row is None:
            assert kind == "holiday" or wrong.session + 1 >= len(world.sessions)
            continue
        factor = {"hundredfold": 100.0, "there_and_back": 0.05}.get(kind, 1.0)
        if kind in ("hundredfold", "there_and_back"):
            assert row["close"] == pytest.approx(factor * real["close"], abs=0.006)
            assert row["volume"] == world.volume[wrong.session, wrong.ticker] * (4.0 if factor < 1.0 else 1.0)
            assert row["dividend"] == 0.0
        elif kind == "missing_open":
            assert (row["open"], row["close"]) == (0.0, real["close"])
        elif kind == "stranger":
            sector = wrong.ticker // SETTINGS.tickers_per_sector
            same = range(sector * SETTINGS.tickers_per_sector, (sector + 1) * SETTINGS.tickers_per_sector)
            assert [
                truth(world, k, wrong.session) for k in same if truth(world, k, wrong.session)["close"] == row["close"]
            ]
            assert row["close"] != real["close"]


def test_bars_on_holidays(world: Market, dirt: Dirt, bars: pl.DataFrame) -> None:
    strange = bars.filter(~pl.col("date").is_in(world.sessions.tolist()))
    assert set(strange["ticker"]) == {world.tickers[k] for k in dirt.faulty}
    assert strange.height >= 90
    assert strange["date"].dt.weekday().max() <= 5  # type: ignore[operator]
    assert strange["dividend"].sum() == 0.0


def test_one_trades_rarely_and_one_year_on_is_silent_and_comes_back(
    source: DemoSource, world: Market, dirt: Dirt, bars: pl.DataFrame
) -> None:
    names = [world.tickers[k] for k in dirt.rare]
    gone = source.delistings(names, END)
    assert gone.height == 2 * len(dirt.silent)
    assert set(gone["reason"]) == {None, TRADES_AGAIN}
    waited, silent = (
        calendar.session_number(frame["known_at"].to_numpy().astype("datetime64[D]"))
        - calendar.session_number(frame["last_session"].to_numpy().astype("datetime64[D]"))
        for frame in (gone.filter(pl.col("reason").is_null()), gone.drop_nulls("reason"))
    )
    assert set(waited.tolist()) == {PRESUMED_AFTER}
    assert silent.min() >= 40
    for ticker, last, known, _, _ in gone.drop_nulls("reason").rows():
        own = bars.filter(pl.col("ticker") == ticker)["date"]
        assert own.is_between(last, known, closed="none").sum() == 0
        assert {last, known} <= set(own)
    listed = with_listing(bars.filter(pl.col("ticker").is_in(names)), gone)
    assert listed.group_by("ticker").agg(pl.col("listed").n_unique())["listed"].to_list() == [1] * len(names)
    for ticker, first, after in dirt.thin.tolist():
        days = world.sessions[first:after].tolist()
        there = bars.filter(pl.col("ticker") == world.tickers[ticker], pl.col("date").is_in(days)).height
        assert 15 <= there <= 18 or world.sessions[-1] < np.datetime64(days[-1])


def test_the_provider_loses_a_week_of_every_year(
    dirt: Dirt, world: Market, bars: pl.DataFrame, source: DemoSource
) -> None:
    assert len(dirt.lost) == 9
    for first, after in dirt.lost.tolist():
        days = world.sessions[first:after].tolist()
        assert bars.filter(pl.col("date").is_in(days)).is_empty()
        assert source.held(world.tickers, days)["provider"].unique().to_list() == ["demo"] or not days


def test_one_is_worth_cents_until_its_reverse_split(
    world: Market, dirt: Dirt, bars: pl.DataFrame, source: DemoSource
) -> None:
    split = [
        (k, day)
        for k, day in zip(dirt.penny.tolist(), dirt.reverse_split.tolist(), strict=True)
        if day < len(world.sessions)
    ]
    assert len(split) == len(SECTORS)
    for ticker, session in split:
        own = bars.filter(pl.col("ticker") == world.tickers[ticker])
        day = world.sessions[session].item()
        before, after = own.filter(pl.col("date") < day), own.filter(pl.col("date") >= day)
        assert before["close"].max() < 1.0 < after["close"].min()  # type: ignore[operator]
        assert after["close"][0] / before["close"][-1] == pytest.approx(REVERSE_SPLIT, rel=0.3)
        assert (before["close"].diff() == 0.0).mean() > 0.5  # type: ignore[operator]
        assert after["split_ratio"][0] == 1.0
        counted = source.statements([world.tickers[ticker]], END)
        ratio = (
            counted.filter(pl.col("period_end") < day)["shares"].tail(1).item()
            / counted.filter(pl.col("period_end") >= day)["shares"].head(1).item()
        )
        assert ratio == pytest.approx(REVERSE_SPLIT, rel=0.1)


def test_another_seed_has_other_dirt(dirt: Dirt) -> None:
    other = plan(simulate(DemoSettings(seed=8), calendar.sessions(WARM_UP, date(2019, 6, 28))))
    assert not np.array_equal(other.tickers, dirt.tickers)
    assert_frame_equal(
        DemoSource(SETTINGS, START).bars(["TEC10"], START, END), DemoSource(SETTINGS, START).bars(["TEC10"], START, END)
    )
