"""Figures of a track record against empyrical (reference/make_returns.py), and where our conventions differ from
its."""

import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.backtest import metrics
from quant_assets.market.calendar import sessions

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "returns.json").read_text())
CASES = [name for name in REFERENCE if name != "empyrical"]
DAYS = sessions(date(2015, 1, 2), date(2017, 6, 30))

#: empyrical's drawdown is negative and its information ratio is that of a session.
FACTORS = {"max_drawdown": -1.0, "information_ratio": math.sqrt(252.0)}


def found(case: dict[str, Any]) -> dict[str, float | None]:
    returns = case["returns"]
    frame = pl.DataFrame({"date": DAYS[: len(returns)], "net_return": returns, "benchmark_return": case["benchmark"]})
    return metrics.performance(frame.with_columns(turnover=pl.lit(0.0), cost=pl.lit(0.0)))


@pytest.mark.parametrize("name", CASES)
def test_equal_to_empyrical(name: str) -> None:
    figures = found(REFERENCE[name])
    for figure, value in REFERENCE[name]["figures"].items():
        expected = value if value is None else value * FACTORS.get(figure, 1.0)
        assert figures[figure] == (None if expected is None else pytest.approx(expected, rel=1e-12, abs=1e-15)), figure


def test_the_cases_hold_what_may_go_wrong() -> None:
    """A loss on the first session counts as a drawdown, idle sessions count, and nothing is infinite without a loss."""
    crash, idle, rising = (REFERENCE[name] for name in CASES[2:])
    assert found(crash)["max_drawdown"] == pytest.approx(0.3, abs=0.02)
    assert idle["returns"].count(0.0) == 30
    assert len(idle["returns"]) == metrics.MIN_ANNUALISED_SESSIONS
    assert [rising["figures"][name] for name in ("sortino", "calmar", "max_drawdown")] == [None, None, 0.0]


def test_fewer_sessions_than_sixty_are_not_annualised_unlike_in_empyrical() -> None:
    case = REFERENCE[CASES[3]]
    short = {name: case[name][:59] for name in ("returns", "benchmark")}
    assert found(short)["annualised_return"] is found(short)["calmar"] is None
    assert found(short)["sharpe"] is not None
