import math
from collections.abc import Iterable
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.backtest.simulation import lookback_months, simulate, simulated
from quant_assets.backtest.track_record import continued
from quant_assets.checks import breaches
from quant_assets.errors import DatasetError, HistoryError, SettingsError
from quant_assets.market.calendar import sessions
from quant_assets.schemas import DATASETS
from quant_assets.settings.trading import BacktestSettings

DAYS = sessions(date(2015, 10, 1), date(2016, 12, 30))
DATES: list[date] = DAYS.tolist()
ENDS = [day for day, following in pairwise(DATES) if day.month != following.month] + [DATES[-1]]
JAN, FEB, MAR = (next(day for day in ENDS if day.month == m and day.year == 2016) for m in (1, 2, 3))


def after(day: date, count: int) -> date:
    return DATES[DATES.index(day) + count]


def prices_of(closes: dict[str, Iterable[float | None]], days: list[date] | None = None) -> pl.DataFrame:
    rows = [
        (t, day, c, day)
        for t, values in closes.items()
        for day, c in zip(days or DATES, values, strict=True)
        if c is not None
    ]
    schema = {"ticker": pl.String, "date": pl.Date, "close": pl.Float64, "panel_from": pl.Date}
    return pl.DataFrame(rows, schema=schema, orient="row")


def weights_of(decisions: dict[date, dict[str, float]]) -> pl.DataFrame:
    rows = [(t, as_of, w) for as_of, targets in decisions.items() for t, w in targets.items()]
    return pl.DataFrame(rows, schema={"ticker": pl.String, "as_of": pl.Date, "weight": pl.Float64}, orient="row")


def delistings_of(*rows: tuple[str, date, date]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema={"ticker": pl.String, "last_session": pl.Date, "known_at": pl.Date}, orient="row")
    return frame.with_columns(
        rule=pl.lit("unknown"), delisting_return=pl.lit(None, pl.Float64), successor=pl.lit(None, pl.String)
    )


def taken_back(*rows: tuple[str, date, date]) -> pl.DataFrame:
    """By ticker, last session and the day on which it trades again."""
    return delistings_of(*rows).with_columns(rule=pl.lit("trades_again"))


def run(
    decisions: dict[date, dict[str, float]], prices: pl.DataFrame, first: date, last: date, **options: Any
) -> pl.DataFrame:
    flat = BacktestSettings(cost_bps=options.pop("cost_bps", 0.0))
    options = {"entry_lag": 1, "settings": flat, **options}
    return simulate(weights_of(decisions), prices, DAYS, list(decisions), first, last, **options)


def at(frame: pl.DataFrame, day: date) -> dict[str, Any]:
    return frame.row(by_predicate=pl.col("date") == day, named=True)


def steps(changes: dict[date, float], start: float = 100.0) -> list[float]:
    """Closes that multiply on the given sessions and stand still otherwise."""
    level, path = start, []
    for day in DATES:
        level *= changes.get(day, 1.0)
        path.append(level)
    return path


def random_market(seed: int = 0, names: int = 12, missing: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    closes = 40 * np.exp(np.cumsum(0.02 * rng.standard_normal((names, len(DATES))), axis=1))
    holes = rng.random(closes.shape) < missing
    return prices_of(
        {f"N{i:02d}": [None if h else c for c, h in zip(closes[i], holes[i], strict=True)] for i in range(names)}
    )


def random_decisions(seed: int = 0, names: int = 12, full: float = 1.0) -> dict[date, dict[str, float]]:
    rng = np.random.default_rng(seed)
    decisions = {}
    for as_of in ENDS:
        chosen = rng.choice(names, size=5, replace=False)
        raw = rng.random(5) + 0.1
        decisions[as_of] = {f"N{i:02d}": float(w) for i, w in zip(chosen, full * raw / raw.sum(), strict=True)}
    decisions[ENDS[6]] = {}  # a decision to hold nothing
    return decisions


def test_a_decision_at_t_trades_at_the_close_of_t_plus_one_and_earns_from_t_plus_two() -> None:
    one, two, three = (after(JAN, n) for n in (1, 2, 3))
    prices = prices_of({"A": steps({one: 2.0, two: 1.1, three: 1.5})})
    frame = run({JAN: {"A": 1.0}}, prices, date(2016, 2, 1), date(2016, 2, 29))
    assert at(frame, one)["gross_return"] == 0.0  # the doubling on t + 1 is not earned
    assert at(frame, one)["turnover"] == 1.0
    assert at(frame, two)["gross_return"] == pytest.approx(0.1, abs=1e-15)
    assert at(frame, three)["gross_return"] == pytest.approx(0.5, abs=1e-15)


@pytest.mark.parametrize(("entry_lag", "earned"), [(0, 1.0), (1, 0.1), (2, 0.5)])
def test_the_entry_lag_moves_the_first_return(entry_lag: int, earned: float) -> None:
    prices = prices_of({"A": steps({after(JAN, 1): 2.0, after(JAN, 2): 1.1, after(JAN, 3): 1.5})})
    frame = run({JAN: {"A": 1.0}}, prices, date(2016, 2, 1), date(2016, 2, 29), entry_lag=entry_lag)
    first = frame.filter(pl.col("gross_return") != 0).row(0, named=True)
    assert first["date"] == after(JAN, entry_lag + 1)
    assert first["gross_return"] == pytest.approx(earned, abs=1e-15)


def test_hand_computed_drift_turnover_cost_and_equity() -> None:
    one, two = after(JAN, 1), after(JAN, 2)
    trade = after(FEB, 1)
    prices = prices_of({"A": steps({two: 1.5}), "B": steps({two: 0.9, trade: 1.2})})
    decisions = {JAN: {"A": 0.6, "B": 0.4}, FEB: {"A": 0.5, "B": 0.5}}
    frame = run(decisions, prices, date(2016, 2, 1), date(2016, 3, 31), cost_bps=20)
    assert at(frame, one)["cost"] == pytest.approx(0.002, abs=1e-15)
    assert at(frame, one)["net_return"] == pytest.approx(-0.002, abs=1e-15)
    # value 0.6 * 1.5 + 0.4 * 0.9 = 1.26
    assert at(frame, two)["gross_return"] == pytest.approx(0.26, abs=1e-15)
    assert at(frame, FEB)["equity"] == pytest.approx(0.998 * 1.26, abs=1e-15)
    # then B gains 20 %: 0.9 + 0.432 = 1.332, held 0.9 / 1.332 and 0.432 / 1.332, traded to one half each
    row = at(frame, trade)
    assert row["gross_return"] == pytest.approx(1.332 / 1.26 - 1, abs=1e-15)
    assert row["turnover"] == pytest.approx((0.9 / 1.332 - 0.5) + (0.5 - 0.432 / 1.332), abs=1e-15)
    assert row["cost"] == pytest.approx(row["turnover"] * 0.002, abs=1e-15)
    assert row["net_return"] == pytest.approx((1 + row["gross_return"]) * (1 - row["cost"]) - 1, abs=1e-15)
    assert row["equity"] == pytest.approx(1 + row["net_return"], abs=1e-15)  # a new month: from 1
    assert (row["positions"], row["cash"]) == (2, 0.0)
    assert frame.schema == DATASETS["portfolio_backtest"].schema


def test_before_the_first_decision_everything_is_cash() -> None:
    frame = run(
        {JAN: {"A": 1.0}},
        random_market().with_columns(ticker=pl.lit("A")).unique("date"),
        date(2016, 1, 1),
        date(2016, 2, 29),
    )
    january = frame.filter(pl.col("date") <= JAN)
    assert set(january["net_return"]) == {0.0}
    assert set(january["cash"]) == {1.0}
    assert set(january["positions"]) == {0}
    assert set(january["equity"]) == {1.0}
    none = simulate(
        weights_of({}),
        random_market(),
        DAYS,
        [],
        date(2016, 1, 1),
        JAN,
        entry_lag=1,
        settings=BacktestSettings(cost_bps=5),
    )
    assert none.equals(january)


def test_no_weights_at_an_as_of_is_a_decision_to_hold_nothing() -> None:
    prices = prices_of({"A": steps({after(FEB, 2): 2.0})})
    frame = run({JAN: {"A": 1.0}, FEB: {}}, prices, date(2016, 2, 1), date(2016, 3, 31), cost_bps=10)
    sold = at(frame, after(FEB, 1))
    assert (sold["turnover"], sold["positions"], sold["cash"]) == (1.0, 0, 1.0)
    assert at(frame, after(FEB, 2))["gross_return"] == 0.0


def test_a_name_without_a_bar_at_the_execution_stays_in_cash_until_the_next() -> None:
    one, two = after(JAN, 1), after(JAN, 2)
    path: list[float | None] = list(steps({two: 3.0}))
    path[DATES.index(one)] = (
        None  # halted on the session of the trade, trades again at three times the price that decided it
    )
    frame = run(
        {JAN: {"A": 0.5, "B": 0.5}, FEB: {"A": 0.5, "B": 0.5}},
        prices_of({"A": path, "B": steps({})}),
        date(2016, 2, 1),
        MAR,
    )
    february, march = frame.filter(pl.col("date") <= FEB), frame.filter(pl.col("date") > FEB)
    assert set(february["gross_return"]) == {0.0}
    assert set(february["cash"]) == {0.5}
    assert set(february["positions"]) == {1}
    assert set(march["cash"]) == {0.0}


def test_a_holding_without_a_bar_keeps_its_last_price() -> None:
    path: list[float | None] = list(steps({after(JAN, 6): 1.2}))
    for n in (4, 5):
        path[DATES.index(after(JAN, n))] = None
    frame = run({JAN: {"A": 1.0}}, prices_of({"A": path}), date(2016, 2, 1), date(2016, 2, 29))
    assert [at(frame, after(JAN, n))["gross_return"] for n in (3, 4, 5)] == [0.0, 0.0, 0.0]
    assert at(frame, after(JAN, 6))["gross_return"] == pytest.approx(0.2, abs=1e-15)


def test_a_delisted_holding_becomes_cash_at_its_last_price_once_that_is_known() -> None:
    last, known = after(JAN, 4), after(JAN, 7)
    path = [
        c if day <= last or day > after(JAN, 12) else None
        for day, c in zip(DATES, steps({after(JAN, 3): 0.5, after(JAN, 13): 9.0}), strict=True)
    ]
    prices = prices_of({"A": path, "B": steps({})})
    decisions = {JAN: {"A": 0.5, "B": 0.5}, FEB: {"B": 1.0}}
    frame = run(decisions, prices, date(2016, 2, 1), date(2016, 3, 31), delistings=delistings_of(("A", last, known)))
    assert at(frame, after(JAN, 3))["gross_return"] == pytest.approx(-0.25, abs=1e-15)
    assert [at(frame, after(JAN, n))["positions"] for n in (6, 7, 14)] == [2, 1, 1]
    assert [at(frame, after(JAN, n))["cash"] for n in (6, 7, 14)] == pytest.approx([0.0, 1 / 3, 1 / 3], abs=1e-15)
    assert at(frame, after(JAN, 13))["gross_return"] == 0.0  # another company under the old symbol is not held
    assert at(frame, after(JAN, 7))["turnover"] == 0.0
    # what is cash already need not be sold: only B is bought, from 2/3 to 1
    assert at(frame, after(FEB, 1))["turnover"] == pytest.approx(1 / 3, abs=1e-15)


def test_a_delisting_return_is_lost_when_the_delisting_is_known() -> None:
    decisions = {JAN: {"A": 0.5, "B": 0.5}}
    last, known = after(JAN, 5), after(JAN, 8)
    flat = steps({})
    rows = [
        (name, day, 100.0, day)
        for name in ("A", "B")
        for day, _ in zip(DATES, flat, strict=True)
        if name == "B" or day <= last
    ]
    schema = {"ticker": pl.String, "date": pl.Date, "close": pl.Float64, "panel_from": pl.Date}
    prices = pl.DataFrame(rows, schema=schema, orient="row")
    gone = delistings_of(("A", last, known)).with_columns(delisting_return=pl.lit(-0.4))
    frame = run(decisions | {FEB: {}}, prices, date(2016, 2, 1), date(2016, 2, 29), delistings=gone)
    assert at(frame, known)["gross_return"] == pytest.approx(-0.2)
    assert frame.filter(pl.col("date") != known)["gross_return"].abs().max() == pytest.approx(0.0)
    assert at(frame, known)["cash"] == pytest.approx(0.3 / 0.8)
    whole = run(
        decisions | {FEB: {}}, prices, date(2016, 2, 1), date(2016, 2, 29), delistings=delistings_of(("A", last, known))
    )
    assert whole["gross_return"].abs().max() == pytest.approx(0.0)


def test_who_lost_everything_earns_nothing_until_the_next_execution() -> None:
    last, known = after(JAN, 5), after(JAN, 8)
    prices = prices_of({"A": steps({}), "B": steps({after(FEB, 4): 1.1})})
    prices = prices.filter((pl.col("ticker") == "B") | (pl.col("date") <= last))
    gone = delistings_of(("A", last, known)).with_columns(delisting_return=pl.lit(-1.0))
    frame = run({JAN: {"A": 1.0}, FEB: {"B": 1.0}}, prices, date(2016, 2, 1), date(2016, 3, 31), delistings=gone)
    assert not any(breaches(DATASETS["portfolio_backtest"], frame, DATES[-1]).values())
    earned = frame.filter(pl.col("gross_return") != 0.0).select("date", "gross_return").rows()
    assert earned == [(known, -1.0), (after(FEB, 4), pytest.approx(0.1))]
    lost = frame.filter(pl.col("date").is_between(known, FEB))
    assert lost.select("equity", "cash", "positions").unique().rows() == [(0.0, 1.0, 0)]
    track = DATASETS["track_record"].empty().drop("sector")
    for month in (FEB, MAR):
        track = continued(track, frame, month)
    assert track.select("equity", "drawdown", "total_return").rows() == [(0.0, 1.0, -1.0)]


@pytest.mark.parametrize("back", [after(JAN, 10), after(FEB, 1), after(FEB, 3)])
def test_a_holding_whose_delisting_was_wrong_is_held_again_until_the_next_execution(back: date) -> None:
    """A falls to a half and is silent; it comes back at 0.8 of its level. After an execution its cash is traded."""
    last, known = after(JAN, 4), after(JAN, 7)
    steps_of = steps({after(JAN, 3): 0.5, back: 1.6})
    path = [close if day <= last or day >= back else None for day, close in zip(DATES, steps_of, strict=True)]
    prices = prices_of({"A": path, "B": steps({})})
    presumed = delistings_of(("A", last, known)).with_columns(rule=pl.lit("collapse"), delisting_return=pl.lit(-0.3))
    gone = pl.concat([presumed, taken_back(("A", last, back))])
    decisions = {JAN: {"A": 0.5, "B": 0.5}, FEB: {"B": 0.5}}
    frame = run(decisions, prices, date(2016, 2, 1), date(2016, 3, 31), delistings=gone)
    assert at(frame, known)["gross_return"] == pytest.approx(0.675 / 0.75 - 1.0)
    assert (at(frame, known)["positions"], at(frame, known)["cash"]) == (1, pytest.approx(0.175 / 0.675))
    execution = after(FEB, 1)
    if back <= execution:
        assert at(frame, back)["gross_return"] == pytest.approx(0.9 / 0.675 - 1.0)
        assert at(frame, back)["positions"] == (2 if back < execution else 1)
        assert at(frame, execution)["turnover"] == pytest.approx(0.4 / 0.9 + abs(0.5 - 0.5 / 0.9))
    else:
        assert at(frame, back)["gross_return"] == pytest.approx(0.0)
        assert at(frame, execution)["turnover"] == pytest.approx(abs(0.5 - 0.5 / 0.675))
    silent = run(
        decisions, prices.filter(pl.col("date") < back), date(2016, 2, 1), date(2016, 3, 31), delistings=presumed
    )
    assert frame.filter(pl.col("date") < back).equals(silent.filter(pl.col("date") < back))


@pytest.mark.parametrize("known", [after(JAN, 1), after(JAN, 5), after(FEB, 1)])
def test_a_renamed_holding_is_held_on(known: date) -> None:
    """The new symbol's prices have another level, and its panel brings the earlier ones along from the rename on."""
    path = steps({after(JAN, 3): 1.1, after(JAN, 8): 1.5, after(FEB, 4): 0.9})
    decisions = {JAN: {"OLD": 0.5, "B": 0.5}, FEB: {"NEW" if known <= FEB else "OLD": 0.5, "B": 0.5}}
    plain = run(
        {day: {"A": 0.5, "B": 0.5} for day in decisions},
        prices_of({"A": path, "B": steps({})}),
        date(2016, 2, 1),
        MAR,
        cost_bps=10,
    )
    old = prices_of(
        {"OLD": [close if day < known else None for day, close in zip(DATES, path, strict=True)], "B": steps({})}
    )
    new = prices_of({"NEW": [3.0 * close for close in path]}).with_columns(
        panel_from=pl.max_horizontal("date", pl.lit(known))
    )
    gone = delistings_of(("OLD", after(known, -1), known)).with_columns(
        successor=pl.lit("NEW"), delisting_return=pl.lit(0.0)
    )
    found = run(decisions, pl.concat([old, new]), date(2016, 2, 1), MAR, cost_bps=10, delistings=gone)
    for name in set(plain.columns) - {"date"}:
        assert found[name].to_numpy() == pytest.approx(plain[name].to_numpy(), abs=1e-14, nan_ok=True), name
    whole = simulated(
        weights_of(decisions),
        pl.concat([old, new]),
        DAYS,
        list(decisions),
        date(2016, 2, 1),
        MAR,
        entry_lag=1,
        settings=BacktestSettings(),
        delistings=gone,
    )
    at_end = whole.outcome.positions.filter(pl.col("date") == FEB)  # orders are for the symbol that trades then
    assert at_end["ticker"].to_list() == ["B", "NEW" if known <= FEB else "OLD"]
    if known == after(JAN, 5):
        lost = run(decisions, old, date(2016, 2, 1), MAR, delistings=gone)
        assert at(lost, known)["cash"] == pytest.approx(0.55 / 1.05)  # without the new symbol's prices it ends


def test_a_symbol_is_held_as_the_company_that_has_it_at_the_execution() -> None:
    """A's next company trades at ten times the price from the middle of February on."""
    change = after(JAN, 12)
    rows = [("A", day, 100.0 if day < change else 1000.0, DATES[0] if day < change else change, day) for day in DATES]
    schema = {"ticker": pl.String, "date": pl.Date, "close": pl.Float64, "listed": pl.Date, "panel_from": pl.Date}
    prices = pl.DataFrame(rows, schema=schema, orient="row")
    frame = run({JAN: {"A": 1.0}, FEB: {"A": 1.0}}, prices, date(2016, 2, 1), date(2016, 3, 31))
    assert frame["gross_return"].abs().max() == pytest.approx(0.0)


def test_nothing_is_held_after_an_empty_decision_also_of_a_symbol_that_passed_on() -> None:
    """The symbol is there twice among the panel's rows, and nobody is asked for."""
    gap, again = after(FEB, 3), after(FEB, 14)
    prices = prices_of({"A": steps({})}).filter(~pl.col("date").is_between(gap, after(FEB, 13)))
    first, second = pl.lit(DATES[0]), pl.lit(again)
    prices = prices.with_columns(listed=pl.when(pl.col("date") < gap).then(first).otherwise(second))
    ended = delistings_of(("A", after(FEB, 2), after(FEB, 9)))
    frame = run({JAN: {"A": 1.0}, FEB: {}}, prices, date(2016, 2, 1), date(2016, 3, 31), delistings=ended)
    held = frame.filter(pl.col("positions") > 0)["date"]
    assert (held[0], held[-1]) == (after(JAN, 1), FEB)
    assert frame.filter(pl.col("date") > FEB)["cash"].to_list() == [1.0] * frame.filter(pl.col("date") > FEB).height


@pytest.mark.parametrize(
    ("factors", "earned", "counted"),
    [
        ({6: 75.0}, 0.0, [6]),  # a rise earns nothing
        ({6: 0.06}, 0.5 * (0.06 - 1.0), []),  # a fall counts
        ({6: 100.0, 8: 0.0098}, 0.5 * (0.98 - 1.0), [6, 8]),  # there and back: what lies below
        ({1: 100.0, 3: 0.0098}, 0.5 * (0.98 - 1.0), [3]),  # bought at the bad price
    ],
)
def test_an_unexplained_step_of_a_holding_counts_by_the_rule(
    factors: dict[int, float], earned: float, counted: list[int]
) -> None:
    changes = {after(JAN, place): factor for place, factor in factors.items()}
    prices = prices_of({"A": steps(changes), "B": steps({})})
    marked = (pl.col("ticker") == "A") & pl.col("date").is_in(list(changes))
    frames = [
        run({JAN: {"A": 0.5, "B": 0.5}}, given.with_columns(unexplained=marked), date(2016, 2, 1), FEB)
        for given in (prices, prices.filter(pl.col("date") >= date(2016, 1, 1)))
    ]
    found = frames[0]
    assert found["equity"].to_list()[-1] == pytest.approx(1.0 + earned)
    assert found.filter(pl.col("unexplained") > 0)["date"].to_list() == [after(JAN, place) for place in counted]
    assert found["unexplained"].sum() == len(counted)
    assert frames[1].equals(found)


def test_constant_weights_of_one_name_without_costs_compound_to_its_price() -> None:
    prices = random_market()
    frame = run({as_of: {"N03": 1.0} for as_of in ENDS}, prices, date(2015, 11, 1), DATES[-1])
    close = dict(prices.filter(pl.col("ticker") == "N03").select("date", "close").iter_rows())
    month_ends = frame.group_by(pl.col("date").dt.truncate("1mo"), maintain_order=True).agg(pl.col("equity").last())[
        "equity"
    ]
    assert math.prod(month_ends) == pytest.approx(close[DATES[-1]] / close[after(ENDS[0], 1)], rel=1e-12)
    assert frame["turnover"].sum() == pytest.approx(1.0, abs=1e-12)  # bought once, nothing to trade after
    assert frame["net_return"].equals(frame["gross_return"])


def test_a_cash_part_stays_idle() -> None:
    prices = prices_of({"A": steps({after(JAN, 2): 2.0})})
    frame = run({JAN: {"A": 0.25}}, prices, date(2016, 2, 1), FEB)
    assert at(frame, after(JAN, 1))["cash"] == 0.75
    assert at(frame, after(JAN, 2))["gross_return"] == pytest.approx(0.25, abs=1e-15)
    assert at(frame, after(JAN, 2))["cash"] == pytest.approx(0.75 / 1.25, abs=1e-15)


@given(st.floats(0, 100), st.floats(0.5, 100), st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_higher_costs_cost_more_and_change_nothing_else(bps: float, extra: float, seed: int) -> None:
    prices, decisions = random_market(seed, missing=0.05), random_decisions(seed)
    low, high = (run(decisions, prices, date(2016, 1, 1), date(2016, 6, 30), cost_bps=c) for c in (bps, bps + extra))
    same = ["date", "gross_return", "turnover", "positions", "cash"]
    assert low.select(same).equals(high.select(same))
    traded = low["turnover"] > 0
    assert (high["cost"] > low["cost"]).filter(traded).all()
    assert (high["net_return"] < low["net_return"]).filter(traded).all()
    assert low["cost"].to_numpy() == pytest.approx(low["turnover"].to_numpy() * bps / 1e4, abs=1e-15)


def test_relabelling_the_tickers_changes_nothing() -> None:
    prices, decisions = random_market(missing=0.05), random_decisions()
    label = {f"N{i:02d}": f"N{11 - i:02d}" for i in range(12)}
    renamed = {as_of: {label[t]: w for t, w in targets.items()} for as_of, targets in decisions.items()}
    plain = run(decisions, prices, date(2016, 1, 1), date(2016, 12, 31), cost_bps=7)
    assert plain.equals(
        run(
            renamed,
            prices.with_columns(pl.col("ticker").replace(label)),
            date(2016, 1, 1),
            date(2016, 12, 31),
            cost_bps=7,
        )
    )


def share_counts(
    decisions: dict[date, dict[str, float]],
    prices: pl.DataFrame,
    entry_lag: int,
    cost_bps: float,
    gone: dict[str, date],
) -> pl.DataFrame:
    """Slow reference: a book of share counts and cash that is carried from the first session to the last."""
    close = {(t, day): c for t, day, c in prices.select("ticker", "date", "close").iter_rows()}
    orders = {
        DATES[i + entry_lag]: decisions[day]
        for i, day in enumerate(DATES)
        if day in decisions and i + entry_lag < len(DATES)
    }
    shares: dict[str, float] = {}
    last: dict[str, float] = {}
    stuck: dict[str, float] = {}
    cash, before, rows = 1.0, 1.0, []
    for day in DATES:
        last |= {t: close[t, day] for t in {name for name, _ in close} if (t, day) in close}
        for t in [t for t in shares if t in gone and gone[t] <= day]:
            cash += shares.pop(t) * last[t]
        equity = cash + sum(n * last[t] for t, n in shares.items())
        turnover = 0.0
        if day in orders:
            stuck = {t: orders[day].get(t, 0.0) for t in shares if (t, day) not in close}
            worth = {t: n * last[t] / equity for t, n in shares.items() if t not in stuck}
            target = {t: w for t, w in orders[day].items() if (t, day) in close}
            left = 1 - sum(shares[t] * last[t] / equity for t in stuck)
            room = min(1.0, left / sum(target.values())) if stuck and target else 1.0
            target = {t: w * room for t, w in target.items()}
            turnover = sum(abs(target.get(t, 0) - worth.get(t, 0)) for t in {*worth, *target})
            shares = {t: shares[t] for t in stuck} | {t: w * equity / last[t] for t, w in target.items()}
        for t in [t for t in stuck if (t, day) in close and t in shares]:
            too_much = max(0.0, shares[t] - stuck.pop(t) * equity / last[t])
            turnover += too_much * last[t] / equity
            shares[t] -= too_much
            shares = {name: n for name, n in shares.items() if n}
        cost = turnover * cost_bps / 1e4
        shares = {t: n * (1 - cost) for t, n in shares.items()}
        equity *= 1 - cost
        cash = equity - sum(n * last[t] for t, n in shares.items())
        rows.append((day, equity / before - 1, turnover, cost, len(shares), cash / equity))
        before = equity
    return pl.DataFrame(rows, schema=["date", "net_return", "turnover", "cost", "positions", "cash"], orient="row")


@pytest.mark.parametrize("entry_lag", [0, 1, 3])
@pytest.mark.parametrize(("missing", "tolerance"), [(0.05, 1e-12), (0.1, 1e-6)])
def test_equals_a_book_of_share_counts(entry_lag: int, missing: float, tolerance: float) -> None:
    # With many holes names are halted at three executions in a row: what was left of the first is cut off then.
    prices, decisions = random_market(4, missing=missing), random_decisions(4, full=0.9)
    known = after(FEB, 9)
    prices = prices.filter((pl.col("ticker") != "N05") | (pl.col("date") < after(FEB, 5)))
    for as_of in (JAN, FEB):
        decisions[as_of] = {**dict.fromkeys(list(decisions[as_of])[:4], 0.15), "N05": 0.3}
    gone = delistings_of(("N05", after(FEB, 4), known))
    last = DATES[
        -2
    ]  # without the last session, which with a lag of 0 would trade a decision that the reference knows as well
    frame = run(
        decisions,
        prices,
        date(2015, 11, 1),
        last,
        entry_lag=entry_lag,
        cost_bps=15,
        delistings=gone,
    )
    book = share_counts(decisions, prices, entry_lag, 15, {"N05": known}).filter(
        pl.col("date").is_between(frame["date"][0], last)
    )
    for name in ("net_return", "turnover", "cost", "cash", "positions"):
        assert frame[name].to_numpy() == pytest.approx(book[name].to_numpy(), abs=tolerance), name


def halted(path: list[float], first: date, last: date) -> list[float | None]:
    return [None if first <= day <= last else close for day, close in zip(DATES, path, strict=True)]


def test_a_holding_that_is_halted_at_the_execution_books_its_loss_when_it_trades_again() -> None:
    """It comes back at a fifth of its price: who sold it at the last one would have lost nothing."""
    execution, again = after(FEB, 1), after(FEB, 4)
    path = halted(steps({again: 0.2, after(FEB, 6): 2.0}), after(FEB, -1), after(FEB, 3))
    prices = prices_of({"A": path, "B": steps({}), "C": steps({after(FEB, 2): 1.1})})
    frame = run({JAN: {"A": 0.5, "B": 0.5}, FEB: {"C": 1.0}}, prices, date(2016, 2, 1), MAR, cost_bps=10)
    row = at(frame, execution)
    assert (row["turnover"], row["positions"], row["cash"]) == (1.0, 2, 0.0)  # B sold, C bought for what B gave
    assert at(frame, after(FEB, 2))["gross_return"] == pytest.approx(0.05, abs=1e-15)
    back = at(frame, again)
    assert back["gross_return"] == pytest.approx(-0.4 / 1.05, abs=1e-15)
    assert back["turnover"] == pytest.approx(0.1 / 0.65, abs=1e-15)
    assert back["cost"] == pytest.approx(0.1 / 0.65 / 1000, abs=1e-15)
    assert (back["positions"], back["cash"]) == (1, pytest.approx(0.1 / 0.65))
    assert at(frame, after(FEB, 6))["gross_return"] == 0.0  # sold: what it gains later is another's


def test_a_holding_that_is_halted_and_wanted_is_kept_up_to_its_target() -> None:
    path = halted(steps({after(FEB, 6): 2.0}), after(FEB, -1), after(FEB, 3))
    prices = prices_of({"A": path, "B": steps({})})
    frame = run({JAN: {"A": 0.5, "B": 0.5}, FEB: {"A": 0.2, "B": 0.8}}, prices, date(2016, 2, 1), MAR)
    assert at(frame, after(FEB, 1))["turnover"] == 0.0  # B would be bought, but nothing can be sold
    assert at(frame, after(FEB, 4))["turnover"] == pytest.approx(0.3)
    assert at(frame, after(FEB, 6))["gross_return"] == pytest.approx(0.2)


def test_a_holding_that_is_halted_at_the_execution_and_delisted_is_settled_once() -> None:
    last, known = after(FEB, -2), after(FEB, 3)
    prices = prices_of({"A": halted(steps({}), after(FEB, -1), DATES[-1]), "B": steps({})})
    gone = delistings_of(("A", last, known)).with_columns(delisting_return=pl.lit(-0.8))
    frame = run({JAN: {"A": 0.5, "B": 0.5}, FEB: {"B": 1.0}}, prices, date(2016, 2, 1), MAR, delistings=gone)
    assert at(frame, after(FEB, 1))["positions"] == 2
    assert at(frame, known)["gross_return"] == pytest.approx(-0.4)
    assert (at(frame, known)["positions"], at(frame, known)["turnover"]) == (1, 0.0)
    assert frame["gross_return"].sum() == pytest.approx(-0.4)


def test_shorts_lose_what_their_names_gain_and_may_lose_everything() -> None:
    two, three = after(JAN, 2), after(JAN, 3)
    prices = prices_of({"A": steps({two: 1.1, three: 9.0}), "B": steps({two: 1.2})})
    frame = run({JAN: {"A": -0.5, "B": 0.5}}, prices, date(2016, 2, 1), FEB)
    assert (at(frame, after(JAN, 1))["turnover"], at(frame, after(JAN, 1))["cash"]) == (1.0, 1.0)
    assert at(frame, two)["gross_return"] == pytest.approx(0.05)
    assert at(frame, three)["gross_return"] == -1.0
    rest = frame.filter(pl.col("date") > three)
    assert rest.select("gross_return", "equity", "cash", "positions").unique().rows() == [(0.0, 0.0, 1.0, 0)]


def test_what_is_traded_held_and_gained_adds_up_to_the_result() -> None:
    prices, decisions = random_market(4, missing=0.05), random_decisions(4, full=0.9)
    found = simulated(
        weights_of(decisions),
        prices,
        DAYS,
        list(decisions),
        date(2016, 1, 1),
        DATES[-1],
        entry_lag=1,
        settings=BacktestSettings(cost_bps=12),
    )
    by_day = found.outcome.trades.group_by("date").agg(turnover=pl.col("traded").abs().sum(), cost=pl.sum("commission"))
    joined = found.frame.filter(pl.col("turnover") > 0).join(by_day, on="date", how="full", coalesce=True)
    assert joined["turnover"].to_numpy() == pytest.approx(joined["turnover_right"].to_numpy(), abs=1e-14)
    assert joined["cost"].to_numpy() == pytest.approx(joined["cost_right"].to_numpy(), abs=1e-16)
    held = found.outcome.positions.group_by("date").agg(invested=pl.sum("weight")).join(found.frame, on="date")
    assert held["invested"].to_numpy() == pytest.approx(1.0 - held["cash"].to_numpy(), abs=1e-14)
    gained = found.outcome.gains.group_by("month").agg(pl.sum("gain"))
    monthly = found.frame.group_by(month=pl.col("date").dt.month_start()).agg(pl.sum("gross_return"))
    both = gained.join(monthly, on="month", how="full", coalesce=True)
    assert both["gain"].to_numpy() == pytest.approx(both["gross_return"].to_numpy(), abs=1e-13)


def cut(frame: pl.DataFrame, column: str, first: date, last: date) -> pl.DataFrame:
    return frame.filter(pl.col(column).is_between(first, last))


def month_by_month(frames: dict[str, pl.DataFrame], months: list[date], entry_lag: int) -> pl.DataFrame:
    """Each month from the weights, prices, members and delistings of its declared lookback alone."""
    parts = []
    for first in months:
        index = first.year * 12 + first.month - 1
        since = date((index - lookback_months(entry_lag)) // 12, (index - lookback_months(entry_lag)) % 12 + 1, 1)
        last = date((index + 1) // 12, (index + 1) % 12 + 1, 1) - timedelta(days=1)
        parts.append(
            simulate(
                cut(frames["weights"], "as_of", since, last),
                cut(frames["prices"], "panel_from", since, last).sample(fraction=1.0, shuffle=True, seed=1),
                sessions(since, last),
                [day for day in ENDS if since <= day <= last],
                first,
                last,
                entry_lag=entry_lag,
                settings=BacktestSettings(cost_bps=12),
                delistings=cut(frames["delistings"], "known_at", since, last),
                benchmark_members=cut(frames["universe"], "date", since, last),
            )
        )
    return pl.concat(parts)


@pytest.mark.parametrize("entry_lag", [0, 1, 2, 20])
def test_a_range_equals_its_months_bit_for_bit(entry_lag: int) -> None:
    prices = random_market(7, missing=0.08)
    moved = random_market(8, names=1).with_columns(
        ticker=pl.lit("N11"), panel_from=pl.lit(DATES[150])
    )  # earlier bars of one that moved in
    prices = pl.concat(
        [
            prices.filter((pl.col("ticker") != "N11") | (pl.col("date") >= DATES[150])),
            moved.filter(pl.col("date") < DATES[150]),
        ]
    )
    frames = {
        "weights": weights_of(random_decisions(7)),
        "prices": prices,
        "delistings": pl.concat(
            [
                delistings_of(
                    *((f"N0{k}", DATES[last], DATES[last + 6]) for k, last in ((2, 120), (4, 200), (6, 140), (7, 142)))
                ),
                taken_back(("N06", DATES[140], DATES[150]), ("N07", DATES[142], DATES[190])),
            ]
        ),
        "universe": prices.select("ticker")
        .unique()
        .join(pl.DataFrame({"date": DATES}), how="cross"),  # members while they are halted too
    }
    months = [date(2016, m, 1) for m in range(1, 13)]
    bulk = simulate(
        frames["weights"],
        prices,
        DAYS,
        ENDS,
        months[0],
        date(2016, 12, 31),
        entry_lag=entry_lag,
        settings=BacktestSettings(cost_bps=12),
        delistings=frames["delistings"],
        benchmark_members=frames["universe"],
    )
    singles = month_by_month(frames, months, entry_lag)
    assert len(bulk) == len(sessions(months[0], date(2016, 12, 31)))
    for name in bulk.columns:
        assert bulk[name].to_numpy().tobytes() == singles[name].to_numpy().tobytes(), name
    assert bulk.schema == DATASETS["backtest"].schema


@pytest.mark.parametrize("through", [JAN, after(JAN, 1), after(JAN, 9), MAR])
def test_what_comes_later_changes_nothing(through: date) -> None:
    prices, decisions = random_market(9, missing=0.05), random_decisions(9)
    gone = delistings_of(
        ("N02", after(JAN, 5), after(JAN, 8)),
        ("N03", after(MAR, 2), after(MAR, 4)),
        ("N01", after(JAN, 2), after(JAN, 4)),
    )
    gone = pl.concat([gone, taken_back(("N01", after(JAN, 2), after(JAN, 10)))])
    universe = prices.select("ticker", "date")
    options: dict[str, Any] = {"entry_lag": 1, "settings": BacktestSettings(cost_bps=10.0)}
    whole = simulate(
        weights_of(decisions),
        prices,
        DAYS,
        ENDS,
        date(2016, 1, 1),
        DATES[-1],
        delistings=gone,
        benchmark_members=universe,
        **options,
    )
    kept = [day for day in ENDS if day <= through]
    known = simulate(
        weights_of({day: decisions[day] for day in kept}),
        prices.filter(pl.col("date") <= through),
        DAYS[np.datetime64(through) >= DAYS],
        kept,
        date(2016, 1, 1),
        through,
        delistings=gone.filter(pl.col("known_at") <= through),
        benchmark_members=universe.filter(pl.col("date") <= through),
        **options,
    )
    assert known.equals(whole.filter(pl.col("date") <= through))


def test_the_running_months_provisional_decision_is_not_executed() -> None:
    running = after(FEB, 5)
    prices = random_market()
    decisions = {JAN: {"N00": 1.0}, FEB: {"N01": 1.0}}
    plain = run(decisions, prices, date(2016, 2, 1), after(FEB, 9))
    assert plain.equals(run({**decisions, running: {"N02": 1.0}}, prices, date(2016, 2, 1), after(FEB, 9)))


def test_the_benchmark_is_the_members_mean_of_the_session_before() -> None:
    day = after(JAN, 3)
    prices = prices_of({"A": steps({day: 1.2}), "B": steps({day: 1.1})})
    members = prices.filter((pl.col("ticker") == "A") | (pl.col("date") < after(JAN, 2))).select("ticker", "date")
    frame = run({JAN: {}}, prices, date(2016, 2, 1), FEB, benchmark_members=members)
    assert at(frame, day)["benchmark_return"] == pytest.approx(0.2, abs=1e-15)
    none = run({JAN: {}}, prices, date(2016, 2, 1), FEB, benchmark_members=members.clear())
    assert none["benchmark_return"].null_count() == len(none)


def test_the_bar_of_a_ticker_in_two_sectors_panels_counts_once() -> None:
    prices, decisions = random_market(), random_decisions()
    plain = run(decisions, prices, date(2016, 1, 1), JAN)
    assert plain.equals(
        run(decisions, pl.concat([prices, prices.filter(pl.col("ticker") == "N01")]), date(2016, 1, 1), JAN)
    )
    other = prices.filter(pl.col("ticker") == "N01").with_columns(pl.col("close") * 2)
    with pytest.raises(DatasetError, match="N01 has two rows on"):
        run(decisions, pl.concat([prices, other]), date(2016, 1, 1), JAN)


def test_errors_name_what_is_missing() -> None:
    prices = random_market()
    held = {"N00": 1.0}
    with pytest.raises(HistoryError, match="in some month"):
        run({JAN: held, MAR: held}, prices, date(2016, 2, 1), MAR)
    with pytest.raises(HistoryError, match=r"last decision is of 2016-01-29.*month before"):
        run({JAN: held}, prices, date(2016, 2, 1), date(2016, 3, 31))
    with pytest.raises(HistoryError, match="months before"):
        simulate(
            weights_of({}),
            prices,
            DAYS,
            [],
            date(2015, 10, 1),
            DATES[-1],
            entry_lag=1,
            settings=BacktestSettings(cost_bps=0),
        )
    with pytest.raises(HistoryError, match="2015-08-31 is before the first session"):
        run({date(2015, 8, 31): held, date(2015, 9, 30): held, ENDS[0]: held}, prices, date(2015, 11, 1), ENDS[1])
    with pytest.raises(DatasetError, match="2016-01-30 is not among the sessions"):
        run({date(2016, 1, 30): held}, prices, date(2016, 2, 1), FEB)
    with pytest.raises(DatasetError, match="weights of 2016-02-29 do not belong"):
        simulate(
            weights_of({FEB: held}),
            prices,
            DAYS,
            [JAN],
            date(2016, 2, 1),
            FEB,
            entry_lag=1,
            settings=BacktestSettings(cost_bps=0),
        )
    with pytest.raises(DatasetError, match=r"sum to 1\.2"):
        run({JAN: {"N00": 0.6, "N01": 0.6}}, prices, date(2016, 2, 1), FEB)
    with pytest.raises(DatasetError, match="N00 has two weights"):
        simulate(
            weights_of({JAN: held}).vstack(weights_of({JAN: held})),
            prices,
            DAYS,
            [JAN],
            date(2016, 2, 1),
            FEB,
            entry_lag=1,
            settings=BacktestSettings(cost_bps=0),
        )
    with pytest.raises(SettingsError, match="cost_bps"):
        run({JAN: held}, prices, date(2016, 2, 1), FEB, cost_bps=6000)


def test_lookback_grows_with_the_entry_lag() -> None:
    assert [lookback_months(lag) for lag in (0, 1, 15, 16, 35, 36)] == [3, 3, 3, 4, 4, 5]
