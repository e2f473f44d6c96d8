"""Our optimisers of 500 names against skfolio's, from the same covariance: CPU time on one thread.

Only the weights are compared: skfolio's prior receives the finished covariance, and its hierarchical risk parity uses
the paper's convention (single linkage, without an optimal order of the leaves), its fastest. Ours clusters the
distances between columns, as the paper's code does, which is the slowest part of it.
"""

import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from benchmarks.ratio import Ratio
from quant_assets.portfolio.optimisers.equal_risk_contribution import equal_contributions
from quant_assets.portfolio.optimisers.hierarchical_risk_parity import hierarchical_weights
from quant_assets.portfolio.optimisers.inverse_volatility import inverse_volatility

NAMES, SESSIONS, ROUNDS = 500, 750, 5


def returns(seed: int = 1) -> np.ndarray:
    """Daily returns of names with a few common factors, shape (SESSIONS, NAMES)."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0.0, 0.01, (SESSIONS, 5)) @ rng.normal(0.3, 0.5, (5, NAMES))
    return common + rng.normal(0.0, 1.0, (SESSIONS, NAMES)) * rng.uniform(0.005, 0.03, NAMES)


def peers(drawn: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Skfolio's estimators, as calls of their fit."""
    from skfolio.cluster import HierarchicalClustering, LinkageMethod
    from skfolio.distance import PearsonDistance
    from skfolio.moments import EmpiricalCovariance
    from skfolio.optimization import HierarchicalRiskParity, InverseVolatility, RiskBudgeting
    from skfolio.prior import EmpiricalPrior
    from skfolio.seriation import HierarchicalSeriation

    def prior() -> Any:
        return EmpiricalPrior(covariance_estimator=EmpiricalCovariance(nearest=False))

    single = HierarchicalClustering(linkage_method=LinkageMethod.SINGLE, max_clusters=10)
    order = HierarchicalSeriation(hierarchical_clustering_estimator=single, optimal_ordering=False)
    return {
        "inverse_volatility": lambda: InverseVolatility(prior_estimator=prior()).fit(drawn),
        "hierarchical_risk_parity": lambda: HierarchicalRiskParity(
            prior_estimator=prior(), distance_estimator=PearsonDistance(), seriation_estimator=order
        ).fit(drawn),
        "equal_risk_contribution": lambda: RiskBudgeting(prior_estimator=prior()).fit(drawn),
    }


def prepared(drawn: np.ndarray) -> Callable[[], Any]:
    """The first step of all of skfolio's fits: its prior, whose time is subtracted."""
    from skfolio.moments import EmpiricalCovariance
    from skfolio.prior import EmpiricalPrior

    return lambda: EmpiricalPrior(covariance_estimator=EmpiricalCovariance(nearest=False)).fit(drawn)


def cpu_seconds(run: Callable[[], Any], rounds: int) -> float:
    """Median CPU time; it runs once before, untimed."""
    run()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return median(times)


def measure() -> list[Ratio]:
    """Time of each optimiser for one set of weights."""
    from threadpoolctl import threadpool_limits

    drawn = returns()
    covariance = np.cov(drawn.T)
    ours: dict[str, Callable[[], Any]] = {
        "inverse_volatility": lambda: inverse_volatility(np.sqrt(np.diag(covariance))),
        "hierarchical_risk_parity": lambda: hierarchical_weights(covariance),
        "equal_risk_contribution": lambda: equal_contributions(covariance),
    }
    ratios = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = cpu_seconds(prepared(drawn), ROUNDS)
        for name, run in peers(drawn).items():
            mine = cpu_seconds(ours[name], 20)
            theirs = max(cpu_seconds(run, 1 if name == "equal_risk_contribution" else ROUNDS) - before, 0.0)
            note = f"CPU time, one thread; skfolio without its prior ({before * 1e3:.0f} ms)"
            ratios.append(Ratio("optimisers", f"{name} of {NAMES} names", mine, "skfolio", theirs, note))
    return ratios
