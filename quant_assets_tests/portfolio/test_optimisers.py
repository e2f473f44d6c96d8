"""Every optimiser of the registry: closed forms, other libraries where conventions agree, and what holds for all."""

import sys
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.errors import DatasetError, InfeasibleError, MissingPackageError, SettingsError
from quant_assets.portfolio import optimisers
from quant_assets.portfolio.constraints import Limit
from quant_assets.portfolio.covariances import risk_contributions
from quant_assets.portfolio.optimisers import OPTIMISERS, Outlook
from quant_assets.portfolio.optimisers.black_litterman import equilibrium, posterior
from quant_assets.portfolio.optimisers.equal_risk_contribution import descended, equal_contributions
from quant_assets.portfolio.optimisers.hierarchical_risk_parity import (
    bisected,
    columns_distance,
    correlation_distance,
    hierarchical_weights,
    single_linkage_order,
)
from quant_assets.portfolio.optimisers.mean_cvar import MeanCVaR, shortfall
from quant_assets.portfolio.optimisers.mean_variance import MeanVariance
from quant_assets.settings.weights import WeightSettings
from quant_assets_tests.portfolio.problems import degenerate, long_only, long_short, outlook, random_covariance

JUNE = date(2016, 6, 30)
RISK_BASED = ("inverse_volatility", "hierarchical_risk_parity", "equal_risk_contribution")


def made(method: str, **more: object) -> optimisers.Optimiser:
    return optimisers.optimiser(WeightSettings(method=method, **more))


def solved(method: str, covariance: np.ndarray, sight: Outlook | None = None, **more: object) -> np.ndarray:
    n = len(covariance)
    return made(method, **more).weights(covariance, sight or Outlook(np.zeros(n)), long_only(n), np.zeros(n))


# --- Closed forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.7, 0.999])
def test_equal_contributions_of_two_names_are_inverse_to_volatility_at_any_correlation(
    correlation: float,
) -> None:
    deviations = np.array([0.15, 0.60])
    covariance = np.outer(deviations, deviations) * np.array([[1.0, correlation], [correlation, 1.0]])
    assert solved("equal_risk_contribution", covariance) == pytest.approx([0.8, 0.2], abs=1e-9)


def test_the_tangency_portfolio() -> None:
    deviations, means = np.array([0.1, 0.2, 0.4]), np.array([0.06, 0.10, 0.14])
    found = solved("maximum_sharpe", np.diag(deviations**2), Outlook(means), risk_free=0.02)
    exact = (means - 0.02) / deviations**2
    assert found == pytest.approx(exact / exact.sum(), abs=1e-6)
    assert found == pytest.approx([0.593, 0.296, 0.111], abs=5e-4)
    sharpe = found @ (means - 0.02) / np.sqrt(found @ np.diag(deviations**2) @ found)
    assert sharpe == pytest.approx(0.640, abs=5e-4)


def test_minimum_variance_is_the_inverse_of_the_covariance_where_nobody_would_be_short() -> None:
    rng = np.random.default_rng(5)
    deviations = rng.uniform(0.1, 0.5, 6)
    covariance = np.diag(deviations**2) + 0.002
    exact = np.linalg.solve(covariance, np.ones(6))
    assert (exact > 0).all()
    assert solved("minimum_variance", covariance) == pytest.approx(exact / exact.sum(), abs=1e-6)


def test_where_nothing_earns_more_than_the_risk_free_rate_the_least_variance_is_taken() -> None:
    covariance = np.diag([0.01, 0.04])
    found = solved("maximum_sharpe", covariance, Outlook(np.array([0.01, 0.015])), risk_free=0.02)
    assert found == pytest.approx([0.8, 0.2], abs=1e-6)


def test_mean_and_variance_without_limits_that_bind_is_the_closed_form() -> None:
    covariance, means = np.diag([0.04, 0.09]), np.array([0.02, 0.03])
    # With the sum fixed: w = (C^-1 (m - c 1)) / aversion.
    found = solved("mean_variance", covariance, Outlook(means), risk_aversion=4.0, turnover_penalty=0.0)
    inverse = np.linalg.inv(covariance)
    shift = (np.ones(2) @ inverse @ means - 4.0) / (np.ones(2) @ inverse @ np.ones(2))
    assert found == pytest.approx(inverse @ (means - shift) / 4.0, abs=1e-6)


def test_a_charge_for_turnover_keeps_what_is_held_until_the_gain_is_worth_it() -> None:
    covariance, means, held = np.diag([0.04, 0.04]), np.array([0.05, 0.07]), np.array([0.5, 0.5])
    for penalty, moves in ((0.5, False), (0.0, True)):
        found = MeanVariance(5.0, penalty).weights(covariance, Outlook(means), long_only(2), held)
        assert (np.abs(found - held).max() > 0.01) == moves


def test_the_least_shortfall_is_that_of_the_best_of_all_mixtures() -> None:
    rng = np.random.default_rng(3)
    scenarios = rng.standard_t(4, (400, 2)) * np.array([0.01, 0.02])
    optimiser = MeanCVaR(0.05, np.inf)
    found = optimiser.weights(np.eye(2), Outlook(np.zeros(2), None, scenarios), long_only(2), np.zeros(2))
    grid = [shortfall(scenarios @ np.array([share, 1.0 - share]), 0.05) for share in np.linspace(0.0, 1.0, 2001)]
    assert shortfall(scenarios @ found, 0.05) <= min(grid) + 1e-9
    assert shortfall(scenarios @ found, 0.05) == pytest.approx(min(grid), rel=1e-4)


def test_shortfall_is_the_mean_of_the_worst_and_a_part_of_the_session_at_the_edge() -> None:
    returns = -np.arange(1.0, 11.0) / 100.0  # losses of 1 % to 10 %
    assert shortfall(returns, 0.2) == pytest.approx(0.095)
    assert shortfall(returns, 0.25) == pytest.approx((0.10 + 0.09 + 0.5 * 0.08) / 2.5)


def test_black_litterman_without_views_of_its_own_holds_the_prior_and_with_sure_ones_the_views() -> None:
    rng = np.random.default_rng(8)
    covariance = random_covariance(rng, 5)
    prior = equilibrium(covariance, np.full(5, 0.2), 3.0)
    same, _ = posterior(covariance, prior, prior, np.full(5, 0.5), 0.05)
    assert same == pytest.approx(prior, abs=1e-12)
    views = prior + rng.normal(0.0, 0.05, 5)
    sure, spread = posterior(covariance, prior, views, np.full(5, 0.999), 1e-3)
    assert sure == pytest.approx(views, abs=2e-3)
    assert (np.linalg.eigvalsh(spread - covariance) > -1e-12).all()
    # The prior's own weights are optimal under it.
    held = solved("black_litterman", covariance, Outlook(prior), risk_aversion=3.0, prior_uncertainty=1e-9)
    assert held == pytest.approx(np.full(5, 0.2), abs=1e-4)


# --- Other libraries, where conventions agree -------------------------------------------------------------------------


def _returns(seed: int, n: int = 12, sessions: int = 300) -> np.ndarray:
    """Of names in order of their variances, in which ours puts them."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0.0, 0.01, (sessions, 2)) @ rng.normal(0.5, 0.5, (2, n))
    returns = common + rng.normal(0.0, 1.0, (sessions, n)) * rng.uniform(0.005, 0.03, n)
    return returns[:, np.argsort(returns.var(axis=0))]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_hierarchical_risk_parity_is_that_of_skfolio(seed: int) -> None:
    from skfolio.distance import PearsonDistance
    from skfolio.moments import EmpiricalCovariance
    from skfolio.optimization import HierarchicalRiskParity
    from skfolio.prior import EmpiricalPrior

    returns = _returns(seed, 13)
    prior = EmpiricalPrior(covariance_estimator=EmpiricalCovariance())
    peer = HierarchicalRiskParity(prior_estimator=prior, distance_estimator=PearsonDistance()).fit(returns)
    found = hierarchical_weights(np.cov(returns.T), "skfolio")
    assert found == pytest.approx(peer.weights_, abs=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_of_the_paper_is_scipys_single_linkage_and_the_splits_those_of_pypfopt(seed: int) -> None:
    import pandas as pd
    from pypfopt.hierarchical_portfolio import HRPOpt
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import pdist, squareform

    covariance = np.cov(_returns(seed, 25).T)
    distances = correlation_distance(covariance)
    double = columns_distance(distances)
    assert double == pytest.approx(squareform(pdist(distances)), abs=1e-12)
    order = leaves_list(linkage(pdist(distances), "single"))
    assert single_linkage_order(double).tolist() == order.tolist()
    found = hierarchical_weights(covariance, "paper")
    peer = HRPOpt._raw_hrp_allocation(pd.DataFrame(covariance), order.tolist())
    assert found == pytest.approx(peer.sort_index().to_numpy(), abs=1e-12)
    # PyPortfolioOpt clusters the distances themselves.
    peer = HRPOpt(cov_matrix=pd.DataFrame(covariance))
    peer.optimize()
    found = bisected(covariance, single_linkage_order(distances))
    assert found == pytest.approx([peer.weights[at] for at in range(25)], abs=1e-9)


@pytest.mark.parametrize("seed", [4, 5])
def test_equal_contributions_are_those_of_skfolio(seed: int) -> None:
    from skfolio.moments import EmpiricalCovariance
    from skfolio.optimization import RiskBudgeting
    from skfolio.prior import EmpiricalPrior

    returns = _returns(seed)
    peer = RiskBudgeting(prior_estimator=EmpiricalPrior(covariance_estimator=EmpiricalCovariance())).fit(returns)
    assert equal_contributions(np.cov(returns.T)) == pytest.approx(peer.weights_, abs=2e-5)


@pytest.mark.parametrize("seed", [6, 7])
def test_the_convex_ones_are_those_of_pypfopt_and_skfolio(seed: int) -> None:
    from pypfopt import EfficientFrontier
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk

    returns = _returns(seed)
    covariance, means = np.cov(returns.T), returns.mean(axis=0) + 1e-3
    limits, sight = long_only(12, 0.35), Outlook(means, None, returns)
    for method, call in (("minimum_variance", "min_volatility"), ("maximum_sharpe", "max_sharpe")):
        frontier = EfficientFrontier(means, covariance, weight_bounds=(0, 0.35))
        getattr(frontier, call)(**({"risk_free_rate": 0.0} if call == "max_sharpe" else {}))
        found = made(method).weights(covariance, sight, limits, np.zeros(12))
        assert found == pytest.approx(frontier.weights, abs=1e-3)
    peer = MeanRisk(risk_measure=RiskMeasure.CVAR, max_weights=0.35).fit(returns)
    found = MeanCVaR(0.05, np.inf).weights(covariance, sight, limits, np.zeros(12))
    assert shortfall(returns @ found, 0.05) <= shortfall(returns @ peer.weights_, 0.05) + 1e-9


def test_the_posterior_is_that_of_pypfopt() -> None:
    from pypfopt import BlackLittermanModel

    rng = np.random.default_rng(9)
    covariance = random_covariance(rng, 6)
    prior, views = rng.normal(0.05, 0.05, 6), rng.normal(0.05, 0.1, 6)
    confidence = rng.uniform(0.1, 0.9, 6)
    omega = np.diag(0.05 * np.diag(covariance) * (1.0 - confidence) / confidence)
    peer = BlackLittermanModel(covariance, pi=prior, P=np.eye(6), Q=views, omega=omega, tau=0.05)
    means, spread = posterior(covariance, prior, views, confidence, 0.05)
    assert means == pytest.approx(np.asarray(peer.bl_returns()), abs=1e-9)
    assert spread == pytest.approx(np.asarray(peer.bl_cov()), abs=1e-9)


# --- What holds for all -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 10, 40])
@pytest.mark.parametrize("method", OPTIMISERS)
def test_weights_sum_to_one_and_follow_the_names(method: str, count: int) -> None:
    rng = np.random.default_rng(count)
    covariance, sight = random_covariance(rng, count), outlook(rng, count)
    weights = made(method).weights(covariance, sight, long_only(count), np.zeros(count))
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert (weights >= 0.0).all()
    order = rng.permutation(count)
    renamed = Outlook(sight.expected[order], sight.confidence[order], sight.scenarios[:, order])
    permuted = made(method).weights(covariance[np.ix_(order, order)], renamed, long_only(count), np.zeros(count))
    assert permuted == pytest.approx(weights[order], abs=1e-4 if made(method).needs_covariance else 1e-12)


@pytest.mark.parametrize("method", OPTIMISERS)
def test_a_book_of_longs_and_shorts_is_neutral(method: str) -> None:
    rng = np.random.default_rng(11)
    covariance, sight, short = random_covariance(rng, 12), outlook(rng, 12), np.arange(12) % 3 == 0
    weights = made(method).weights(covariance, sight, long_short(short, 0.5), np.zeros(12))
    assert weights[~short].sum() == pytest.approx(1.0, abs=1e-9)
    assert weights[short].sum() == pytest.approx(-1.0, abs=1e-9)
    assert (weights[short] <= 0.0).all()
    assert (weights[~short] >= 0.0).all()


@pytest.mark.parametrize("method", RISK_BASED)
def test_the_scale_of_returns_does_not_matter_to_risk_parity(method: str) -> None:
    covariance = random_covariance(np.random.default_rng(12), 9)
    assert solved(method, covariance * 1e-7) == pytest.approx(solved(method, covariance), abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
@settings(max_examples=60, deadline=None)
def test_contributions_are_equal_and_sum_to_the_variance(seed: int, n: int) -> None:
    covariance = random_covariance(np.random.default_rng(seed), n)
    weights = equal_contributions(covariance)
    parts = risk_contributions(weights, covariance)
    assert parts.sum() == pytest.approx(weights @ covariance @ weights, rel=1e-12)
    assert parts == pytest.approx(np.full(n, parts.mean()), rel=1e-4)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.sampled_from(["paper", "skfolio"]))
@settings(max_examples=60, deadline=None)
def test_hierarchical_weights_are_positive_and_sum_to_one(seed: int, n: int, distance: str) -> None:
    rng = np.random.default_rng(seed)
    covariance = random_covariance(rng, n)
    weights = hierarchical_weights(covariance, distance)
    assert (weights > 0.0).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    order = rng.permutation(n)
    permuted = hierarchical_weights(np.ascontiguousarray(covariance[np.ix_(order, order)]), distance)
    assert permuted == pytest.approx(weights[order], abs=1e-12)


@pytest.mark.parametrize("method", OPTIMISERS)
@pytest.mark.parametrize("rank", [1, 2])
def test_nearly_singular_covariances_have_an_answer(method: str, rank: int) -> None:
    rng = np.random.default_rng(rank)
    covariance = random_covariance(rng, 8, rank=rank)
    weights = made(method).weights(covariance, outlook(rng, 8), long_only(8, 0.5), np.zeros(8))
    assert long_only(8, 0.5).violations(weights) == []


def test_names_that_hedge_each_other_exactly_share_by_their_volatility() -> None:
    covariance = np.array([[0.04, -0.08], [-0.08, 0.16]])
    assert solved("equal_risk_contribution", covariance) == pytest.approx([2 / 3, 1 / 3], abs=1e-4)
    correlation = np.array([[1.0, -0.999999999], [-0.999999999, 1.0]])
    assert descended(correlation, 5, 1e-10)[1] > 1e-10, "what Newton's method is for"


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (np.array([[1.0, 2.0], [2.0, 1.0]]), "negative variance"),
        (np.array([[1.0, 0.0], [0.5, 1.0]]), "symmetric"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), "finite"),
        (np.array([[0.0, 0.0], [0.0, 1.0]]), "no variance"),
    ],
)
@pytest.mark.parametrize("method", [name for name in OPTIMISERS if name not in ("equal", "mean_cvar")])
def test_what_is_no_covariance_is_refused(method: str, covariance: np.ndarray, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        solved(method, covariance)


def test_scenarios_that_are_missing_are_asked_for() -> None:
    with pytest.raises(DatasetError, match="mean_cvar needs scenarios"):
        solved("mean_cvar", np.eye(2))


def test_an_unknown_method_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"weights\.method: .*'best'; choose among equal, inverse_volatility"):
        made("best")


def test_without_the_extra_the_error_names_it_and_the_own_kernels_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    covariance = np.diag([0.04, 0.09])
    with pytest.raises(MissingPackageError, match=r"quant-assets\[portfolio\]"):
        solved("minimum_variance", covariance)
    for method in ("equal", *RISK_BASED):
        assert solved(method, covariance).sum() == pytest.approx(1.0)


# --- Limits that may not hold together --------------------------------------------------------------------------------


def _answered(seeds: range) -> dict[str, int]:
    """How many problems had an answer, and how many an error that names a limit."""
    counts = {"answers": 0, "errors": 0}
    for seed in seeds:
        covariance, sight, limits, previous = degenerate(seed)
        for method in OPTIMISERS:
            try:
                weights = made(method).weights(covariance, sight, limits, previous)
            except InfeasibleError as error:
                said = str(error)
                named = [limit.name for limit in limits.limits] + ["max_weight", "max_volume_share", "max_turnover"]
                assert any(name in said for name in named), (seed, method, said)
                counts["errors"] += 1
                continue
            broken = limits.feasible().violations(weights, 2e-6)
            assert broken == [], (seed, method, broken)
            hard = [each for each in limits.limits if not each.target]
            assert all(each.coefficients @ weights <= each.high + 1e-5 for each in hard), (seed, method)
            counts["answers"] += 1
    return counts


def test_odd_problems_have_an_answer_within_their_limits_or_an_error_that_names_one() -> None:
    counts = _answered(range(60))
    assert min(counts.values()) > 20


@pytest.mark.nightly
def test_a_thousand_odd_problems_have_an_answer_within_their_limits_or_an_error_that_names_one() -> None:
    counts = _answered(range(1_000))
    assert min(counts.values()) > 500


def test_limits_beside_the_bounds_hold_in_the_final_weights_of_hierarchical_risk_parity() -> None:
    covariance = np.diag([0.01, 0.02, 0.04, 0.09, 0.16, 0.25])
    beta = Limit("beta", np.array([0.5, 0.6, 0.8, 1.0, 1.4, 1.8]), 0.9, 1.0)
    limits = long_only(6, 0.4, limits=(beta,))
    free = solved("hierarchical_risk_parity", covariance)
    assert limits.violations(free), "the limit must bind"
    found = made("hierarchical_risk_parity").weights(covariance, Outlook(np.zeros(6)), limits, np.zeros(6))
    assert limits.violations(found) == []
    assert found.sum() == pytest.approx(1.0, abs=1e-9)
