"""Value at risk and shortfall against closed forms, SciPy, arch and plain simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import integrate, stats

from quant_assets.risk import garch_paths
from quant_assets.risk.value_at_risk import (
    METHODS,
    Fits,
    Moments,
    Sample,
    StudentT,
    cornish_fisher,
    fitted,
    in_domain,
    moments,
    normal,
    scaled,
    student_t,
    tail,
)
from quant_assets.settings.risk import RiskSettings

SETTINGS = RiskSettings(window=600, min_observations=300)
GARCH = (0.0005, 2e-6, 0.08, 0.9, 0.0, 1e-4)


def fat(seed: int, n: int = 600) -> np.ndarray:
    return 0.0004 + 0.01 * np.random.default_rng(seed).standard_t(5, n)


def sample(returns: np.ndarray, key: str = "2024-06|it", fits: Fits | None = None, **changes: object) -> Sample:
    settings = SETTINGS.model_copy(update=changes)
    return Sample(returns, fits or fitted(returns, settings), returns, settings, key)


def test_the_tail_of_ten_losses_by_hand() -> None:
    losses = np.arange(1.0, 11.0)
    assert tail(losses, 0.8) == (8.0, pytest.approx(9.5))
    # At 85 % the quantile is 9; half of it belongs to the tail: (0.05 * 9 + 0.1 * 10) / 0.15.
    assert tail(losses, 0.85) == (9.0, pytest.approx(1.45 / 0.15))
    assert tail(losses, 0.99) == (10.0, pytest.approx(10.0))


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=80), st.sampled_from([0.9, 0.95, 0.975, 0.99]), st.floats(-1, 1)
)
def test_properties_of_the_empirical_tail(losses: list[float], level: float, shift: float) -> None:
    values = np.array(losses)
    quantile, shortfall = tail(values, level)
    assert shortfall >= quantile - 1e-12
    assert (values <= quantile).mean() >= level - 1e-9
    moved = tail(values + shift, level)
    assert moved == (pytest.approx(quantile + shift, abs=1e-12), pytest.approx(shortfall + shift, abs=1e-10))
    # Rockafellar and Uryasev: the shortfall is the minimum over c of c + mean of what exceeds c over (1 - level).
    least = min(c + np.maximum(values - c, 0).mean() / (1 - level) for c in values)
    assert shortfall == pytest.approx(least, abs=1e-10)


def test_normal_is_scipys_and_the_mean_is_not_scaled_by_the_root_of_time() -> None:
    found = Moments(0.001, 0.02, 0.0, 0.0)
    one, ten = normal(found, 0.99, 1), normal(found, 0.99, 10)
    assert one.value_at_risk == pytest.approx(-stats.norm.ppf(0.01, 0.001, 0.02), rel=1e-12)
    assert ten.value_at_risk == pytest.approx(-stats.norm.ppf(0.01, 0.01, 0.02 * math.sqrt(10)), rel=1e-12)
    shortfall = -integrate.quad(lambda p: stats.norm.ppf(p, 0.01, 0.02 * math.sqrt(10)), 0, 0.01)[0] / 0.01
    assert ten.expected_shortfall == pytest.approx(shortfall, rel=1e-6)


def test_student_t_is_scipys() -> None:
    found = StudentT(0.001, 0.01, 4.5)
    one = student_t(found, 0.975, 1)
    law = stats.t(4.5, 0.001, 0.01)
    assert one.value_at_risk == pytest.approx(-law.ppf(0.025), rel=1e-10)
    assert one.expected_shortfall == pytest.approx(-integrate.quad(law.ppf, 0, 0.025)[0] / 0.025, rel=1e-6)
    ten = student_t(found, 0.975, 10)
    assert ten.value_at_risk == pytest.approx(-(0.01 + math.sqrt(10) * (law.ppf(0.025) - 0.001)), rel=1e-10)


def test_the_fitted_student_t_is_scipys() -> None:
    returns = fat(1, 1_500)
    found, (nu, location, scale) = fitted(returns, SETTINGS).student, stats.t.fit(returns)
    assert found is not None
    ours = stats.t.logpdf(returns, found.nu, found.location, found.scale).sum()
    assert ours == pytest.approx(stats.t.logpdf(returns, nu, location, scale).sum(), abs=2e-3)


def test_cornish_fisher_shortfall_is_the_integral_of_its_quantile() -> None:
    found = Moments(0.0005, 0.012, -0.4, 2.0)

    def quantile(p: float) -> float:
        value = cornish_fisher(found, 1 - p, 1).value_at_risk
        assert value is not None
        return -value

    measured = cornish_fisher(found, 0.975, 1)
    assert measured.expected_shortfall == pytest.approx(-integrate.quad(quantile, 0, 0.025)[0] / 0.025, rel=1e-6)
    bell = Moments(0.0005, 0.012, 0.0, 0.0)
    assert cornish_fisher(bell, 0.99, 10)[:2] == pytest.approx(normal(bell, 0.99, 10)[:2], rel=1e-12)


@pytest.mark.parametrize("skewness", [-1.0, -0.4, 0.0, 0.3, 0.8])
@pytest.mark.parametrize("kurtosis", [-1.0, 0.0, 0.5, 1.5, 4.0, 7.9, 8.1, 12.0])
def test_the_domain_of_cornish_fisher_is_where_its_quantile_rises(skewness: float, kurtosis: float) -> None:
    z = np.linspace(-7, 7, 140_001)
    s, k = skewness, kurtosis
    q = z + (z**2 - 1) * s / 6 + (z**3 - 3 * z) * k / 24 - (2 * z**3 - 5 * z) * s**2 / 36
    assert in_domain(skewness, kurtosis) == bool((np.diff(q) > 0).all())
    found = cornish_fisher(Moments(0.0, 0.01, skewness, kurtosis), 0.99, 1)
    assert (found.value_at_risk is None) == (found.reason is not None) == (not in_domain(skewness, kurtosis))


def test_ten_sessions_of_cornish_fisher_are_a_sum_of_ten_independent_ones() -> None:
    """Of gamma returns, whose sums are gamma: the fourth moments' expansion is near the true quantile."""
    law, ten = stats.gamma(20.0, loc=-20.0 * 0.002, scale=0.002), stats.gamma(200.0, loc=-200.0 * 0.002, scale=0.002)
    mean, variance, skewness, kurtosis = (float(each) for each in law.stats("mvsk"))
    found = cornish_fisher(Moments(mean, math.sqrt(variance), skewness, kurtosis), 0.99, 10)
    assert found.value_at_risk == pytest.approx(-ten.ppf(0.01), rel=2e-3)


def test_moments_are_scipys() -> None:
    returns = fat(2)
    found = moments(returns)
    assert found.mean == pytest.approx(returns.mean(), rel=1e-12)
    assert found.deviation == pytest.approx(returns.std(ddof=1), rel=1e-12)
    assert found.skewness == pytest.approx(stats.skew(returns), rel=1e-9)
    assert found.kurtosis == pytest.approx(stats.kurtosis(returns), rel=1e-9)


@pytest.mark.parametrize("leverage", [False, True])
def test_variances_are_archs(leverage: bool) -> None:
    from arch import arch_model

    returns = fat(3)
    parameters = np.array([0.05, 0.02, 0.05, 0.85, *([0.1] if leverage else [])])
    order = [0, 1, 2, *([4] if leverage else []), 3]
    model = arch_model(100 * returns, p=1, q=1, o=int(leverage), dist="normal")
    fixed = model.fix(parameters[order])
    backcast = model.volatility.backcast(100 * returns - 100 * returns.mean())  # as arch's own start
    mu, omega, alpha, beta = parameters[:4]
    gamma = 0.1 if leverage else 0.0
    ours = garch_paths.variances(100 * returns, mu, omega, alpha, beta, gamma, float(backcast))
    np.testing.assert_allclose(ours[:-1], fixed.conditional_volatility**2, rtol=1e-10)
    ahead = fixed.forecast(horizon=1, reindex=False).variance.to_numpy()[0, 0]
    assert ours[-1] == pytest.approx(ahead, rel=1e-10)


def test_paths_follow_the_slow_recursion() -> None:
    rng = np.random.default_rng(4)
    residuals, draws = rng.standard_normal(50), rng.integers(50, size=(20, 7))
    mu, omega, alpha, beta, gamma = 0.001, 2e-6, 0.05, 0.85, 0.1
    expected = []
    for path in draws:
        variance, grown = 1e-4, 1.0
        for draw in path:
            e = math.sqrt(variance) * residuals[draw]
            grown *= 1 + mu + e
            variance = omega + (alpha + (gamma if e < 0 else 0)) * e * e + beta * variance
        expected.append(grown - 1)
    found = garch_paths.paths(residuals, draws, 1e-4, mu, omega, alpha, beta, gamma)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_filtered_historical_moves_with_the_last_volatility() -> None:
    calm = fat(5)
    wild = calm.copy()
    wild[-15:] *= 4
    fits = Fits(None, GARCH)
    quiet, loud = (sample(each, fits=fits).measure("filtered_historical", 0.99, 1) for each in (calm, wild))
    assert loud.value_at_risk > 1.5 * quiet.value_at_risk  # type: ignore[operator]
    same = [sample(each, fits=fits).measure("normal", 0.99, 1).value_at_risk for each in (calm, wild)]
    assert same[1] < 1.5 * same[0]  # type: ignore[operator]


def test_paths_are_drawn_by_the_settings_seed_and_the_partition_alone() -> None:
    returns, fits = fat(6), Fits(None, GARCH)

    def ten(key: str, **changes: object) -> float | None:
        return sample(returns, key, fits, **changes).measure("filtered_historical", 0.99, 10).value_at_risk

    assert ten("2024-06|it") == ten("2024-06|it")
    assert len({ten("2024-06|it"), ten("2024-07|it"), ten("2024-06|energy"), ten("2024-06|it", seed=1)}) == 4
    many = [sample(returns, key, fits, paths=100_000).measure("filtered_historical", 0.99, 10) for key in ("a", "b")]
    assert many[0].value_at_risk == pytest.approx(many[1].value_at_risk, rel=0.03)


def test_historical_over_ten_sessions_scales_the_deviation_alone() -> None:
    returns = fat(7)
    one = sample(returns).measure("historical", 0.95, 1)
    ten = sample(returns).measure("historical", 0.95, 10)
    mean = returns.mean()
    assert ten.value_at_risk == pytest.approx(-10 * mean + math.sqrt(10) * (one.value_at_risk + mean), rel=1e-12)
    assert scaled(0.02, 0.03, 0.0, 4)[:2] == (0.04, 0.06)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_known_is_null_with_a_reason(method: str) -> None:
    young = sample(fat(8, 299))
    found = young.measure(method, 0.99, 1)
    assert found == (None, None, "history too short: 299 of 300 returns")
    flat = sample(np.full(400, 0.001))
    assert flat.measure(method, 0.99, 1) == (None, None, "returns do not vary")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("horizon", [1, 10])
def test_order_and_scale(method: str, horizon: int) -> None:
    """More confidence, more loss; ES beyond VaR; twice the returns, twice the loss of one session."""
    returns = 0.01 * np.random.default_rng(9).standard_t(12, 600)
    one, two = sample(returns), sample(2 * returns)
    low, high = (one.measure(method, level, horizon) for level in (0.95, 0.99))
    assert 0 < low.value_at_risk < high.value_at_risk < high.expected_shortfall  # type: ignore[operator]
    assert low.value_at_risk < low.expected_shortfall  # type: ignore[operator]
    if horizon == 1 or method != "filtered_historical":
        assert two.measure(method, 0.99, horizon).value_at_risk == pytest.approx(2 * high.value_at_risk, rel=1e-4)


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ValueError, match="no method 'extreme'"):
        sample(fat(10)).measure("extreme", 0.99, 1)
