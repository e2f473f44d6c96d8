"""Back-tests of value at risk against published ratios, plain counting and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from quant_assets.risk.var_backtests import (
    _shortfall_samples,
    backtest,
    independence,
    kupiec,
    shortfall_p_value,
    shortfall_statistic,
    traffic_light,
)


def test_kupiecs_published_ratios() -> None:
    assert kupiec(4, 250, 0.99).statistic == pytest.approx(0.7691, abs=5e-5)
    assert kupiec(7, 250, 0.99).statistic == pytest.approx(5.4970, abs=5e-5)
    assert kupiec(7, 250, 0.99).p_value == pytest.approx(stats.chi2.sf(5.4970, 1), abs=1e-5)
    assert kupiec(0, 250, 0.99).statistic == pytest.approx(-500 * math.log(0.99), rel=1e-12)
    assert kupiec(5, 500, 0.99) == (pytest.approx(0.0, abs=1e-12), pytest.approx(1.0, abs=1e-6))


def test_independence_counts_what_follows_what() -> None:
    hits = np.array([0, 1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0, 0, 0], dtype=bool)
    # By hand: after no exception 5 times none and 3 times one, after one 3 times none and 3 times one.
    alike = 6 * math.log(6 / 14) + 8 * math.log(8 / 14)
    apart = 5 * math.log(5 / 8) + 3 * math.log(3 / 8) + 6 * math.log(1 / 2)
    assert independence(hits).statistic == pytest.approx(2 * (apart - alike), rel=1e-12)
    together = np.zeros(500, dtype=bool)
    together[100:125] = True
    assert independence(together).p_value < 1e-10
    spread = np.zeros(500, dtype=bool)
    spread[::20] = True
    assert independence(spread).p_value > 0.05
    assert independence(np.zeros(10, dtype=bool)) == (0.0, 1.0)
    assert independence(np.array([True])) == (0.0, 1.0)


def test_basels_zones() -> None:
    zones = [traffic_light(count, 250, 0.99) for count in range(12)]
    assert zones == ["green"] * 5 + ["yellow"] * 5 + ["red"] * 2


def test_the_shortfall_statistic_by_hand() -> None:
    returns = np.array([-0.05, 0.01, -0.03, 0.02])
    var, es = np.full(4, 0.025), np.array([0.04, 0.04, 0.05, 0.05])
    assert shortfall_statistic(returns, var, es, 0.75) == pytest.approx(1 - (0.05 / 0.04 + 0.03 / 0.05) / (4 * 0.25))


def test_critical_value_of_acerbi_and_szekely() -> None:
    """Their table 1: -0.70 for normal to -0.74 for t with 5 degrees of freedom at 5 %, 250 sessions and 97.5 %."""
    critical = np.quantile(_shortfall_samples(250, 0.975), 0.05)
    assert -0.80 < critical < -0.65
    assert shortfall_p_value(float(critical), 250, 0.975) == pytest.approx(0.05, abs=0.002)
    assert np.mean(_shortfall_samples(250, 0.975)) == pytest.approx(0.0, abs=0.03)
    # Of many exceptions, too, each counts once: the mean is 0, and the deviation falls with the root of the sessions.
    short, long = _shortfall_samples(1_000, 0.95), _shortfall_samples(16_000, 0.95)
    assert np.mean(long) == pytest.approx(0.0, abs=0.005)
    assert np.std(short) / np.std(long) == pytest.approx(4.0, rel=0.05)


def test_a_right_model_is_refused_as_often_as_it_should_be_and_a_wrong_one_is_refused() -> None:
    rng = np.random.default_rng(11)
    var, es = -stats.norm.ppf(0.05), stats.norm.pdf(stats.norm.ppf(0.05)) / 0.05
    refused = dict.fromkeys(("kupiec", "independence", "conditional_coverage", "shortfall"), 0)
    for _ in range(400):
        found = backtest(rng.standard_normal(500), np.full(500, var), np.full(500, es), 0.95)
        assert found is not None
        refused["kupiec"] += found.kupiec.p_value < 0.05
        refused["independence"] += found.independence.p_value < 0.05
        refused["conditional_coverage"] += found.conditional_coverage.p_value < 0.05
        refused["shortfall"] += found.shortfall_p_value < 0.05
    assert all(0.01 < count / 400 < 0.12 for count in refused.values()), refused
    low = backtest(1.5 * rng.standard_normal(500), np.full(500, var), np.full(500, es), 0.95)
    assert low is not None
    assert max(low.kupiec.p_value, low.conditional_coverage.p_value, low.shortfall_p_value) < 0.01
    assert low.traffic_light == "red"


def test_conditional_coverage_is_the_sum_of_both() -> None:
    rng = np.random.default_rng(12)
    found = backtest(rng.standard_normal(300), np.full(300, 1.3), np.full(300, 2.0), 0.95)
    assert found is not None
    total = found.kupiec.statistic + found.independence.statistic
    assert found.conditional_coverage.statistic == pytest.approx(total, rel=1e-12)
    assert found.conditional_coverage.p_value == pytest.approx(stats.chi2.sf(total, 2), rel=1e-9)
    assert backtest(np.empty(0), np.empty(0), np.empty(0), 0.95) is None
