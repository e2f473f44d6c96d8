from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.market.calendar import sessions
from quant_assets.market.sector_return import LOOKBACK, equal_weight_returns

DAYS = sessions(date(2016, 6, 1), date(2016, 6, 6))  # four sessions


def panel(closes: dict[str, list[float | None]]) -> pl.DataFrame:
    rows = [
        (t, DAYS[i].item(), c, DAYS[i].item())
        for t, values in closes.items()
        for i, c in enumerate(values)
        if c is not None
    ]
    schema = {"ticker": pl.String, "date": pl.Date, "close": pl.Float64, "panel_from": pl.Date}
    return pl.DataFrame(rows, schema=schema, orient="row")


def members(**spans: tuple[int, int]) -> pl.DataFrame:
    rows = [(t, DAYS[i].item()) for t, (first, last) in spans.items() for i in range(first, last + 1)]
    return pl.DataFrame(rows, schema={"ticker": pl.String, "date": pl.Date}, orient="row")


def test_mean_over_the_members_of_the_session_before() -> None:
    prices = panel({"A": [100, 110, 110, 121], "B": [50, 50, 60, 60], "C": [10, 10, 10, 30]})
    result = equal_weight_returns(prices, members(A=(0, 3), B=(0, 1), C=(3, 3)), DAYS)
    # session 1: A +10 %, B 0; session 2: A 0, B +20 % (still a member the day before); session 3: A alone, C joins too
    # late for its +200 %
    assert np.isnan(result[0])
    assert result[1:] == pytest.approx([0.05, 0.1, 0.1], abs=1e-15)


def test_a_name_without_a_bar_is_left_out_and_no_name_is_nan() -> None:
    prices = panel({"A": [100, None, None, 165], "B": [50, 55, None, None]})
    result = equal_weight_returns(prices, members(A=(0, 3), B=(0, 3)), DAYS)
    assert result[1] == pytest.approx(0.1)  # B alone
    assert np.isnan(result[2])
    assert result[3] == pytest.approx(0.65)  # A alone


def test_a_halted_name_counts_its_return_over_the_halt_when_it_trades_again() -> None:
    days = sessions(date(2016, 6, 1), date(2016, 6, 13))  # nine sessions
    short, long = [100.0, *[None] * 5, 80.0, 80.0, 80.0], [100.0, *[None] * 6, 80.0, 88.0]
    rows = [
        (t, days[i].item(), c, days[i].item())
        for t, path in (("S", short), ("L", long))
        for i, c in enumerate(path)
        if c
    ]
    prices = pl.DataFrame(
        rows, schema={"ticker": pl.String, "date": pl.Date, "close": pl.Float64, "panel_from": pl.Date}, orient="row"
    )
    universe = pl.DataFrame({"ticker": np.repeat(["S", "L"], 9), "date": np.tile(days, 2)})
    result = equal_weight_returns(prices, universe, days)
    assert np.isnan(result[:6]).all()
    # S: the close before the halt lies five sessions before the session before. L's would be six, so its first return
    # is the day's after.
    assert result[6:] == pytest.approx([-0.2, 0.0, 0.05], abs=1e-15)
    for t in range(LOOKBACK, 9):
        assert equal_weight_returns(prices, universe, days[t - LOOKBACK : t + 1])[-1].tobytes() == result[t].tobytes()
    left = universe.filter(
        (pl.col("ticker") != "S") | (pl.col("date") < days[5].item())
    )  # no member when it trades again
    assert np.isnan(equal_weight_returns(prices, left, days)[6])


def test_earlier_bars_of_a_ticker_that_moved_in_are_not_read() -> None:
    prices = panel({"A": [100, 110, 121, 121], "B": [50, 100, 200, 400]})
    moved = prices.with_columns(
        panel_from=pl.when(pl.col("ticker") == "B").then(pl.max_horizontal("date", DAYS[2])).otherwise("date")
    )
    # a universe that wrongly knew B before it moved must not make its bars count
    assert equal_weight_returns(moved, members(A=(0, 3), B=(0, 3)), DAYS)[1] == pytest.approx(0.1)


@pytest.mark.parametrize("seed", range(10))
def test_relabelling_and_other_tickers_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    closes = {f"N{i}": list(50 * rng.random(4) + 1) for i in range(61)}
    spans = dict.fromkeys(closes, (0, 3))
    plain = equal_weight_returns(panel(closes), members(**spans), DAYS)
    renamed = equal_weight_returns(
        panel({f"N{60 - i}": v for i, v in enumerate(closes.values())}), members(**spans), DAYS
    )
    more = equal_weight_returns(panel(closes | {"Z": [1, 2, 3, 4]}), members(**spans), DAYS)
    assert plain.tobytes() == renamed.tobytes() == more.tobytes()
