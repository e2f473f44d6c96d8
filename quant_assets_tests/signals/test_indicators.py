from datetime import date
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import HistoryError
from quant_assets.partitions import month_end, month_range, month_start
from quant_assets.settings.domain import IndicatorSettings
from quant_assets.settings.loading import load_settings
from quant_assets.signals.indicators import dataset, declared, indicators, lookback_sessions
from quant_assets.windows.recomputation import audit

SECTOR = "healthcare"
MONTHS = month_range("2020-05", "2020-10")


@pytest.fixture(scope="module")
def settings() -> IndicatorSettings:
    return load_settings("demo").indicators


@pytest.fixture(scope="module")
def compute(load, settings):
    def run(market, first: str, last: str, shuffle: bool = False) -> pl.DataFrame:
        prices, universe, days = load(market, first, last, lookback_sessions(settings, SECTOR))
        if shuffle:
            prices, universe = (
                prices.sample(fraction=1.0, shuffle=True, seed=1),
                universe.sample(fraction=1.0, shuffle=True, seed=2),
            )
        return indicators(prices, universe, SECTOR, settings, days, month_start(first), month_end(last)).rows

    return run


@pytest.fixture(scope="module")
def whole(compute, market) -> pl.DataFrame:
    return compute(market, MONTHS[0], MONTHS[-1])


def test_schema_and_rows(whole, market, settings, nothing_infinite) -> None:
    assert whole.schema == dataset(settings).schema
    expected = market.universe.join(market.prices.select("ticker", "date"), on=["ticker", "date"], how="semi")
    expected = expected.filter(pl.col("date").is_between(month_start(MONTHS[0]), month_end(MONTHS[-1])))
    assert whole.select("ticker", "date").equals(expected.select("ticker", "date").sort("ticker", "date"))
    nothing_infinite(whole)
    whole, unexplained = whole.drop("unexplained_sessions"), whole["unexplained_sessions"]
    assert whole.filter(pl.col("ticker") == "T00").null_count().sum_horizontal().item() == 0
    assert unexplained.null_count() == len(unexplained), "no step is marked"


def test_range_equals_months(whole, compute, market, identical) -> None:
    identical(pl.concat([compute(market, month, month) for month in MONTHS]).sort("ticker", "date"), whole)


def test_order_of_the_input_and_other_tickers_do_not_matter(whole, compute, market, identical, only) -> None:
    first, last = MONTHS[1], MONTHS[2]
    part = whole.filter(pl.col("date").is_between(month_start(first), month_end(last)))
    identical(compute(market, first, last, shuffle=True), part)
    few = compute(only(market, ["T01", "LIST", "MOVE"]), first, last)
    identical(few, part.filter(pl.col("ticker").is_in(["T01", "LIST", "MOVE"])))


def test_nothing_from_the_future(whole, compute, market, identical, cut) -> None:
    day = date(2020, 8, 12)
    identical(compute(cut(market, day), MONTHS[0], "2020-08"), whole.filter(pl.col("date") <= day))


def test_windows_by_hand(whole, market, settings) -> None:
    day = date(2020, 9, 15)
    bars = market.prices.filter(pl.col("ticker") == "FLAT", pl.col("date") <= day)
    row = SimpleNamespace(**whole.row(by_predicate=(pl.col("ticker") == "FLAT") & (pl.col("date") == day), named=True))
    assert (row.close, row.ma_slope, row.momentum, row.history_sessions) == (7.3, 0.0, 0.0, 252)
    assert row.garch_volatility is row.garch_fitted_on is None  # a price that never moves has no fit
    assert row.dollar_volume == pytest.approx(bars["dollar_volume"].tail(20).median())

    bars = market.prices.filter(pl.col("ticker") == "GONE", pl.col("date") <= date(2020, 9, 14))["close"].to_numpy()
    row = SimpleNamespace(
        **whole.row(by_predicate=(pl.col("ticker") == "GONE") & (pl.col("date") == date(2020, 9, 14)), named=True)
    )
    windows = settings.windows[SECTOR]
    average = [bars[len(bars) - back - windows.moving_average : len(bars) - back].mean() for back in (0, 5)]
    assert row.moving_average == pytest.approx(average[0], rel=1e-12)
    assert row.ma_slope == pytest.approx(average[0] / average[1] - 1, rel=1e-9)
    assert row.momentum == pytest.approx(bars[-1] / bars[-1 - windows.momentum_lag] - 1, rel=1e-12)
    assert row.garch_fitted_on == date(2020, 8, 31)
    assert whole.filter(pl.col("ticker") == "GONE")["date"].max() == date(2020, 9, 14)


def test_a_young_ticker_gets_each_indicator_when_it_may(whole, market, settings) -> None:
    young = whole.filter(pl.col("ticker") == "LIST")
    assert young["garch_volatility"].null_count() == young.height
    assert set(young["garch_status"]) == {"too_young"}
    assert young["momentum"].null_count() == 0
    moved = whole.filter(pl.col("ticker") == "MOVE")
    assert moved["date"].min() == date(2020, 6, 16)
    # Its years in another sector count as its history.
    assert moved["history_sessions"].min() == 252
    assert moved["garch_volatility"].null_count() == 0
    assert set(moved["garch_status"]) == {"fitted"}


@pytest.mark.parametrize("sector", ["it", "utilities"])
def test_every_indicator_depends_on_what_it_declares(sector: str, settings) -> None:
    for name, values in audit(declared(settings.windows[sector], settings)).items():
        assert np.isfinite(values[0]).all(), name


def test_lookback_is_the_longest(settings) -> None:
    assert lookback_sessions(settings) == lookback_sessions(settings, "it") == 751
    short = settings.model_copy(
        update={"garch": settings.garch.model_copy(update={"window": 100, "min_observations": 90})}
    )
    assert (
        lookback_sessions(short, "it"),
        lookback_sessions(short.model_copy(update={"history_sessions": 60}), "it"),
    ) == (251, 101)
    assert (
        lookback_sessions(short.model_copy(update={"history_sessions": 60})) == 125
    )  # a momentum lag of 120 and 5 stale sessions


def test_cut_off_history_is_an_error(market, settings) -> None:
    days = market.days[-100:]
    with pytest.raises(HistoryError, match="751 are needed and prices have them"):
        indicators(market.prices, market.universe, SECTOR, settings, days, date(2021, 6, 1), date(2021, 6, 30))


def test_an_unexplained_step_is_counted_from_as_far_as_the_windows_reach(market, load, settings) -> None:
    first, last = "2020-05", "2020-10"
    prices, universe, days = load(market, first, last, lookback_sessions(settings, SECTOR))
    jump = int(np.searchsorted(days, np.datetime64("2020-05-20")))
    risen = (pl.col("ticker") == "T01") & (pl.col("date") >= days[jump].item())
    changed = prices.with_columns(
        close=pl.when(risen).then(pl.col("close") * 75.0).otherwise("close"),
        unexplained=risen & (pl.col("date") == days[jump].item()),
    )

    def computed(prices: pl.DataFrame) -> pl.DataFrame:
        rows = indicators(prices, universe, SECTOR, settings, days, month_start(first), month_end(last)).rows
        return rows.filter(pl.col("ticker") == "T01")

    plain, result = computed(prices), computed(changed)
    at = np.searchsorted(days, result["date"].to_numpy().astype("datetime64[D]")) - jump
    windows = settings.windows[SECTOR]
    touched = max(windows.momentum_lag, windows.moving_average - 1 + settings.slope_sessions) + 5
    expected = [int(since) if 0 <= since < touched else None for since in at]
    assert result["unexplained_sessions"].to_list() == expected
    # Outside of the mark momentum and slope are those of a price that never jumped, up to rounding.
    outside = pl.Series([value is None for value in expected])
    for name in ("momentum", "ma_slope"):
        np.testing.assert_allclose(result[name].filter(outside), plain[name].filter(outside), rtol=0, atol=1e-12)
        assert (result[name] - plain[name]).abs().max() > 1.0
    np.testing.assert_allclose(result["garch_volatility"], plain["garch_volatility"], rtol=0.1)


def test_an_empty_sector_gives_no_rows(market, settings) -> None:
    empty = indicators(
        market.prices.clear(),
        market.universe.clear(),
        SECTOR,
        settings,
        market.days,
        month_start("2020-05"),
        month_end("2020-05"),
    ).rows
    assert empty.is_empty()
    assert empty.schema == dataset(settings).schema
