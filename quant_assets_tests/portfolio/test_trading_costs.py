"""Estimators of what trading costs against their formulas, written out, and simulated trades with a known spread."""

import math
from datetime import date

import numpy as np
import pytest

from quant_assets.market.calendar import sessions
from quant_assets.portfolio.trading_costs import (
    abdi_ranaldo,
    corwin_schultz,
    daily_volatility,
    half_spread,
    known_before,
    median_dollar_volume,
)
from quant_assets.windows.windows import Windows


def quotes(spread: float, seed: int = 0, sessions: int = 4000, steps: int = 200) -> tuple[np.ndarray, ...]:
    """High, low and close of trades at bid or ask around a random walk, shape (1, n_sessions)."""
    rng = np.random.default_rng(seed)
    middle = np.exp(np.cumsum(0.015 / math.sqrt(steps) * rng.standard_normal(sessions * steps))) * 50.0
    trades = (middle * (1.0 + spread / 2.0 * rng.choice([-1.0, 1.0], middle.shape))).reshape(sessions, steps)
    return tuple(each[None, :] for each in (trades.max(axis=1), trades.min(axis=1), trades[:, -1]))


@pytest.mark.parametrize("estimator", [corwin_schultz, abdi_ranaldo])
def test_a_wider_spread_is_seen_as_wider_and_a_wide_one_about_as_wide_as_it_is(estimator: object) -> None:
    found = [float(np.nanmean(estimator(*quotes(spread)))) for spread in (0.0, 0.01, 0.03)]  # type: ignore[operator]
    assert found[0] < found[1] < found[2]
    assert found[2] == pytest.approx(0.03, rel=0.25)


def test_the_formulas_by_hand_and_a_gap_overnight_is_no_spread() -> None:
    high, low, close = (np.array([each]) for each in ([11.0, 11.5], [10.0, 10.4], [10.2, 11.2]))
    beta = math.log(11.0 / 10.0) ** 2 + math.log(11.3 / 10.2) ** 2  # the second day lies 0.2 above the close before
    gamma, scale = math.log(11.3 / 10.0) ** 2, 3.0 - 2.0 * math.sqrt(2.0)
    alpha = (math.sqrt(2.0 * beta) - math.sqrt(beta)) / scale - math.sqrt(gamma / scale)
    spread = 2.0 * (math.exp(alpha) - 1.0) / (1.0 + math.exp(alpha))
    assert corwin_schultz(high, low, close)[0, 1] == pytest.approx(max(spread, 0.0), rel=1e-12)
    middle = [(math.log(h) + math.log(lo)) / 2.0 for h, lo in ((11.0, 10.0), (11.5, 10.4))]
    squared = 4.0 * (math.log(10.2) - middle[0]) * (math.log(10.2) - middle[1])
    assert abdi_ranaldo(high, low, close)[0, 1] == pytest.approx(math.sqrt(max(squared, 0.0)), rel=1e-12)
    gapped = [each * np.array([[1.0, 2.0]]) for each in (high, low)]
    flat = corwin_schultz(*gapped, np.array([[10.2, 22.4]]))[0, 1]
    assert flat < 0.2


def test_an_estimate_knows_nothing_of_its_own_session_or_later_ones() -> None:
    high, low, close = quotes(0.02, sessions=80)
    days = np.arange(np.datetime64("2016-01-04"), np.datetime64("2016-12-31"))
    days = sessions(days[0].item(), days[-1].item())[:80]
    windows, at = Windows(days), 50
    volume = np.random.default_rng(1).lognormal(15.0, 1.0, close.shape)
    changed = [each.copy() for each in (high, low, close, volume)]
    for each in changed:
        each[:, at:] *= 3.0

    def estimates(h: np.ndarray, lo: np.ndarray, c: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
        spreads = [half_spread(name, h, lo, c, windows, 21) for name in ("corwin_schultz", "abdi_ranaldo")]
        return [*spreads, daily_volatility(c, np.zeros(c.shape), windows, 21), median_dollar_volume(v, windows, 21)]

    for one, other in zip(estimates(high, low, close, volume), estimates(*changed), strict=True):
        assert np.isfinite(one[0, at])
        assert one[:, : at + 1].tobytes() == other[:, : at + 1].tobytes()
        assert not np.array_equal(one[:, at + 1 :], other[:, at + 1 :])
    assert median_dollar_volume(volume, windows, 21)[0, at] == np.median(volume[0, at - 21 : at])


def test_the_newest_value_before_stands_for_as_long_as_its_window() -> None:
    values = np.array([[1.0, np.nan, np.nan, np.nan, 5.0, 6.0]])
    assert known_before(values, 2).tolist()[0] == pytest.approx([np.nan, 1.0, 1.0, np.nan, np.nan, 5.0], nan_ok=True)


def test_a_step_that_nothing_explains_is_no_volatility() -> None:
    days = sessions(date(2016, 1, 4), date(2016, 4, 29))
    close = 50.0 * np.exp(np.cumsum(0.01 * np.random.default_rng(0).standard_normal((1, len(days))), axis=1))
    stepped, marked = close.copy(), np.zeros(close.shape)
    stepped[:, 40:], marked[0, 40] = 60.0 * close[:, 40:], 1.0
    found, plain = (daily_volatility(each, marked, Windows(days), 21) for each in (stepped, close))
    assert found[0, 41:] == pytest.approx(plain[0, 41:], rel=1e-9)
    assert daily_volatility(stepped, np.zeros(close.shape), Windows(days), 21)[0, 41] > 5.0
