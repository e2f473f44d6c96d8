"""Orders that trade holdings into target weights. Reading holdings and writing files is elsewhere."""

import math
from collections.abc import Iterable, Mapping
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
        "last_price": pl.Float64(),
        "held_quantity": pl.Float64(),
        "target_quantity": pl.Float64(),
        "target_weight": pl.Float64(),
    }
)

#: Sessions up to the decision in which a holding's last close is looked up: after a longer gap the symbol may belong
#: to another company.
QUOTE_SESSIONS = 252

#: How often buys are cut to the affordable amount; each cut also lowers the costs, so that few are needed.
_CUTS = 20

#: Tolerance between two sources of the same holdings, as a share of equity.
_SAME = 1e-6


def orders(
    targets: Mapping[str, float],
    holdings: Mapping[str, float],
    market: pl.DataFrame,
    capital: float,
    settings: OrderSettings,
    costs: BacktestSettings,
    unquoted: Mapping[str, float] | None = None,
) -> pl.DataFrame:
    """Trades in whole lots that turn the holdings into the targets.

    - The target quantity is the weight's share of `capital` at the price as traded, rounded towards zero to lots. A
      name to be closed is sold completely, odd lots included.
    - A trade below `min_trade` of the capital is not made, unless it closes a position.
    - Without short positions, holdings and estimated costs never need more than `capital`: names that cannot be traded
      keep their value at the last price, and buys are cut in proportion to the remaining capital.
    - A name without a price is not traded: the row says so, with action `hold`.

    Args:
        targets: weight by ticker, of `capital`.
        holdings: shares by ticker, negative where sold short.
        market: `ticker, price` (as traded; null where it does not trade), `last_price` (the newest one up to then),
            `half_spread` (share of the price), `volatility` (of a day) and `dollar_volume` (median of a day, USD), null
            where not known.
        capital: USD, holdings included.
        settings: lots and the smallest trade.
        costs: rates of the backtest.
        unquoted: value in USD by ticker of holdings whose number of shares is unknown for want of a close as traded.
            They are kept, and their value is not available for buying.

    Returns:
        Rows of `ORDERS`, sorted by ticker: an order for each traded name, and `hold` for every other name that is held
        or has a target, with the reason: new position, increase, decrease, exit, reversal; or unchanged, below
        min_trade, not affordable, no price.

    Raises:
        DatasetError: `capital` is not positive, holdings that cannot be sold are worth more, or a holding was never
            quoted.

    """
    if not capital > 0.0:
        raise DatasetError(f"capital is {capital}; give the book's equity in USD, above 0")
    unquoted = unquoted or {}
    names = sorted({name for of in (targets, holdings, unquoted) for name, size in of.items() if size})
    frame = pl.DataFrame({"ticker": names}, {"ticker": pl.String}).join(market, on="ticker", how="left")
    rows = [_Order(row, targets, holdings, unquoted, capital, settings, costs) for row in frame.iter_rows(named=True)]
    if unvalued := [row.ticker for row in rows if row.held and row.last is None]:
        raise DatasetError(
            f"what is held of {', '.join(unvalued)} cannot be valued: there is no close as traded in the "
            f"{QUOTE_SESSIONS} sessions up to the decision; take it out of the holdings and of the capital, or "
            "materialise the prices with it"
        )
    if all(min(row.goal, row.held, row.unquoted or 0.0) >= 0.0 for row in rows):
        _afford(rows, capital)
    table = [row.told() for row in rows]
    return pl.DataFrame(table, schema=ORDERS, orient="row").sort("ticker")


def decided_orders(
    weights: pl.DataFrame,
    positions: pl.DataFrame,
    backtest: pl.DataFrame,
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
        positions: dataset positions: what is held at `as_of` where `holdings` is None.
        backtest: dataset backtest, of the same run: whether the positions are complete; not used with `holdings`.
        prices: dataset prices of the sessions; bars after `as_of`, and bars of a panel that a name joined after it, are
            ignored.
        sessions: datetime64[D], from `quoted_sessions` before `as_of` on.
        as_of: session of the decision, at whose close, as traded, shares are counted.
        capital: USD.
        settings: lots and the smallest trade.
        costs: rates of the backtest, and how they are estimated.
        holdings: shares by ticker.

    Returns:
        Rows of `ORDERS`.

    Raises:
        DatasetError: see `orders` and `held_at`.

    """
    rows = weights.filter(pl.col("as_of") == as_of).select("ticker", "weight")
    targets = dict(rows.iter_rows())
    shares = held_at(positions, backtest, as_of) if holdings is None else {}
    days = sessions[sessions <= np.datetime64(as_of)][-quoted_sessions(costs) :]
    market = _market(_known(prices, {*targets, *shares, *(holdings or {})}, days), days, costs)
    if holdings is None:
        last = dict(market.drop_nulls("last_price").select("ticker", "last_price").iter_rows())
        # No more shares than the weight's value.
        holdings = {name: _towards_zero(share * capital / last[name]) for name, share in shares.items() if name in last}
    unquoted = {name: share * capital for name, share in shares.items() if name not in holdings}
    return orders(targets, holdings, market, capital, settings, costs, unquoted)


def quoted_sessions(costs: BacktestSettings) -> int:
    """Sessions up to a decision, itself included, that its orders depend on."""
    return max(QUOTE_SESSIONS, 2 * costs.estimate_sessions + 1)


def _known(prices: pl.DataFrame, names: Iterable[str], sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """Bars of the names in the sessions, as known at the last one."""
    as_of = sessions[-1].item()
    rows = prices.filter(pl.col("ticker").is_in(sorted(names)), pl.col("date").is_between(sessions[0].item(), as_of))
    if "panel_from" in rows.columns:
        rows = rows.filter(pl.col("panel_from") <= as_of)
    if "listed" in rows.columns:  # the newest company of a symbol is the traded one
        rows = rows.filter(pl.col("listed") == pl.col("listed").max().over("ticker"))
    return rows


def _market(bars: pl.DataFrame, sessions: NDArray[np.datetime64], costs: BacktestSettings) -> pl.DataFrame:
    """`ticker, price, last_price, half_spread, volatility, dollar_volume` as known at the last session."""
    fields = ["close", "high", "low", "dollar_volume", "close_unadjusted", "unexplained"]
    bars = bars.select("ticker", "date", *fields).unique(["ticker", "date"], maintain_order=True)
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
    traded = panel["close_unadjusted"]
    place = np.where(np.isfinite(traded), np.arange(traded.shape[1]), 0).max(axis=1, initial=0)
    last["last_price"] = pl.Series(np.take_along_axis(traded, place[:, None], axis=1)[:, 0], nan_to_null=True)
    return pl.DataFrame({"ticker": pl.Series(panel.tickers, dtype=pl.String), **last})


class _Order:
    """One name's way from holding to target, in shares."""

    def __init__(
        self,
        row: Mapping[str, float | None],
        targets: Mapping[str, float],
        holdings: Mapping[str, float],
        unquoted: Mapping[str, float],
        capital: float,
        settings: OrderSettings,
        costs: BacktestSettings,
    ) -> None:
        self.ticker = str(row["ticker"])
        self.price, self.last, self.costs, self.row = row["price"], row["last_price"], costs, row
        self.weight, self.held = targets.get(self.ticker, 0.0), holdings.get(self.ticker, 0.0)
        self.unquoted = unquoted.get(self.ticker)
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
        """Towards zero to lots."""
        return _towards_zero(shares / self.lot) * self.lot

    @property
    def worth(self) -> float:
        """Value of the target at the last price."""
        return self.goal * (self.last or 0.0) + (self.unquoted or 0.0)

    @property
    def buys(self) -> float:
        """Value of the shares to buy."""
        return max(0.0, self.goal - self.held) * (self.price or 0.0)

    def cost(self) -> float | None:
        """Estimated cost of the trade in USD; None where a part cannot be estimated."""
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
            self.last,
            self.held if self.unquoted is None else None,
            self.goal if self.unquoted is None else None,
            self.weight,
        )

    def reason(self, change: float) -> str:
        """Reason for the order, or for its absence."""
        if not change:
            return self.why or "unchanged"
        if not self.held:
            return "new position"
        if not self.goal:
            return "exit"
        if self.held * self.goal < 0.0:
            return "reversal"
        return "increase" if abs(self.goal) > abs(self.held) else "decrease"


def _towards_zero(shares: float) -> float:
    """Whole shares; a billionth of a share is rounding."""
    return float(int(shares + (1e-9 if shares > 0 else -1e-9)))


def _afford(rows: list[_Order], capital: float) -> None:
    """Cut buys until the remaining holdings and the costs need no more than the capital."""
    for _ in range(_CUTS):
        buys = sum(row.buys for row in rows)
        over = sum(row.worth for row in rows) + sum(row.cost() or 0.0 for row in rows) - capital
        if over <= 1e-9 * capital:
            return
        if buys == 0.0:
            break
        affordable = max(0.0, 1.0 - over / buys)
        for row in rows:
            if row.buys and row.price:
                row.goal = max(row.held, row.rounded(row.held + (row.goal - row.held) * affordable))
                if row.goal == row.held:
                    row.why = "not affordable"
                elif (row.goal - row.held) * row.price < row.least:
                    row.goal, row.why = row.held, "below min_trade"
    held = ", ".join(row.ticker for row in rows if row.goal == row.held and (row.held or row.unquoted))
    raise DatasetError(
        f"what is held and not sold ({held}) and the costs are worth more than the capital of {capital:,.0f} USD; "
        "give the equity of the book, its holdings included"
    )


def held_at(positions: pl.DataFrame, backtest: pl.DataFrame, as_of: date) -> dict[str, float]:
    """Shares of equity that the backtest holds after the close of a decision's session.

    Args:
        positions: dataset positions, of the month of `as_of`.
        backtest: dataset backtest, of that month.
        as_of: session.

    Returns:
        By ticker; empty where nothing is held.

    Raises:
        DatasetError: the positions are not those of the backtest; without this error holdings would be bought again.

    """
    rows = positions.filter(pl.col("date") == as_of, pl.col("weight") != 0.0).sort("ticker")
    day = backtest.filter(pl.col("date") == as_of)
    if day.is_empty():
        raise DatasetError(f"dataset backtest has no row of {as_of}; materialise it and positions again")
    row, total = day.row(0, named=True), math.fsum(rows["weight"].to_list())
    if bool(row["positions"]) != bool(len(rows)) or abs(total - (1.0 - row["cash"])) > _SAME:
        raise DatasetError(
            f"at {as_of} the backtest holds {row['positions']} names with {1.0 - row['cash']:.6f} of its equity, but "
            f"dataset positions has {len(rows)} with {total:.6f}; materialise backtest and positions again"
        )
    return dict(rows.select("ticker", "weight").iter_rows())
