"""How far a book moves from what is held to its target within `max_turnover`, and within all other limits on the way.

What the limits are is in book.py. Held names may be on their way out, and one may be held long and be wanted short, so
that a limit is of the longs and of the shorts here, each side a share of its own.
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

#: How far holdings may be beyond a limit, by rounding, before something is sold for it.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class _Total:
    """A limit: low <= longs @ weights above 0 + shorts @ sizes of those below 0 <= high."""

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
    """Limits of a book on its way, of n names.

    Attributes:
        names: tickers.
        size: most that each may weigh, float64 of shape (n_names,).
        liquid: most by its volume; None where there is no such limit.
        totals: of the longs and shorts together.
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
        """Weights cut to what each name may weigh: by no less can the bounds be met."""
        return np.clip(weights, -self.most(True), self.most(False))

    def broken(self, weights: FloatArray, tolerance: float) -> list[str]:
        """Limits that weights break, each with its figure."""
        found = []
        over = np.abs(weights - self.cut(weights))
        for at in np.flatnonzero(over > tolerance)[:3].tolist():
            what = BOUNDS if abs(weights[at]) > self.size + tolerance else LIQUIDITY
            if weights[at] < 0.0 and not self.short_side:
                what = "weights.book without shorts"
            found.append(f"{what}: {self.names[at]} weighs {weights[at]:.4g}")
        for each in self.totals:
            value = each.value(weights)
            if not each.low - tolerance <= value <= each.high + tolerance:
                bounds = ([] if np.isinf(each.low) else [f"at least {each.low:g}"]) + (
                    [] if np.isinf(each.high) else [f"at most {each.high:g}"]
                )
                found.append(f"{each.name} of {' and '.join(bounds)}: it is {value:.4g}")
        return found


def moved_within(
    target: pl.DataFrame,
    before: Mapping[str, float],
    today: pl.DataFrame,
    as_of: date,
    settings: WeightSettings,
    history: History | None = None,
) -> pl.DataFrame:
    """As much of the way from the holdings to the target as `max_turnover` lets, within the other limits.

    With holdings h and target w the weights are h + t (w - h), t at most 1. Names that are no candidates any more are
    kept in part then, without a score. A name that has left the sector, or has no bar at the decision, must be sold;
    what that takes of the turnover is gone for the others. Where prices have moved the holdings beyond a limit, the
    least that it asks for is traded first, and the way to the target begins there.

    Args:
        target: rows of the decision with `weight`.
        before: holdings, as prices have moved them, by ticker.
        today: rows of dataset indicators at the decision.
        as_of: the decision.
        settings: of the weights.
        history: the sessions before, where betas are limited.

    Returns:
        Rows like `target`, in its order, then the names that are kept by ticker; weights may be 0. With `infeasible:
        cash` the other limits hold where more must be traded for them than may be, and nothing else is traded then.

    Raises:
        InfeasibleError: with `infeasible: error`, more must be sold than may be traded; with both, the limits cannot be
            met from what is held and wanted. It names them.

    """
    limits = settings.constraints
    cap = limits.max_turnover or 0.0
    wanted = dict(target.select("ticker", "weight").iter_rows())
    present = set(today["ticker"])
    kept = sorted(name for name in before if name in present and name not in wanted)
    forced = sum(abs(weight) for name, weight in before.items() if name not in present)
    if forced > cap + TOLERANCE and limits.infeasible == "error":
        raise InfeasibleError(
            f"weights.constraints.max_turnover {cap:g}: names that have left the sector and must be sold weigh "
            f"{forced:.4g}; raise it, or set weights.constraints.infeasible: cash"
        )
    names = [*wanted, *kept]
    goal = np.array([wanted.get(name, 0.0) for name in names])
    held = np.array([before.get(name, 0.0) if name in present else 0.0 for name in names])
    budget = max(cap - forced, 0.0)
    moved = np.where(np.abs(goal) < DUST, 0.0, goal)
    if float(np.abs(goal - held).sum()) > budget:
        room = _room(names, today, as_of, settings, history)
        found = _on_the_way(held, goal, budget, room, settings)
        moved = np.where(np.abs(found) < DUST, 0.0, found)
        if room.broken(moved, TOLERANCE):  # where a limit is met by the dust
            moved = found
        broken = room.broken(moved, 2.0 * TOLERANCE)
        if broken:
            raise InfeasibleError(f"no weights within {cap:g} of turnover were found that respect {'; '.join(broken)}")
    source = target["score_source"][0] if len(target) else "composite_score"
    figures = today.select("ticker", volatility=pl.col("garch_volatility").cast(pl.Float64))
    rest = pl.DataFrame({"ticker": kept}, {"ticker": pl.String}).join(figures, on="ticker", how="left")
    rest = rest.with_columns(
        as_of=pl.lit(as_of), score=pl.lit(None, pl.Float64), score_source=pl.lit(source), weight=pl.lit(0.0)
    ).with_columns(pl.when(pl.col("volatility") > 0.0).then("volatility"))
    both = pl.concat([target, rest], how="diagonal")
    return both.with_columns(weight=pl.Series(moved))


def _room(
    names: Sequence[str], today: pl.DataFrame, as_of: date, settings: WeightSettings, history: History | None
) -> _Room:
    """The limits on the way: without `min_weight` and without totals that have to be reached."""
    limits, one = settings.constraints, np.ones(len(names))
    (_, longs), (_, shorts) = TOTALS[settings.book]
    totals = [_Total(LONGS, one, 0.0 * one, -np.inf, longs), _Total(SHORTS, 0.0 * one, one, -np.inf, shorts)]
    if limits.max_gross is not None:
        totals.append(_Total("weights.constraints.max_gross", one, one, -np.inf, limits.max_gross))
    betas = None
    if history is not None and needs_betas(settings) and names:
        window = history.window(names, as_of, settings.covariance.sessions)
        betas = history.betas(window, settings.covariance.min_observations)
    for name, row in (("net", one), ("beta", betas)):
        low, high = getattr(limits, f"min_{name}"), getattr(limits, f"max_{name}")
        if row is not None and (low is not None or high is not None):
            both = f"weights.constraints.min_{name} and max_{name}"
            least, most = -np.inf if low is None else low, np.inf if high is None else high
            totals.append(_Total(both, row, -row, least, most))
    liquid = None
    if limits.max_volume_share is not None:
        asked = pl.DataFrame({"ticker": list(names)}, {"ticker": pl.String})
        known = asked.join(today.select("ticker", "dollar_volume"), on="ticker", how="left", maintain_order="left")
        liquid = volume_limits(known["dollar_volume"], settings)
    return _Room(names, settings.max_weight, liquid, tuple(totals), TOTALS[settings.book][1][1] > 0.0)


def _on_the_way(held: FloatArray, goal: FloatArray, budget: float, room: _Room, settings: WeightSettings) -> FloatArray:
    """The weights between holdings and goal, which is farther away than the budget."""
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
    share = min(_share(held, start, goal, budget), *(_reach(each, start, goal) for each in room.totals))
    return start + share * (goal - start)


def _share(held: FloatArray, start: FloatArray, goal: FloatArray, budget: float) -> float:
    """The largest share of the way from start to goal with which no more than the budget is traded from the holdings.

    What is traded is a convex, piecewise linear function of the share; it bends where a name crosses its holding.
    """
    step = goal - start
    if start is held:
        return min(1.0, budget / float(np.abs(step).sum()))
    with np.errstate(divide="ignore", invalid="ignore"):
        bends = (held - start) / step
    shares = np.unique(np.concatenate([[0.0, 1.0], bends[(bends > 0.0) & (bends < 1.0)]]))
    traded = np.array([float(np.abs(start + each * step - held).sum()) for each in shares.tolist()])
    if traded[-1] <= budget:
        return 1.0
    at = int(np.argmax(traded > budget))
    if at == 0:
        return 0.0
    return float(shares[at - 1] + (budget - traded[at - 1]) / (traded[at] - traded[at - 1]) * np.diff(shares)[at - 1])


def _reach(total: _Total, start: FloatArray, goal: FloatArray) -> float:
    """The share of the way up to which a limit holds: 1 but for a goal that breaks it, such as one without names."""
    first, last = total.value(start), total.value(goal)
    if not total.linear or total.low - TOLERANCE <= last <= total.high + TOLERANCE:
        return 1.0
    bound = total.low if last < total.low else total.high
    return min(max((bound - first) / (last - first), 0.0), 1.0)


def _nearest(held: FloatArray, goal: FloatArray, budget: float, room: _Room, broken: Sequence[str]) -> FloatArray:
    """Weights within the limits for which the least is traded; of several, those nearer to the goal.

    No name goes beyond what is held, wanted or 0: nothing is bought only to make up for something else.

    Raises:
        InfeasibleError: there are none.

    """
    found = _solved(held, goal, room, 1e-3)
    if found is not None and float(np.abs(found - held).sum()) > budget:
        found = _solved(held, goal, room, 0.0)  # the budget may be so narrow that only the least will do
    if found is None:
        raise InfeasibleError(
            f"what prices and sales have made of the holdings breaks {'; '.join(broken)}, and no weights between "
            "them and those wanted respect all limits (weights.max_weight, weights.constraints); loosen one of them"
        )
    return found


def _solved(held: FloatArray, goal: FloatArray, room: _Room, nearer: float) -> FloatArray | None:
    """The linear program: longs, shorts, and the distances from holdings and goal, of each name."""
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
    for each in room.totals:
        row = np.concatenate([each.longs, each.shorts, np.zeros(2 * n)])
        for bound, sign in ((each.high, 1.0), (each.low, -1.0)):
            if np.isfinite(bound):
                rows.append(sign * row)
                most.append(sign * bound)
    sides = [
        np.minimum(room.most(short), np.maximum(np.maximum(sign * held, sign * goal), 0.0))
        for short, sign in ((False, 1.0), (True, -1.0))
    ]
    bounds = [(0.0, each) for each in np.concatenate(sides).tolist()] + [(0.0, None)] * (2 * n)
    found = linprog(
        np.concatenate([np.zeros(2 * n), np.ones(n), np.full(n, nearer)]),
        A_ub=np.vstack([*away, *rows]),
        b_ub=np.concatenate([*right, most]),
        bounds=bounds,
    )
    return np.asarray(found.x[:n] - found.x[n : 2 * n]) if found.status == 0 else None
