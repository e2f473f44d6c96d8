"""Figures of valuation: by hand, of a year and of the whole company, as known, and whatever a split does to a price."""

from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.features.fundamental import fundamental
from quant_assets.features.valuation import SHARED, VALUATION
from quant_assets.market.calendar import first_session_from, sessions
from quant_assets.settings.domain import FundamentalSettings
from quant_assets_tests.synthetic_statements import as_fundamentals, statement

DAYS = sessions(date(2016, 1, 4), date(2018, 12, 31))
QUARTERS = [date(year, month, day) for year in (2016, 2017) for month, day in ((3, 31), (6, 30), (9, 30), (12, 31))]
FIGURES = {
    "revenue": 25e6,
    "operating_income": 5e6,
    "net_income": 2.5e6,
    "total_assets": 80e6,
    "total_equity": 20e6,
    "total_debt": 30e6,
    "shares": 1e6,
    "depreciation": 1e6,
    "operating_cash_flow": 4e6,
    "capital_expenditure": -1.5e6,
    "cash": 6e6,
}


def known_on(end: date) -> date:
    return first_session_from(end + timedelta(days=40))


def quarters(**more: object) -> list[dict[str, object]]:
    return [statement(end, known_on(end), **(FIGURES | more)) for end in QUARTERS]


def prices(split: date | None = None) -> pl.DataFrame:
    """A close of 50 throughout; with `split`, 100 before and twice the shares from then on."""
    after = pl.col("date") >= (split or date(2000, 1, 1))
    return pl.DataFrame({"date": pl.Series(DAYS, dtype=pl.Date)}).select(
        pl.lit("A").alias("ticker"),
        "date",
        close_unadjusted=pl.when(after).then(50.0).otherwise(100.0),
        split_factor=pl.when(after).then(2.0 if split else 1.0).otherwise(1.0),
    )


def ask(rows: list[dict[str, object]], day: date, bars: pl.DataFrame | None = None) -> dict[str, float]:
    bars = prices() if bars is None else bars
    keys = bars.select("ticker", "date").filter(pl.col("date") == day)
    result = fundamental(keys, bars, as_fundamentals(rows), FundamentalSettings(), day, day, VALUATION)
    return result.row(0, named=True)


def test_by_hand() -> None:
    row = ask(quarters(), date(2018, 6, 15))
    value, enterprise = 50e6, 50e6 + 24e6
    assert row["market_value"] == value
    assert row["price_to_earnings"] == pytest.approx(value / 10e6), "a year's income, not a quarter's"
    assert row["price_to_book"] == pytest.approx(value / 20e6), "of the company, not of a share"
    assert row["ev_to_ebitda"] == pytest.approx(enterprise / 24e6)
    assert row["ebitda_yield"] == pytest.approx(24e6 / enterprise)
    assert row["free_cash_flow"] == 10e6
    assert row["net_debt"] == 24e6
    assert row["shares_outstanding"] == 1e6
    assert (row["earnings_per_share"], row["book_per_share"]) == pytest.approx((10.0, 20.0))
    assert row["return_on_assets"] == pytest.approx(10 / 80)
    assert row["operating_profitability"] == pytest.approx(20 / 20)
    assert row["asset_growth"] == pytest.approx(0.0)


def test_a_loss_has_a_yield_and_no_multiple() -> None:
    row = ask(quarters(net_income=-2.5e6, operating_income=-5e6), date(2018, 6, 15))
    assert (row["price_to_earnings"], row["ev_to_ebitda"]) == (None, None)
    assert row["earnings_yield"] == pytest.approx(-0.2)
    assert row["ebitda_yield"] == pytest.approx(-16 / 74)


def test_more_cash_than_the_company_is_worth_has_no_yield() -> None:
    row = ask(quarters(cash=200e6), date(2018, 6, 15))
    assert (row["ebitda_yield"], row["ev_to_ebitda"]) == (None, None)
    assert row["net_debt"] == -170e6


@pytest.mark.parametrize(
    ("lacks", "unknown"),
    [
        ("cash", {"net_debt", "ev_to_ebitda", "ebitda_yield"}),
        ("depreciation", {"ebitda", "ev_to_ebitda", "ebitda_yield"}),
        ("capital_expenditure", {"free_cash_flow"}),
        ("shares", {"market_value", "shares_outstanding", "price_to_earnings", "price_to_book", "earnings_per_share"}),
    ],
)
def test_a_missing_figure_is_no_zero(lacks: str, unknown: set[str]) -> None:
    row = ask(quarters(**{lacks: None}), date(2018, 6, 15))
    assert {name for name in unknown if row[name] is not None} == set()
    assert row["return_on_equity"] == pytest.approx(0.5)


def test_a_split_changes_shares_and_price_and_no_value() -> None:
    day = date(2018, 6, 15)
    before, after = ask(quarters(), day, prices(date(2018, 7, 2))), ask(quarters(), day, prices(date(2018, 5, 1)))
    assert after["shares_outstanding"] == 2 * before["shares_outstanding"]
    assert after["earnings_per_share"] == before["earnings_per_share"] / 2
    for name in ("market_value", "price_to_earnings", "price_to_book", "ev_to_ebitda", "net_debt", "free_cash_flow"):
        assert after[name] == before[name], name


def test_a_later_statement_changes_nothing_before_it_is_known() -> None:
    end = date(2018, 3, 31)
    rows = [*quarters(), statement(end, known_on(end), **{name: 3 * value for name, value in FIGURES.items()})]
    known, day = known_on(end), known_on(end) - timedelta(days=1)
    assert ask(rows, day) == ask(quarters(), day)
    later = ask(rows, known)
    assert later["free_cash_flow"] == pytest.approx(3 * 2.5e6 + 7.5e6)
    assert later["asset_growth"] == pytest.approx(2.0)


def test_features_of_models_are_shared_and_not_declared_again() -> None:
    names = [feature.name for feature in VALUATION]
    assert len(set(names)) == len(names)
    assert set(SHARED) <= set(names)
