"""The limits of a sector's book: what the settings ask of long-only, neutral and 130/30 weights."""

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl

from quant_assets.errors import InfeasibleError
from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import LONGS, SHORTS, TOLERANCE, Constraints, Limit
from quant_assets.portfolio.fitting import DUST
from quant_assets.settings.weights import Book, WeightSettings

#: Totals of the longs and of the shorts, least and most, as shares of the sector's capital. What is not bought with the
#: shorts' proceeds or one's own money is cash.
TOTALS: dict[Book, tuple[tuple[float, float], tuple[float, float]]] = {
    "long_only": ((1.0, 1.0), (0.0, 0.0)),
    "dollar_neutral": ((1.0, 1.0), (1.0, 1.0)),
    "beta_neutral": ((1.0, 1.0), (0.0, 2.0)),
    "130_30": ((1.3, 1.3), (0.3, 0.3)),
}


def short_side(settings: WeightSettings) -> bool:
    """Whether the book has shorts."""
    return TOTALS[settings.book][1][1] > 0.0


def book_limits(chosen: pl.DataFrame, settings: WeightSettings, betas: FloatArray | None) -> Constraints:
    """The limits of the names that are held.

    Args:
        chosen: `ticker, candidate_type, dollar_volume` (null where it is not known).
        settings: of the weights.
        betas: to the sector, of shape (n_names,), where they matter.

    """
    limits = settings.constraints
    short = (chosen["candidate_type"] == "short").to_numpy()
    least, most = np.full(len(chosen), limits.min_weight), np.full(len(chosen), settings.max_weight)
    lower, upper = np.where(short, -most, least), np.where(short, -least, most)
    found = _totals(short, settings)
    sign = np.where(short, -1.0, 1.0)
    if limits.max_gross is not None:
        found.append(Limit("weights.constraints.max_gross", sign, -np.inf, limits.max_gross))
    for name, row in (("net", np.ones(len(chosen))), ("beta", betas)):
        low, high = getattr(limits, f"min_{name}"), getattr(limits, f"max_{name}")
        if row is not None and (low is not None or high is not None):
            both = f"weights.constraints.min_{name} and max_{name}"
            found.append(Limit(both, row, -np.inf if low is None else low, np.inf if high is None else high))
    if settings.book == "beta_neutral" and betas is not None:
        found.append(Limit("beta of the book beta_neutral", betas, 0.0, 0.0))
    return Constraints(
        lower,
        upper,
        tuple(found),
        liquid=_liquid(chosen["dollar_volume"], settings),
        infeasible=limits.infeasible,
        names=tuple(chosen["ticker"].to_list()),
    )


def _totals(short: FloatArray, settings: WeightSettings) -> list[Limit]:
    """The totals of the book's sides; of a side without names, too, so that it cannot be met."""
    longs, shorts = TOTALS[settings.book]
    found = [Limit(LONGS, np.where(short, 0.0, 1.0), *longs, target=True)]
    if shorts[1] > 0.0:
        found.append(Limit(SHORTS, np.where(short, -1.0, 0.0), *shorts, target=True))
    return found


def _liquid(volume: pl.Series, settings: WeightSettings) -> FloatArray | None:
    """The most that each name may weigh by its volume."""
    share = settings.constraints.max_volume_share
    if share is None:
        return None
    known = volume.cast(pl.Float64).fill_null(np.inf).to_numpy()
    return np.asarray(known * (share / settings.constraints.capital))


def moved_within(
    target: pl.DataFrame, before: Mapping[str, float], today: pl.DataFrame, as_of: date, settings: WeightSettings
) -> pl.DataFrame:
    """As much of the way from the holdings to the target as `max_turnover` lets.

    With holdings h and target w the weights are h + t (w - h), t at most 1. Names that are no candidates any more are
    kept in part then, without a score. A name that has left the sector, or has no bar at the decision, must be sold;
    what that takes of the turnover is gone for the others.

    Args:
        target: rows of the decision with `weight`.
        before: holdings, as prices have moved them, by ticker.
        today: rows of dataset indicators at the decision.
        as_of: the decision.
        settings: of the weights.

    Returns:
        Rows like `target`, in its order, then the names that are kept by ticker; weights may be 0.

    Raises:
        InfeasibleError: with `infeasible: error`, more must be sold than may be traded, or what is kept breaks a limit.

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
    distance = float(np.abs(goal - held).sum())
    share = 1.0 if distance == 0.0 else min(1.0, max(cap - forced, 0.0) / distance)
    moved = held + share * (goal - held) if share < 1.0 else goal
    moved = np.where(np.abs(moved) < DUST, 0.0, moved)
    if (
        share < 1.0
        and limits.infeasible == "error"
        and np.abs(moved).max(initial=0.0) > settings.max_weight + TOLERANCE
    ):
        at = int(np.abs(moved).argmax())
        raise InfeasibleError(
            f"weights.constraints.max_turnover {cap:g}: {names[at]}, which prices have moved to {held[at]:.4g}, cannot "
            f"be brought below weights.max_weight {settings.max_weight:g}; raise one of them, or set "
            "weights.constraints.infeasible: cash"
        )
    moved = np.clip(moved, -settings.max_weight, settings.max_weight)
    source = target["score_source"][0] if len(target) else "composite_score"
    figures = today.select("ticker", volatility=pl.col("garch_volatility").cast(pl.Float64))
    rest = pl.DataFrame({"ticker": kept}, {"ticker": pl.String}).join(figures, on="ticker", how="left")
    rest = rest.with_columns(
        as_of=pl.lit(as_of), score=pl.lit(None, pl.Float64), score_source=pl.lit(source), weight=pl.lit(0.0)
    ).with_columns(pl.when(pl.col("volatility") > 0.0).then("volatility"))
    both = pl.concat([target, rest], how="diagonal")
    return both.with_columns(weight=pl.Series(moved))
