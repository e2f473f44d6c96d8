"""What must hold whatever the numbers: names and units mean nothing, simple portfolios earn what they hold, costs only
cost.

The synthetic sector of the signals tests goes through the real functions from prices to the backtest. What holds for
one function alone is tested beside it.
"""

import math
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.backtest import metrics
from quant_assets.backtest.simulation import simulate
from quant_assets.features.features import features
from quant_assets.features.labels import labels
from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.features.ohlcv import peaks
from quant_assets.market.calendar import sessions
from quant_assets.partitions import month_end, month_range, month_start, shift_month
from quant_assets.portfolio.allocation import total_portfolio
from quant_assets.portfolio.optimisers.inverse_volatility import inverse_volatility
from quant_assets.portfolio.weights import sector_weights
from quant_assets.risk.regimes import regime_state
from quant_assets.settings.domain import CandidateSettings, LabelSettings
from quant_assets.settings.loading import Settings, load_settings
from quant_assets.settings.risk import RegimeSettings
from quant_assets.settings.trading import BacktestSettings
from quant_assets.settings.weights import WeightSettings
from quant_assets.signals.candidates import candidates
from quant_assets.signals.indicators import indicators, lookback_sessions
from quant_assets_tests import synthetic
from quant_assets_tests.synthetic_statements import month_ends_of, statements_of

Frames = dict[str, pl.DataFrame]

SECTOR, MONTHS = "healthcare", month_range("2020-05", "2020-10")
LIBRARY = FeatureLibrary({name: ready_made(name) for name in ("core", "cross_section", "alpha158")})
#: Half of the names are long, so that relabelling has something to reorder.
CHOICE = CandidateSettings(long_fraction=0.5, short_fraction=0.3)


market, load = synthetic.market, synthetic.load


@pytest.fixture(scope="module")
def statements(market):
    return statements_of(market)


@pytest.fixture(scope="module")
def month_ends():
    return month_ends_of


@pytest.fixture(scope="module")
def profile() -> Settings:
    return load_settings("demo")


@pytest.fixture(scope="module")
def chain(load, month_ends, profile):
    """Every dataset from indicators to the backtest, of a market and its statements."""

    def compute(market: Any, statements: pl.DataFrame) -> Frames:
        first, last = month_start(MONTHS[0]), month_end(MONTHS[-1])
        prices, universe, days = load(market, MONTHS[0], MONTHS[-1], lookback_sessions(profile.indicators, SECTOR))
        signals = indicators(prices, universe, SECTOR, profile.indicators, days, first, last).rows
        as_ofs = [day for day in month_ends(market.days) if first <= day <= last]
        chosen = candidates(signals, universe, as_ofs, CHOICE)
        forecasts = pl.DataFrame(
            schema={"ticker": pl.String, "date": pl.Date, "horizon": pl.Int32, "prediction": pl.Float64}
        )
        weights = sector_weights(chosen, forecasts, signals, as_ofs, WeightSettings())
        held = simulate(
            weights,
            prices,
            days,
            as_ofs,
            date(2020, 7, 1),
            last,
            entry_lag=1,
            settings=BacktestSettings(cost_bps=10.0),
            delistings=market.delistings,
            benchmark_members=market.universe,
        )
        back = LIBRARY.price_lookback(profile.fundamentals)
        prices, universe, days = load(market, MONTHS[0], MONTHS[-1], back, LIBRARY.universe_lookback)
        known = statements.filter(
            pl.col("panel_from").is_between(
                month_start(shift_month(MONTHS[0], -profile.fundamentals.lookback_months)), last
            )
        )
        tops = peaks(market.prices, market.days, [day for day in month_ends(market.days) if day < last])
        tops = tops.filter(pl.col("as_of") >= month_start(shift_month(MONTHS[0], -1)))
        inputs = features(prices, tops, known, universe, LIBRARY, profile.fundamentals, days, first, last)
        regimes = regime_state(market.prices, market.universe, market.days, as_ofs, RegimeSettings())
        return {
            "indicators": signals,
            "candidates": chosen,
            "weights": weights,
            "backtest": held,
            "features": inputs,
            "labels": _labels(market),
            "regime_state": regimes,
        }

    return compute


def _labels(market: Any, horizons: tuple[int, ...] = (1, 5, 20, 60)) -> pl.DataFrame:
    last = market.days[-1].item()
    wanted = LabelSettings(horizons=horizons)
    universe = market.universe.filter(pl.col("date").is_between(month_start(MONTHS[0]), month_end(MONTHS[-1])))
    prices = market.prices.filter(pl.col("date") >= month_start(MONTHS[0]))
    days = market.days[market.days >= np.datetime64(month_start(MONTHS[0]))]
    return labels(
        prices, market.delistings, universe, wanted, days, last, month_start(MONTHS[0]), month_end(MONTHS[-1])
    )


@pytest.fixture(scope="module")
def whole(chain, market, statements) -> Frames:
    found = chain(market, statements)
    assert found["weights"].height > 15
    assert found["backtest"]["turnover"].sum() > 1.0
    return found


# --- Names and units --------------------------------------------------------------------------------------------------


def test_relabelling_the_tickers_permutes_every_result(chain, market, statements, whole: Frames) -> None:
    """Bit for bit: no sum, sort or rank depends on what a company is called."""
    names = market.prices["ticker"].unique().sort().to_list()
    order = np.random.default_rng(1).permutation(len(names))
    label = {name: f"R{place}" for name, place in zip(names, order, strict=True)}

    def renamed(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("ticker").replace_strict(label)) if "ticker" in frame.columns else frame

    other = market._replace(
        prices=renamed(market.prices).sort("ticker", "date"),
        universe=renamed(market.universe).sort("ticker", "date"),
        delistings=renamed(market.delistings),
    )
    found = chain(other, renamed(statements).sort("ticker", "period_end"))
    for name, frame in whole.items():
        key = [each for each in ("ticker", "date", "as_of", "horizon") if each in frame.columns]
        synthetic.assert_identical(found[name].sort(key), renamed(frame).sort(key))


@pytest.mark.parametrize("factor", [3.7, 0.013])
def test_the_unit_of_a_tickers_prices_changes_no_feature_and_no_return(
    factor: float, chain, market, statements, whole: Frames
) -> None:
    """Adjusted prices of one ticker in another unit, as where its history begins at another bar: what is no price
    itself stays as it is."""
    own = pl.col("ticker") == "T00"
    prices = market.prices.with_columns(
        pl.when(own).then(pl.col(name) * factor).otherwise(name) for name in ("open", "high", "low", "close")
    )
    found = chain(market._replace(prices=prices), statements)
    for name, frame in whole.items():
        for column, dtype in frame.schema.items():
            ours, theirs = found[name][column], frame[column]
            if column in ("close", "moving_average"):  # of dataset indicators: prices themselves
                theirs = frame.select(pl.when(own).then(pl.col(column) * factor).otherwise(column)).to_series()
            assert ours.is_null().equals(theirs.is_null()), (name, column)
            if dtype == pl.Float64:
                # The GARCH search ends within 1e-7 of the maximum.
                tolerance = 1e-5 if "volatility" in column or name in ("candidates", "weights", "backtest") else 1e-8
                np.testing.assert_allclose(
                    ours.drop_nulls(), theirs.drop_nulls(), rtol=tolerance, atol=tolerance, err_msg=f"{name}.{column}"
                )
            else:
                assert ours.equals(theirs), (name, column)


@given(st.lists(st.floats(0.01, 3.0), min_size=1, max_size=12), st.floats(0.001, 1000.0))
@settings(max_examples=100, deadline=None)
def test_the_unit_of_volatility_changes_no_weight(volatility: list[float], factor: float) -> None:
    values = np.array(volatility)
    np.testing.assert_allclose(inverse_volatility(factor * values), inverse_volatility(values), rtol=1e-12)


# --- What a portfolio earns -------------------------------------------------------------------------------------------

DAYS = sessions(date(2015, 10, 1), date(2016, 12, 30))
DATES: list[date] = DAYS.tolist()
ENDS = [day for day, following in pairwise(DATES) if day.month != following.month]
NAMES = tuple("ABCDEF")


def random_closes(seed: int) -> np.ndarray:
    """Closes of shape (n_names, n_sessions)."""
    return 30.0 * np.exp(
        np.cumsum(0.02 * np.random.default_rng(seed).standard_normal((len(NAMES), len(DATES))), axis=1)
    )


def prices_of(closes: np.ndarray) -> pl.DataFrame:
    rows = [
        (name, day, close, day)
        for name, path in zip(NAMES, closes, strict=True)
        for day, close in zip(DATES, path, strict=True)
    ]
    return pl.DataFrame(
        rows, schema={"ticker": pl.String, "date": pl.Date, "close": pl.Float64, "panel_from": pl.Date}, orient="row"
    )


def earned(decisions: dict[date, np.ndarray], closes: np.ndarray, cost_bps: float = 0.0) -> pl.DataFrame:
    """Backtest of 2016 with weights of shape (n_names,) by as_of."""
    rows = [
        (name, as_of, float(w))
        for as_of, weights in decisions.items()
        for name, w in zip(NAMES, weights, strict=True)
        if w > 0
    ]
    weights = pl.DataFrame(rows, schema={"ticker": pl.String, "as_of": pl.Date, "weight": pl.Float64}, orient="row")
    return simulate(
        weights,
        prices_of(closes),
        DAYS,
        ENDS,
        date(2016, 1, 1),
        DATES[-1],
        entry_lag=1,
        settings=BacktestSettings(cost_bps=cost_bps),
    )


def some_weights(seed: int) -> np.ndarray:
    raw = np.random.default_rng(seed).uniform(0.05, 1.0, len(NAMES))
    weights: np.ndarray = raw / math.fsum(raw.tolist())
    return weights


@given(st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_constant_weights_without_costs_compound_exactly(seed: int) -> None:
    """Rebalanced to the same weights at each execution, wealth is the product of the weighted price relatives in
    between."""
    closes, weights = random_closes(seed), some_weights(seed)
    found = earned(dict.fromkeys(ENDS, weights), closes)
    executed = [DATES.index(day) + 1 for day in ENDS if day >= date(2015, 12, 1)]
    for start, stop in pairwise([*executed, len(DATES) - 1]):
        between = found.filter(pl.col("date").is_between(DATES[start + 1], DATES[stop]))["net_return"].to_list()
        relative = math.fsum((weights * closes[:, stop] / closes[:, start]).tolist())
        assert math.prod(1.0 + r for r in between) == pytest.approx(relative, rel=1e-12)
    wealth = found.group_by(pl.col("date").dt.month()).agg(pl.col("equity").sort_by("date").last())["equity"].product()
    assert wealth == pytest.approx(1.0 + (metrics.compound(found["net_return"].to_list()) or math.nan), rel=1e-12)


@given(st.integers(0, 10_000), st.sampled_from(range(len(NAMES))))
@settings(max_examples=5, deadline=None)
def test_a_portfolio_of_one_asset_has_the_assets_return(seed: int, which: int) -> None:
    closes = random_closes(seed)
    found = earned(dict.fromkeys(ENDS, np.eye(len(NAMES))[which]), closes)
    own = closes[which, 1:] / closes[which, :-1] - 1.0
    np.testing.assert_allclose(found["gross_return"], own[-len(found) :], rtol=0, atol=1e-14)
    assert found["turnover"].max() == pytest.approx(0.0, abs=1e-14)  # bought in 2015


def test_twice_the_capital_earns_the_same_returns() -> None:
    """Twice the money in every name is the same as every price in half the unit; powers of two are exact."""
    closes = random_closes(3)
    decisions = {as_of: some_weights(number) for number, as_of in enumerate(ENDS)}
    assert earned(decisions, 2.0 * closes, 10.0).equals(earned(decisions, closes, 10.0))


def test_a_held_name_earns_its_feature_and_its_label(market, whole: Frames) -> None:
    """Backtest, feature `return_1` and label of one session agree on what a session's return is, and on when it is
    earned."""
    held = pl.DataFrame(
        {"ticker": "GONE", "as_of": [date(2020, 5, 29), date(2020, 6, 30), date(2020, 7, 31)], "weight": 1.0}
    )
    days = market.days[market.days <= np.datetime64("2020-08-31")]
    found = simulate(
        held,
        market.prices.filter(pl.col("date") >= date(2020, 5, 1)),
        days[days >= np.datetime64("2020-05-01")],
        held["as_of"].to_list(),
        date(2020, 7, 1),
        date(2020, 8, 31),
        entry_lag=1,
        settings=BacktestSettings(cost_bps=0.0),
    )
    own = pl.col("ticker") == "GONE"
    feature = found.select("date").join(whole["features"].filter(own), on="date", how="left")["return_1"]
    np.testing.assert_allclose(found["gross_return"], feature, rtol=0, atol=1e-14)
    # What is decided at a session is bought at the next one's close and earns from there to the close after it.
    later = dict(zip(market.days[:-2].tolist(), market.days[2:].tolist(), strict=True))
    label = (
        whole["labels"]
        .filter(own, pl.col("horizon") == 1)
        .select("forward_return", date=pl.col("date").replace_strict(later))
    )
    matched = found.join(label, on="date", how="inner")
    assert matched.height == found.height
    np.testing.assert_allclose(matched["gross_return"], matched["forward_return"], rtol=0, atol=1e-14)


def test_labels_of_a_horizon_compound_from_daily_ones(market) -> None:
    found = _labels(market, (1, 5, 20, 60)).filter(
        pl.col("ticker").is_in(["FLAT", "LIST", "MOVE", "LEFT"])
    )  # without missing bars
    daily = found.filter(pl.col("horizon") == 1)
    paths = {
        ticker: dict(rows.select("entry_date", "forward_return").iter_rows())
        for (ticker,), rows in daily.partition_by("ticker", as_dict=True).items()
    }
    place = {day: number for number, day in enumerate(market.days.tolist())}
    checked = dict.fromkeys((5, 20, 60), 0)
    for ticker, horizon, entry, value in (
        found.filter(pl.col("horizon") > 1).select("ticker", "horizon", "entry_date", "forward_return").iter_rows()
    ):
        steps = [paths[ticker].get(day.item()) for day in market.days[place[entry] : place[entry] + horizon]]
        if None not in steps:
            checked[horizon] += 1
            assert value == pytest.approx(math.prod(1.0 + step for step in steps) - 1.0, rel=1e-11, abs=1e-13)
    assert min(checked.values()) > 100


def test_a_total_portfolio_of_one_sector_is_that_sector(whole: Frames) -> None:
    weights = whole["weights"].with_columns(sector=pl.lit(SECTOR))
    regimes = whole["regime_state"].with_columns(sector=pl.lit(SECTOR))
    for allocation in ("equal", "inverse_volatility"):
        chosen = load_settings("demo").portfolio.model_copy(update={"allocation": allocation})
        total = total_portfolio(weights, regimes, weights["as_of"].unique().to_list(), chosen)
        same = ["ticker", "as_of", "weight"]
        assert total.select(same).sort(same).equals(weights.select(same).sort(same))


# --- Costs and drawdowns ----------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.5, 100.0))
@settings(max_examples=10, deadline=None)
def test_costs_grow_with_turnover_and_in_proportion(seed: int, one: float, other: float, bps: float) -> None:
    """The further a decision goes from what is held towards new targets, the more it trades and costs."""
    closes, before, towards = random_closes(seed), some_weights(seed), some_weights(seed + 1)
    bought, traded = DATES.index(ENDS[3]) + 1, DATES.index(ENDS[4]) + 1
    grown = before * closes[:, traded] / closes[:, bought]
    drifted = grown / math.fsum(grown.tolist())
    rows = []
    for share in sorted((one, other)):
        targets = drifted + share * (towards - drifted)
        decisions = {**dict.fromkeys(ENDS[:4], before), **dict.fromkeys(ENDS[4:], targets)}
        row = earned(decisions, closes, bps).row(by_predicate=pl.col("date") == DATES[traded], named=True)
        expected = share * np.abs(towards - drifted).sum()
        assert row["turnover"] == pytest.approx(expected, abs=1e-12)
        assert row["cost"] == pytest.approx(expected * bps / 1e4, abs=1e-14)
        rows.append(row)
    less, more = rows
    assert less["gross_return"] == more["gross_return"]
    assert less["turnover"] <= more["turnover"] + 1e-12
    assert less["net_return"] >= more["net_return"] - 1e-14


@given(st.lists(st.floats(0.0, 0.5), min_size=1, max_size=60))
@settings(max_examples=100, deadline=None)
def test_a_path_that_never_falls_has_no_drawdown(returns: list[float]) -> None:
    assert metrics.max_drawdown(returns) == 0.0


@given(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_the_maximum_drawdown_is_the_worst_loss_between_two_closes(returns: list[float]) -> None:
    wealth = np.cumprod([1.0, *(1.0 + r for r in returns)])
    worst = max(
        1.0 - wealth[later] / wealth[earlier] for earlier in range(len(wealth)) for later in range(earlier, len(wealth))
    )
    assert metrics.max_drawdown(returns) == pytest.approx(worst, abs=1e-12)
