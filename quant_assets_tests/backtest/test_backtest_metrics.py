import math
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.backtest import metrics
from quant_assets.market.calendar import sessions

DAYS = sessions(date(2015, 1, 2), date(2016, 6, 30))


def track(returns: np.ndarray, benchmark: np.ndarray | None = None, turnover: np.ndarray | None = None) -> pl.DataFrame:
    zeros = np.zeros(len(returns))
    frame = pl.DataFrame(
        {"date": DAYS[: len(returns)], "net_return": returns, "turnover": zeros if turnover is None else turnover}
    )
    frame = frame.with_columns(cost=pl.col("turnover") * 0.001)
    return frame if benchmark is None else frame.with_columns(benchmark_return=pl.Series(benchmark, nan_to_null=True))


def test_a_track_record_starts_with_its_first_execution() -> None:
    returns, benchmark = np.full(10, 0.01), np.full(10, 0.02)
    returns[:4], turnover = 0.0, np.where(np.arange(10) == 3, 1.0, 0.0)
    frame = track(returns, benchmark, turnover).with_columns(
        gross_return="net_return", positions=pl.Series(np.where(np.arange(10) >= 3, 5, 0))
    )
    found = metrics.since_first_execution(frame.sample(fraction=1.0, shuffle=True, seed=0))
    assert found["date"].to_list() == frame["date"][3:].to_list()
    assert found["benchmark_return"].to_list() == [None] + [0.02] * 6, "nothing was held yet at the first"
    held = metrics.since_first_execution(frame[5:])
    assert held.equals(frame[5:])
    assert metrics.since_first_execution(frame[:3]).is_empty()
    assert metrics.since_first_execution(frame.drop("benchmark_return"))["date"].len() == 7


def test_against_numpy() -> None:
    rng = np.random.default_rng(8)
    returns, benchmark = 0.001 + 0.01 * rng.standard_normal(300), 0.008 * rng.standard_normal(300)
    turnover = np.where(np.arange(300) % 21 == 0, 1.3, 0.0)
    found = metrics.performance(track(returns, benchmark, turnover).sample(fraction=1.0, shuffle=True, seed=0))
    equity = np.cumprod(1 + returns)
    drawdown = 1 - equity / np.maximum.accumulate(np.concatenate([[1.0], equity]))[1:]
    active = returns - benchmark
    growth = equity[-1] ** (252 / 300) - 1
    expected = {
        "sessions": 300,
        "total_return": equity[-1] - 1,
        "benchmark_return": np.prod(1 + benchmark) - 1,
        "annualised_return": growth,
        "annualised_volatility": returns.std(ddof=1) * np.sqrt(252),
        "sharpe": returns.mean() / returns.std(ddof=1) * np.sqrt(252),
        "sortino": returns.mean() / np.sqrt((np.minimum(returns, 0) ** 2).mean()) * np.sqrt(252),
        "max_drawdown": drawdown.max(),
        "calmar": growth / drawdown.max(),
        "hit_rate": (returns > 0).mean(),
        "turnover": turnover.sum(),
        "average_turnover": turnover.sum() / 15,  # January 2015 to March 2016
        "cost": 0.001 * turnover.sum(),
        "information_ratio": active.mean() / active.std(ddof=1) * np.sqrt(252),
    }
    assert DAYS[299].item().strftime("%Y-%m") == "2016-03"
    assert found == pytest.approx(expected, rel=1e-12)
    assert list(found) == list(metrics.UNITS)


def test_hand_computed_drawdown() -> None:
    # 1.1, 0.88, 0.968, 1.2584: lowest against 1.1
    assert metrics.drawdowns([0.1, -0.2, 0.1, 0.3]) == pytest.approx([0.0, 0.2, 0.12, 0.0], abs=1e-15)
    assert metrics.max_drawdown([-0.25, 0.1]) == 0.25  # from the value before the first return


def test_nothing_is_defined_without_returns() -> None:
    found = metrics.performance(track(np.empty(0)))
    assert found.pop("sessions") == 0
    assert set(found.values()) == {None}


def test_one_return_has_no_deviation_and_is_not_annualised() -> None:
    found = metrics.performance(track(np.array([0.02])))
    undefined = {name for name, value in found.items() if value is None}
    assert undefined == {
        "annualised_return", "annualised_volatility", "sharpe", "sortino", "calmar", "information_ratio",
        "benchmark_return",
    }  # fmt: skip


def test_without_deviation_or_loss_the_ratios_are_not_defined() -> None:
    found = metrics.performance(track(np.full(100, 0.001), np.full(100, 0.0004)))
    assert found["annualised_volatility"] == pytest.approx(0, abs=1e-15)
    assert [found[name] for name in ("sharpe", "sortino", "calmar", "information_ratio")] == [None] * 4
    assert found["annualised_return"] == pytest.approx(1.001**252 - 1, rel=1e-12)
    assert found["hit_rate"] == 1.0
    assert metrics.performance(track(np.zeros(5)))["hit_rate"] is None
    benchmark = 0.01 * np.random.default_rng(1).standard_normal(100)
    assert (
        metrics.performance(track(benchmark + 0.0006, benchmark))["information_ratio"] is None
    )  # only rounding differs


def test_sessions_without_benchmark_do_not_count_in_the_information_ratio() -> None:
    returns = np.array([0.01, 0.02, 0.03, -0.01])
    benchmark = np.array([np.nan, 0.01, 0.01, 0.01])
    active = np.array([0.01, 0.02, -0.02])
    found = metrics.performance(track(returns, benchmark))["information_ratio"]
    assert found == pytest.approx(active.mean() / active.std(ddof=1) * math.sqrt(252), rel=1e-12)


@given(st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=50))
@settings(max_examples=100, deadline=None)
def test_drawdown_lies_between_0_and_1_and_order_of_returns_does_not_move_the_sharpe(returns: list[float]) -> None:
    assert all(0 <= loss < 1 for loss in metrics.drawdowns(returns))
    assert metrics.sharpe(returns) == metrics.sharpe(returns[::-1])  # bit for bit
