"""A simulation as rows: what adds up, what names factors and sectors gave, and ranges against months."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.backtest.account import account, attribution, by_sector
from quant_assets.backtest.benchmark import with_index
from quant_assets.backtest.capacity import by_capital
from quant_assets.backtest.simulation import lookback_months, simulated
from quant_assets.checks import breaches
from quant_assets.errors import SettingsError
from quant_assets.market.calendar import sessions
from quant_assets.schemas import DATASETS
from quant_assets.settings.trading import BacktestSettings, TurnoverSettings
from quant_assets_tests.backtest.test_book import DATES, DAYS, DELISTED, ENDS, ITEMISED, decisions, market, weights_of

LIMITED = ITEMISED.model_copy(update={"turnover": TurnoverSettings(limited=True, max_turnover=0.5, annual=3.0)})


def indicators_of(prices: pl.DataFrame) -> pl.DataFrame:
    """Indicators that follow from the name's number alone, N0 to N11; momentum is the number."""
    rows = prices.select("ticker", "date").filter(pl.col("date").is_in(ENDS))
    number = pl.col("ticker").str.slice(1).cast(pl.Float64)
    return rows.with_columns(
        momentum=number, ma_slope=(number * 7.0) % 5.0, garch_volatility=0.1 + (number * 3.0) % 4.0
    )


def wide_market() -> pl.DataFrame:
    """Twelve names, so that the factors can be told apart."""
    more = market(5).filter(pl.col("ticker").is_in(["N0", "N1", "N2", "N4"]))
    more = more.with_columns(ticker=pl.lit("N") + (pl.col("ticker").str.slice(1).cast(pl.Int32) + 8).cast(pl.String))
    return pl.concat([market(), more])


def told(
    settings: BacktestSettings, first: date, last: date, since: date = DATES[0], prices: pl.DataFrame | None = None
) -> dict[str, pl.DataFrame]:
    prices = wide_market() if prices is None else prices
    given = {as_of: targets for as_of, targets in decisions(6).items() if since <= as_of <= last}
    members = prices.select("ticker", "date")
    within = pl.col("date").is_between(since, last)
    found = simulated(
        weights_of(given),
        prices.filter(within),
        sessions(since, last),
        list(given),
        first,
        last,
        entry_lag=1,
        settings=settings,
        delistings=DELISTED.filter(pl.col("known_at").is_between(since, last)),
        benchmark_members=members.filter(within),
    )
    as_ofs = [day for day in ENDS if first <= day <= last]
    earlier = indicators_of(prices).filter(pl.col("date") >= (first - timedelta(days=1)).replace(day=1))
    index = pl.DataFrame({"date": DATES, "index_return": 0.01 * np.cos(np.arange(len(DATES)))})
    found = replace(found, frame=with_index(found.frame, index))
    frames = account(found, prices.filter(within), earlier, as_ofs, first, settings)
    return {**frames, "backtest": found.frame}


@pytest.mark.parametrize(
    "settings", [BacktestSettings(cost_bps=12), ITEMISED, LIMITED], ids=["flat", "book", "limited"]
)
def test_a_range_equals_its_months_and_rows_keep_their_schemas(settings: BacktestSettings) -> None:
    whole = told(settings, date(2016, 1, 1), DATES[-1])
    for first in (date(2016, 2, 1), date(2016, 12, 1), date(2017, 1, 1)):
        months = first.year * 12 + first.month - 1 - lookback_months(1, settings)
        since = max(date(months // 12, months % 12 + 1, 1), DATES[0])
        last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        single = told(settings, first, last, since)
        for name, frame in single.items():
            dated = DATASETS[name].dated_by
            assert frame.equals(whole[name].filter(pl.col(dated).is_between(first, last))), name
            assert len(frame) or settings is LIMITED, name  # a year's limit may leave nothing to trade
    for name, frame in whole.items():
        rows = DATASETS[name].conform(frame.with_columns(sector=pl.lit("it")))
        assert not any(breaches(DATASETS[name], rows, DATES[-1]).values()), name


@pytest.mark.parametrize("settings", [BacktestSettings(cost_bps=12), LIMITED], ids=["flat", "limited"])
def test_everything_adds_up_to_the_result(settings: BacktestSettings) -> None:
    found = told(settings, date(2016, 1, 1), DATES[-1])
    backtest, parts = found["backtest"], found["attribution"]
    monthly = backtest.group_by(month=pl.col("date").dt.month_start()).agg(pl.sum("net_return")).sort("month")
    total = parts.filter(pl.col("level") == "total").group_by("as_of").agg(pl.sum("value")).sort("as_of")
    assert total["value"].to_numpy() == pytest.approx(monthly["net_return"].to_numpy(), abs=1e-12)
    by_index = parts.filter(pl.col("level") == "index").group_by("as_of").agg(pl.sum("value")).sort("as_of")
    assert by_index["value"].to_numpy() == pytest.approx(monthly["net_return"].to_numpy(), abs=1e-12)
    assert set(parts.filter(pl.col("level") == "index")["name"]) == {"index", "sector", "exposure", "selection", "cost"}
    index = parts.filter((pl.col("level") == "index") & (pl.col("name") == "index")).sort("as_of")["value"]
    each = backtest.group_by(month=pl.col("date").dt.month_start()).agg(pl.sum("index_return")).sort("month")
    assert index.to_numpy() == pytest.approx(each["index_return"].to_numpy(), abs=1e-12)
    for level in ("selection", "cost"):
        above = parts.filter((pl.col("level") == "total") & (pl.col("name") == level)).select("as_of", "value")
        below = parts.filter(pl.col("level") == level).group_by("as_of").agg(below=pl.sum("value"))
        both = above.join(below, on="as_of")
        assert len(both) > 8
        assert both["value"].to_numpy() == pytest.approx(both["below"].to_numpy(), abs=1e-12)
    costs = found["backtest_costs"]
    summed = costs.select(pl.sum_horizontal(pl.all().exclude("date", "short_dividends"))).to_series()
    assert summed.to_numpy() == pytest.approx(backtest["cost"].to_numpy(), abs=1e-15)
    done = found["turnover"].filter("traded").group_by("date").agg(pl.sum("turnover"))
    joined = backtest.filter(pl.col("turnover") > 0).join(done, on="date", how="full", coalesce=True)
    assert joined["turnover"].to_numpy() == pytest.approx(joined["turnover_right"].to_numpy(), abs=1e-12)


def test_without_a_benchmark_nothing_is_said_of_the_sector() -> None:
    """A session with a known index alone: what is beside the index is selection, not the sector's."""
    given, prices = decisions(6), wide_market()
    found = simulated(
        weights_of(given),
        prices,
        DAYS,
        list(given),
        date(2016, 1, 1),
        DATES[-1],
        entry_lag=1,
        settings=BacktestSettings(),
    )
    days = [day for day in DATES if (day.year, day.month) == (2016, 3)]
    held = pl.col("date") != days[3]
    frame = found.frame.with_columns(
        benchmark_return=pl.when(held).then(0.004), index_return=pl.when(held).then(0.001).otherwise(0.03)
    )
    as_of = next(day for day in ENDS if (day.year, day.month) == (2016, 3))
    parts = attribution(replace(found, frame=frame), prices, indicators_of(prices), [as_of])
    value = {(level, name): each for _, level, name, each in parts.iter_rows()}
    assert value["index", "index"] == pytest.approx(0.001 * (len(days) - 1) + 0.03)
    assert value["index", "sector"] == pytest.approx(0.003 * (len(days) - 1))
    assert value["index", "selection"] == pytest.approx(value["total", "selection"] - 0.03)
    of = {level: sum(each for (at, _), each in value.items() if at == level) for level in ("total", "index")}
    assert of["index"] == pytest.approx(of["total"], abs=1e-12)


def test_turnover_tells_limits_what_is_left_of_the_year_and_what_was_cut() -> None:
    rows = told(LIMITED, date(2016, 1, 1), DATES[-1])["turnover"]
    by_day = rows.filter("traded").group_by("date").agg(pl.sum("turnover"), pl.first("annual_left")).sort("date")
    assert by_day["turnover"].max() <= 0.5 + 1e-12  # type: ignore[operator]
    in_2016 = by_day.filter(pl.col("date").dt.year() == 2016)
    assert in_2016["annual_left"].to_numpy() == pytest.approx(3.0 - in_2016["turnover"].cum_sum().to_numpy(), abs=1e-12)
    assert {"session_limit", "annual_limit", "entry", "exit"} <= set(rows["cause"])
    free = told(ITEMISED, date(2016, 1, 1), DATES[-1])["turnover"]
    assert free.select("max_turnover", "annual_left").null_count().row(0) == (len(free), len(free))
    assert free["turnover"].sum() > rows.filter("traded")["turnover"].sum()


def test_trades_have_the_price_as_traded_and_the_shares_of_the_capital() -> None:
    found, prices = told(ITEMISED, date(2016, 1, 1), DATES[-1])["trades"], wide_market()
    joined = found.join(prices, on=["ticker", "date"], how="left")
    assert joined["price"].to_numpy() == pytest.approx(joined["close_unadjusted"].to_numpy(), rel=1e-12)
    shares = found["traded"].abs() * ITEMISED.capital / found["price"]
    assert found["quantity"].to_numpy() == pytest.approx(shares.to_numpy(), rel=1e-12)
    assert ((found["traded"] > 0) == (found["action"] == "buy")).all()


def test_a_name_that_goes_with_its_factor_alone_is_no_selection_of_its_own() -> None:
    """Returns are the factor's return times the name's score: all of the active result is the factor's."""
    rng = np.random.default_rng(7)
    names = [f"N{i}" for i in range(12)]
    factor = 0.01 * rng.standard_normal(len(DATES))
    score = np.arange(12.0)
    close = 50.0 * np.cumprod(1.0 + factor[:, None] * (score - score.mean()) / score.std(), axis=0)
    prices = pl.DataFrame(
        {"ticker": names * len(DATES), "date": np.repeat(DAYS, 12), "close": close.ravel()}
    ).with_columns(panel_from="date")
    settings = BacktestSettings(cost_bps=0.0)
    parts = told(settings, date(2016, 1, 1), date(2016, 6, 30), prices=prices)["attribution"]
    split = parts.filter(pl.col("level") == "selection").group_by("name").agg(pl.col("value").abs().sum())
    sizes = dict(split.iter_rows())
    assert sizes["momentum"] > 0.05
    # What is left is the session before the first trade, and drift from the weights then held.
    assert sizes["specific"] + sizes["ma_slope"] + sizes["garch_volatility"] < 0.5 * sizes["momentum"]


def test_the_total_portfolio_by_sector_adds_up() -> None:
    as_ofs = [date(2016, 1, 29), date(2016, 2, 29)]
    weights = pl.DataFrame(
        [("it", "A", 0.3), ("it", "B", 0.3), ("energy", "C", 0.4)], schema=["sector", "ticker", "weight"], orient="row"
    ).with_columns(as_of=pl.lit(as_ofs[0]))
    gains = pl.DataFrame(
        [(date(2016, 2, 1), "A", 0.02), (date(2016, 2, 1), "B", -0.01), (date(2016, 2, 1), "C", 0.03)],
        schema={"month": pl.Date, "ticker": pl.String, "gain": pl.Float64},
        orient="row",
    )
    days: Any = [date(2016, 2, 3), date(2016, 2, 4)]
    backtest = pl.DataFrame(
        {"sector": ["it", "it", "energy", "energy"], "date": days * 2, "benchmark_return": [0.01, 0.02, -0.01, 0.03]},
        schema={"sector": pl.String, "date": pl.Date, "benchmark_return": pl.Float64},
    )
    found = by_sector(gains, weights, backtest, as_ofs)
    assert found["as_of"].to_list() == [as_ofs[1]] * 2
    row = found.row(by_predicate=pl.col("sector") == "it", named=True)
    assert (row["weight"], row["benchmark_return"], row["gain"]) == pytest.approx((0.6, 0.03, 0.01))
    assert row["allocation"] == pytest.approx((0.6 - 0.5) * (0.03 - 0.025))
    assert row["selection"] == pytest.approx(0.01 - 0.6 * 0.03)
    # The mean of the sectors, what weighing them gave and what choosing names gave are the whole.
    assert 0.025 + found["allocation"].sum() + found["selection"].sum() == pytest.approx(0.04)


def test_capacity_falls_with_capital_and_needs_itemised_costs() -> None:
    given, prices = decisions(6), market()
    options: Any = {"entry_lag": 1, "settings": ITEMISED}
    arguments: Any = (weights_of(given), prices, DAYS, list(given), date(2016, 1, 1), DATES[-1], [1e8, 1e6])
    small, large = by_capital(*arguments, **options)
    assert (small.capital, large.capital) == (1e6, 1e8)
    assert large.terms["impact"] == pytest.approx(10.0 * small.terms["impact"], rel=0.1)
    assert large.annualised_return < small.annualised_return  # type: ignore[operator]
    assert sum(large.terms.values()) == pytest.approx(large.cost)
    assert small.sharpe is not None
    for sessions_back, known in ((20, True), (19, False)):
        (short,) = by_capital(*arguments[:4], DATES[-sessions_back], DATES[-1], [1e6], **options)
        assert (short.sharpe is not None) == known, "fewer sessions have no interval"
    with pytest.raises(SettingsError, match="nothing depends on capital"):
        by_capital(*arguments, entry_lag=1, settings=BacktestSettings())
