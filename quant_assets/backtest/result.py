"""The result of a simulation, the same for both ways of computing it."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.panel import FloatArray

#: Rows of `Outcome.trades`: shares of equity before costs that were held before and traded (sales and shorts negative),
#: their costs as such shares, and the cause. `price` is in the unit of the adjusted closes.
TRADES = pl.Schema(
    {
        "date": pl.Date(),
        "ticker": pl.String(),
        "held": pl.Float64(),
        "traded": pl.Float64(),
        "commission": pl.Float64(),
        "half_spread": pl.Float64(),
        "impact": pl.Float64(),
        "price": pl.Float64(),
        "reason": pl.String(),
    }
)

#: Causes of trades: a new decision, drift between decisions, or the rest of an order that could not be traded.
REASONS = ("decision", "rebalancing", "carried")

#: Turnover that was not traded: beyond the limit of a session, beyond that of the year, and trades too small.
CUTS = ("session_limit", "annual_limit", "below_min_trade")

#: Rows of `Outcome.positions`: share of equity after the close of a session with trades, and of a month's last session.
POSITIONS = pl.Schema({"date": pl.Date(), "ticker": pl.String(), "weight": pl.Float64()})

#: Rows of `Outcome.gains`: a name's gain in a month, as the sum over its sessions of the gain over the equity of the
#: close before; the sum over all names is the sum of the gross returns.
GAINS = pl.Schema({"month": pl.Date(), "ticker": pl.String(), "gain": pl.Float64()})


@dataclass(frozen=True)
class Outcome:
    """Results by session, each of shape (n_sessions,), and their components.

    Attributes:
        gross: return before costs.
        cost: costs over equity before them.
        turnover: traded value over equity, buys plus sells.
        spent: turnover of the calendar year so far; NaN where it is not counted (closed form).
        cash: share of equity in cash after the close.
        invested: share of equity not in cash at the close before.
        positions_held: names held after the close.
        unexplained: names held with a contained step to the close.
        terms: parts of the cost by name (`book_kernel.TERMS`).
        cut: turnover that was not traded, by reason (`CUTS`).
        trades: rows of `TRADES`, sorted by date and ticker.
        positions: rows of `POSITIONS`, sorted by date and ticker.
        gains: rows of `GAINS`, sorted by month and ticker.

    """

    gross: FloatArray
    cost: FloatArray
    turnover: FloatArray
    spent: FloatArray
    cash: FloatArray
    invested: FloatArray
    positions_held: NDArray[np.int32]
    unexplained: NDArray[np.int32]
    terms: dict[str, FloatArray]
    cut: dict[str, FloatArray]
    trades: pl.DataFrame
    positions: pl.DataFrame
    gains: pl.DataFrame

    @property
    def net(self) -> FloatArray:
        """Return after costs."""
        return self.gross - self.cost * (1.0 + self.gross)
