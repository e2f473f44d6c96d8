"""Problems for optimisers: random covariances, and limits that may or may not hold together."""

from typing import Any

import numpy as np

from quant_assets.portfolio.constraints import LONGS, SHORTS, Constraints, Limit, sector_limits
from quant_assets.portfolio.optimisers import Outlook


def random_covariance(rng: np.random.Generator, n: int, *, rank: int | None = None) -> np.ndarray:
    """Of returns per year; of a rank below n it is singular but for the names' own smallest part."""
    loadings = rng.normal(size=(n, rank or n + 2))
    matrix = loadings @ loadings.T / loadings.shape[1]
    if rank is not None:
        matrix += 1e-9 * np.eye(n) * np.trace(matrix) / n
    deviations = rng.uniform(0.05, 0.8, n) / np.sqrt(np.diag(matrix))
    return matrix * np.outer(deviations, deviations)


def long_only(n: int, most: float = 1.0, **more: Any) -> Constraints:
    limits = (Limit(LONGS, np.ones(n), 1.0, 1.0, target=True), *more.pop("limits", ()))
    return Constraints(np.zeros(n), np.full(n, most), limits, **more)


def long_short(short: np.ndarray, most: float = 1.0, **more: Any) -> Constraints:
    """As much short as long."""
    sign = np.where(short, -1.0, 1.0)
    limits = (
        Limit(LONGS, np.where(short, 0.0, 1.0), 1.0, 1.0, target=True),
        Limit(SHORTS, np.where(short, -1.0, 0.0), 1.0, 1.0, target=True),
        *more.pop("limits", ()),
    )
    lower, upper = np.minimum(sign * most, 0.0), np.maximum(sign * most, 0.0)
    return Constraints(lower, upper, limits, **more)


def outlook(rng: np.random.Generator, n: int, sessions: int = 60) -> Outlook:
    return Outlook(rng.normal(0.05, 0.1, n), rng.uniform(0.05, 0.9, n), rng.normal(0.0, 0.01, (sessions, n)))


def degenerate(seed: int) -> tuple[np.ndarray, Outlook, Constraints, np.ndarray]:
    """Covariance, outlook, limits and previous weights of a problem that is odd somehow, often without a solution."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 2, 3, 5, 12]))
    rank = int(rng.integers(1, n + 1)) if rng.random() < 0.4 else None
    covariance = random_covariance(rng, n, rank=rank)
    if rng.random() < 0.1 and n > 1:  # the same name twice
        covariance[1], covariance[:, 1] = covariance[0], covariance[:, 0]
        covariance[1, 1] = covariance[0, 1] = covariance[1, 0] = covariance[0, 0]
    covariance *= 10.0 ** rng.integers(-6, 4)
    previous = np.abs(rng.dirichlet(np.ones(n))) if rng.random() < 0.6 else np.zeros(n)
    short = rng.random(n) < 0.4 if rng.random() < 0.5 else np.zeros(n, dtype=bool)
    previous = np.where(short, -previous, previous)
    limits: list[Limit] = []
    if rng.random() < 0.3:
        limits += sector_limits([f"s{at % 3}" for at in range(n)], -np.inf, float(rng.uniform(0.05, 0.8)))
    if rng.random() < 0.3:
        limits.append(Limit("beta", rng.normal(1.0, 0.5, n), -np.inf, float(rng.uniform(-0.2, 1.2))))
    if rng.random() < 0.2:
        limits.append(Limit("net exposure", np.ones(n), -0.1, float(rng.uniform(-0.1, 0.9))))
    if rng.random() < 0.2:
        limits.append(Limit("gross exposure", np.where(short, -1.0, 1.0), 0.0, float(rng.uniform(0.2, 2.0))))
    more: dict[str, Any] = {"limits": tuple(limits), "infeasible": str(rng.choice(["error", "cash"]))}
    if rng.random() < 0.3:
        more |= {"previous": previous, "turnover": float(rng.uniform(0.0, 1.5))}
    if rng.random() < 0.3:
        more["liquid"] = np.where(rng.random(n) < 0.2, 0.0, rng.uniform(0.0, 1.0, n))
    most = float(rng.choice([0.05, 0.2, 0.35, 1.0]))
    made = long_short(short, most, **more) if short.any() else long_only(n, most, **more)
    sight = outlook(rng, n)
    if rng.random() < 0.2:
        sight = Outlook(np.full(n, -0.1) if rng.random() < 0.5 else np.zeros(n), sight.confidence, sight.scenarios)
    return covariance, sight, made, previous
