"""The page of risk says what the datasets say, in the same bytes for the same figures."""

import re
from datetime import date

import polars as pl
import pytest

from quant_assets.reporting.risk_page import exceptions_svg, render
from quant_assets.risk import breakdown
from quant_assets.risk.forecasts import at_decision, var_forecasts, with_backtests
from quant_assets.risk.holdings import holdings
from quant_assets.settings.risk import RiskSettings
from quant_assets_tests.risk.panels import DAYS, decision, prices

SETTINGS = RiskSettings(window=200, min_observations=150, paths=1_000)
AS_OF, BEFORE = date(2021, 3, 31), date(2021, 2, 26)
WEIGHTS = {"N0": 0.6, "N<1>": 0.4}


@pytest.fixture(scope="module")
def content():
    bars = prices(seed=3).with_columns(pl.col("ticker").replace("N1", "N<1>"))
    held = holdings(decision(AS_OF, WEIGHTS), bars, DAYS, AS_OF, 200, AS_OF, 0.9)
    told = var_forecasts(decision(BEFORE, WEIGHTS), bars, DAYS, [(BEFORE, date(2021, 3, 1), AS_OF)], SETTINGS)
    rows = with_backtests(at_decision(held, SETTINGS, "2021-03|it"), told)
    parts = pl.DataFrame([*breakdown.contributions(held, SETTINGS), *breakdown.liquidity(held, {"N0": 1e6}, SETTINGS)])
    return rows, told, parts


def test_the_page_says_what_the_datasets_say(content) -> None:
    rows, told, parts = content
    page = render("Information Technology", AS_OF, rows, told, parts, "Simulated market").decode()
    assert "Simulated market" in page
    assert "N&lt;1&gt;" in page
    assert "N<1>" not in page
    for row in rows:
        if row["value_at_risk"] is not None:
            assert f"{100 * row['value_at_risk']:.2f} %".replace("-", "−") in page
    assert "dollar volume of N&lt;1&gt; not known" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert page == render("Information Technology", AS_OF, rows, told, parts, "Simulated market").decode()


def test_exceptions_are_marked_and_counted(content) -> None:
    _, told, _ = content
    svg = exceptions_svg(told, 0.95)
    drawn = told.filter(
        (pl.col("level") == 0.95)
        & pl.col("method").is_in(["historical", "filtered_historical", "normal"])
        & pl.col("exception")
    )
    assert svg.count("<circle") == drawn["date"].n_unique()
    for method, count in drawn.group_by("method").len().iter_rows():
        assert f"{method.replace('_', ' ')} {count}" in svg
    assert len(re.findall(r"V[\d.]+", svg)) == told["date"].n_unique()


def test_no_line_is_drawn_over_sessions_without_a_forecast(content) -> None:
    _, told, _ = content
    days = told["date"].unique().sort().to_list()
    gap = pl.col("date").is_between(days[4], days[6])
    nothing = [pl.when(gap).then(None).otherwise(name).alias(name) for name in ("value_at_risk", "exception")]
    lines = [each.count("M") for each in re.findall(r'<path d="(M[^V"]*)"', exceptions_svg(told, 0.95))]
    broken = [
        each.count("M") for each in re.findall(r'<path d="(M[^V"]*)"', exceptions_svg(told.with_columns(nothing), 0.95))
    ]
    assert lines == [1] * 3
    assert broken == [2] * 3


def test_a_page_without_a_forecast_says_so(content) -> None:
    rows, told, parts = content
    page = render("Energy", AS_OF, with_backtests(rows, told.clear()), told.clear(), parts, None).decode()
    assert "No forecast has been compared with a return yet." in page
    assert "<svg" not in page
