"""The rule for unexplained steps, on hand-computed examples and on the cases for which it was made."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.market.calendar import sessions
from quant_assets.market.containment import REVERSAL_SESSIONS, contained, counted, marked_members
from quant_assets.market.panel import FloatArray
from quant_assets.market.sector_return import LOOKBACK, equal_weight_returns

NAN = np.nan
DAYS = sessions(date(2023, 6, 1), date(2023, 8, 31))


def steps(prices: list[float]) -> tuple[FloatArray, FloatArray, np.ndarray]:
    """Returns, closes and marks of one name: a step of a factor of three or more is marked."""
    close = np.array([prices], dtype=np.float64)
    change = np.full(close.shape, NAN)
    bars = np.flatnonzero(~np.isnan(close[0]))
    change[0, bars[1:]] = close[0, bars[1:]] / close[0, bars[:-1]] - 1.0
    with np.errstate(invalid="ignore"):
        return change, close, np.abs(np.log1p(change)) >= np.log(3.0)


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ([1, 1.1, 1.0], [NAN, 0.1, -1 / 11]),  # ordinary
        ([1, 70, 77], [NAN, NAN, 0.1]),  # a rise is unknown; what follows counts
        ([100, 6, 6], [NAN, -0.94, 0.0]),  # a fall counts
        ([1, 100, 1], [NAN, NAN, NAN]),  # there and back: neither counts
        ([1, 100, 0.9], [NAN, NAN, -0.1]),  # back and below: from where it was before
        ([1, 100, 0.1], [NAN, NAN, -0.9]),  # a failure is none the smaller for a bad print before it
        ([1, 100, 20], [NAN, NAN, NAN]),  # part of the way back
        ([1, 100, 20, 0.5], [NAN, NAN, NAN, -0.5]),  # the rest of it, and below
        ([1, 100, 0.5, 0.1], [NAN, NAN, -0.5, -0.8]),  # a second fall counts in full
        ([1, 10, 100, 1.5], [NAN, NAN, NAN, NAN]),  # two rises
        ([100, 1, 100], [NAN, -0.99, NAN]),  # a false fall counts, the way back does not
        ([1, NAN, 100, NAN, 0.5], [NAN, NAN, NAN, NAN, -0.5]),  # over missing bars
        ([1, 100, *[100] * (REVERSAL_SESSIONS - 2), 0.5], [NAN, NAN, *[0.0] * (REVERSAL_SESSIONS - 2), -0.5]),
        ([1, 100, *[100] * (REVERSAL_SESSIONS - 1), 0.5], [NAN, NAN, *[0.0] * (REVERSAL_SESSIONS - 1), -0.995]),
    ],
)
def test_what_counts(prices: list[float], expected: list[float]) -> None:
    change, close, unexplained = steps(prices)
    result = counted(change, close, unexplained)
    np.testing.assert_allclose(result[0], expected, rtol=0, atol=1e-12)
    untouched = ~np.isnan(result) & (result == change)
    assert len(contained(close, unexplained).row) == np.sum(~np.isnan(change) & ~untouched)


def test_without_marks_nothing_is_copied() -> None:
    change, close, unexplained = steps([1, 70, 0.5])
    assert counted(change, close, np.zeros_like(unexplained)) is change


def sector(path: list[float], names: int = 11) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Prices and universe: T000 as given, the others +1 % a session."""
    closes = {"T000": path} | {f"T{i:03d}": [50 * 1.01**k for k in range(len(path))] for i in range(1, names + 1)}
    frame = pl.DataFrame(
        [(name, DAYS[k].item(), value) for name, values in closes.items() for k, value in enumerate(values)],
        schema={"ticker": pl.String, "date": pl.Date, "close": pl.Float64},
        orient="row",
    )
    step = (pl.col("close") / pl.col("close").shift().over("ticker")).log().abs()
    frame = frame.with_columns(panel_from="date", unexplained=(step >= np.log(3.0)).fill_null(False))
    return frame, frame.select("ticker", "date")


def test_an_unflagged_reverse_split_does_not_take_the_sector() -> None:
    path = [0.085 * 1.01**k for k in range(10)] + [6.0 * 1.01**k for k in range(10)]
    prices, universe = sector(path)
    result = equal_weight_returns(prices, universe, DAYS[: len(path)])
    assert result[1:] == pytest.approx(np.full(len(path) - 1, 0.01), abs=1e-12)
    unmarked = equal_weight_returns(prices.drop("unexplained"), universe, DAYS[: len(path)])
    assert unmarked[10] > 5.0
    for t in range(LOOKBACK, len(path)):  # the lookback is enough
        part = slice(t - LOOKBACK, t + 1)
        assert equal_weight_returns(prices, universe, DAYS[part])[-1].tobytes() == result[t].tobytes()


def test_a_bad_print_leaves_the_sector_alone_on_both_days() -> None:
    path = [100 * 1.01**k * (100 if k == 8 else 1) for k in range(16)]
    prices, universe = sector(path)
    result = equal_weight_returns(prices, universe, DAYS[: len(path)])
    assert result[1:] == pytest.approx(np.full(len(path) - 1, 0.01), abs=1e-12)
    for t in range(LOOKBACK, len(path)):
        part = slice(t - LOOKBACK, t + 1)
        assert equal_weight_returns(prices, universe, DAYS[part])[-1].tobytes() == result[t].tobytes()


def test_a_failure_counts_in_full() -> None:
    path = [3.65] * 8 + [0.21] * 4  # Lehman Brothers, 2008-09-15
    prices, universe = sector(path)
    assert prices["unexplained"].sum() == 1
    result = equal_weight_returns(prices, universe, DAYS[: len(path)])
    assert result[8] == pytest.approx((11 * 0.01 + 0.21 / 3.65 - 1) / 12)


def test_members_with_an_unexplained_bar_are_named() -> None:
    prices, universe = sector([0.085] * 5 + [6.0] * 5)
    moved = prices.with_columns(
        panel_from=pl.when(pl.col("ticker") == "T000").then(pl.lit(DAYS[7].item())).otherwise("date")
    )
    assert marked_members(prices, universe).rows() == [("T000", DAYS[5].item())]
    assert marked_members(moved, universe).is_empty(), "not in the panel that day"
    assert marked_members(prices, universe.filter(pl.col("ticker") != "T000")).is_empty()
    assert marked_members(prices.drop("unexplained"), universe).is_empty()
