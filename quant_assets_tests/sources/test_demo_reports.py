"""What the simulated market publishes: statements that add up, come late and are restated; macro with release dates."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.market import calendar
from quant_assets.settings.providers import DemoSettings
from quant_assets.sources.demo_events import ORIGIN, WARM_UP
from quant_assets.sources.demo_market import Market, simulate
from quant_assets.sources.demo_reports import macro_observations, statements

END = date(2026, 10, 30)


@pytest.fixture(scope="module")
def world() -> Market:
    return simulate(DemoSettings(), calendar.sessions(WARM_UP, END))


@pytest.fixture(scope="module")
def published(world: Market) -> pl.DataFrame:
    listed = world.sessions[np.minimum(world.schedule.listed, len(world.sessions) - 1)]
    late = np.isin(np.arange(len(world.tickers)), world.schedule.late)
    tickers = pl.DataFrame({"ticker": world.tickers, "listed": listed, "late": late}).with_columns(
        pl.col("listed").cast(pl.Date)
    )
    return statements(world).filter(pl.coalesce("published", "period_end") <= END).join(tickers, on="ticker")


@pytest.fixture(scope="module")
def macro(world: Market) -> pl.DataFrame:
    return macro_observations(world)


def test_statements_add_up(published: pl.DataFrame) -> None:
    assert (published["revenue"] >= published["gross_profit"]).all()
    assert (published["gross_profit"] >= published["operating_income"]).all()
    assert (published["total_assets"] >= published["total_equity"] + published["total_debt"]).all()
    assert (published["total_equity"] > 0).all()
    profit = published.filter(pl.col("net_income") > 0)
    assert (profit["operating_income"] > profit["net_income"]).all()
    assert 0.005 < (published["net_income"] < 0).mean() < 0.1
    assert sum(published.drop("restated_on").null_count().row(0)) == published["published"].null_count()


def test_every_quarter_is_published_once_25_to_60_days_after_its_end(published: pl.DataFrame) -> None:
    first = published.filter(pl.col("version") == 0)
    assert first.select("ticker", "period_end").is_unique().all()
    lag = (pl.col("published") - pl.col("period_end")).dt.total_days()
    regular = first.filter(~pl.col("late") | (pl.col("published") > pl.col("listed")))
    assert regular.select(lag.alias("lag"))["lag"].drop_nulls().is_between(25, 60).all()
    assert published["published"].drop_nulls().dt.weekday().max() <= 5
    prospectus = first.filter(pl.col("late") & (pl.col("published") <= pl.col("listed")))
    assert (prospectus["published"] == prospectus["listed"]).all()
    assert prospectus.group_by("ticker").len()["len"].min() >= 8
    gaps = (
        first.sort("ticker", "period_end")
        .select(gap=pl.col("period_end").diff().over("ticker").dt.total_days())["gap"]
        .drop_nulls()
    )
    assert gaps.is_between(90, 92).all()
    usual = pl.col("published").fill_null(pl.col("period_end").dt.offset_by("90d"))
    founding = (
        first.filter(~pl.col("late")).group_by("ticker").agg(pl.col("period_end").min(), known=(usual < ORIGIN).sum())
    )
    assert founding["period_end"].unique().to_list() == [date(2015, 9, 30)]
    assert founding["known"].min() >= 8


def test_some_statements_are_restated_and_some_have_no_date(published: pl.DataFrame) -> None:
    versions = published.filter(pl.col("version") == 1).join(
        published.filter(pl.col("version") == 0), on=["ticker", "period_end"], suffix="_first", validate="1:1"
    )
    assert 0.01 < len(versions) / len(published) < 0.05
    assert set(versions["published"].dt.year()) >= set(range(2018, 2027))
    months = (versions["published"] - versions["published_first"]).dt.total_days()
    assert months.min() >= 60
    assert months.max() <= 245
    assert (versions["net_income"] != versions["net_income_first"]).all()
    assert (versions["total_equity"] == versions["total_equity_first"]).all()
    assert 0.002 < published["published"].is_null().mean() < 0.02


def test_shares_follow_splits_so_that_market_value_does_not_jump(published: pl.DataFrame, world: Market) -> None:
    tickers = {ticker: column for column, ticker in enumerate(world.tickers)}
    at = np.searchsorted(world.sessions, published["period_end"].to_numpy().astype("datetime64[D]"), side="right") - 1
    column = published["ticker"].replace_strict(tickers, return_dtype=pl.Int64).to_numpy()
    new_for_old = np.cumprod(np.where(world.traded, world.split_ratio, 1.0), axis=0)
    rows = published.with_columns(close=pl.Series(world.close[at, column]), factor=pl.Series(new_for_old[at, column]))
    rows = rows.filter((pl.col("version") == 0) & (pl.col("period_end") >= pl.col("listed"))).sort(
        "ticker", "period_end"
    )
    rows = rows.with_columns(
        shares_growth=pl.col("shares") / pl.col("shares").shift(1).over("ticker"),
        split=pl.col("factor") / pl.col("factor").shift(1).over("ticker"),
        value_growth=(pl.col("shares") * pl.col("close")).log().diff().over("ticker"),
    ).drop_nulls("split")
    assert rows.select(pl.col("shares_growth") / pl.col("split")).to_series().is_between(0.97, 1.03).all()
    split = rows.filter((pl.col("split") - 1).abs() > 0.5)
    assert len(split) > 200
    assert split["value_growth"].std() == pytest.approx(rows["value_growth"].std(), rel=0.5)


def test_shares_before_a_listing_are_counted_as_at_the_listing(published: pl.DataFrame, world: Market) -> None:
    before = published.filter(pl.col("period_end") < pl.col("listed")).sort("ticker", "period_end")
    growth = before.with_columns(growth=pl.col("shares") / pl.col("shares").shift(1).over("ticker"))[
        "growth"
    ].drop_nulls()
    assert growth.is_between(0.97, 1.03).all()
    hidden = world.split_ratio[:, world.schedule.late] != 1
    unlisted = np.arange(len(world.sessions))[:, None] < world.schedule.listed[world.schedule.late]
    assert (hidden & unlisted).any()


def test_no_split_between_the_end_of_a_quarter_and_its_publication(published: pl.DataFrame, world: Market) -> None:
    dates = {
        ticker: world.sessions[(world.split_ratio[:, column] != 1) & world.traded[:, column]]
        for column, ticker in enumerate(world.tickers)
    }
    rows = (
        published.drop_nulls("published")
        .filter(pl.col("published") > pl.col("listed"))
        .select("ticker", "period_end", "published")
    )
    for ticker, start, end in rows.iter_rows():
        assert not ((dates[ticker] > np.datetime64(start)) & (dates[ticker] <= np.datetime64(end))).any()


def test_macro_series_are_released_after_their_period(macro: pl.DataFrame) -> None:
    assert set(macro["series_id"]) == {"DGS10", "VIXCLS", "FEDFUNDS", "UNRATE", "CPIAUCSL", "INDPRO"}
    daily = macro.filter(pl.col("released").is_null())
    assert set(daily["series_id"]) == {"DGS10", "VIXCLS"}
    assert set(daily["lag_days"]) == {1}
    monthly = macro.filter(pl.col("released").is_not_null())
    assert set(monthly["period"].dt.day()) == {1}
    assert (monthly["released"] > monthly["period"].dt.month_end()).all()
    assert monthly["released"].dt.weekday().max() <= 5
    assert macro["period"].min() < date(2016, 1, 2)
    assert not macro["value"].is_null().any()
    assert macro.select("series_id", "period", "released").is_unique().all()


def test_industrial_production_is_revised_a_month_later(macro: pl.DataFrame) -> None:
    production = macro.filter(pl.col("series_id") == "INDPRO").sort("period", "released")
    versions = production.group_by("period", maintain_order=True).agg("released", "value")
    assert versions["released"].list.len().unique().to_list() == [2]
    assert (versions["value"].list.first() != versions["value"].list.last()).mean() > 0.95


def test_macro_values_are_plausible(macro: pl.DataFrame) -> None:
    ranges = {
        "DGS10": (0.3, 8),
        "VIXCLS": (5, 90),
        "FEDFUNDS": (0, 7),
        "UNRATE": (2, 10),
        "CPIAUCSL": (230, 400),
        "INDPRO": (80, 160),
    }
    for series, (low, high) in ranges.items():
        assert macro.filter(pl.col("series_id") == series)["value"].is_between(low, high).all(), series
    volatility = macro.filter(pl.col("series_id") == "VIXCLS")["value"]
    assert volatility.max() > 2.5 * volatility.median()
