"""Datasets of what becomes of decided weights: trades, positions, costs, attribution, turnover, orders."""

import polars as pl

from quant_assets.grains import MONTHLY
from quant_assets.schemas.columns import LEARNED, as_of, day, ratio, ticker
from quant_assets.schemas.dataset import Column, Dataset
from quant_assets.settings.sectors import SECTORS


def _cost(meaning: str) -> Column:
    return ratio(f"{meaning}, over equity before costs", nullable=False)


def order_columns() -> dict[str, Column]:
    """What is told of an order, beside its name and session."""
    return {
        "action": Column(pl.String, "side of the order; hold where nothing is traded", isin=("buy", "sell", "hold")),
        "quantity": Column(pl.Float64, "shares to trade", "shares", ge=0),
        "notional": Column(
            pl.Float64, "value of `quantity` at the close as traded; null without a close", "USD", nullable=True, ge=0
        ),
        "reason": Column(
            pl.String,
            "why there is an order, or why there is none",
            isin=(
                "new position",
                "increase",
                "decrease",
                "exit",
                "reversal",
                "unchanged",
                "below min_trade",
                "not affordable",
                "no price",
            ),
        ),
        "estimated_cost": Column(
            pl.Float64, "by the rates of the backtest; null where unknown", "USD", nullable=True, ge=0
        ),
        "price": Column(pl.Float64, "close as traded; null without one at as_of", "USD", nullable=True, gt=0),
        "last_price": Column(
            pl.Float64, "the newest close as traded up to as_of; null without one", "USD", nullable=True, gt=0
        ),
        "held_quantity": Column(
            pl.Float64,
            "shares held; negative where sold short, null where no close as traded tells how many a value is",
            "shares",
            nullable=True,
        ),
        "target_quantity": Column(
            pl.Float64, "shares held after the order; null like those held", "shares", nullable=True
        ),
        "target_weight": ratio(
            "share of the capital that the decision gives the name; negative where short", nullable=False
        ),
    }


TRADING = (
    Dataset(
        "benchmark",
        "The index or fund of `backtest.benchmark` at sessions; no rows where none is named",
        ("date",),
        "date",
        "date",
        {
            "date": day(),
            "ticker": Column(pl.String, "the provider's symbol"),
            "close": Column(pl.Float64, "close of the index or fund, as the provider has it", "quote currency", gt=0),
            "index_return": ratio("return since the session before; null at the first of the series", gt=-1),
        },
        grain=MONTHLY,
    ),
    Dataset(
        "trades",
        "What the backtest traded, with the costs of it",
        ("date", "ticker"),
        "date",
        "date",
        {
            "date": day("session of the trade"),
            "ticker": ticker(),
            "action": Column(pl.String, "buy or sell", isin=("buy", "sell")),
            "held": ratio("share of equity held before; negative where sold short", nullable=False),
            "traded": ratio("share of equity traded; negative where sold", nullable=False),
            "price": Column(
                pl.Float64,
                "price of the trade, as traded; null where only adjusted ones are known",
                "USD",
                nullable=True,
                gt=0,
            ),
            "quantity": Column(pl.Float64, "shares, of a book of `backtest.capital`", "shares", nullable=True, ge=0),
            "commission": _cost("commission, or the flat cost"),
            "half_spread": _cost("half the spread"),
            "impact": _cost("square-root impact"),
            "reason": Column(
                pl.String,
                "a new decision, drift between two, or the rest of an order that could not be done before",
                isin=("decision", "rebalancing", "carried"),
            ),
        },
        across="sector",
        anchored=LEARNED,
    ),
    Dataset(
        "positions",
        "What the backtest held after each session",
        ("date", "ticker"),
        "date",
        "date",
        {
            "date": day(),
            "ticker": ticker(),
            "weight": ratio(
                "share of equity after the close; negative where sold short, 0 where all was sold at it", nullable=False
            ),
        },
        across="sector",
        anchored=LEARNED,
    ),
    Dataset(
        "backtest_costs",
        "The parts of the backtest's cost by day; all but the last add up to its `cost`",
        ("date",),
        "date",
        "date",
        {
            "date": day(),
            "commission": _cost("commission, or the flat cost"),
            "half_spread": _cost("half the spread of what was traded"),
            "impact": _cost("square-root impact of what was traded"),
            "borrow": _cost("fee for borrowing what is sold short"),
            "rebate": _cost("less the interest on the proceeds of short sales (negative)"),
            "financing": _cost("interest on negative cash"),
            "short_dividends": ratio(
                "dividends paid on what is sold short, over equity; part of the gross return, not of the cost",
                nullable=False,
                ge=0,
            ),
        },
        across="sector",
        anchored=LEARNED,
    ),
    Dataset(
        "attribution",
        "Where the month's result came from; the parts of a level add up",
        ("as_of", "level", "name"),
        "as_of",
        "as_of",
        {
            "as_of": as_of(),
            "level": Column(
                pl.String,
                "`total`: the sum of the month's daily net returns into market, exposure, selection and cost; "
                "`index`: the same sum into index (`backtest.benchmark`), sector (its equal-weight return less the "
                "index's), exposure, selection and cost; "
                "`selection`: into factors and what is specific to the names; `cost`: into its parts",
                isin=("total", "index", "selection", "cost"),
            ),
            "name": Column(
                pl.String,
                "part: market (the sector's equal-weight return), or index and sector in its place; exposure (of not "
                "being fully invested in it), selection, cost; a factor or `specific`; a part of the cost",
            ),
            "value": ratio("sum over the month's sessions of what the part gave, over equity", nullable=False),
        },
        across="sector",
        anchored=LEARNED,
    ),
    Dataset(
        "portfolio_attribution",
        "The total portfolio's month by sector (Brinson): what weighing sectors gave, and choosing names in them",
        ("as_of", "sector"),
        "as_of",
        "as_of",
        {
            "as_of": as_of(),
            "sector": Column(pl.String, "GICS sector, by its short name such as `it`", isin=tuple(SECTORS)),
            "weight": ratio("the sector's share at the decision that the month held", nullable=False),
            "benchmark_return": ratio("sum of the sector's daily equal-weight returns", nullable=False),
            "gain": ratio("sum of what its names gained by day, over equity", nullable=False),
            "allocation": ratio(
                "sector's weight less an equal one, times its benchmark less the mean of the sectors'", nullable=False
            ),
            "selection": ratio("gain less weight times benchmark", nullable=False),
        },
        grain=MONTHLY,
        across="market",
        anchored=LEARNED,
    ),
    Dataset(
        "turnover",
        "What the backtest turned over, by session and cause, and what its limits and small trades left undone",
        ("date", "cause"),
        "date",
        "date",
        {
            "date": day(),
            "cause": Column(
                pl.String,
                "why it was traded, or why not",
                isin=("entry", "exit", "increase", "decrease", "session_limit", "annual_limit", "below_min_trade"),
            ),
            "traded": Column(pl.Boolean, "false for what was left undone"),
            "turnover": ratio(
                "traded value over equity, buys plus sells, against drifted holdings", nullable=False, ge=0
            ),
            "cost_bps": Column(
                pl.Float64,
                "cost of what was traded, over its value; null where nothing was",
                "basis points",
                nullable=True,
            ),
            "max_turnover": ratio("limit of a session; null where there is none"),
            "annual_left": ratio("what the year's limit leaves after the session; null where there is none", ge=0),
        },
        across="sector",
        anchored=LEARNED,
    ),
    Dataset(
        "orders",
        "What to trade so that the holdings of the backtest become the weights decided at the month's last session",
        ("ticker", "as_of"),
        "as_of",
        "as_of",
        {
            "ticker": ticker(),
            "as_of": as_of(),
            **order_columns(),
        },
        across="sector",
        anchored=LEARNED,
    ),
)
