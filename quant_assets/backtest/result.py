"""What a simulation gives, whichever way it is computed."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.panel import FloatArray

#: Rows of `Outcome.trades`: what was held before and what was traded, as shares of equity before costs (sales and
#: shorts negative), the costs of it as such shares, and why. `price` is in the unit of the adjusted closes.
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

#: Why something was traded: a new decision, drift between decisions, or the rest of an order that could not be done.
REASONS = ("decision", "rebalancing", "carried")

#: Turnover that was not traded: beyond the limit of a session, beyond that of the year, and of trades too small.
CUTS = ("session_limit", "annual_limit", "below_min_trade")

#: Rows of `Outcome.positions`: share of equity after the close of a session with trades, and of a month's last.
POSITIONS = pl.Schema({"date": pl.Date(), "ticker": pl.String(), "weight": pl.Float64()})

#: Rows of `Outcome.gains`: what a name gained in a month, as the sum over its sessions of the gain over the equity of
#: the close before, so that all names together give the sum of the gross returns.
GAINS = pl.Schema({"month": pl.Date(), "ticker": pl.String(), "gain": pl.Float64()})


@dataclass(frozen=True)
class Outcome:
    """Results by session, each of shape (n_sessions,), and what they are made of.

    Attributes:
        gross: return before costs.
        cost: costs over equity before them.
        turnover: traded value over equity, buys plus sells.
        spent: that of the calendar year so far; NaN where none is counted (closed form).
        cash: share of equity in cash after the close.
        invested: what of it was not in cash at the close before.
        positions_held: names held after the close.
        unexplained: names held whose step to the close does not count as it is.
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
