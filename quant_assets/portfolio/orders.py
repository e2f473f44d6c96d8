"""Orders that lead from what is held to target weights. Where holdings come from and files are written is elsewhere."""

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import DatasetError
from quant_assets.market.panel import Panel
from quant_assets.portfolio.trading_costs import SPREADS, daily_returns
from quant_assets.settings.trading import BacktestSettings, OrderSettings
from quant_assets.windows.windows import Windows

#: Rows of `orders`.
ORDERS = pl.Schema(
    {
        "ticker": pl.String(),
        "action": pl.String(),
        "quantity": pl.Float64(),
        "notional": pl.Float64(),
        "reason": pl.String(),
        "estimated_cost": pl.Float64(),
        "price": pl.Float64(),
        "held_quantity": pl.Float64(),
        "target_quantity": pl.Float64(),
        "target_weight": pl.Float64(),
    }
)

#: Times that buys are cut to what can be paid; each cut lowers the costs too, so that few are needed.
_CUTS = 20


def orders(
    targets: Mapping[str, float],
    holdings: Mapping[str, float],
    market: pl.DataFrame,
    capital: float,
    settings: OrderSettings,
    costs: BacktestSettings,
) -> pl.DataFrame:
    """What to trade so that holdings become the targets, in whole lots.

    - The quantity aimed at is the weight's share of `capital` at the price as traded, rounded towards zero to lots. A
      name that is to leave is sold as a whole, odd lots included.
    - A trade below `min_trade` of the capital is not made, unless it closes a position.
    - Where nothing is sold short, holdings and estimated costs never need more than `capital`: what cannot be traded
      keeps its part of it, and buys are cut in proportion to what is left.
    - A name without a price is not traded: the row says so, with action `hold`.

    Args:
        targets: weight by ticker, of `capital`.
        holdings: shares by ticker, negative where sold short.
        market: `ticker, price` (as traded; null where none is known), `half_spread` (share of the price),
            `volatility` (of a day) and `dollar_volume` (median of a day, USD), null where not known.
        capital: USD, holdings included.
        settings: lots and the smallest trade.
        costs: rates of the backtest.

    Returns:
        Rows of `ORDERS`, sorted by ticker: an order for each name that is traded, and `hold` for each other name that
        is held or aimed at, with the reason: new position, increase, decrease, exit, reversal; or unchanged, below
        min_trade, not affordable, no price.

    Raises:
        DatasetError: `capital` is not positive, or what is held and cannot be sold is worth more.

    """
    if not capital > 0.0:
        raise DatasetError(f"capital is {capital}; give the book's equity in USD, above 0")
    names = sorted({name for name, weight in targets.items() if weight} | {n for n, held in holdings.items() if held})
    frame = pl.DataFrame({"ticker": names}, {"ticker": pl.String}).join(market, on="ticker", how="left")
    rows = [_Order(row, targets, holdings, capital, settings, costs) for row in frame.iter_rows(named=True)]
    if all(row.goal >= 0.0 and row.held >= 0.0 for row in rows):
        _afford(rows, capital)
    table = [row.told() for row in rows]
    return pl.DataFrame(table, schema=ORDERS, orient="row").sort("ticker")


def decided_orders(
    weights: pl.DataFrame,
    positions: pl.DataFrame,
    prices: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    as_of: date,
    capital: float,
    settings: OrderSettings,
    costs: BacktestSettings,
    holdings: Mapping[str, float] | None = None,
) -> pl.DataFrame:
    """Orders of one decision.

    Args:
        weights: dataset weights or portfolio_weights; those of `as_of` are the targets.
        positions: dataset positions: what is held where `holdings` is None, by its drift up to `as_of`.
        prices: dataset prices, of the sessions given.
        sessions: datetime64[D], from `2 estimate_sessions + 1` before `as_of` on.
        as_of: session of the decision, at whose close, as traded, shares are counted.
        capital: USD.
        settings: lots and the smallest trade.
        costs: rates of the backtest, and how they are estimated.
        holdings: shares by ticker.

    Returns:
        Rows of `ORDERS`.

    """
    rows = weights.filter(pl.col("as_of") == as_of).select("ticker", "weight")
    targets = dict(rows.iter_rows())
    market = _market(prices, sessions[sessions <= np.datetime64(as_of)], costs)
    if holdings is None:
        shares = drifted(positions, prices.select("ticker", "date", "close"), as_of)
        price = dict(market.select("ticker", "price").iter_rows())
        holdings = {
            name: float(round(share * capital / quote))
            for name, share in shares.items()
            if (quote := price.get(name)) is not None
        }
    return orders(targets, holdings, market, capital, settings, costs)


def _market(prices: pl.DataFrame, sessions: NDArray[np.datetime64], costs: BacktestSettings) -> pl.DataFrame:
    """`ticker, price, half_spread, volatility, dollar_volume` as known at the last session."""
    fields = ["close", "high", "low", "dollar_volume", "close_unadjusted", "unexplained"]
    # The newest company of a symbol is the one that is traded.
    newest = (
        prices.filter(pl.col("listed") == pl.col("listed").max().over("ticker"))
        if "listed" in prices.columns
        else prices
    )
    bars = newest.select("ticker", "date", *fields).unique(["ticker", "date"], maintain_order=True)
    panel = Panel.from_long(bars, sessions, fields)
    windows, window = Windows(sessions), costs.estimate_sessions
    spread = np.full(panel.shape, np.nan)
    if costs.spread != "fixed":
        spread = windows.mean(SPREADS[costs.spread](panel["high"], panel["low"], panel["close"]), window) / 2.0
    returns = daily_returns(panel["close"], panel["unexplained"])
    columns = {
        "price": panel["close_unadjusted"],
        "half_spread": spread,
        "volatility": windows.std(returns, window),
        "dollar_volume": windows.median(panel["dollar_volume"], window),
    }
    last = {name: pl.Series(values[:, -1], nan_to_null=True) for name, values in columns.items()}
    return pl.DataFrame({"ticker": pl.Series(panel.tickers, dtype=pl.String), **last})


class _Order:
    """One name on its way from what is held to what is aimed at, in shares."""

    def __init__(
        self,
        row: Mapping[str, float | None],
        targets: Mapping[str, float],
        holdings: Mapping[str, float],
        capital: float,
        settings: OrderSettings,
        costs: BacktestSettings,
    ) -> None:
        self.ticker = str(row["ticker"])
        self.price, self.capital, self.costs, self.row = row["price"], capital, costs, row
        self.weight, self.held = targets.get(self.ticker, 0.0), holdings.get(self.ticker, 0.0)
        self.lot = settings.lot_sizes.get(self.ticker, settings.lot_size)
        self.least = settings.min_trade * capital
        self.goal = self.held if self.price is None else self.rounded(self.weight * capital / self.price)
        self.why = ""
        change = self.goal - self.held
        if self.price is None:
            self.why = "no price"
        elif change and self.goal and abs(change) * self.price < self.least:
            self.goal, self.why = self.held, "below min_trade"

    def rounded(self, shares: float) -> float:
        """Towards zero to lots; a billionth of a lot is rounding."""
        return float(int(shares / self.lot + (1e-9 if shares > 0 else -1e-9)) * self.lot)

    @property
    def worth(self) -> float:
        """What is aimed at is worth; 0 without a price."""
        return self.goal * (self.price or 0.0)

    @property
    def buys(self) -> float:
        """What is bought is worth."""
        return max(0.0, self.goal - self.held) * (self.price or 0.0)

    def cost(self) -> float | None:
        """Estimated cost of the trade in USD; None where a part of it cannot be estimated."""
        size = abs(self.goal - self.held) * (self.price or 0.0)
        if size == 0.0 or self.costs.costs == "flat":
            return size * self.costs.cost_bps / 1e4
        half = self.costs.half_spread_bps / 1e4
        if self.costs.spread != "fixed" and self.row["half_spread"] is not None:
            half = self.row["half_spread"]
        rate = self.costs.commission_bps / 1e4 + half
        if self.costs.impact > 0.0:
            volatility, volume = self.row["volatility"], self.row["dollar_volume"]
            if volatility is None or not volume:
                return None
            rate += self.costs.impact * volatility * (size / volume) ** 0.5
        return size * rate

    def told(self) -> tuple[object, ...]:
        """The row."""
        change = self.goal - self.held
        action = "buy" if change > 0 else "sell" if change < 0 else "hold"
        notional = None if self.price is None else abs(change) * self.price
        return (
            self.ticker,
            action,
            abs(change),
            notional,
            self.reason(change),
            self.cost(),
            self.price,
            self.held,
            self.goal,
            self.weight,
        )

    def reason(self, change: float) -> str:
        """Why there is an order, or none."""
        if not change:
            return self.why or "unchanged"
        if not self.held:
            return "new position"
        if not self.goal:
            return "exit"
        if self.held * self.goal < 0.0:
            return "reversal"
        return "increase" if abs(self.goal) > abs(self.held) else "decrease"


def _afford(rows: list[_Order], capital: float) -> None:
    """Cut buys until what is held afterwards and the costs need no more than the capital."""
    for _ in range(_CUTS):
        buys = sum(row.buys for row in rows)
        over = sum(row.worth for row in rows) + sum(row.cost() or 0.0 for row in rows) - capital
        if over <= 1e-9 * capital:
            return
        if buys == 0.0:
            break
        kept = max(0.0, 1.0 - over / buys)
        for row in rows:
            if row.buys and row.price:
                row.goal = max(row.held, row.rounded(row.held + (row.goal - row.held) * kept))
                if row.goal == row.held:
                    row.why = "not affordable"
                elif (row.goal - row.held) * row.price < row.least:
                    row.goal, row.why = row.held, "below min_trade"
    held = ", ".join(row.ticker for row in rows if row.goal == row.held and row.held)
    raise DatasetError(
        f"what is held and not sold ({held}) and the costs are worth more than the capital of {capital:,.0f} USD; "
        "give the equity of the book, its holdings included"
    )


def drifted(positions: pl.DataFrame, closes: pl.DataFrame, as_of: date) -> dict[str, float]:
    """Shares of equity held at a session by what was held after the last session with trades.

    Args:
        positions: dataset positions.
        closes: `ticker, date, close`, adjusted.
        as_of: session.

    Returns:
        By ticker; a holding without a close since keeps what it was worth. Empty where nothing was ever held.

    """
    known = positions.filter(pl.col("date") <= as_of)
    if known.is_empty():
        return {}
    since = known["date"].max()
    held = known.filter(pl.col("date") == since).sort("ticker")
    prices = closes.filter(pl.col("date").is_between(since, as_of)).sort("ticker", "date")
    grown = prices.group_by("ticker").agg(
        grown=pl.col("close").last() / pl.col("close").first(), on=pl.col("date").min()
    )
    grown = grown.with_columns(grown=pl.when(pl.col("on") == since).then("grown"))
    rows = held.join(grown, on="ticker", how="left").with_columns(pl.col("grown").fill_null(1.0)).sort("ticker")
    worth = {name: weight * each for name, weight, each in rows.select("ticker", "weight", "grown").iter_rows()}
    equity = 1.0 - sum(rows["weight"].to_list()) + sum(worth.values())
    return {name: each / equity for name, each in worth.items()} if equity > 0.0 else {}
