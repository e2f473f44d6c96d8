"""Against published values, SciPy, and simulation."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from quant_assets.backtest import statistics as st
from quant_assets.backtest.metrics import sharpe
from quant_assets.backtest.statistics import Moments
from quant_assets.errors import SettingsError

#: Bailey and López de Prado (2014), the numerical example: 250 sessions a year.
PAPER = Moments(1250, 2.5 / math.sqrt(250), -3.0, 10.0)
VARIANCE = 0.5 / 250


@pytest.mark.parametrize(("trials", "maximum", "deflated"), [(100, 0.11317, 0.9004), (46, None, 0.9505)])
def test_the_deflated_sharpe_ratio_of_the_paper(trials: int, maximum: float | None, deflated: float) -> None:
    assert st.deflated_sharpe_ratio(PAPER, trials, VARIANCE) == pytest.approx(deflated, abs=5e-5)
    if maximum is not None:
        assert st.expected_maximum_sharpe(trials, VARIANCE) == pytest.approx(maximum, abs=5e-6)


def test_a_single_trial_deflates_nothing_and_more_trials_deflate_more() -> None:
    assert st.expected_maximum_sharpe(1, VARIANCE) == 0.0
    assert st.deflated_sharpe_ratio(PAPER, 1, VARIANCE) == st.probabilistic_sharpe_ratio(PAPER)
    found = [st.deflated_sharpe_ratio(PAPER, trials, VARIANCE) for trials in (1, 2, 5, 20, 1000)]
    assert found == sorted(found, reverse=True)
    with pytest.raises(SettingsError, match="at least one trial"):
        st.expected_maximum_sharpe(0, VARIANCE)


def test_the_expected_maximum_is_that_of_normal_draws() -> None:
    draws = np.random.default_rng(3).standard_normal((20_000, 50)).max(axis=1).mean()
    assert st.expected_maximum_sharpe(50, 1.0) == pytest.approx(draws, rel=0.02)  # the formula is an approximation


@pytest.mark.parametrize(("periods", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_minimum_track_records_of_the_paper(periods: int, years: float) -> None:
    """Bailey and López de Prado (2012): years to tell a yearly Sharpe ratio of 2 from 1, by day, week and month."""
    moments = Moments(10, 2 / math.sqrt(periods), 0.0, 3.0)
    needed = st.minimum_track_record_length(moments, 1 / math.sqrt(periods))
    assert needed is not None
    assert needed / periods == pytest.approx(years, abs=0.005)
    long_enough = Moments(round(needed), moments.sharpe, 0.0, 3.0)
    assert st.probabilistic_sharpe_ratio(long_enough, 1 / math.sqrt(periods)) == pytest.approx(0.95, abs=1e-3)
    assert st.minimum_track_record_length(moments, moments.sharpe) is None


def test_moments_are_scipys_and_the_sharpe_ratio_is_that_of_the_metrics() -> None:
    returns = np.random.default_rng(1).standard_t(4, 300) * 0.01 + 0.001
    found = Moments.of(returns)
    assert found is not None
    assert found.skew == pytest.approx(stats.skew(returns), rel=1e-12)
    assert found.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False), rel=1e-12)
    assert found.sharpe * math.sqrt(252) == pytest.approx(sharpe(returns.tolist()), rel=1e-12)
    assert Moments.of(np.full(30, 0.01)) is None
    assert Moments.of(returns[:1]) is None


def test_the_standard_error_is_that_of_simulated_skewed_returns() -> None:
    """Of returns with skew and fat tails, where Lo's formula for normal ones is 20 % off."""
    rng = np.random.default_rng(4)
    returns = 0.5 - (rng.gamma(2.0, size=(4_000, 400)) - 2.0) / math.sqrt(2)
    spread = (returns.mean(axis=1) / returns.std(axis=1, ddof=1)).std()
    errors = [st.sharpe_standard_error(found) for found in map(Moments.of, returns[:400]) if found]
    assert np.mean(errors) == pytest.approx(spread, rel=0.03)
    assert math.sqrt((1 + 0.5**2 / 2) / 400) < 0.85 * spread


def naive_pbo(returns: np.ndarray, blocks: int) -> float:
    """The paper's steps one after the other, a median counted as half."""
    parts = np.array_split(returns, blocks)
    found = []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[i] for i in chosen])
        outside = np.concatenate([parts[i] for i in range(blocks) if i not in chosen])
        first, second = (half.mean(axis=0) / half.std(axis=0, ddof=1) for half in (inside, outside))
        rank = stats.rankdata(second)[int(np.argmax(first))] / (returns.shape[1] + 1)
        logit = math.log(rank / (1 - rank))
        found.append(0.5 if abs(logit) < 1e-12 else float(logit < 0))
    return float(np.mean(found))


def test_the_probability_of_overfitting_is_that_of_the_plain_steps() -> None:
    rng = np.random.default_rng(5)
    for blocks, strategies in ((4, 3), (6, 10), (8, 2)):
        returns = 0.001 + 0.01 * rng.standard_normal((blocks * 15, strategies))
        assert st.probability_of_backtest_overfitting(returns, blocks) == pytest.approx(
            naive_pbo(returns, blocks), abs=1e-12
        )
    twice = np.repeat(returns[:, :1], 2, axis=1)
    assert st.probability_of_backtest_overfitting(twice, 8) == 0.5  # no choice, nothing to overfit with
    longer = np.vstack([rng.standard_normal((5, 2)), returns])  # does not fill the blocks: the first five are left out
    assert st.probability_of_backtest_overfitting(longer, 8) == st.probability_of_backtest_overfitting(returns, 8)
    assert st.probability_of_backtest_overfitting(returns[:79], 8) is None  # not 10 a block
    assert st.probability_of_backtest_overfitting(returns[:80], 8) is not None
    assert st.probability_of_backtest_overfitting(returns[:, :1], 8) is None
    with pytest.raises(SettingsError, match="two halves"):
        st.probability_of_backtest_overfitting(returns, 7)


@pytest.mark.slow
@pytest.mark.parametrize("strategies", [3, 20])
def test_overfitting_is_a_coin_flip_on_noise_and_rare_with_a_planted_strategy(strategies: int) -> None:
    rng = np.random.default_rng(9)
    noise = [st.probability_of_backtest_overfitting(rng.standard_normal((320, strategies))) for _ in range(40)]
    assert np.mean(noise) == pytest.approx(0.5, abs=0.1)  # type: ignore[arg-type]  # standard error 0.035
    planted = []
    for _ in range(10):
        returns = rng.standard_normal((500, strategies))
        returns[:, 1] += 0.25
        planted.append(st.probability_of_backtest_overfitting(returns))
    assert np.mean(planted) < 0.05  # type: ignore[arg-type]
