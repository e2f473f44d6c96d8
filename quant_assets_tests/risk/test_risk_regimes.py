import math
from datetime import date
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import HistoryError
from quant_assets.market.calendar import sessions
from quant_assets.risk.regimes import lookback_sessions, realised_volatility, regime_state, window_drawdown
from quant_assets.schemas import DATASETS
from quant_assets.settings.risk import RegimeSettings

SHORT = RegimeSettings(volatility_sessions=3, drawdown_sessions=5, max_volatility=0.30, max_drawdown=0.15)
DAYS = sessions(date(2015, 1, 2), date(2016, 6, 30))
MONTH_ENDS = [day for day, after in pairwise(DAYS.tolist()) if day.month != after.month] + [DAYS[-1].item()]


def sector(closes: np.ndarray, days: np.ndarray = DAYS) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Prices and universe of names with the given closes, shape (names, sessions)."""
    names = [f"N{i:02d}" for i in range(len(closes))]
    universe = pl.DataFrame({"ticker": np.repeat(names, len(days)), "date": np.tile(days, len(names))})
    return universe.with_columns(close=pl.Series(closes.ravel()), panel_from="date"), universe


def random_sector(seed: int = 3) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    return sector(50 * np.exp(np.cumsum(0.015 * rng.standard_normal((7, len(DAYS))), axis=1)))


def test_hand_computed_volatility_and_drawdown() -> None:
    assert realised_volatility(np.array([0.01, 0.03, 0.02])) == pytest.approx(0.01 * math.sqrt(252), abs=1e-15)
    assert realised_volatility(np.array([0.01, np.nan])) is None
    # 1, 1.1, 0.99, 0.99, 1.0395 against 1.1
    assert window_drawdown(np.array([0.1, -0.1, np.nan, 0.05])) == pytest.approx(1 - 1.0395 / 1.1, abs=1e-15)
    assert window_drawdown(np.array([-0.2])) == pytest.approx(0.2)  # the high is the window's first close


def test_regime_of_one_name_follows_from_its_last_closes() -> None:
    path = np.full((1, len(DAYS)), 100.0)
    path[0, -5:] = [100.0, 110.0, 99.0, 99.0, 103.95]  # returns of the last three sessions: -10 %, 0, +5 %
    row = regime_state(*sector(path), DAYS, [DAYS[-1].item()], SHORT).row(0, named=True)
    assert row["volatility"] == pytest.approx(np.std([-0.1, 0.0, 0.05], ddof=1) * math.sqrt(252), abs=1e-14)
    assert row["drawdown"] == pytest.approx(1 - 103.95 / 110, abs=1e-14)
    assert row["regime"] == "risk_off"
    assert row["reason"] == "volatility 121.2% above 30.0%"


def test_either_threshold_alone_turns_risk_off() -> None:
    path = np.full((1, len(DAYS)), 100.0)
    path[0, -4:] = [80.0, 80.0, 80.0, 80.0]  # the fall is older than the volatility window
    row = regime_state(*sector(path), DAYS, [DAYS[-1].item()], SHORT).row(0, named=True)
    assert (row["regime"], row["reason"]) == ("risk_off", "drawdown 20.0% above 15.0%")
    calm = regime_state(*sector(np.full((1, len(DAYS)), 100.0)), DAYS, [DAYS[-1].item()], SHORT).row(0, named=True)
    assert (calm["regime"], calm["volatility"], calm["drawdown"]) == ("risk_on", 0.0, 0.0)


def test_too_little_history_is_risk_off_and_says_so() -> None:
    prices, universe = random_sector()
    young = pl.col("date") >= DAYS[-3].item()
    row = regime_state(prices.filter(young), universe.filter(young), DAYS, [DAYS[-1].item()], SHORT).row(0, named=True)
    assert (row["regime"], row["volatility"], row["drawdown"]) == ("risk_off", None, None)
    assert row["reason"] == "history too short: 2 of 3 returns"


def test_a_sector_without_members_has_no_row() -> None:
    prices, universe = random_sector()
    frame = regime_state(
        prices, universe.filter(pl.col("date") < DAYS[-1].item()), DAYS, [MONTH_ENDS[-2], MONTH_ENDS[-1]], SHORT
    )
    assert frame["as_of"].to_list() == [MONTH_ENDS[-2]]
    assert frame.schema == DATASETS["regime_state"].schema


def test_sessions_that_do_not_reach_back_are_an_error() -> None:
    with pytest.raises(HistoryError, match="257 before it"):
        regime_state(*random_sector(), DAYS, [DAYS[200].item()], RegimeSettings(volatility_sessions=252))


@pytest.mark.parametrize("settings", [SHORT, RegimeSettings()])
def test_a_range_equals_its_months_computed_from_the_lookback_alone(settings: RegimeSettings) -> None:
    prices, universe = random_sector()
    prices = prices.filter(pl.Series(np.random.default_rng(4).random(len(prices)) > 0.2))  # halts of members
    as_ofs = [day for day in MONTH_ENDS if np.searchsorted(DAYS, np.datetime64(day)) >= lookback_sessions(settings)]
    assert len(as_ofs) > 5
    bulk = regime_state(prices, universe, DAYS, as_ofs, settings)
    singles = []
    for as_of in as_ofs:
        at = int(np.searchsorted(DAYS, np.datetime64(as_of)))
        days = DAYS[at - lookback_sessions(settings) : at + 1]
        inside = pl.col("date").is_between(days[0].item(), as_of)
        singles.append(regime_state(prices.filter(inside), universe.filter(inside), days, [as_of], settings))
    assert bulk.equals(pl.concat(singles))


def test_what_comes_later_changes_nothing() -> None:
    prices, universe = random_sector()
    past = pl.col("date") <= MONTH_ENDS[-3]
    days = DAYS[np.datetime64(MONTH_ENDS[-3]) >= DAYS]
    bulk = regime_state(prices, universe, DAYS, MONTH_ENDS[-4:], RegimeSettings())
    cut = regime_state(prices.filter(past), universe.filter(past), days, MONTH_ENDS[-4:-2], RegimeSettings())
    assert bulk.head(2).equals(cut)
