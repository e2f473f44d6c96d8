"""What a decision holds, applied to the past returns that were known then: the series that risk is measured on."""

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

    On a session on which some names have no return (not listed yet, halted) the others of their side stand for them, in
    proportion to their sizes, or those of both sides where none of it has one: a short has the shorts' mean return.
    Where names of less than the demanded share of longs and shorts together have one, the session has none. Cash earns
    nothing.

    Attributes:
        tickers: names in alphabetical order.
        weights: of shape (n_names,).
        returns: of shape (n_names, n_sessions), those that stand for missing ones filled in; NaN on sessions without.
        total: returns of the whole, shape (n_sessions,): the weighted sum of `returns`; NaN likewise.

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
    """The decision of `as_of` applied to the `before` sessions up to it and those from there through a later one.

    A ticker's bars are those of the panel that it is in at as_of; of a symbol that passed to another company only that
    company's. Each return depends on the `LOOKBACK` sessions before its own, so that the result is the same whatever
    range is computed.

    Args:
        weights: `ticker, weight` of the decision, and `sector` where they are of several.
        prices: dataset prices, with `sector` where the weights have it.
        sessions: datetime64[D], every session from `before + LOOKBACK` before as_of through the last.
        as_of: decision session.
        before: sessions up to as_of, itself among them.
        through: last session.
        min_coverage: share of longs and shorts together that must have a return.

    Raises:
        HistoryError: as_of is not among the sessions, or too few stand before it.

    """
    at, end = (int(np.searchsorted(sessions, np.datetime64(day))) for day in (as_of, through))
    begin = at - before + 1 - LOOKBACK
    if begin < 0 or end >= len(sessions) or sessions[at] != np.datetime64(as_of):
        raise HistoryError(
            f"risk at {as_of} needs that session and the {before + LOOKBACK - 1} before it; pass sessions that reach "
            "so far"
        )
    days = sessions[begin : end + 1]
    own = [name for name in ("sector", "ticker") if name in weights.columns]
    held = weights.select(*own, "weight").sort("ticker")
    # What a name's panel was at as_of, and its bars since; rows of a later move into a sector are not known yet.
    rows = (
        prices.filter(pl.col("date").is_between(days[0].item(), through))
        .filter((pl.col("panel_from") <= as_of) | (pl.col("panel_from") == pl.col("date")))
        .join(held.select(own), on=own, how="semi")
    )
    if "listed" in rows.columns:
        at_decision = pl.col("listed").filter(pl.col("date") <= as_of)
        rows = rows.filter(pl.col("listed") == at_decision.max().over("ticker"))
    tickers = tuple(held["ticker"].to_list())
    # Each name has a row, also one without a bar.
    names = pl.DataFrame({"ticker": tickers, "date": [as_of] * len(tickers)}, {"ticker": pl.String, "date": pl.Date})
    frame = (
        marks(rows)
        .select("ticker", "date", "close", "unexplained")
        .join(names, on=["ticker", "date"], how="full", coalesce=True)
    )
    panel = Panel.from_long(frame, days, ["close", "unexplained"])
    change = np.ascontiguousarray(counted_changes(panel)[:, LOOKBACK:])
    weight = held["weight"].to_numpy()
    known = np.isfinite(change)
    size = np.abs(weight)
    share = (known * size[:, None]).sum(axis=0)
    stands = np.empty(change.shape)
    for side in (weight >= 0.0, weight < 0.0):
        if side.any():
            of_side, of_both = _mean_return(change[side], size[side]), _mean_return(change, size)
            stands[side] = np.where(np.isnan(of_side), of_both, of_side)
    enough = share >= min_coverage * size.sum() if len(weight) else np.zeros(change.shape[1], dtype=bool)
    filled = np.where(enough, np.where(known, change, stands), np.nan)
    return Holdings(tickers, weight, filled, (filled * weight[:, None]).sum(axis=0))


def _mean_return(change: FloatArray, size: FloatArray) -> FloatArray:
    """Mean of the returns that are known, by size, of each session; NaN where none is."""
    known = np.isfinite(change)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(known, change * size[:, None], 0.0).sum(axis=0)
        return np.asarray(total / (known * size[:, None]).sum(axis=0))


def held_at(
    weights: pl.DataFrame,
    prices: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    as_ofs: Iterable[date],
    settings: RiskSettings,
) -> Iterator[tuple[date, Holdings]]:
    """Each decision that holds something, over the window of sessions up to it; arguments as of `holdings`."""
    for as_of in as_ofs:
        decision = weights.filter(pl.col("as_of") == as_of)
        if len(decision):
            yield as_of, holdings(decision, prices, sessions, as_of, settings.window, as_of, settings.min_coverage)
