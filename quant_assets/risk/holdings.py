"""A decision's holdings, applied to past returns known then: the series on which risk is measured."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import HistoryError
from quant_assets.market.containment import marks
from quant_assets.market.panel import FloatArray, Panel
from quant_assets.market.sector_return import LOOKBACK, counted_changes
from quant_assets.settings.risk import RiskSettings


@dataclass(frozen=True)
class Holdings:
    """Weights of a decision and the names' past returns.

    On a session on which some names have no return (not listed yet, halted), the others of their side replace them in
    proportion to their sizes: a missing short gets the shorts' mean return. If no name of the side has a return, both
    sides are used. If the names with a return are less than the required share of longs and shorts together, the
    session has no return. Cash earns nothing.

    Attributes:
        tickers: names in alphabetical order.
        weights: of shape (n_names,).
        returns: of shape (n_names, n_sessions), missing ones replaced; NaN on sessions without a return.
        total: returns of all holdings, shape (n_sessions,): the weighted sum of `returns`; NaN as there.

    """

    tickers: tuple[str, ...]
    weights: FloatArray
    returns: FloatArray
    total: FloatArray


def holdings(
    weights: pl.DataFrame,
    prices: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    as_of: date,
    before: int,
    through: date,
    min_coverage: float,
) -> Holdings:
    """The decision of `as_of` applied to the `before` sessions up to it and those after it through a later one.

    A ticker's bars are those of its panel at as_of; for a symbol that passed to another company only that company's.
    A return depends on the `LOOKBACK` sessions before it, so that the result does not depend on the computed range.

    Args:
        weights: `ticker, weight` of the decision, and `sector` for several sectors.
        prices: dataset prices, with `sector` if the weights have it.
        sessions: datetime64[D], every session from `before + LOOKBACK` before as_of through the last.
        as_of: decision session.
        before: sessions up to as_of, itself among them.
        through: last session.
        min_coverage: required share of longs and shorts together with a return.

    Raises:
        HistoryError: as_of is not among the sessions, or there are too few before it.

    """
    at, end = (int(np.searchsorted(sessions, np.datetime64(day))) for day in (as_of, through))
    begin = at - before + 1 - LOOKBACK
    if begin < 0 or end >= len(sessions) or sessions[at] != np.datetime64(as_of):
        raise HistoryError(
            f"risk at {as_of} needs that session and the {before + LOOKBACK - 1} before it; pass sessions that reach "
            "so far"
        )
    days = sessions[begin : end + 1]
    keys = [name for name in ("sector", "ticker") if name in weights.columns]
    held = weights.select(*keys, "weight").sort("ticker")
    # Bars of a name's panel at as_of and after; later moves into a sector are not known yet.
    rows = (
        prices.filter(pl.col("date").is_between(days[0].item(), through))
        .filter((pl.col("panel_from") <= as_of) | (pl.col("panel_from") == pl.col("date")))
        .join(held.select(keys), on=keys, how="semi")
    )
    if "listed" in rows.columns:
        at_decision = pl.col("listed").filter(pl.col("date") <= as_of)
        rows = rows.filter(pl.col("listed") == at_decision.max().over("ticker"))
    tickers = tuple(held["ticker"].to_list())
    # Every name has a row, also without a bar.
    names = pl.DataFrame({"ticker": tickers, "date": [as_of] * len(tickers)}, {"ticker": pl.String, "date": pl.Date})
    frame = (
        marks(rows)
        .select("ticker", "date", "close", "unexplained")
        .join(names, on=["ticker", "date"], how="full", coalesce=True)
    )
    panel = Panel.from_long(frame, days, ["close", "unexplained"])
    change = np.ascontiguousarray(counted_changes(panel)[:, LOOKBACK:])
    weight = held["weight"].to_numpy()
    observed = np.isfinite(change)
    size = np.abs(weight)
    share = (observed * size[:, None]).sum(axis=0)
    stands = np.empty(change.shape)
    for side in (weight >= 0.0, weight < 0.0):
        if side.any():
            of_side, of_both = _mean_return(change[side], size[side]), _mean_return(change, size)
            stands[side] = np.where(np.isnan(of_side), of_both, of_side)
    enough = share >= min_coverage * size.sum() if len(weight) else np.zeros(change.shape[1], dtype=bool)
    filled = np.where(enough, np.where(observed, change, stands), np.nan)
    return Holdings(tickers, weight, filled, (filled * weight[:, None]).sum(axis=0))


def _mean_return(change: FloatArray, size: FloatArray) -> FloatArray:
    """Mean of the known returns of each session, weighted by size; NaN where none is known."""
    observed = np.isfinite(change)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(observed, change * size[:, None], 0.0).sum(axis=0)
        return np.asarray(total / (observed * size[:, None]).sum(axis=0))


def held_at(
    weights: pl.DataFrame,
    prices: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    as_ofs: Iterable[date],
    settings: RiskSettings,
) -> Iterator[tuple[date, Holdings]]:
    """Each decision with holdings, over the window of sessions up to it; arguments as in `holdings`."""
    for as_of in as_ofs:
        decision = weights.filter(pl.col("as_of") == as_of)
        if len(decision):
            yield as_of, holdings(decision, prices, sessions, as_of, settings.window, as_of, settings.min_coverage)
