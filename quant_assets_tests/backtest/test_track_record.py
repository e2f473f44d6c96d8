"""The carried track record against figures computed from all returns at once."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.backtest.metrics import drawdowns, performance, since_first_execution
from quant_assets.backtest.track_record import continued
from quant_assets.market.calendar import sessions
from quant_assets.partitions import month_of
from quant_assets.schemas import DATASETS
from quant_assets_tests.synthetic import assert_identical

EMPTY = DATASETS["track_record"].empty().drop("sector")
DAYS = sessions(date(2023, 1, 1), date(2024, 2, 29))
IN_MONTHS = [month_of(day) for day in DAYS.tolist()]
AS_OFS = [max(day for day in DAYS.tolist() if month_of(day) == month) for month in dict.fromkeys(IN_MONTHS)]


def backtest(seed: int = 1) -> pl.DataFrame:
    """All in cash until 16 February 2023, a month of it later (May), a halt (June) and a loss of nearly everything."""
    rng = np.random.default_rng(seed)
    days = pl.Series("date", DAYS)
    frame = pl.DataFrame({"date": days, "net_return": 0.012 * rng.standard_t(4, len(DAYS)) + 0.0004})
    first = date(2023, 2, 16)
    held = (pl.col("date") > first) & (pl.col("date").dt.strftime("%Y-%m") != "2023-05")
    moved = held & (pl.col("date").dt.strftime("%Y-%m") != "2023-06")
    frame = frame.with_columns(
        net_return=pl.when(pl.col("date") == first).then(-0.001).when(moved).then("net_return").otherwise(0.0),
        positions=held.cast(pl.Int32),
        turnover=pl.when(pl.col("date") == first).then(1.0).otherwise(0.0),
    )
    frame = frame.with_columns(
        net_return=pl.when(pl.col("date") == date(2023, 11, 14)).then(-0.9).otherwise("net_return")
    )
    return frame.with_columns(gross_return="net_return", cost=pl.lit(0.0))


def walked(frame: pl.DataFrame, before: pl.DataFrame = EMPTY) -> list[pl.DataFrame]:
    found = [before]
    for as_of in AS_OFS:
        found.append(continued(found[-1], frame, as_of))
    return found[1:]


@pytest.mark.parametrize("seed", range(5))
def test_every_month_has_the_figures_of_all_sessions_so_far(seed: int) -> None:
    frame = backtest(seed)
    for as_of, rows in zip(AS_OFS, walked(frame), strict=True):
        row = rows.row(0, named=True)
        track = since_first_execution(frame.filter(pl.col("date") <= as_of))
        assert row["as_of"] == as_of
        assert row["since"] == (track["date"][0] if len(track) else None)
        assert row["sessions"] == len(track)
        expected = performance(track)
        for name in ("total_return", "annualised_volatility", "sharpe", "max_drawdown"):
            assert row[name] == (None if expected[name] is None else pytest.approx(expected[name], rel=1e-12)), name
        if len(track):
            assert row["drawdown"] == pytest.approx(drawdowns(track["net_return"].to_list())[-1], rel=1e-12, abs=1e-15)
            assert row["total_return"] == expected["total_return"], "the same products in the same order"


def test_a_month_needs_the_month_before_and_its_own_sessions_only() -> None:
    frame = backtest().sample(fraction=1.0, shuffle=True, seed=2)
    whole = walked(backtest())
    for number, as_of in enumerate(AS_OFS):
        own = frame.filter(pl.col("date").dt.strftime("%Y-%m") == month_of(as_of))
        assert_identical(continued(whole[number - 1] if number else EMPTY, own, as_of), whole[number])


def test_without_the_month_before_it_begins_anew() -> None:
    frame = backtest()
    august = AS_OFS[7]
    row = continued(EMPTY, frame, august).row(0, named=True)
    assert row["since"] == date(2023, 8, 1), "held on that day already"
    assert row["sessions"] == 23
    assert continued(EMPTY, frame, date(2023, 1, 31)).row(0, named=True) == dict.fromkeys(EMPTY.columns) | {
        "as_of": date(2023, 1, 31),
        "sessions": 0,
    }
    assert continued(walked(frame)[3], frame, None).equals(EMPTY), "no closed session yet"


def test_a_month_without_sessions_of_its_own_carries_the_track_on() -> None:
    before = walked(backtest())[3]
    row = continued(before, backtest().clear(), AS_OFS[4]).row(0, named=True)
    assert row == before.row(0, named=True) | {"as_of": AS_OFS[4]}
