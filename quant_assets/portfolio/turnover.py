"""Moves a book from its holdings towards its target within `max_turnover` and all other limits.

The limits are defined in book.py. A holding may be about to be closed, or reversed from long to short, so that a limit
here has separate coefficients for longs and shorts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from quant_assets.errors import InfeasibleError
from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.book import TOTALS, volume_limits
from quant_assets.portfolio.constraints import BOUNDS, LIQUIDITY, LONGS, SHORTS, TOLERANCE
from quant_assets.portfolio.fitting import DUST
from quant_assets.portfolio.history import History, needs_betas
from quant_assets.settings.weights import WeightSettings

#: How far rounding may push holdings beyond a limit before something is sold for it.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class _Total:
    """A limit: low <= longs @ positive weights + shorts @ sizes of negative weights <= high."""

    name: str
    longs: FloatArray
    shorts: FloatArray
    low: float
    high: float

    def value(self, weights: FloatArray) -> float:
        return float(self.longs @ np.maximum(weights, 0.0) + self.shorts @ np.maximum(-weights, 0.0))

    @property
    def linear(self) -> bool:
        return np.array_equal(self.longs, -self.shorts)


@dataclass(frozen=True)
class _Room:
    """Limits of a book between holdings and target, of n names.

    Attributes:
        names: tickers.
        size: highest size of a name.
        liquid: highest size by volume, float64 of shape (n_names,); None where there is no such limit.
        totals: limits of longs and shorts together.
        short_side: whether there may be shorts.

    """

    names: Sequence[str]
    size: float
    liquid: FloatArray | None
    totals: tuple[_Total, ...]
    short_side: bool

    def most(self, short: bool) -> FloatArray:
        if short and not self.short_side:
            return np.zeros(len(self.names))
        size = np.full(len(self.names), self.size)
        return size if self.liquid is None else np.minimum(size, self.liquid)

    def cut(self, weights: FloatArray) -> FloatArray:
        """Weights cut to the bounds, which is the smallest change that meets them."""
        return np.clip(weights, -self.most(True), self.most(False))

    def broken(self, weights: FloatArray, tolerance: float) -> list[str]:
        """Limits that the weights break, with their figures."""
        lines = []
        over = np.abs(weights - self.cut(weights))
        for at in np.flatnonzero(over > tolerance)[:3].tolist():
            rule = BOUNDS if abs(weights[at]) > self.size + tolerance else LIQUIDITY
            if weights[at] < 0.0 and not self.short_side:
                rule = "weights.book without shorts"
            lines.append(f"{rule}: {self.names[at]} weighs {weights[at]:.4g}")
        for total in self.totals:
            value = total.value(weights)
            if not total.low - tolerance <= value <= total.high + tolerance:
                bounds = ([] if np.isinf(total.low) else [f"at least {total.low:g}"]) + (
                    [] if np.isinf(total.high) else [f"at most {total.high:g}"]
                )
                lines.append(f"{total.name} of {' and '.join(bounds)}: it is {value:.4g}")
        return lines


def moved_within(
    target: pl.DataFrame,
    before: Mapping[str, float],
    today: pl.DataFrame,
    as_of: date,
    settings: WeightSettings,
    history: History | None = None,
) -> pl.DataFrame:
    """Weights as far on the way from the holdings to the target as `max_turnover` allows, within the other limits.

    With holdings h and target w the weights are h + t (w - h), t at most 1. Former candidates are then kept in part,
    without a score. A name that has left the sector, or has no bar at the decision, must be sold, which uses up
    turnover. Where prices have moved the holdings beyond a limit, the smallest trade that meets it comes first, and the
    way to the target begins there.

    Args:
        target: rows of the decision with `weight`.
        before: holdings after their drift, by ticker.
        today: rows of dataset indicators at the decision.
        as_of: the decision.
        settings: of the weights.
        history: the sessions before, needed where betas are limited.

    Returns:
        Rows like `target`, in its order, then the remaining holdings by ticker; weights may be 0. With `infeasible:
        cash` the other limits hold even if that takes more than `max_turnover`, and nothing else is traded then.

    Raises:
        InfeasibleError: with `infeasible: error`, more must be sold than may be traded; with either setting, the limits
            cannot be met between holdings and target. It names them.

    """
    limits = settings.constraints
    cap = limits.max_turnover or 0.0
    goals = dict(target.select("ticker", "weight").iter_rows())
    present = set(today["ticker"])
    leaving = sorted(name for name in before if name in present and name not in goals)
    forced = sum(abs(weight) for name, weight in before.items() if name not in present)
    if forced > cap + TOLERANCE and limits.infeasible == "error":
        raise InfeasibleError(
            f"weights.constraints.max_turnover {cap:g}: names that have left the sector and must be sold weigh "
            f"{forced:.4g}; raise it, or set weights.constraints.infeasible: cash"
        )
    names = [*goals, *leaving]
    goal = np.array([goals.get(name, 0.0) for name in names])
    held = np.array([before.get(name, 0.0) if name in present else 0.0 for name in names])
    budget = max(cap - forced, 0.0)
    moved = np.where(np.abs(goal) < DUST, 0.0, goal)
    if float(np.abs(goal - held).sum()) > budget:
        room = _room(names, today, as_of, settings, history)
        exact = _on_the_way(held, goal, budget, room, settings)
        moved = np.where(np.abs(exact) < DUST, 0.0, exact)
        if room.broken(moved, TOLERANCE):  # where a limit is met by the dust
            moved = exact
        broken = room.broken(moved, 2.0 * TOLERANCE)
        if broken:
            raise InfeasibleError(f"no weights within {cap:g} of turnover were found that respect {'; '.join(broken)}")
    source = target["score_source"][0] if len(target) else "composite_score"
    figures = today.select("ticker", volatility=pl.col("garch_volatility").cast(pl.Float64))
    rest = pl.DataFrame({"ticker": leaving}, {"ticker": pl.String}).join(figures, on="ticker", how="left")
    rest = rest.with_columns(
        as_of=pl.lit(as_of), score=pl.lit(None, pl.Float64), score_source=pl.lit(source), weight=pl.lit(0.0)
    ).with_columns(pl.when(pl.col("volatility") > 0.0).then("volatility"))
    both = pl.concat([target, rest], how="diagonal")
    return both.with_columns(weight=pl.Series(moved))


def _room(
    names: Sequence[str], today: pl.DataFrame, as_of: date, settings: WeightSettings, history: History | None
) -> _Room:
    """The limits on the way: without `min_weight` and without totals to be reached."""
    limits, ones = settings.constraints, np.ones(len(names))
    (_, longs), (_, shorts) = TOTALS[settings.book]
    totals = [_Total(LONGS, ones, 0.0 * ones, -np.inf, longs), _Total(SHORTS, 0.0 * ones, ones, -np.inf, shorts)]
    if limits.max_gross is not None:
        totals.append(_Total("weights.constraints.max_gross", ones, ones, -np.inf, limits.max_gross))
    betas = None
    if history is not None and needs_betas(settings) and names:
        window = history.window(names, as_of, settings.covariance.sessions)
        betas = history.betas(window, settings.covariance.min_observations)
    for name, row in (("net", ones), ("beta", betas)):
        low, high = getattr(limits, f"min_{name}"), getattr(limits, f"max_{name}")
        if row is not None and (low is not None or high is not None):
            both = f"weights.constraints.min_{name} and max_{name}"
            least, most = -np.inf if low is None else low, np.inf if high is None else high
            totals.append(_Total(both, row, -row, least, most))
    liquid = None
    if limits.max_volume_share is not None:
        table = pl.DataFrame({"ticker": list(names)}, {"ticker": pl.String})
        volumes = table.join(today.select("ticker", "dollar_volume"), on="ticker", how="left", maintain_order="left")
        liquid = volume_limits(volumes["dollar_volume"], settings)
    return _Room(names, settings.max_weight, liquid, tuple(totals), TOTALS[settings.book][1][1] > 0.0)


def _on_the_way(held: FloatArray, goal: FloatArray, budget: float, room: _Room, settings: WeightSettings) -> FloatArray:
    """The weights between holdings and goal; the goal needs more trading than the budget."""
    broken, start = room.broken(held, _ROUNDING), held
    if broken:
        start = room.cut(held)
        if room.broken(start, _ROUNDING):
            start = _nearest(held, goal, budget, room, broken)
        needed = float(np.abs(start - held).sum())
        if needed > budget + TOLERANCE and settings.constraints.infeasible == "error":
            raise InfeasibleError(
                f"weights.constraints.max_turnover {settings.constraints.max_turnover:g}: what prices and sales have "
                f"made of the holdings breaks {'; '.join(broken)}; {needed:.4g} must be traded for it, and "
                f"{budget:.4g} may be. Loosen one of them, or set weights.constraints.infeasible: cash"
            )
        if needed >= budget:
            return start
    share = min(_share(held, start, goal, budget), *(_reach(total, start, goal) for total in room.totals))
    return start + share * (goal - start)


def _share(held: FloatArray, start: FloatArray, goal: FloatArray, budget: float) -> float:
    """The largest share of the way from start to goal that trades no more than the budget from the holdings.

    The traded amount is a convex, piecewise linear function of the share; it bends where a name crosses its holding.
    """
    step = goal - start
    if start is held:
        return min(1.0, budget / float(np.abs(step).sum()))
    with np.errstate(divide="ignore", invalid="ignore"):
        bends = (held - start) / step
    shares = np.unique(np.concatenate([[0.0, 1.0], bends[(bends > 0.0) & (bends < 1.0)]]))
    traded = np.array([float(np.abs(start + share * step - held).sum()) for share in shares.tolist()])
    if traded[-1] <= budget:
        return 1.0
    at = int(np.argmax(traded > budget))
    if at == 0:
        return 0.0
    return float(shares[at - 1] + (budget - traded[at - 1]) / (traded[at] - traded[at - 1]) * np.diff(shares)[at - 1])


def _reach(total: _Total, start: FloatArray, goal: FloatArray) -> float:
    """The share of the way up to which a limit holds: 1 unless the goal breaks it, as a goal without names does."""
    first, last = total.value(start), total.value(goal)
    if not total.linear or total.low - TOLERANCE <= last <= total.high + TOLERANCE:
        return 1.0
    bound = total.low if last < total.low else total.high
    return min(max((bound - first) / (last - first), 0.0), 1.0)


def _nearest(held: FloatArray, goal: FloatArray, budget: float, room: _Room, broken: Sequence[str]) -> FloatArray:
    """Weights within the limits that need the least trading; among several, the nearest to the goal.

    No name goes beyond its holding, its goal or 0: nothing is bought only to offset something else.

    Raises:
        InfeasibleError: there are none.

    """
    solution = _solved(held, goal, room, 1e-3)
    if solution is not None and float(np.abs(solution - held).sum()) > budget:
        solution = _solved(held, goal, room, 0.0)  # a narrow budget may allow only the least trading
    if solution is None:
        raise InfeasibleError(
            f"what prices and sales have made of the holdings breaks {'; '.join(broken)}, and no weights between "
            "them and those wanted respect all limits (weights.max_weight, weights.constraints); loosen one of them"
        )
    return solution


def _solved(held: FloatArray, goal: FloatArray, room: _Room, nearer: float) -> FloatArray | None:
    """The linear program over each name's long, short, and distances from holding and goal."""
    from scipy.optimize import linprog

    n = len(held)
    eye, nothing = np.eye(n), np.zeros((n, n))
    away = [
        np.hstack([sign * eye, -sign * eye, *([-eye, nothing] if of_held else [nothing, -eye])])
        for of_held in (True, False)
        for sign in (1.0, -1.0)
    ]
    right = [held, -held, goal, -goal]
    rows, most = [], []
    for total in room.totals:
        row = np.concatenate([total.longs, total.shorts, np.zeros(2 * n)])
        for bound, sign in ((total.high, 1.0), (total.low, -1.0)):
            if np.isfinite(bound):
                rows.append(sign * row)
                most.append(sign * bound)
    sides = [
        np.minimum(room.most(short), np.maximum(np.maximum(sign * held, sign * goal), 0.0))
        for short, sign in ((False, 1.0), (True, -1.0))
    ]
    bounds = [(0.0, size) for size in np.concatenate(sides).tolist()] + [(0.0, None)] * (2 * n)
    result = linprog(
        np.concatenate([np.zeros(2 * n), np.ones(n), np.full(n, nearer)]),
        A_ub=np.vstack([*away, *rows]),
        b_ub=np.concatenate([*right, most]),
        bounds=bounds,
    )
    return np.asarray(result.x[:n] - result.x[n : 2 * n]) if result.status == 0 else None
