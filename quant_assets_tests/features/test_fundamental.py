from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.features.fundamental import fundamental, price_sessions
from quant_assets.market.calendar import first_session_from, sessions
from quant_assets.partitions import month_end, month_range, month_start, shift_month
from quant_assets.settings import FundamentalSettings

SETTINGS = FundamentalSettings()
DAYS = sessions(date(2014, 1, 2), date(2019, 12, 31))

#: Sixteen quarters to 2018-12, each known on the first session from the 40th day after its end.
QUARTERS = pl.date_range(date(2015, 3, 31), date(2018, 12, 31), "1q", eager=True).dt.month_end().to_list()


def known_on(end: date) -> date:
    return first_session_from(end + timedelta(days=40))


def bars(ticker: str = "A", split: date | None = None) -> pl.DataFrame:
    """A close of 50 throughout; with `split`, 100 before and twice the shares from then on."""
    frame = pl.DataFrame({"date": pl.Series(DAYS, dtype=pl.Date)})
    after = pl.lit(split is not None) & (pl.col("date") >= (split or date(2030, 1, 1)))
    return frame.select(
        pl.lit(ticker).alias("ticker"),
        "date",
        close_unadjusted=pl.when(after | pl.lit(split is None)).then(50.0).otherwise(100.0),
        split_factor=pl.when(after).then(2.0).otherwise(1.0),
    )


def ask(
    fundamentals: pl.DataFrame, *days: date, prices: pl.DataFrame | None = None, settings: FundamentalSettings = SETTINGS
) -> list[dict]:
    prices = bars() if prices is None else prices
    rows = prices.select("ticker", "date").filter(pl.col("date").is_in(list(days))).sort("date")
    found = fundamental(rows, prices, fundamentals, settings, days[0], days[-1]).sort("date")
    assert found.height == len(days)
    return found.to_dicts()


@pytest.fixture(scope="module")
def quarterly(statement):
    def rows(**more: object) -> list[dict]:
        """Revenue 10, 11, 12, … million by quarter, net income a tenth of it, a million shares."""
        made = []
        for i, end in enumerate(QUARTERS):
            revenue = 1e6 * (10 + i)
            figures = {
                "revenue": revenue,
                "gross_profit": 0.4 * revenue,
                "operating_income": 0.2 * revenue,
                "net_income": 0.1 * revenue,
                "total_equity": 2e7 + i * 1e6,
                "total_debt": 1e7,
                "shares": 1e6,
            }
            made.append(statement(end, known_on(end), **(figures | more)))
        return made

    return rows


def test_ratios_by_hand(quarterly, as_fundamentals) -> None:
    day = date(2018, 6, 15)  # known: the quarters to 2018-03, number 12, revenue 22
    (row,) = ask(as_fundamentals(quarterly()), day)
    revenue, before, equity = 1e6 * (22 + 21 + 20 + 19), 1e6 * (18 + 17 + 16 + 15), 2e7 + 12e6
    assert row["earnings_yield"] == pytest.approx(0.1 * revenue / 50e6)
    assert row["book_to_market"] == pytest.approx(equity / 50e6)
    assert row["return_on_equity"] == pytest.approx(0.1 * revenue / equity)
    assert row["debt_to_equity"] == pytest.approx(1e7 / equity)
    assert (row["gross_margin"], row["operating_margin"], row["net_margin"]) == pytest.approx((0.4, 0.2, 0.1))
    assert row["revenue_growth"] == pytest.approx(revenue / before - 1)
    assert row["earnings_growth"] == pytest.approx(revenue / before - 1)
    published = known_on(date(2018, 3, 31)) - timedelta(days=1)
    assert row["statement_age_days"] == (day - published).days


def test_a_statement_counts_from_the_session_it_is_known(quarterly, as_fundamentals) -> None:
    known = known_on(date(2018, 3, 31))
    before, after = ask(as_fundamentals(quarterly()), known - timedelta(days=1), known)
    assert before["book_to_market"] == pytest.approx(31e6 / 50e6)
    assert after["book_to_market"] == pytest.approx(32e6 / 50e6)
    assert after["statement_age_days"] == 1.0


def test_the_newest_period_wins_not_the_newest_announcement(quarterly, statement, as_fundamentals) -> None:
    late = statement(date(2017, 12, 31), date(2018, 6, 1), total_equity=9e9, revenue=100e6, net_income=1e6, restated=True)
    before, after = ask(as_fundamentals([*quarterly(), late]), date(2018, 5, 31), date(2018, 6, 15))
    assert before["book_to_market"] == after["book_to_market"] == pytest.approx(32e6 / 50e6)
    # The restated quarter is one of the last four: from then on its new version counts in their sum.
    assert before["net_margin"] == pytest.approx(0.1)
    assert after["net_margin"] == pytest.approx((0.1 * (22 + 20 + 19) + 1) / (22 + 100 + 20 + 19))


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2008, 3, 12), 0.3479),
        (date(2008, 3, 13), 0.395989),
        (date(2008, 4, 22), 0.100724),
    ],
)
def test_published_point_in_time_answers(day: date, expected: float, statement, as_fundamentals) -> None:
    # Return on equity of one company as published and restated: qlib, docs/advanced/PIT.rst (MIT).
    published = [(date(2008, 3, 1), date(2007, 12, 31), 0.3479), (date(2008, 3, 13), date(2007, 12, 31), 0.395989)]
    published += [(date(2007, 10, 23), date(2007, 9, 30), 0.24586301), (date(2008, 4, 22), date(2008, 3, 31), 0.100724)]
    rows = [statement(end, first_session_from(when), total_debt=value, total_equity=1.0) for when, end, value in published]
    days = sessions(date(2007, 1, 3), date(2008, 12, 31))
    prices = pl.DataFrame({"date": pl.Series(days, dtype=pl.Date)}).select(
        pl.lit("A").alias("ticker"), "date", close_unadjusted=1.0, split_factor=1.0
    )
    (row,) = ask(as_fundamentals(rows), day, prices=prices)
    assert row["debt_to_equity"] == expected


def test_four_quarters_must_follow_each_other_else_the_annual_statement(quarterly, statement, as_fundamentals) -> None:
    day = date(2018, 6, 15)
    holed = [row for row in quarterly() if row["period_end"] != date(2017, 9, 30)]
    (row,) = ask(as_fundamentals(holed), day)
    assert row["net_margin"] is None
    assert row["book_to_market"] == pytest.approx(32e6 / 50e6)  # the balance sheet needs one quarter only
    year = {"revenue": 80e6, "net_income": 4e6, "total_equity": 1e6}
    annual = [statement(date(2017, 12, 31), date(2018, 2, 20), "annual", **year)]
    (row,) = ask(as_fundamentals(holed + annual), day)
    assert row["net_margin"] == pytest.approx(0.05)
    assert row["revenue_growth"] is None
    assert row["book_to_market"] == pytest.approx(32e6 / 50e6)  # the quarter of March 2018 is newer than the year
    annual.append(statement(date(2016, 12, 31), date(2017, 2, 20), "annual", revenue=64e6, net_income=-2e6))
    (row,) = ask(as_fundamentals(holed + annual), day)
    assert (row["revenue_growth"], row["earnings_growth"]) == pytest.approx((0.25, 3.0))
    # Complete quarters win against a year that ends before the last of them, or with it.
    (row,) = ask(as_fundamentals(quarterly() + annual), day)
    assert row["net_margin"] == pytest.approx(0.1)
    # A year that ends after the last known quarter wins.
    early = [row for row in quarterly() if row["period_end"] < date(2017, 12, 1)]
    (row,) = ask(as_fundamentals(early + annual), day)
    assert row["net_margin"] == pytest.approx(0.05)
    assert row["book_to_market"] is None  # the year gives no shares


def test_growth_needs_the_year_before(quarterly, statement, as_fundamentals) -> None:
    day = date(2018, 6, 15)
    holed = [row for row in quarterly() if row["period_end"] != date(2016, 9, 30)]
    (row,) = ask(as_fundamentals(holed), day)
    assert row["net_margin"] == pytest.approx(0.1)
    assert row["revenue_growth"] is row["earnings_growth"] is None
    years = [(2017, 8.0), (2015, 4.0)]
    annual = [statement(date(year, 12, 31), date(year + 1, 4, 3), "annual", revenue=revenue) for year, revenue in years]
    assert ask(as_fundamentals(annual), day)[0]["revenue_growth"] is None
    annual.append(statement(date(2016, 12, 31), date(2017, 4, 3), "annual", revenue=5.0))
    assert ask(as_fundamentals(annual), day)[0]["revenue_growth"] == pytest.approx(0.6)


def test_a_quarter_wins_against_the_year_that_ends_with_it(statement, as_fundamentals) -> None:
    rows = [
        statement(date(2017, 12, 31), date(2018, 2, 20), frequency, total_debt=debt, total_equity=1.0)
        for frequency, debt in (("annual", 3.0), ("quarterly", 2.0))
    ]
    assert ask(as_fundamentals(rows), date(2018, 3, 1))[0]["debt_to_equity"] == 2.0


def test_fiscal_calendars_of_weeks_are_quarters(statement, as_fundamentals) -> None:
    # Twelve, twelve, twelve and sixteen weeks; and two providers that name the last day of a quarter differently.
    ends = [date(2017, 2, 12), date(2017, 5, 7), date(2017, 9, 3), date(2017, 11, 26), date(2018, 2, 18)]
    rows = [statement(end, known_on(end), revenue=10.0 * (i + 1), net_income=1.0) for i, end in enumerate(ends)]
    rows.append(statement(date(2018, 3, 2), known_on(date(2018, 3, 2)), revenue=60.0, net_income=2.0, provider="q"))
    earlier, before, after = ask(as_fundamentals(rows), date(2018, 3, 15), date(2018, 4, 5), date(2018, 6, 1))
    assert earlier["net_margin"] == pytest.approx(4 / 100)
    assert before["net_margin"] == pytest.approx(4 / 140)
    assert after["net_margin"] == pytest.approx(5 / 150)


def test_of_versions_known_at_once_the_first_provider_counts(statement, as_fundamentals) -> None:
    rows = [
        statement(date(2017, 12, 31), date(2018, 2, 20), "annual", revenue=1.0, net_income=value, provider=provider)
        for provider, value in (("b", 0.2), ("a", 0.1), ("c", 0.3))
    ]
    assert ask(as_fundamentals(rows), date(2018, 3, 1))[0]["net_margin"] == 0.1
    assert ask(as_fundamentals(rows[::-1]), date(2018, 3, 1))[0]["net_margin"] == 0.1


def test_shares_follow_splits_after_they_were_known(quarterly, as_fundamentals) -> None:
    split = date(2018, 6, 4)
    before, after, later = ask(
        as_fundamentals(quarterly()[:-2] + [{**row, "shares": 2e6} for row in quarterly()[-2:]]),
        date(2018, 6, 1),
        date(2018, 6, 4),
        date(2018, 11, 30),
        prices=bars(split=split),
    )
    # A million shares at 100, then two million at 50: the market value does not move.
    assert before["book_to_market"] == after["book_to_market"] == pytest.approx(32e6 / 100e6)
    # The statement of September, known in November, states two million: nothing to adjust.
    assert later["book_to_market"] == pytest.approx(34e6 / 100e6)


def test_a_statement_older_than_the_first_bar_takes_its_split_factor(statement, as_fundamentals) -> None:
    prices = bars(split=date(2016, 1, 4)).filter(pl.col("date") >= date(2018, 3, 1))
    rows = [statement(date(2017, 12, 31), date(2018, 2, 1), total_equity=5e6, shares=1e6)]
    assert ask(as_fundamentals(rows), date(2018, 3, 5), prices=prices)[0]["book_to_market"] == pytest.approx(0.1)


def test_a_statement_known_in_a_long_halt_takes_the_split_factor_after_it(statement, as_fundamentals) -> None:
    # How far back the bar before the halt lies must not matter: it may not have been loaded.
    split, known = date(2018, 6, 4), date(2018, 5, 16)
    halted = bars(split=split).filter(~pl.col("date").is_between(date(2018, 5, 8), split))
    rows = as_fundamentals([statement(date(2018, 3, 31), known, total_equity=5e6, shares=1e6)])
    assert ask(rows, date(2018, 6, 5), prices=halted)[0]["book_to_market"] == pytest.approx(0.1)
    assert ask(rows, date(2018, 6, 5), prices=halted.filter(pl.col("date") > known))[0]["book_to_market"] == pytest.approx(0.1)


def test_ratios_over_what_is_not_positive_are_missing(quarterly, as_fundamentals) -> None:
    day = date(2018, 6, 15)
    (row,) = ask(as_fundamentals(quarterly(total_equity=-1e6)), day)
    assert (row["return_on_equity"], row["debt_to_equity"]) == (None, None)
    assert row["book_to_market"] == pytest.approx(-1e6 / 50e6)
    (row,) = ask(as_fundamentals(quarterly(revenue=0.0)), day)
    assert row["gross_margin"] is row["net_margin"] is row["revenue_growth"] is None
    (row,) = ask(as_fundamentals(quarterly(net_income=-2e6)), day)
    assert row["earnings_growth"] == 0.0
    (row,) = ask(as_fundamentals(quarterly(shares=None)), day)
    assert row["earnings_yield"] is row["book_to_market"] is None
    assert row["return_on_equity"] is not None


def test_an_old_statement_falls_out_at_a_month_start(statement, as_fundamentals) -> None:
    rows = as_fundamentals([statement(date(2015, 12, 31), date(2016, 3, 16), total_equity=5e6, shares=1e6)])
    last, first = ask(rows, date(2018, 6, 29), date(2018, 7, 2))
    assert last["book_to_market"] == pytest.approx(0.1)
    assert last["statement_age_days"] == (date(2018, 6, 29) - date(2016, 3, 15)).days
    assert set(first.values()) == {"A", date(2018, 7, 2), None}


def test_a_ticker_that_moved_in_brings_its_statements(quarterly, as_fundamentals) -> None:
    entered = date(2018, 6, 12)
    rows = [{**row, "panel_from": max(row["known_at"], entered)} for row in quarterly()]
    before, after = ask(as_fundamentals(rows), date(2018, 6, 11), entered)
    assert before["book_to_market"] is None
    assert after["book_to_market"] == pytest.approx(32e6 / 50e6)


def test_nothing_known_gives_nulls(quarterly, as_fundamentals) -> None:
    for frame in (as_fundamentals([]), as_fundamentals(quarterly(ticker="B"))):
        (row,) = ask(frame, date(2018, 6, 15))
        assert set(row.values()) == {"A", date(2018, 6, 15), None}


def test_range_equals_months_and_nothing_comes_from_the_future(market, statements, load, identical, cut) -> None:
    months = month_range("2019-04", "2020-12")

    def compute(market, statements: pl.DataFrame, first: str, last: str) -> pl.DataFrame:
        prices, universe, _ = load(market, first, last, price_sessions(SETTINGS))
        oldest = month_start(shift_month(first, -SETTINGS.lookback_months))
        loaded = statements.filter(pl.col("panel_from").is_between(oldest, month_end(last)))
        rows = universe.join(prices, on=["ticker", "date"], how="semi").select("ticker", "date")
        return fundamental(rows, prices, loaded, SETTINGS, month_start(first), month_end(last)).sort("ticker", "date")

    whole = compute(market, statements, months[0], months[-1])
    for name in whole.columns[2:]:
        assert whole[name].null_count() < 0.7 * whole.height, name
        assert whole[name].n_unique() > 50, name
    identical(pl.concat([compute(market, statements, month, month) for month in months]).sort("ticker", "date"), whole)
    shuffled = statements.sample(fraction=1.0, shuffle=True, seed=3)
    identical(compute(market, shuffled, months[0], months[-1]), whole)
    day = date(2020, 5, 14)
    known = statements.filter(pl.col("panel_from") <= day)
    assert known.height < statements.height
    identical(compute(cut(market, day), known, months[0], "2020-05"), whole.filter(pl.col("date") <= day))


def test_the_calendar_never_holds_more_sessions_than_are_asked_for() -> None:
    every = pl.Series(sessions(date(1998, 1, 1), date(2026, 12, 31)), dtype=pl.Date)
    by_month = every.to_frame("date").group_by(pl.col("date").dt.truncate("1mo")).len().sort("date")["len"]
    for months in range(15, 61):
        settings = FundamentalSettings(lookback_months=months)
        most = by_month.rolling_sum(months).max()
        assert most + 6 <= price_sessions(settings) <= most + 30
