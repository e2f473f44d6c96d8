"""A book over frames: itemised costs, other executions and cadences, ranges and months, and nothing from later."""

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.backtest.book import begins
from quant_assets.backtest.simulation import Simulated, lookback_months, simulated
from quant_assets.errors import DatasetError
from quant_assets.market.calendar import sessions
from quant_assets.settings.trading import BacktestSettings, TurnoverSettings

DAYS = sessions(date(2014, 9, 1), date(2017, 3, 31))
DATES: list[date] = DAYS.tolist()
ENDS = [day for day, following in pairwise(DATES) if day.month != following.month] + [DATES[-1]]
NAMES = 8
ITEMISED = BacktestSettings(costs="itemised", capital=5e6)
CAPPED = BacktestSettings(turnover=TurnoverSettings(limited=True, max_turnover=0.35, annual=0.8, min_trade=0.005))


def market(seed: int = 0) -> pl.DataFrame:
    """Bars with holes, three months' halt of a name, unexplained steps, dividends, and a name without a volume."""
    rng = np.random.default_rng(seed)
    shape = (len(DATES), NAMES)
    close = 40 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
    close[200:, 3] *= 60.0
    dividend = np.where(rng.random(shape) < 0.01, 0.01, 0.0)
    traded = close / np.cumprod(1.0 + dividend, axis=0)
    high, low = (close * np.exp(sign * np.abs(0.01 * rng.standard_normal(shape))) for sign in (1, -1))
    rows = pl.DataFrame(
        {
            "ticker": np.tile([f"N{i}" for i in range(NAMES)], len(DATES)),
            "date": np.repeat(DAYS, NAMES),
            "open": (close * np.exp(0.005 * rng.standard_normal(shape))).ravel(),
            "high": high.ravel(),
            "low": low.ravel(),
            "close": close.ravel(),
            "close_unadjusted": traded.ravel(),
            "split_factor": 1.0,
            "dollar_volume": np.where(np.arange(NAMES) == 5, np.nan, rng.lognormal(16.0, 1.0, shape)).ravel(),
            "unexplained": ((np.arange(len(DATES)) == 200)[:, None] & (np.arange(NAMES) == 3)).ravel(),
        }
    ).with_columns(panel_from="date", dollar_volume=pl.col("dollar_volume").fill_nan(None))
    halted = (pl.col("ticker") == "N6") & pl.col("date").is_between(DATES[420], DATES[460])
    return rows.filter(pl.Series(rng.random(len(rows)) > 0.03), ~halted)


def decisions(seed: int = 0, *, shorts: bool = False) -> dict[date, dict[str, float]]:
    rng = np.random.default_rng(seed)
    found = {}
    for as_of in ENDS:
        chosen = rng.choice(NAMES, 4, replace=False)
        raw = rng.dirichlet(np.ones(4)) * (rng.choice([1.0, -0.7], 4) if shorts else 1.0)
        found[as_of] = {f"N{i}": float(w) for i, w in zip(chosen, raw, strict=True)}
    return found


DELISTED = pl.DataFrame(
    {
        "ticker": ["N7", "N2"],
        "last_session": [DATES[480], DATES[300]],
        "known_at": [DATES[486], DATES[306]],
        "rule": ["collapse", "unknown"],
        "delisting_return": [-0.3, None],
        "successor": pl.Series([None, None], dtype=pl.String),
    }
)


def weights_of(given: dict[date, dict[str, float]]) -> pl.DataFrame:
    rows = [(name, as_of, weight) for as_of, targets in given.items() for name, weight in targets.items()]
    return pl.DataFrame(rows, schema={"ticker": pl.String, "as_of": pl.Date, "weight": pl.Float64}, orient="row")


def run(
    settings: BacktestSettings,
    given: dict[date, dict[str, float]] | None = None,
    prices: pl.DataFrame | None = None,
    first: date = date(2016, 1, 1),
    last: date = DATES[-1],
    **more: Any,
) -> Simulated:
    given = decisions() if given is None else given
    prices = market() if prices is None else prices
    return simulated(weights_of(given), prices, DAYS, list(given), first, last, entry_lag=1, settings=settings, **more)


EVERY = [
    pytest.param(ITEMISED, id="itemised"),
    pytest.param(ITEMISED.model_copy(update={"rebalancing": "week", "execution": "open"}), id="weekly at the open"),
    pytest.param(BacktestSettings(rebalancing="day", execution="mean"), id="daily at the mean"),
    pytest.param(CAPPED.model_copy(update={"costs": "itemised"}), id="turnover limited"),
    pytest.param(
        ITEMISED.model_copy(update={"participation": 0.02, "spread": "corwin_schultz", "capital": 1e8}), id="limited"
    ),
]


@pytest.mark.parametrize("settings", EVERY)
@pytest.mark.parametrize("shorts", [False, True])
def test_a_range_equals_its_months_bit_for_bit(settings: BacktestSettings, shorts: bool) -> None:
    given, prices = decisions(1, shorts=shorts), market(1)
    whole = run(settings, given, prices, delistings=DELISTED)
    for first in (date(2016, 1, 1), date(2016, 7, 1), date(2016, 12, 1), date(2017, 3, 1)):
        months = first.year * 12 + first.month - 1 - lookback_months(1, settings)
        since = max(date(months // 12, months % 12 + 1, 1), DATES[0])
        last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        held = {as_of: targets for as_of, targets in given.items() if since <= as_of <= last}
        single = simulated(
            weights_of(held),
            prices.filter(pl.col("date").is_between(since, last)),
            sessions(since, last),
            list(held),
            first,
            last,
            entry_lag=1,
            settings=settings,
            delistings=DELISTED.filter(pl.col("known_at").is_between(since, last)),
        )
        in_month = pl.col("date").is_between(first, last)
        assert single.frame.equals(whole.frame.filter(in_month))
        assert len(single.frame)
        for name in ("trades", "positions"):
            one, other = (getattr(each.outcome, name).filter(in_month) for each in (single, whole))
            assert one.equals(other), name
        of_month = pl.col("month") == first
        assert single.outcome.gains.filter(of_month).equals(whole.outcome.gains.filter(of_month))


@pytest.mark.parametrize("settings", EVERY)
def test_what_comes_later_changes_nothing(settings: BacktestSettings) -> None:
    given, prices, through = decisions(2), market(2), DATES[482]
    whole = run(settings, given, prices, delistings=DELISTED)
    kept = {as_of: targets for as_of, targets in given.items() if as_of <= through}
    known = run(
        settings,
        kept,
        prices.filter(pl.col("date") <= through),
        last=through,
        delistings=DELISTED.filter(pl.col("known_at") <= through),
    )
    assert known.frame.equals(whole.frame.filter(pl.col("date") <= through))
    assert known.outcome.trades.equals(whole.outcome.trades.filter(pl.col("date") <= through))


def test_each_part_of_the_cost_is_told_and_they_add_up() -> None:
    found = run(ITEMISED, decisions(3, shorts=True))
    terms = found.outcome.terms
    parts = sum(terms[name] for name in ("commission", "half_spread", "impact", "borrow", "rebate", "financing"))
    assert parts == pytest.approx(found.outcome.cost, abs=1e-15)
    for name in ("commission", "half_spread", "impact", "borrow", "short_dividends"):
        assert terms[name].max() > 0.0, name
    assert terms["rebate"].max() == terms["rebate"].min() == 0.0
    paid = run(ITEMISED.model_copy(update={"rebate_bps": 30.0}), decisions(3, shorts=True)).outcome.terms["rebate"]
    assert paid.min() < 0.0
    assert found.outcome.trades["impact"].sum() == pytest.approx(terms["impact"].sum(), rel=1e-4)


def test_impact_grows_with_the_root_of_capital_and_the_rest_stays() -> None:
    small, large = (run(ITEMISED.model_copy(update={"capital": each})).outcome.trades for each in (1e6, 4e6))
    first = small["date"].min()
    one, other = (each.filter(pl.col("date") == first) for each in (small, large))
    assert one["ticker"].to_list() == other["ticker"].to_list()
    assert other["impact"].to_numpy() == pytest.approx(2.0 * one["impact"].to_numpy(), rel=0.01)
    assert other["half_spread"].to_numpy() == pytest.approx(one["half_spread"].to_numpy(), rel=0.01)


def test_a_participation_limit_carries_the_rest() -> None:
    settings = BacktestSettings(costs="itemised", participation=0.05, capital=2e7)
    trades = run(settings).outcome.trades
    assert set(trades["reason"]) == {"decision", "carried"}
    free = run(settings.model_copy(update={"participation": None})).outcome.trades
    assert trades["traded"].abs().max() < free["traded"].abs().max()  # type: ignore[operator]


def test_cadences_trade_as_often_as_they_say_and_cash_is_never_negative() -> None:
    said = {}
    for cadence in ("month", "week", "day"):
        found = run(ITEMISED.model_copy(update={"rebalancing": cadence, "participation": 0.5}))
        assert found.frame["cash"].min() >= 0.0  # type: ignore[operator]
        said[cadence] = found.frame.filter(pl.col("turnover") > 0.0)["date"].n_unique()
    assert said["month"] < said["week"] < said["day"] <= len(run(ITEMISED).frame)
    mondays = run(BacktestSettings(rebalancing="week")).outcome.trades.filter(pl.col("reason") == "rebalancing")
    weeks = (
        mondays.select("date").unique().with_columns(week=pl.col("date").dt.iso_year() * 100 + pl.col("date").dt.week())
    )
    assert weeks["week"].is_unique().all()
    assert (weeks["date"].dt.weekday() == 1).mean() > 0.8  # type: ignore[operator]


@pytest.mark.parametrize(("execution", "price"), [("open", "open"), ("mean", "mean"), ("close", "close")])
def test_trades_are_at_the_price_of_the_execution(execution: str, price: str) -> None:
    prices = market().with_columns(mean=(pl.col("open") + pl.col("high") + pl.col("low") + pl.col("close")) / 4)
    settings = BacktestSettings(costs="itemised", execution=execution)  # type: ignore[arg-type]
    trades = run(settings, prices=prices).outcome.trades.join(prices, on=["ticker", "date"], how="left")
    trades = trades.filter(pl.col("ticker") != "N3")  # whose price goes on from before an unexplained rise
    assert trades["price"].to_numpy() == pytest.approx(trades[price].to_numpy(), rel=1e-12)


def test_a_missing_open_counts_as_the_close() -> None:
    settings = BacktestSettings(costs="itemised", execution="open")
    without = market().with_columns(open=pl.lit(None, pl.Float64))
    at_close = market().with_columns(open="close")
    assert run(settings, prices=without).frame.equals(run(settings, prices=at_close).frame)


def test_with_a_commission_alone_it_is_the_closed_form_but_for_what_costs_cost() -> None:
    """The closed form takes costs out of all holdings alike; a book trades to what is left after them."""
    prices = market(4).filter(pl.col("ticker") != "N6")
    given = {as_of: {n: w for n, w in t.items() if n != "N6"} for as_of, t in decisions(4).items()}
    full = (
        prices.sort("ticker", "date")
        .select(pl.col("date").unique(), on=1)
        .join(prices.select(pl.col("ticker").unique(), on=1), on="on")
        .drop("on")
        .join(prices, on=["ticker", "date"], how="left")
        .sort("ticker", "date")
    )
    whole = full.with_columns(pl.all().exclude("ticker", "date").fill_null(strategy="backward").over("ticker"))
    whole = whole.with_columns(panel_from="date").drop_nulls("close")
    flat = run(BacktestSettings(cost_bps=5.0), given, whole, delistings=DELISTED).frame
    carried = run(
        BacktestSettings(costs="itemised", commission_bps=5.0, spread="fixed", half_spread_bps=0.0, impact=0.0),
        given,
        whole,
        delistings=DELISTED,
    ).frame
    for name in ("gross_return", "net_return", "cost"):
        assert carried[name].to_numpy() == pytest.approx(flat[name].to_numpy(), abs=2e-6), name
    assert carried["unexplained"].equals(flat["unexplained"])
    assert carried["positions"].equals(flat["positions"])


def test_leverage_is_refused_unless_it_is_set_and_then_costs_interest() -> None:
    given = {as_of: {"N0": 0.9, "N1": 0.6} for as_of in ENDS}
    with pytest.raises(DatasetError, match=r"sum to 1\.5, above 1; .*backtest\.leverage"):
        run(ITEMISED, given)
    found = run(ITEMISED.model_copy(update={"leverage": 1.5}), given)
    assert found.frame["cash"].min() < -0.4  # type: ignore[operator]
    yearly = found.outcome.terms["financing"][-252:].sum()
    assert yearly == pytest.approx(0.05 * 0.5, rel=0.2)


def test_a_book_begins_in_january_of_the_year_before() -> None:
    assert begins(date(2016, 5, 31)) == date(2015, 1, 1)
    assert [lookback_months(1, ITEMISED), lookback_months(1)] == [23 + 3 + 1 + 1, 3]
    assert lookback_months(1, CAPPED) > 12 * 50


@pytest.mark.parametrize(
    "settings", [*EVERY, BacktestSettings(), BacktestSettings(turnover=TurnoverSettings(limited=True, annual=0.9))]
)
def test_what_is_held_is_told_of_each_session_whether_it_was_traded_or_not(settings: BacktestSettings) -> None:
    """The year's limit is used up in spring: in later months nothing is traded, and still something is held."""
    found = run(settings, decisions(5), market(5), delistings=DELISTED)
    held = found.outcome.positions.group_by("date").agg(pl.sum("weight"), pl.len().cast(pl.Int32).alias("names"))
    last = found.frame.filter(pl.col("positions") > 0)
    assert len(last.filter(pl.col("date").is_in(ENDS))) == 15
    assert len(held) == len(last)
    joined = last.join(held, on="date", how="left")
    assert joined["names"].to_list() == joined["positions"].to_list()
    assert joined["weight"].to_numpy() == pytest.approx(1.0 - joined["cash"].to_numpy(), abs=1e-12)
    if settings.turnover.limited:
        traded = found.outcome.trades["date"].dt.month_start().unique()
        assert len(traded) < 15


def test_under_turnover_limits_no_book_is_put_in_the_place_of_another_at_a_new_year() -> None:
    prices = market(5).filter(~pl.col("ticker").is_in(["N3", "N6"]))
    closes = dict(zip(prices.select("ticker", "date").rows(), prices["close"], strict=True))
    given = {as_of: {n: w for n, w in t.items() if n not in {"N3", "N6"}} for as_of, t in decisions(5).items()}
    outcome = run(CAPPED, given, prices, first=date(2015, 1, 1)).outcome
    for year in (2015, 2016):
        before, after = (
            part.filter(pl.col("date").dt.year() == at)
            for part, at in ((outcome.positions, year), (outcome.trades, year + 1))
        )
        last, first = before["date"].max(), after["date"].min()
        assert isinstance(last, date)
        assert isinstance(first, date)
        kept = dict(before.filter(pl.col("date") == last).select("ticker", "weight").iter_rows())
        worth = {}
        for name, weight in kept.items():
            days = [day for day in DATES if (name, day) in closes]
            start, end = (max(day for day in days if day <= each) for each in (last, first))
            worth[name] = weight * closes[name, end] / closes[name, start]
        total = 1.0 - sum(kept.values()) + sum(worth.values())
        traded = after.filter(pl.col("date") == first)
        assert len(traded)
        assert traded["held"].to_list() == pytest.approx([worth.get(name, 0.0) / total for name in traded["ticker"]])


def test_turnover_is_never_above_its_limits_whenever_the_first_purchase_comes() -> None:
    for begins_with in (ENDS[0], date(2016, 5, 1)):
        for known_from in (ENDS[0], ENDS[14]):
            given = {day: t if day >= begins_with else {} for day, t in decisions(6).items() if day >= known_from}
            frame = run(CAPPED, given).frame
            assert frame["turnover"].max() <= 0.35 + 1e-12  # type: ignore[operator]
            by_year = frame.group_by(pl.col("date").dt.year()).agg(pl.sum("turnover"))
            assert by_year["turnover"].max() <= 0.8 + 1e-12  # type: ignore[operator]
            assert frame["turnover"].sum() > 0.5


def test_shorts_that_come_later_change_nothing_before() -> None:
    settings = ITEMISED.model_copy(update={"participation": 0.3})
    for chosen in (settings, CAPPED):
        given = decisions(7) | {day: t for day, t in decisions(7, shorts=True).items() if day >= date(2016, 8, 1)}
        whole, known = (run(chosen, given, market(7), last=last) for last in (DATES[-1], date(2016, 7, 29)))
        assert known.frame.equals(whole.frame.filter(pl.col("date") <= date(2016, 7, 29)))
        assert any(weight < 0.0 for each in given.values() for weight in each.values())
