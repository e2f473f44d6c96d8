"""Limits of a portfolio: their definition, whether they can hold together, and whether weights respect them.

Moving weights inside their limits is in fitting.py. Every name has one side: its bounds are never both above and below
0, so that gross exposure and the sides' totals are linear.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from quant_assets.errors import InfeasibleError
from quant_assets.market.panel import BoolArray, FloatArray

#: How far weights may exceed a limit, in shares of capital: the solver's error.
TOLERANCE = 1e-6

#: Names of the limits on the sides' totals.
LONGS, SHORTS = "exposure of the longs", "exposure of the shorts"

BOUNDS, LIQUIDITY, TURNOVER = "weights.max_weight", "weights.constraints.max_volume_share", "max_turnover"


@dataclass(frozen=True)
class Limit:
    """A linear limit: low <= coefficients @ weights <= high.

    Attributes:
        name: name in error messages.
        coefficients: float64 of shape (n_names,).
        low: -inf where there is none.
        high: inf where there is none.
        target: whether it is a total of the book to be reached, which is lowered where the other limits do not allow
            it.

    """

    name: str
    coefficients: FloatArray
    low: float
    high: float
    target: bool = False

    @property
    def said(self) -> str:
        """Name and bounds."""
        if self.low == self.high:
            return f"{self.name} of {self.low:g}"
        parts = [f"at least {self.low:g}"] if np.isfinite(self.low) else []
        parts += [f"at most {self.high:g}"] if np.isfinite(self.high) else []
        return f"{self.name} of {' and '.join(parts)}"


@dataclass(frozen=True)
class Constraints:
    """Limits of the weights of n names, as shares of capital; shorts are negative.

    Attributes:
        lower: lowest weight of each name, float64 of shape (n_names,).
        upper: highest, of that shape.
        limits: linear limits: totals of the sides, gross and net exposure, sectors, beta.
        liquid: highest size of each name by its traded volume, inf where unlimited; None where no name has a limit.
        previous: weights held before, of that shape; None where nothing was held.
        turnover: most that may be traded against `previous`, buys plus sells.
        infeasible: see `ConstraintSettings`.
        names: for messages.

    """

    lower: FloatArray
    upper: FloatArray
    limits: tuple[Limit, ...] = ()
    liquid: FloatArray | None = None
    previous: FloatArray | None = None
    turnover: float | None = None
    infeasible: Literal["error", "cash"] = "error"
    names: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        n = len(self.lower)
        shapes = {np.shape(array) for array in (self.upper, self.liquid, self.previous) if array is not None}
        shapes |= {np.shape(limit.coefficients) for limit in self.limits}
        if n == 0 or shapes != {(n,)}:
            raise InfeasibleError(f"limits of {n} names need arrays of shape ({n},), not {sorted(shapes)}")
        if not (np.isfinite(self.lower).all() and np.isfinite(self.upper).all()):
            raise InfeasibleError("bounds of the weights must be finite; give each name a least and a most")
        if (self.lower > self.upper).any():
            at = int(np.argmax(self.lower > self.upper))
            raise InfeasibleError(
                f"bounds ({BOUNDS}) of {self.name_of(at)}: the least, {self.lower[at]:g}, is more than the most, "
                f"{self.upper[at]:g}"
            )
        if ((self.lower < 0.0) & (self.upper > 0.0)).any():
            at = int(np.argmax((self.lower < 0.0) & (self.upper > 0.0)))
            raise InfeasibleError(f"bounds of {self.name_of(at)} let it be long and short; a name has one side")
        wrong = [limit.name for limit in self.limits if not np.isfinite(limit.coefficients).all()]
        if wrong:
            raise InfeasibleError(f"{wrong[0]}: its coefficients are not finite numbers")

    def __len__(self) -> int:
        return len(self.lower)

    def name_of(self, at: int) -> str:
        """The name in messages."""
        return self.names[at] if self.names else f"name {at}"

    @cached_property
    def short(self) -> BoolArray:
        """Which names are sold short: bool of shape (n_names,)."""
        return np.asarray(self.lower < 0.0)

    @cached_property
    def sign(self) -> FloatArray:
        """-1.0 of a short name, else 1.0."""
        return np.where(self.short, -1.0, 1.0)

    @cached_property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest weight of each name, including the limit by volume.

        A name whose volume does not allow the lowest weight is bounded by its volume alone.
        """
        if self.liquid is None:
            return self.lower, self.upper
        return np.clip(self.lower, -self.liquid, self.liquid), np.clip(self.upper, -self.liquid, self.liquid)

    @property
    def said(self) -> str:
        """All limits."""
        return "; ".join(self._said(kind) for kind in self._kinds)

    @property
    def simple(self) -> bool:
        """Whether there are only bounds and totals of the sides."""
        return self.turnover is None and all(limit.target for limit in self.limits)

    def total(self, short: bool) -> tuple[float, float]:
        """Lowest and highest sum of one side, as positive numbers."""
        totals = [limit for limit in self.limits if limit.name == (SHORTS if short else LONGS)]
        return (totals[0].low, totals[0].high) if totals else (0.0, np.inf)

    def violations(self, weights: FloatArray, tolerance: float = TOLERANCE) -> list[str]:
        """Limits that the weights break, with the figures; empty where they respect all limits."""
        if np.shape(weights) != (len(self),) or not np.isfinite(weights).all():
            return ["weights that are not finite numbers"]
        lower, upper = self.bounds
        broken = []
        for at in np.flatnonzero((weights < lower - tolerance) | (weights > upper + tolerance))[:3].tolist():
            which = (
                BOUNDS if self.lower[at] - tolerance > weights[at] or weights[at] > self.upper[at] + tolerance else ""
            )
            broken.append(
                f"{which or LIQUIDITY}: {self.name_of(at)} weighs {weights[at]:.6g}, "
                f"not {lower[at]:.6g} to {upper[at]:.6g}"
            )
        for limit in self.limits:
            value = float(limit.coefficients @ weights)
            scale = max(1.0, float(np.abs(limit.coefficients).max()))
            if not limit.low - tolerance * scale <= value <= limit.high + tolerance * scale:
                broken.append(f"{limit.said}: it is {value:.6g}")
        if self.turnover is not None and self.previous is not None:
            traded = float(np.abs(weights - self.previous).sum())
            if traded > self.turnover + tolerance:
                broken.append(f"{TURNOVER} of {self.turnover:g}: {traded:.6g} would be traded")
        return broken

    def feasible(self) -> "Constraints":
        """Limits that can hold together: these, or with `infeasible: cash` those of the largest feasible share.

        Raises:
            InfeasibleError: they cannot hold together; names the conflicting ones.

        """
        if self._possible(frozenset(self._kinds)):
            return self
        if self.infeasible == "cash":
            share = self._share()
            if share is not None:
                shrunk = tuple(
                    replace(limit, low=limit.low * share, high=limit.high if limit.low == 0.0 else limit.high * share)
                    if limit.target
                    else limit
                    for limit in self.limits
                )
                return replace(self, limits=shrunk)
        raise InfeasibleError(self._conflict())

    def _share(self) -> float | None:
        """The largest share of the book within the limits; None where there is none."""
        if not self.simple:
            share = _solve(self, frozenset(self._kinds), scaled=True)
            return share if share is None else max(min(share, 1.0) - 1e-9, 0.0)  # the solver's error
        share, (lower, upper) = 1.0, self.bounds
        for limit in self.limits:
            ends = np.stack([limit.coefficients * lower, limit.coefficients * upper])
            least, most = (math.fsum(side.tolist()) for side in (ends.min(axis=0), ends.max(axis=0)))
            if limit.low > 0.0:
                share = min(share, most / limit.low)
            if least > limit.high * (share if limit.low > 0.0 else 1.0) + 1e-12:
                return None
        return share

    @cached_property
    def _kinds(self) -> tuple[str, ...]:
        """The limits that can be left out one by one to find a conflict."""
        kinds = ["bounds", *(f"limit {number}" for number in range(len(self.limits)))]
        kinds += ["liquidity"] if self.liquid is not None else []
        return (*kinds, *(["turnover"] if self.turnover is not None and self.previous is not None else []))

    def _possible(self, kinds: frozenset[str]) -> bool:
        if self.simple and {"bounds", "liquidity"} & set(self._kinds) <= kinds:
            return self._simply_possible(kinds)
        return _solve(self, kinds) is not None

    def _simply_possible(self, kinds: frozenset[str]) -> bool:
        """Without a solver: each side's total lies between the sums of its bounds."""
        lower, upper = self.bounds
        for number, limit in enumerate(self.limits):
            if f"limit {number}" in kinds:
                ends = np.stack([limit.coefficients * lower, limit.coefficients * upper])
                least, most = float(ends.min(axis=0).sum()), float(ends.max(axis=0).sum())
                if most < limit.low - 1e-12 or least > limit.high + 1e-12:
                    return False
        return True

    def _conflict(self) -> str:
        """The limits of a minimal conflicting set: without any one of them the others can hold."""
        needed = set(self._kinds)
        for kind in reversed(self._kinds):
            if not self._possible(frozenset(needed - {kind})):
                needed.discard(kind)
        listing = [self._said(kind) for kind in self._kinds if kind in needed]
        listed = ", ".join(self.names[:5]) + (" …" if len(self.names) > 5 else "")
        return (
            f"the limits of {len(self)} names{f' ({listed})' if listed else ''} cannot hold together: "
            f"{'; '.join(listing)}. Loosen one of them, or set weights.constraints.infeasible: cash"
        )

    def _said(self, kind: str) -> str:
        if kind == "bounds":
            size = np.abs(np.where(self.short, self.lower, self.upper))
            least = np.abs(np.where(self.short, self.upper, self.lower))
            return f"{BOUNDS} (bounds of each name, {least.max():g} to {size.max():g}, {size.sum():g} in all)"
        if kind == "liquidity":
            return f"{LIQUIDITY} (what the names' volumes let, {np.minimum(self.liquid, 1.0).sum():g} in all)"  # type: ignore[arg-type]
        if kind == "turnover":
            return f"weights.constraints.{TURNOVER} of {self.turnover:g}"
        return self.limits[int(kind.split()[1])].said


def side_limits(short: BoolArray, longs: tuple[float, float], shorts: tuple[float, float]) -> list[Limit]:
    """The totals of the book's sides; a side without names has none.

    Args:
        short: whether a name is short, bool of shape (n_names,).
        longs: lowest and highest sum of the longs.
        shorts: lowest and highest sum of the shorts, as positive numbers.

    """
    totals = [Limit(LONGS, np.where(short, 0.0, 1.0), *longs, target=True)] if not short.all() else []
    return totals + ([Limit(SHORTS, np.where(short, -1.0, 0.0), *shorts, target=True)] if short.any() else [])


def sector_limits(sectors: Sequence[str], low: float, high: float) -> list[Limit]:
    """The net weight of each sector's names together."""
    labels = np.array(sectors)
    return [Limit(f"sector {name}", (labels == name).astype(np.float64), low, high) for name in sorted(set(sectors))]


def _solve(constraints: Constraints, kinds: frozenset[str], *, scaled: bool = False) -> float | None:
    """Whether there are weights within the limits of some kinds, by a linear program; None where there are none.

    Returns:
        1.0, or with `scaled` the largest share of the targets that can be reached, at most 1.

    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, hstack, vstack

    n = len(constraints)
    lower, upper = constraints.lower, constraints.upper
    if "bounds" not in kinds:
        lower, upper = np.where(constraints.short, -np.inf, 0.0), np.where(constraints.short, 0.0, np.inf)
    if constraints.liquid is not None and "liquidity" in kinds:
        lower, upper = (np.clip(edge, -constraints.liquid, constraints.liquid) for edge in (lower, upper))
    rows: list[tuple[FloatArray, float, float]] = []  # of weights and share, at most the right side
    for number, limit in enumerate(constraints.limits):
        if f"limit {number}" not in kinds:
            continue
        scales = scaled and limit.target
        if np.isfinite(limit.high):
            moves = scales and limit.low > 0.0
            rows.append((limit.coefficients, -limit.high if moves else 0.0, 0.0 if moves else limit.high))
        if np.isfinite(limit.low):
            rows.append((-limit.coefficients, limit.low if scales else 0.0, 0.0 if scales else -limit.low))
    matrix = csr_array(np.array([np.append(row, share) for row, share, _ in rows]).reshape(-1, n + 1))
    right = np.array([bound for _, _, bound in rows])
    bounds = [*zip(lower.tolist(), upper.tolist(), strict=True), (0.0, 1.0) if scaled else (1.0, 1.0)]
    if constraints.turnover is not None and constraints.previous is not None and "turnover" in kinds:
        eye, nothing = csr_array(np.eye(n)), csr_array((n, 1))
        matrix = vstack(
            [
                hstack([matrix, csr_array((len(rows), n))]),
                hstack([eye, nothing, -eye]),
                hstack([-eye, nothing, -eye]),
                csr_array(np.append(np.zeros(n + 1), np.ones(n)).reshape(1, -1)),
            ]
        )
        right = np.concatenate([right, constraints.previous, -constraints.previous, [constraints.turnover]])
        bounds += [(0.0, np.inf)] * n
    goal = np.zeros(len(bounds))
    goal[n] = -1.0
    result = linprog(goal, A_ub=matrix if len(right) else None, b_ub=right if len(right) else None, bounds=bounds)
    return float(result.x[n]) if result.status == 0 else None
