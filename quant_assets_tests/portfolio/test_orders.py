"""Orders from holdings to targets: lots, small trades, exits, what can be paid for, costs, and drift."""

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from quant_assets.errors import DatasetError
from quant_assets.exports import order_files
from quant_assets.market.calendar import sessions
from quant_assets.portfolio.orders import decided_orders, held_at, orders, quoted_sessions
from quant_assets.settings.trading import BacktestSettings, OrderSettings

FREE = BacktestSettings(cost_bps=0.0)


def market_of(halted: str = "", **prices: float | None) -> pl.DataFrame:
    rows = [(name, None if name in halted else price, price, 0.0005, 0.02, 1e7) for name, price in prices.items()]
    schema = dict.fromkeys(("price", "last_price", "half_spread", "volatility", "dollar_volume"), pl.Float64)
    return pl.DataFrame(rows, schema={"ticker": pl.String, **schema}, orient="row")


def told(frame: pl.DataFrame) -> dict[str, tuple[str, float, str]]:
    rows = frame.select("ticker", "action", "quantity", "reason").iter_rows()
    return {name: (action, quantity, reason) for name, action, quantity, reason in rows}


def test_what_is_bought_sold_and_left_by_hand() -> None:
    targets = {"A": 0.3, "B": 0.2, "C": 0.1, "F": 0.1}
    holdings = {"A": 100.0, "B": 900.0, "D": 33.0, "E": 5.0, "F": 1000.0}
    market = market_of(halted="E", A=99.0, B=50.0, C=1000.0, D=7.0, E=3.0, F=100.2)
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
    market = market_of(halted="A" if halted else "", **known)
    settings, costs = OrderSettings(lot_size=5), BacktestSettings(cost_bps=bps)
    found = orders(targets, holdings, market, capital, settings, costs)
    worth = sum(q * known[n] for n, q in found.select("ticker", "target_quantity").iter_rows())
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


SESSIONS = sessions(date(2022, 6, 1), date(2024, 6, 28))
AS_OF = SESSIONS[-1].item()
COSTS = BacktestSettings()


def bars(*names: str, close: float = 100.0, first: date | None = None, last: date = AS_OF) -> pl.DataFrame:
    """Bars at one price of the sessions from the first to the last."""
    first = first or SESSIONS[0].item()
    days = pl.Series(SESSIONS).filter(pl.Series(SESSIONS).is_between(first, last))
    rows = pl.DataFrame({"ticker": list(names)}).join(days.to_frame("date"), how="cross")
    return rows.with_columns(
        *(pl.lit(close).alias(name) for name in ("close", "high", "low", "close_unadjusted")),
        dollar_volume=pl.lit(5e7),
        unexplained=pl.lit(0.0),
        listed=pl.lit(first),
        panel_from="date",
    )


def weighed(as_of: date = AS_OF, **weights: float) -> pl.DataFrame:
    rows = [(name, as_of, weight) for name, weight in weights.items()]
    return pl.DataFrame(rows, schema={"ticker": pl.String, "as_of": pl.Date, "weight": pl.Float64}, orient="row")


def held(as_of: date = AS_OF, **weights: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Datasets positions and backtest."""
    told = pl.DataFrame({"date": [as_of], "positions": [len(weights)], "cash": [1.0 - sum(weights.values())]})
    return weighed(as_of, **weights).rename({"as_of": "date"}), told


def decided(
    prices: pl.DataFrame, targets: pl.DataFrame, positions: pl.DataFrame, backtest: pl.DataFrame, **more: Any
) -> pl.DataFrame:
    asked = {"sessions": SESSIONS, "as_of": AS_OF, "capital": 1e6, "settings": OrderSettings(), "costs": COSTS} | more
    return decided_orders(targets, positions, backtest, prices, **asked)


def test_what_the_backtest_holds_is_not_bought_again_and_positions_that_lack_it_are_refused() -> None:
    prices, targets = bars("A", "B"), weighed(A=0.5, B=0.5)
    found = decided(prices, targets, *held(A=0.5, B=0.5))
    assert told(found) == {"A": ("hold", 0.0, "unchanged"), "B": ("hold", 0.0, "unchanged")}
    positions, backtest = held(A=0.5, B=0.5)
    for wrong in (positions.clear(), positions.head(1), positions.with_columns(date=date(2024, 6, 3))):
        with pytest.raises(DatasetError, match=r"the backtest holds 2 names with 1\.0+ .* materialise backtest"):
            decided(prices, targets, wrong, backtest)
    with pytest.raises(DatasetError, match=r"holds 2 names with 0\.0+ of"):  # a book without a net exposure
        held_at(positions.clear(), backtest.with_columns(cash=1.0), AS_OF)
    with pytest.raises(DatasetError, match="no row of 2024-06-28"):
        decided(prices, targets, positions, backtest.clear())
    assert held_at(*held(A=0.5, B=0.25), AS_OF) == {"A": 0.5, "B": 0.25}
    assert held_at(*held(), AS_OF) == {}


def test_holdings_of_the_backtest_are_not_rounded_above_the_capital() -> None:
    """A third of a million at 70 USD is 4761.9 shares: three times 4762 could not be paid for."""
    third = 1.0 / 3.0
    found = decided(bars(*"ABC", close=70.0), weighed(A=third, B=third, C=third), *held(A=third, B=third, C=third))
    assert set(found["action"]) == {"hold"}
    assert found["held_quantity"].to_list() == [4761.0] * 3


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_halted_holding_keeps_its_part_of_the_capital(by_hand: bool) -> None:
    prices = pl.concat([bars("A", "B"), bars("H", last=SESSIONS[-4].item())])
    holdings = {"A": 6000.0, "H": 4000.0} if by_hand else None
    found = decided(prices, weighed(A=0.5, B=0.5), *held(A=0.6, H=0.4), holdings=holdings)
    rows = {row["ticker"]: row for row in found.iter_rows(named=True)}
    assert told(found)["A"] == ("sell", 1000.0, "decrease")
    assert told(found)["H"] == ("hold", 0.0, "no price")
    assert (rows["H"]["price"], rows["H"]["last_price"], rows["H"]["held_quantity"]) == (None, 100.0, 4000.0)
    spent = found.select(pl.col("target_quantity").dot("last_price") + pl.col("estimated_cost").sum()).item()
    assert 0.99e6 < spent <= 1e6  # B is bought for what A brings
    allocation = pl.read_csv(order_files(found, 1e6)["allocation.csv"])
    assert dict(allocation.select("ticker", "held_weight").iter_rows())["H"] == pytest.approx(0.4)


def test_a_holding_that_was_never_quoted_is_refused_and_a_target_is_not_bought() -> None:
    since = SESSIONS[-1 - quoted_sessions(COSTS)].item()
    prices = pl.concat([bars("A"), bars("H", last=since)])
    with pytest.raises(DatasetError, match="what is held of H, N cannot be valued"):
        decided(prices, weighed(A=1.0), *held(), holdings={"H": 10.0, "N": 5.0})
    assert told(decided(prices, weighed(A=0.5, N=0.5), *held()))["N"] == ("hold", 0.0, "no price")


def test_the_books_holding_without_a_close_as_traded_is_kept_at_its_value() -> None:
    """Files of adjusted prices alone: the backtest holds the name, and nothing says how many shares that is."""
    unknown = pl.col("ticker") == "U"
    prices = bars("A", "B", "U").with_columns(close_unadjusted=pl.when(~unknown).then("close_unadjusted"))
    orders = decided(prices, weighed(A=0.5, B=0.25, U=0.25), *held(A=0.6, U=0.4))
    rows = {row["ticker"]: row for row in orders.iter_rows(named=True)}
    assert told(orders)["U"] == ("hold", 0.0, "no price")
    assert [rows["U"][name] for name in ("held_quantity", "target_quantity", "last_price")] == [None] * 3
    spent = orders.select((pl.col("target_quantity") * pl.col("last_price")).sum() + pl.col("estimated_cost").sum())
    assert 0.59e6 < spent.item() <= 0.6e6  # what U is worth cannot be spent
    with pytest.raises(DatasetError, match=r"what is held and not sold .*U.* worth more than the capital"):
        decided(prices, weighed(U=1.0), *held(A=0.0, U=1.2))


def test_a_decision_knows_nothing_of_a_company_that_takes_the_symbol_later_nor_of_later_moves() -> None:
    """A range that reads the prices of many months gives what each month alone gives."""
    end, as_of = date(2024, 3, 15), date(2024, 2, 29)
    halted = pl.col("date").is_between(date(2024, 1, 10), date(2024, 2, 29)) & (pl.col("ticker") == "H")
    prices = pl.concat(
        [
            bars("X", close=50.0, last=end),
            bars("X", close=10.0, first=date(2024, 5, 1)),
            bars("M", close=20.0).with_columns(panel_from=pl.max_horizontal("panel_from", pl.lit(date(2024, 4, 2)))),
            bars("H", close=30.0).filter(~halted),
        ]
    )
    targets, book = weighed(as_of, X=0.5, M=0.1, H=0.2), held(as_of, H=0.2)
    whole = decided(prices, targets, *book, as_of=as_of)
    assert told(whole) == {
        "H": ("hold", 0.0, "no price"),
        "M": ("hold", 0.0, "no price"),  # moves into the sector in April
        "X": ("buy", 10_000.0, "new position"),
    }
    assert dict(whole.select("ticker", "price").iter_rows())["X"] == 50.0
    assert decided(prices.drop("panel_from"), weighed(as_of, X=0.5), *held(as_of), as_of=as_of)["price"].item() == 50.0
    first = SESSIONS[np.searchsorted(SESSIONS, np.datetime64(as_of)) + 1 - quoted_sessions(COSTS)].item()
    known = prices.filter(pl.col("date").is_between(first, as_of), pl.col("panel_from") <= as_of)
    single = decided(known, targets, *book, as_of=as_of, sessions=sessions(first, as_of))
    assert single.equals(whole)
    later = decided(prices, weighed(X=0.5, M=0.1, H=0.2), *held(H=0.2))
    assert dict(later.select("ticker", "price").iter_rows()) == {"H": 30.0, "M": 20.0, "X": 10.0}
