"""Risk of a decision from its weights and prices: contributions, episodes, liquidity, forecasts by session."""

import math
from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import HistoryError
from quant_assets.market.calendar import decision_sessions
from quant_assets.risk import breakdown, stress
from quant_assets.risk.forecasts import at_decision, lookback_sessions, of_method, var_forecasts, with_backtests
from quant_assets.risk.holdings import Holdings, holdings
from quant_assets.risk.value_at_risk import METHODS
from quant_assets.schemas import DATASETS
from quant_assets.settings.risk import Episode, RiskSettings
from quant_assets_tests.risk.panels import DAYS, decision, prices, universe

SETTINGS = RiskSettings(window=300, min_observations=200, paths=1_000)
AS_OF = date(2021, 3, 31)
SPRING = Episode(first=date(2020, 2, 19), last=date(2020, 3, 23))
WEIGHTS = {"N0": 0.4, "N1": 0.3, "N2": 0.2, "N3": 0.05}


def held(bars: pl.DataFrame, weights: dict[str, float] = WEIGHTS, through: date = AS_OF, before: int = 300) -> Holdings:
    return holdings(decision(AS_OF, weights), bars, DAYS, AS_OF, before, through, SETTINGS.min_coverage)


def closes(bars: pl.DataFrame, ticker: str) -> np.ndarray:
    return bars.filter(pl.col("ticker") == ticker).sort("date")["close"].to_numpy()


# --- Holdings --------------------------------------------------------------------------------------------------------


def test_past_returns_of_the_weights_by_hand() -> None:
    bars = prices()
    at = int(np.searchsorted(DAYS, np.datetime64(AS_OF)))
    expected = sum(w * (closes(bars, name)[1:] / closes(bars, name)[:-1] - 1) for name, w in WEIGHTS.items())
    found = held(bars)
    np.testing.assert_allclose(found.total, expected[at - 300 : at], atol=1e-14)
    assert found.total.shape == (300,)


def test_names_without_a_bar_are_stood_for_by_the_others_until_too_few_are_left() -> None:
    bars = prices()
    young, most = DAYS[int(np.searchsorted(DAYS, np.datetime64(AS_OF))) - 100].item(), pl.col("date")
    without_small = bars.filter(~((pl.col("ticker") == "N3") & (most < young)))
    found = held(without_small)
    assert np.isfinite(found.total).all()
    np.testing.assert_allclose(found.returns[3, :199], found.total[:199] / 0.95, atol=1e-12)
    without_large = bars.filter(~((pl.col("ticker") == "N0") & (most < young)))
    found = held(without_large)
    assert np.isnan(found.total[:199]).all()
    assert np.isfinite(found.total[-99:]).all()
    rows = at_decision(found, SETTINGS, "2021-03|it")
    assert {row["reason"] for row in rows} == {"history too short: 100 of 200 returns"} or {
        row["reason"] for row in rows
    } == {"history too short: 99 of 200 returns"}
    assert {row["value_at_risk"] for row in rows} == {None}


def test_another_company_under_the_symbol_and_a_later_move_are_not_held() -> None:
    bars = prices()
    change = date(2020, 9, 1)
    reused = bars.with_columns(
        listed=pl.when((pl.col("ticker") == "N3") & (pl.col("date") >= change)).then(change).otherwise("listed")
    )
    found = held(reused)
    assert not np.array_equal(found.returns[3], held(bars).returns[3])
    # A ticker of which the panel holds no bar at as_of: its earlier ones come with a move after it.
    moved = bars.with_columns(
        panel_from=pl.when((pl.col("ticker") == "N3") & (pl.col("date") <= AS_OF))
        .then(date(2021, 4, 7))
        .otherwise("date")
    )
    np.testing.assert_allclose(held(moved).returns[3], held(moved).total / 0.95, atol=1e-12)


def test_cash_earns_nothing() -> None:
    bars = prices()
    half = held(bars, {name: weight / 2 for name, weight in WEIGHTS.items()})
    np.testing.assert_allclose(half.total, held(bars).total / 2, atol=1e-15)


def test_sessions_that_do_not_reach_back_are_an_error() -> None:
    with pytest.raises(HistoryError, match=r"risk at 2021-03-31 needs that session and the 705 before it"):
        held(prices(), before=700)


# --- Where it comes from ----------------------------------------------------------------------------------------------


def figures(rows: list[breakdown.Row], part: str, figure: str) -> dict[str, float]:
    return {row["item"]: row["value"] for row in rows if (row["part"], row["figure"]) == (part, figure)}


def test_contributions_sum_to_the_whole() -> None:
    found = held(prices())
    rows = breakdown.contributions(found, SETTINGS)
    names = ["volatility", "value_at_risk_95", "value_at_risk_99", "expected_shortfall_95", "expected_shortfall_99"]
    for name in names:
        total = figures(rows, "portfolio", name)["total"]
        assert math.fsum(figures(rows, "position", name).values()) == pytest.approx(total, rel=1e-10)
    assert figures(rows, "position", "weight") == WEIGHTS
    whole = {(row["method"], row["level"]): row for row in at_decision(found, SETTINGS, "") if row["horizon"] == 1}
    assert figures(rows, "portfolio", "value_at_risk_99")["total"] == whole["normal", 0.99]["value_at_risk"]
    expected = whole["historical", 0.99]["expected_shortfall"]
    assert figures(rows, "portfolio", "expected_shortfall_99")["total"] == pytest.approx(expected, rel=1e-12)
    assert figures(rows, "portfolio", "volatility")["total"] == pytest.approx(found.total.std(ddof=1) * math.sqrt(252))


def test_a_contribution_is_the_derivative_by_the_weight() -> None:
    bars, step = prices(), 1e-6
    rows = breakdown.contributions(held(bars), SETTINGS)
    for name, figure in (("N0", "volatility"), ("N1", "value_at_risk_99"), ("N2", "expected_shortfall_95")):
        sides = [
            figures(
                breakdown.contributions(held(bars, WEIGHTS | {name: WEIGHTS[name] + sign * step}), SETTINGS),
                "portfolio",
                figure,
            )["total"]
            for sign in (1, -1)
        ]
        slope = (sides[0] - sides[1]) / (2 * step)
        assert figures(rows, "position", figure)[name] == pytest.approx(WEIGHTS[name] * slope, rel=1e-4)


def test_beta_is_numpys_and_a_shock_is_its_multiple() -> None:
    found, market = held(prices()), np.random.default_rng(3).standard_normal(300) * 0.01
    market[:5] = np.nan
    rows = breakdown.shocks(found, market, SETTINGS)
    slope = np.polyfit(market[5:], found.total[5:], 1)[0]
    assert figures(rows, "shock", "beta")["beta"] == pytest.approx(slope, rel=1e-9)
    losses = figures(rows, "shock", "loss")
    assert set(losses) == {"-20%", "-10%", "+10%"}
    assert losses["-20%"] == pytest.approx(0.2 * slope, rel=1e-9)


def test_an_episode_that_is_over_is_replayed_and_a_later_one_is_not() -> None:
    bars = prices()
    episodes = {"spring": SPRING, "later": Episode(first=date(2021, 3, 1), last=date(2021, 4, 30))}
    known = bars.filter(~((pl.col("ticker") == "N3") & (pl.col("date") < date(2020, 6, 1))))
    found = stress.episode_returns(known, universe(known), DAYS, episodes, date(2020, 3, 1), date(2021, 4, 30))
    assert found.schema == DATASETS["episode_returns"].schema
    spring = found.filter(pl.col("episode") == "spring")
    first, last = (int(np.searchsorted(DAYS, np.datetime64(day))) for day in (SPRING.first, SPRING.last))
    returns = dict(spring.select("ticker", "episode_return").iter_rows())
    assert set(returns) == {"N0", "N1", "N2", "N4"}
    assert returns["N1"] == pytest.approx(closes(bars, "N1")[last] / closes(bars, "N1")[first] - 1, rel=1e-12)
    whole = np.prod(
        [
            1 + np.mean([closes(bars, f"N{i}")[t] / closes(bars, f"N{i}")[t - 1] - 1 for i in (0, 1, 2, 4)])
            for t in range(first + 1, last + 1)
        ]
    )
    assert spring["sector_return"][0] == pytest.approx(whole - 1, rel=1e-10)
    past = breakdown.of_sector(found, WEIGHTS, AS_OF)
    rows = breakdown.rows(held(bars), np.full(300, np.nan), {}, past, {}, SETTINGS)
    loss = figures(rows, "episode", "loss")
    assert set(loss) == {"spring"}, "the other one ends after the decision"
    expected = -sum(w * returns.get(name, spring["sector_return"][0]) for name, w in WEIGHTS.items())
    assert loss["spring"] == pytest.approx(expected, rel=1e-12)
    assert figures(rows, "episode", "coverage")["spring"] == pytest.approx(0.9 / 0.95)
    # What spans sectors takes the returns from the sectors' rows, and says the same of the same weights.
    stored = pl.DataFrame([{"as_of": AS_OF, **row} for row in rows], schema=DATASETS["risk_breakdown"].schema)
    again = breakdown.replayed(held(bars), breakdown.of_sectors(stored, AS_OF))
    assert again == breakdown.replayed(held(bars), past)


def test_an_episode_is_in_the_month_in_which_it_ends_only_and_not_before_its_end() -> None:
    bars = prices()
    episodes = {"spring": SPRING}

    def in_months(first: date, last: date, days: np.ndarray = DAYS) -> int:
        inside = bars.filter(pl.col("date") <= days[-1].item())
        return len(stress.episode_returns(inside, universe(inside), days, episodes, first, last))

    assert in_months(date(2020, 3, 1), date(2020, 3, 31)) == 5
    assert in_months(date(2020, 2, 1), date(2020, 2, 29)) == in_months(date(2020, 4, 1), date(2020, 6, 30)) == 0
    running = DAYS[np.datetime64("2020-03-20") >= DAYS]
    assert in_months(date(2020, 3, 1), date(2020, 3, 31), running) == 0


def test_sessions_to_sell_by_hand() -> None:
    settings = SETTINGS.model_copy(update={"capital": 1_000_000.0, "participation": 0.1})
    volumes = {"N0": 4_000_000.0, "N1": 1_000_000.0, "N2": 500_000.0, "N3": 5_000_000.0}
    rows = breakdown.liquidity(held(prices()), volumes, settings)
    sell = figures(rows, "position", "sessions_to_sell")
    assert sell == {name: pytest.approx(WEIGHTS[name] * 1e6 / (0.1 * volumes[name])) for name in WEIGHTS}
    assert figures(rows, "portfolio", "sessions_to_sell")["total"] == pytest.approx(4.0)
    # 0.855 of the capital: after 1, 3 and 4 sessions N0, N1 and N2 are sold, N3 after 0.1.
    at = figures(rows, "portfolio", "sessions_to_sell_90")["total"]
    sold = sum(min(at / sell[name], 1.0) * weight for name, weight in WEIGHTS.items())
    assert sold == pytest.approx(0.9 * 0.95, rel=1e-12)
    unknown = breakdown.liquidity(held(prices()), volumes | {"N1": 0.0}, settings)
    reasons = [row["reason"] for row in unknown if row["part"] == "portfolio"]
    assert reasons == ["dollar volume of N1 not known"] * 2


def test_sums_by_sector() -> None:
    rows = breakdown.contributions(held(prices()), SETTINGS)
    sums = breakdown.by_sector(rows, {"N0": "it", "N1": "it", "N2": "energy", "N3": "energy"})
    assert figures(sums, "sector", "weight") == {"it": pytest.approx(0.7), "energy": pytest.approx(0.25)}
    total = figures(rows, "portfolio", "volatility")["total"]
    assert sum(figures(sums, "sector", "volatility").values()) == pytest.approx(total, rel=1e-10)


# --- Forecasts --------------------------------------------------------------------------------------------------------

MONTHS = [date(2021, month, 1) for month in (2, 3, 4)]


def decided(months: list[date]) -> list[tuple[date, date, date]]:
    found = []
    for month in months:
        inside = [day for day in DAYS.tolist() if (day.year, day.month) == (month.year, month.month)]
        before = [day for day in decision_sessions(date(2020, 12, 1), month) if day < month]
        found.append((before[-1], inside[0], inside[-1]))
    return found


def weights_of(months: list[date]) -> pl.DataFrame:
    parts = [decision(as_of, {"N0": 0.5, f"N{1 + number}": 0.5}) for number, (as_of, *_) in enumerate(decided(months))]
    return pl.concat(parts)


def test_a_range_equals_its_months_computed_from_the_lookback_alone() -> None:
    bars, weights = prices(seed=4), weights_of(MONTHS)
    bulk = var_forecasts(weights, bars, DAYS, decided(MONTHS), SETTINGS)
    assert bulk.schema == DATASETS["var_forecasts"].schema
    singles = []
    for as_of, first, last in decided(MONTHS):
        at = int(np.searchsorted(DAYS, np.datetime64(as_of)))
        end = int(np.searchsorted(DAYS, np.datetime64(last)))
        days = DAYS[at - lookback_sessions(SETTINGS) : end + 1]
        inside = bars.filter(pl.col("date").is_between(days[0].item(), last))
        singles.append(var_forecasts(weights, inside, days, [(as_of, first, last)], SETTINGS))
    assert bulk.equals(pl.concat(singles))
    assert len(bulk) == 10 * bulk["date"].n_unique()


def test_a_forecast_knows_nothing_of_its_own_session() -> None:
    bars, weights = prices(seed=5), weights_of(MONTHS)
    crash = DAYS[int(np.searchsorted(DAYS, np.datetime64(date(2021, 3, 15))))].item()
    crashed = bars.with_columns(close=pl.when(pl.col("date") >= crash).then(0.8 * pl.col("close")).otherwise("close"))
    before, after = (var_forecasts(weights, each, DAYS, decided(MONTHS), SETTINGS) for each in (bars, crashed))
    known = pl.col("date") <= crash
    columns = ["date", "method", "level", "value_at_risk", "expected_shortfall"]
    assert before.filter(known).select(columns).equals(after.filter(known).select(columns))
    assert after.filter(pl.col("date") == crash)["exception"].all()
    later = pl.col("date") > crash
    moved = before.filter(later).join(after.filter(later), on=["date", "method", "level"])
    changed = moved.filter(pl.col("value_at_risk") != pl.col("value_at_risk_right"))
    assert {"historical", "filtered_historical", "normal"} <= set(changed["method"])


def test_the_back_tests_beside_a_decision_are_those_of_the_forecasts_so_far() -> None:
    bars, weights = prices(seed=6), weights_of(MONTHS)
    told = var_forecasts(weights, bars, DAYS, decided(MONTHS), SETTINGS)
    rows = with_backtests(at_decision(held(bars), SETTINGS, "2021-03|it"), told)
    assert len(rows) == len(METHODS) * 2 * 2
    for row in rows:
        if row["horizon"] == 10:
            assert row["tested_sessions"] is None
            continue
        mine = told.filter((pl.col("method") == row["method"]) & (pl.col("level") == row["level"]))
        counted = mine.drop_nulls("exception")
        assert row["tested_sessions"] == (len(counted) or None)
        assert row["exceptions"] == (counted["exception"].sum() if len(counted) else None)
    assert of_method(told.clear(), "normal", 0.95) is None


def test_a_decision_that_holds_nothing_has_no_forecast() -> None:
    weights = weights_of(MONTHS)
    without = weights.filter(pl.col("as_of") != decided(MONTHS)[1][0])
    found = var_forecasts(without, prices(), DAYS, decided(MONTHS), SETTINGS)
    assert found["date"].dt.month().unique().sort().to_list() == [2, 4]
