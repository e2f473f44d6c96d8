"""The three-way rules, the served Markov model and the market's regime, each from what was known at its session."""

from datetime import date
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import HistoryError
from quant_assets.market.sector_return import LOOKBACK
from quant_assets.risk import regimes as judging
from quant_assets.risk.regime_rules import judge, trend
from quant_assets.risk.regimes import (
    first_served,
    fit_sessions,
    lookback_sessions,
    market_regime,
    regime_state,
    regimes,
)
from quant_assets.schemas import DATASETS
from quant_assets.settings.risk import MarkovSettings, RegimeRules, RegimeSettings
from quant_assets_tests.risk.panels import DAYS, prices, universe

RULES = RegimeRules()
MONTH_ENDS = [day for day, after in pairwise(DAYS.tolist()) if day.month != after.month]
MARKOV = RegimeSettings(
    drawdown_sessions=60,
    markov=MarkovSettings(emissions="student_t", window=200, min_observations=150, cadence_months=3),
)


@pytest.mark.parametrize(
    ("volatility", "drawdown", "rise", "state"),
    [
        (0.12, 0.02, 0.01, "risk_on"),
        (0.149, 0.049, 1e-9, "risk_on"),
        (0.15, 0.02, 0.01, "normal"),
        (0.12, 0.05, 0.01, "normal"),
        (0.25, 0.10, 0.01, "normal"),
        (0.2501, 0.02, 0.01, "risk_off"),
        (0.12, 0.1001, 0.01, "risk_off"),
        (0.12, 0.02, 0.0, "risk_off"),
        (0.12, 0.02, -0.01, "risk_off"),
        (None, 0.02, 0.01, "unknown"),
        (0.40, None, 0.01, "unknown"),
        (0.12, 0.02, None, "unknown"),
    ],
)
def test_the_rules_of_the_contract(volatility, drawdown, rise, state) -> None:
    assert judge(volatility, drawdown, rise, RULES).state == state


def test_a_trend_is_the_short_mean_over_the_long_one() -> None:
    index = np.linspace(100, 149, 50)
    returns = index[1:] / index[:-1] - 1
    assert trend(returns, 20) == pytest.approx(index[-20:].mean() / index.mean() - 1, rel=1e-12)
    assert trend(np.where(np.arange(49) == 7, np.nan, returns), 20) is None


def test_while_a_mean_is_not_known_the_regime_is_unknown_and_has_no_multiplier() -> None:
    returns = np.full(len(DAYS), 0.0005)
    returns[: len(returns) - 45] = np.nan
    row = regimes(returns, DAYS, [DAYS[-1].item()], set(DAYS.tolist()), RegimeSettings(drawdown_sessions=60))[0]
    assert (row["rule_state"], row["state"], row["risk_multiplier"]) == ("unknown", "unknown", None)
    assert row["rule_reason"] == "history too short: trend not known"
    returns[-60:] = 0.0005
    row = regimes(returns, DAYS, [DAYS[-1].item()], set(DAYS.tolist()), RegimeSettings(drawdown_sessions=60))[0]
    assert (row["rule_state"], row["risk_multiplier"]) == ("risk_on", 1.2)
    assert row["regime"] == "risk_on", "the thresholds of today stand beside it"


def test_settings_under_which_a_regime_would_be_two_are_refused() -> None:
    with pytest.raises(ValueError, match=r"low_volatility 0.3 is not below high_volatility 0.25"):
        RegimeRules(low_volatility=0.3)
    with pytest.raises(ValueError, match="detection 'markov' needs a model"):
        RegimeSettings(detection="markov")
    with pytest.raises(ValueError, match="min_observations 900 is above window"):
        MarkovSettings(min_observations=900)


def test_the_months_that_a_fit_serves_follow_from_the_month_alone() -> None:
    assert [first_served(date(2020, month, 28), 3).month for month in range(1, 13)] == [1] * 3 + [4] * 3 + [7] * 3 + [
        10
    ] * 3
    assert first_served(date(2020, 12, 5), 5) == first_served(date(2021, 1, 5), 5)


def served(as_of: date) -> bool:
    stop = int(np.searchsorted(DAYS, np.datetime64(first_served(as_of, 3))))
    return stop >= fit_sessions(MARKOV) and int(np.searchsorted(DAYS, np.datetime64(as_of))) >= lookback_sessions(
        MARKOV
    )


def test_a_range_equals_its_months_computed_from_the_lookback_alone() -> None:
    bars = prices(seed=7)
    as_ofs = [day for day in MONTH_ENDS if served(day)]
    assert len(as_ofs) > 9
    bulk = regime_state(bars, universe(bars), DAYS, as_ofs, MARKOV)
    assert bulk["markov_state"].is_in(["risk_on", "risk_off"]).all()
    singles = []
    for as_of in as_ofs:
        stop = int(np.searchsorted(DAYS, np.datetime64(first_served(as_of, 3))))
        at = int(np.searchsorted(DAYS, np.datetime64(as_of)))
        days = DAYS[min(stop - fit_sessions(MARKOV), at - lookback_sessions(MARKOV)) : at + 1]
        inside = bars.filter(pl.col("date").is_between(days[0].item(), as_of))
        singles.append(regime_state(inside, universe(inside), days, [as_of], MARKOV))
    assert bulk.equals(pl.concat(singles))
    assert bulk["markov_fitted_to"].n_unique() == len({first_served(day, 3) for day in as_ofs})
    assert (bulk["markov_fitted_to"] < bulk["as_of"]).all()


def test_nothing_changes_with_what_comes_later() -> None:
    bars = prices(seed=8)
    as_ofs = [day for day in MONTH_ENDS if served(day)]
    cut = as_ofs[5]
    wild = bars.with_columns(
        close=pl.when(pl.col("date") > cut).then(pl.col("close") * (1 + pl.col("date").dt.day() % 3)).otherwise("close")
    )
    found = [regime_state(each, universe(each), DAYS, as_ofs, MARKOV) for each in (bars, wild)]
    assert found[0].head(6).equals(found[1].head(6))
    assert not found[0].equals(found[1])


def test_probabilities_agree_with_the_states_and_sum_to_one() -> None:
    bars = prices(seed=9)
    settings = MARKOV.model_copy(
        update={"markov": MARKOV.markov.model_copy(update={"states": 3}), "detection": "markov"}
    )
    rows = regime_state(bars, universe(bars), DAYS, [day for day in MONTH_ENDS if served(day)], settings)
    known = rows.filter(pl.col("markov_reason").is_null())
    assert len(known) > 5
    names = ["risk_off", "normal", "risk_on"]
    for row in known.iter_rows(named=True):
        by_name = {name: row[f"markov_{name}"] for name in names}
        assert sum(by_name.values()) == pytest.approx(1.0, abs=1e-12)
        assert row["markov_state"] == max(by_name, key=lambda name: by_name[name])
        assert (row["markov_1"], row["markov_2"], row["markov_3"], row["markov_4"]) == (
            row["markov_risk_on"],
            row["markov_normal"],
            row["markov_risk_off"],
            None,
        )
        assert (row["state"], row["detection"]) == (row["markov_state"], "markov")
        assert row["risk_multiplier"] == {"risk_off": 0.5, "normal": 1.0, "risk_on": 1.2}[row["state"]]


def test_the_states_keep_their_order_over_refits() -> None:
    """State 1 of each fit is the calm one: on a series that turns wild, its probability goes down in every fit."""
    rng = np.random.default_rng(10)
    wild = (np.arange(len(DAYS)) // 40) % 2 == 1
    returns = np.where(wild, 0.03, 0.005) * rng.standard_normal(len(DAYS))
    as_ofs = [day for day in MONTH_ENDS if served(day)]
    rows = regimes(returns, DAYS, as_ofs, set(DAYS.tolist()), MARKOV)
    for row in rows:
        at = int(np.searchsorted(DAYS, np.datetime64(row["as_of"])))
        if wild[at - 3 : at + 1].all():
            assert row["markov_state"] == "risk_off"
        if not wild[at - 15 : at + 1].any():
            assert row["markov_state"] == "risk_on"
    assert {row["markov_state"] for row in rows} == {"risk_off", "risk_on"}


def test_too_short_a_history_or_no_fit_is_unknown_and_sessions_that_do_not_reach_back_an_error() -> None:
    returns = 0.01 * np.random.default_rng(11).standard_normal(len(DAYS))
    occupied, last = set(DAYS.tolist()), MONTH_ENDS[-1]
    young = returns.copy()
    young[:-200] = np.nan
    row = regimes(young, DAYS, [last], occupied, MARKOV)[0]
    assert (row["markov_state"], row["rule_state"]) == ("unknown", row["state"])
    assert row["markov_reason"].startswith("history too short: 1")
    flat = np.zeros(len(DAYS))
    assert regimes(flat, DAYS, [last], occupied, MARKOV)[0]["markov_reason"].startswith("no fit")
    at = int(np.searchsorted(DAYS, np.datetime64(last)))
    days = DAYS[at - 200 - LOOKBACK :]
    with pytest.raises(HistoryError, match="the regime model of 2021-04 needs the 206 sessions before that month"):
        regimes(returns[-len(days) :], days, [last], occupied, MARKOV)


def test_no_smoothed_probability_is_ever_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter is asked for the returns up to the decision, and its last row is what is said."""
    asked = []
    real = judging.MarkovModel.filtered

    def watched(model, returns):
        asked.append(len(returns))
        return real(model, returns)

    monkeypatch.setattr(judging.MarkovModel, "filtered", watched)
    bars = prices(seed=12)
    as_of = MONTH_ENDS[-1]
    row = regime_state(bars, universe(bars), DAYS, [as_of], MARKOV).row(0, named=True)
    stop = int(np.searchsorted(DAYS, np.datetime64(first_served(as_of, 3))))
    at = int(np.searchsorted(DAYS, np.datetime64(as_of)))
    assert asked == [200 + at - stop + 1]
    assert row["markov_fitted_to"] == DAYS[stop - 1].item()


def test_the_market_is_all_sectors_and_a_ticker_that_moves_counts_once() -> None:
    bars = prices(seed=13, names=6)
    first, second = bars.filter(pl.col("ticker") < "N3"), bars.filter(pl.col("ticker") >= "N3")
    moved = date(2020, 6, 1)
    # N2 moves into the second sector, which gets its earlier bars with the move, and the first keeps the later ones.
    first = first.with_columns(in_sector=~((pl.col("ticker") == "N2") & (pl.col("date") >= moved)))
    of_mover = bars.filter(pl.col("ticker") == "N2").with_columns(
        in_sector=pl.col("date") >= moved,
        panel_from=pl.when(pl.col("date") < moved).then(moved).otherwise("date"),
    )
    both = pl.concat([first, second, of_mover])
    own = both.filter("in_sector").select(
        "ticker", "date", sector=pl.when(pl.col("ticker") < "N2").then(pl.lit("it")).otherwise(pl.lit("energy"))
    )
    as_ofs = [day for day in MONTH_ENDS if served(day)]
    found = market_regime(both, own, DAYS, as_ofs, MARKOV)
    assert found.schema == DATASETS["market_regime"].schema
    alone = regime_state(bars, universe(bars), DAYS, as_ofs, MARKOV)
    assert found.drop("sectors").equals(alone)
    assert found["sectors"].unique().to_list() == [2]
