"""Limits of a sector's book: the constraints of long-only, neutral and 130/30 weights that the settings define.

Turnover limits are in turnover.py.
"""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl

from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import LONGS, SHORTS, TOLERANCE, TURNOVER, Constraints, Limit
from quant_assets.portfolio.history import History, needs_betas
from quant_assets.settings.weights import Book, WeightSettings

#: Minimum and maximum total of the longs and of the shorts, as shares of the sector's capital. Cash is what is not
#: bought with the shorts' proceeds or own capital.
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
    """Limits of the selected names.

    Args:
        chosen: `ticker, candidate_type, dollar_volume` (null where it is not known).
        settings: of the weights.
        betas: to the sector, of shape (n_names,), where the limits use them.

    """
    limits = settings.constraints
    short = (chosen["candidate_type"] == "short").to_numpy()
    least, most = np.full(len(chosen), limits.min_weight), np.full(len(chosen), settings.max_weight)
    lower, upper = np.where(short, -most, least), np.where(short, -least, most)
    rules = _totals(short, settings)
    sign = np.where(short, -1.0, 1.0)
    if limits.max_gross is not None:
        rules.append(Limit("weights.constraints.max_gross", sign, -np.inf, limits.max_gross))
    for name, row in (("net", np.ones(len(chosen))), ("beta", betas)):
        low, high = getattr(limits, f"min_{name}"), getattr(limits, f"max_{name}")
        if row is not None and (low is not None or high is not None):
            both = f"weights.constraints.min_{name} and max_{name}"
            rules.append(Limit(both, row, -np.inf if low is None else low, np.inf if high is None else high))
    if settings.book == "beta_neutral" and betas is not None:
        rules.append(Limit("beta of the book beta_neutral", betas, 0.0, 0.0))
    return Constraints(
        lower,
        upper,
        tuple(rules),
        liquid=volume_limits(chosen["dollar_volume"], settings),
        infeasible=limits.infeasible,
        names=tuple(chosen["ticker"].to_list()),
    )


def _totals(short: FloatArray, settings: WeightSettings) -> list[Limit]:
    """The totals of both sides. A side without names has one too: it cannot be met."""
    longs, shorts = TOTALS[settings.book]
    totals = [Limit(LONGS, np.where(short, 0.0, 1.0), *longs, target=True)]
    if shorts[1] > 0.0:
        totals.append(Limit(SHORTS, np.where(short, -1.0, 0.0), *shorts, target=True))
    return totals


def volume_limits(volume: pl.Series, settings: WeightSettings) -> FloatArray | None:
    """The most that each name may weigh by its volume."""
    share = settings.constraints.max_volume_share
    if share is None:
        return None
    dollars = volume.cast(pl.Float64).fill_null(np.inf).to_numpy()
    return np.asarray(dollars * (share / settings.constraints.capital))


def broken_limits(
    weights: pl.DataFrame,
    indicators: pl.DataFrame,
    settings: WeightSettings,
    history: History | None = None,
    previous: pl.DataFrame | None = None,
    entry_lag: int = 1,
) -> list[str]:
    """Limits of the settings that stored weights break: one line per decision and limit.

    A book that is not fully invested is no breach where `infeasible` allows it or turnover is limited. With limited
    turnover, names that are being sold may be below `min_weight`, and a neutral book may be as far from neutral as
    prices have moved the holdings. More than `max_turnover` is a breach even where another limit requires it; the
    check that reads these lines only warns.

    Args:
        weights: dataset weights of one sector.
        indicators: dataset indicators; only rows dated as_of are read, for their volumes.
        settings: of the weights.
        history: the sessions before; without it the limits of betas and turnover are not checked.
        previous: dataset weights with the decision before the first.
        entry_lag: sessions from decision to execution.

    """
    limits, lines = settings.constraints, []
    moving = limits.max_turnover is not None
    loose = limits.model_copy(update={"min_weight": 0.0}) if moving else limits
    judged = settings.model_copy(update={"constraints": loose})
    last = None if previous is None or previous.is_empty() else previous
    for (as_of,), rows in weights.sort("as_of", "ticker").group_by("as_of", maintain_order=True):
        assert isinstance(as_of, date)  # noqa: S101 - the column has that type
        side = pl.when(pl.col("weight") < 0.0).then(pl.lit("short")).otherwise(pl.lit("long"))
        volumes = indicators.filter(pl.col("date") == as_of).select("ticker", "dollar_volume")
        named = rows.with_columns(candidate_type=side).join(volumes, on="ticker", how="left", maintain_order="left")
        betas = None
        if history is not None and needs_betas(settings):
            window = history.window(named["ticker"].to_list(), as_of, settings.covariance.sessions)
            betas = history.betas(window, settings.covariance.min_observations)
        required = book_limits(named, judged, betas)
        if moving or limits.infeasible == "cash":
            fewer = [replace(limit, low=0.0) if limit.target else limit for limit in required.limits]
            totals = [limit.high for limit in required.limits if limit.target]
            if not moving and settings.book in ("dollar_neutral", "130_30"):
                ratio = np.where(required.short, 1.0 / totals[1], 1.0 / totals[0])
                fewer.append(Limit(f"balance of the sides of the book {settings.book}", ratio, 0.0, 0.0))
            if moving:
                fewer = [limit for limit in fewer if not limit.name.startswith("beta of the book")]
            required = replace(required, limits=tuple(fewer))
        weight = named["weight"].to_numpy()
        if not short_side(settings) and (weight < 0.0).any():
            lines.append(f"{as_of}: {named['ticker'][int(weight.argmin())]} is short in the book {settings.book}")
        lines += [f"{as_of}: {line}" for line in required.violations(weight, 2.0 * TOLERANCE)]
        if limits.max_turnover is not None and history is not None and last is not None:
            newest = last.filter(pl.col("as_of") == pl.col("as_of").max()).sort("ticker")
            before = dict(newest.select("ticker", "weight").iter_rows())
            drifted = history.drifted(before, newest["as_of"][0], as_of, entry_lag)
            now = dict(rows.select("ticker", "weight").iter_rows())
            traded = sum(abs(now.get(name, 0.0) - drifted.get(name, 0.0)) for name in sorted({*now, *drifted}))
            if drifted and traded > limits.max_turnover + 10.0 * TOLERANCE:
                lines.append(f"{as_of}: {TURNOVER} of {limits.max_turnover:g}: {traded:.6g} is traded")
        last = rows
    return lines
