"""Orders from holdings to targets: lots, small trades, exits, what can be paid for, costs, and drift."""

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from quant_assets.errors import DatasetError
from quant_assets.portfolio.orders import drifted, orders
from quant_assets.settings.trading import BacktestSettings, OrderSettings

FREE = BacktestSettings(cost_bps=0.0)


def market_of(**prices: float | None) -> pl.DataFrame:
    rows = [(name, price, 0.0005, 0.02, 1e7) for name, price in prices.items()]
    schema = dict.fromkeys(("price", "half_spread", "volatility", "dollar_volume"), pl.Float64)
    return pl.DataFrame(rows, schema={"ticker": pl.String, **schema}, orient="row")


def told(frame: pl.DataFrame) -> dict[str, tuple[str, float, str]]:
    rows = frame.select("ticker", "action", "quantity", "reason").iter_rows()
    return {name: (action, quantity, reason) for name, action, quantity, reason in rows}


def test_what_is_bought_sold_and_left_by_hand() -> None:
    targets = {"A": 0.3, "B": 0.2, "C": 0.1, "F": 0.1}
    holdings = {"A": 100.0, "B": 900.0, "D": 33.0, "E": 5.0, "F": 1000.0}
    market = market_of(A=99.0, B=50.0, C=1000.0, D=7.0, E=None, F=100.2)
    found = orders(targets, holdings, market, 1_000_000.0, OrderSettings(lot_sizes={"A": 100}), FREE)
    assert told(found) == {
        "A": ("buy", 2900.0, "increase"),  # 3030 shares, in lots of 100
        "B": ("buy", 3100.0, "increase"),
        "C": ("buy", 100.0, "new position"),
        "D": ("sell", 33.0, "exit"),  # 231 USD: an exit is made, however small
        "E": ("hold", 0.0, "no price"),
        "F": ("hold", 0.0, "below min_trade"),  # 998 shares aimed at
    }
    row = found.row(0, named=True)
    assert (row["notional"], row["held_quantity"], row["target_quantity"]) == (2900 * 99.0, 100.0, 3000.0)


def test_shorts_are_opened_covered_and_reversed() -> None:
    found = orders(
        {"A": -0.2, "B": 0.1}, {"B": -50.0, "C": -10.0}, market_of(A=30.0, B=100.0, C=10.0), 1e5, OrderSettings(), FREE
    )
    assert told(found) == {
        "A": ("sell", 666.0, "new position"),
        "B": ("buy", 150.0, "reversal"),
        "C": ("buy", 10.0, "exit"),
    }


def test_costs_are_those_of_the_backtest_and_unknown_where_a_part_is() -> None:
    market = market_of(A=10.0, B=10.0).with_columns(
        volatility=pl.when(pl.col("ticker") == "A").then("volatility"), half_spread=pl.lit(None, pl.Float64)
    )
    itemised = BacktestSettings(costs="itemised", commission_bps=1.0, half_spread_bps=3.0, impact=0.5)
    found = orders({"A": 0.4, "B": 0.4}, {}, market, 1e6, OrderSettings(), itemised)
    cost = 400_000 * (1e-4 + 3e-4 + 0.5 * 0.02 * (400_000 / 1e7) ** 0.5)
    assert found["estimated_cost"].to_list() == [pytest.approx(cost), None]
    flat = orders({"A": 0.4}, {}, market, 1e6, OrderSettings(), BacktestSettings(cost_bps=10))
    assert flat["estimated_cost"].to_list() == [pytest.approx(400.0)]


@given(
    st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4),
    st.lists(st.floats(1.0, 900.0), min_size=4, max_size=4),
    st.lists(st.integers(0, 300), min_size=4, max_size=4),
    st.floats(0.0, 200.0),
    st.booleans(),
)
@examples(max_examples=100, deadline=None)
def test_nothing_is_bought_that_cannot_be_paid_for(
    raw: list[float], prices: list[float], held: list[int], bps: float, halted: bool
) -> None:
    names, total = "ABCD", sum(raw) or 1.0
    targets = {name: each / total for name, each in zip(names, raw, strict=True)}
    holdings = dict(zip(names, map(float, held), strict=True))
    known = dict(zip(names, prices, strict=True))
    capital = 1000.0 + 1.05 * sum(holdings[name] * known[name] for name in names)
    market = market_of(**(known | ({"A": None} if halted else {})))
    settings, costs = OrderSettings(lot_size=5), BacktestSettings(cost_bps=bps)
    found = orders(targets, holdings, market, capital, settings, costs)
    worth = sum(
        q * known[n] for n, q in found.select("ticker", "target_quantity").iter_rows() if n != "A" or not halted
    )
    assert worth + found["estimated_cost"].sum() <= capital * (1.0 + 1e-9)
    bought = found.filter(pl.col("action") == "buy")
    assert all(
        quantity % 5 == (held_ % 5 and quantity % 5)
        for quantity, held_ in bought.select("quantity", "held_quantity").iter_rows()
    )
    assert (found["target_quantity"] >= 0.0).all()
    small = found.filter((pl.col("action") != "hold") & (pl.col("notional") < 0.005 * capital))
    assert set(small["reason"]) <= {"exit"}


def test_a_capital_below_what_cannot_be_sold_is_refused() -> None:
    with pytest.raises(DatasetError, match="capital is 0"):
        orders({"A": 1.0}, {}, market_of(A=10.0), 0.0, OrderSettings(), FREE)
    with pytest.raises(DatasetError, match=r"not sold \(A\) .* more than the capital of 5,000 USD"):
        orders({"A": 2.0}, {"A": 1000.0}, market_of(A=10.0), 5000.0, OrderSettings(), FREE)


def test_what_was_held_drifts_with_its_prices_and_cash_does_not() -> None:
    first, last = date(2024, 6, 3), date(2024, 6, 28)
    positions = pl.DataFrame(
        {"date": [date(2024, 5, 2), first, first], "ticker": ["X", "A", "B"], "weight": [1.0, 0.5, 0.25]},
        schema={"date": pl.Date, "ticker": pl.String, "weight": pl.Float64},
    )
    closes = pl.DataFrame(
        {
            "ticker": ["A", "A", "B"],
            "date": [first, last, last],
            "close": [10.0, 12.0, 7.0],
        },
        schema={"ticker": pl.String, "date": pl.Date, "close": pl.Float64},
    )
    # B has no close at the trade: it keeps what it was worth.
    assert drifted(positions, closes, last) == pytest.approx({"A": 0.6 / 1.1, "B": 0.25 / 1.1})
    assert drifted(positions, closes, date(2024, 4, 30)) == {}
