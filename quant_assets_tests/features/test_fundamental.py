from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.features.fundamental import fundamental, price_sessions
from quant_assets.market.adjustment import adjust
from quant_assets.market.bars import company_bars, sector_bars
from quant_assets.market.calendar import first_session_from, sessions
from quant_assets.market.fundamentals import as_known
from quant_assets.partitions import month_end, month_range, month_start, shift_month
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.settings.loading import load_settings
from quant_assets.sources.base import DELISTINGS
from quant_assets.sources.files import FilesSource

SETTINGS = FundamentalSettings()
DAYS = sessions(date(2014, 1, 2), date(2019, 12, 31))

FIGURES = (
    "revenue",
    "gross_profit",
    "operating_income",
    "net_income",
    "total_assets",
    "total_equity",
    "total_debt",
    "shares",
)

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
    fundamentals: pl.DataFrame,
    *days: date,
    prices: pl.DataFrame | None = None,
    settings: FundamentalSettings = SETTINGS,
) -> list[dict]:
    prices = bars() if prices is None else prices
    rows = prices.select("ticker", "date").filter(pl.col("date").is_in(list(days))).sort("date")
    result = fundamental(rows, prices, fundamentals, settings, days[0], days[-1]).sort("date")
    assert result.height == len(days)
    return result.to_dicts()


@pytest.fixture(scope="module")
def quarterly(statement):
    def rows(**more: object) -> list[dict]:
        """Revenue 10, 11, 12, … million by quarter, net income a tenth of it, a million shares."""
        result = []
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
            result.append(statement(end, known_on(end), **(figures | more)))
        return result

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
    late = statement(
        date(2017, 12, 31), date(2018, 6, 1), total_equity=9e9, revenue=100e6, net_income=1e6, restated=True
    )
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
    rows = [
        statement(end, first_session_from(when), total_debt=value, total_equity=1.0) for when, end, value in published
    ]
    days = sessions(date(2007, 1, 3), date(2008, 12, 31))
    prices = pl.DataFrame({"date": pl.Series(days, dtype=pl.Date)}).select(
        pl.lit("A").alias("ticker"), "date", close_unadjusted=1.0, split_factor=1.0
    )
    (row,) = ask(as_fundamentals(rows), day, prices=prices)
    assert row["debt_to_equity"] == expected


def test_flows_are_of_the_newest_year_of_quarters_or_of_an_annual_statement(
    quarterly, statement, as_fundamentals
) -> None:
    day = date(2018, 6, 15)
    holed = [row for row in quarterly() if row["period_end"] != date(2017, 9, 30)]
    (row,) = ask(as_fundamentals([row for row in holed if row["period_end"] > date(2016, 12, 1)]), day)
    assert row["net_margin"] is row["earnings_yield"] is None  # never four quarters that follow each other
    assert row["book_to_market"] == pytest.approx(32e6 / 50e6)  # the balance sheet needs one quarter only
    (row,) = ask(as_fundamentals(holed), day)
    assert row["earnings_yield"] == pytest.approx(0.1 * (19 + 18 + 17 + 16) / 50)  # the year to June 2017
    year = {"revenue": 80e6, "net_income": 4e6, "total_equity": 1e6}
    annual = [statement(date(2017, 12, 31), date(2018, 2, 20), "annual", **year)]
    (row,) = ask(as_fundamentals(holed + annual), day)
    assert (row["net_margin"], row["earnings_yield"]) == pytest.approx((0.05, 0.08))  # the annual statement is newer
    assert row["book_to_market"] == pytest.approx(32e6 / 50e6)  # the quarter of March 2018 is newer than the year
    # Complete quarters win against a year that ends before the last of them, or with it.
    for row in ask(as_fundamentals(quarterly() + annual), date(2018, 3, 15), day):
        assert row["net_margin"] == pytest.approx(0.1)
    # A year that ends after the last known quarter wins, but where it has no figure.
    early = [row for row in quarterly() if row["period_end"] < date(2017, 12, 1)]
    (row,) = ask(as_fundamentals(early + annual), day)
    assert (row["net_margin"], row["gross_margin"]) == pytest.approx((0.05, 0.4))
    assert row["book_to_market"] == pytest.approx(1 / 50)  # equity of the year, shares of the quarter before


def test_four_quarters_are_one_tickers_in_the_order_of_their_ends(quarterly, as_fundamentals) -> None:
    day = date(2018, 6, 15)
    late = {"known_at": date(2018, 6, 1), "panel_from": date(2018, 6, 1)}
    rows = [row | (late if row["period_end"] == date(2017, 9, 30) else {}) for row in quarterly()]
    assert ask(as_fundamentals(rows), day)[0]["earnings_yield"] == pytest.approx(0.1 * (22 + 21 + 20 + 19) / 50)
    # A has the three quarters before the only one of B.
    three = [row for row in quarterly() if date(2017, 6, 30) <= row["period_end"] <= date(2017, 12, 31)]
    one = [{**row, "ticker": "B"} for row in quarterly() if row["period_end"] == date(2018, 3, 31)]
    prices = pl.concat([bars(), bars("B")])
    keys = prices.select("ticker", "date").filter(pl.col("date") == day)
    result = fundamental(keys, prices, as_fundamentals(three + one), SETTINGS, day, day)
    assert result["book_to_market"].null_count() == 0
    assert result["net_margin"].to_list() == [None, None]


def test_a_figure_that_a_quarter_lacks_comes_from_an_older_year(quarterly, statement, as_fundamentals) -> None:
    day = date(2018, 6, 15)
    # The quarter of December 2017 has no gross profit, so three of the newest four do.
    rows = [{**row, "gross_profit": None} if row["period_end"] == date(2017, 12, 31) else row for row in quarterly()]
    rows.append(
        statement(date(2016, 12, 31), date(2017, 2, 20), "annual", revenue=90e6, gross_profit=9e6, net_income=1e6)
    )
    (row,) = ask(as_fundamentals(rows), day)
    assert row["net_margin"] == pytest.approx(0.1)
    assert row["earnings_yield"] == pytest.approx(0.1 * (22 + 21 + 20 + 19) / 50)
    assert row["gross_margin"] == pytest.approx(0.4)  # of the year to September 2017
    # Without quarters that have it: the annual statement, both figures of the margin from there.
    (row,) = ask(
        as_fundamentals([{**row, "gross_profit": row["gross_profit"] and None} for row in rows[:-1]] + rows[-1:]), day
    )
    assert (row["net_margin"], row["gross_margin"]) == pytest.approx((0.1, 0.1))


def test_providers_fill_each_others_gaps(quarterly, statement, as_fundamentals) -> None:
    day, end = date(2018, 6, 15), date(2018, 3, 31)
    gaps = {"provider": "sec", "shares": None, "total_debt": None, "gross_profit": None}
    filed = [{**row, **gaps, "known_at": row["known_at"] + timedelta(days=1)} for row in quarterly(total_equity=1e7)]
    filed = [{**row, "panel_from": row["known_at"]} for row in filed]
    (row,) = ask(as_fundamentals(quarterly() + filed), day)
    assert row["book_to_market"] == pytest.approx(1e7 / 50e6)  # the version known last, where it has the figure
    assert row["debt_to_equity"] == pytest.approx(1.0)
    assert row["gross_margin"] == pytest.approx(0.4)
    assert row["earnings_yield"] == pytest.approx(0.1 * (22 + 21 + 20 + 19) / 50)
    # Known later still, with a figure of its own.
    again = statement(end, known_on(end) + timedelta(days=2), total_debt=3e7, provider="p")
    assert ask(as_fundamentals(quarterly() + filed + [again]), day)[0]["debt_to_equity"] == pytest.approx(3.0)


@pytest.mark.parametrize(("months", "given"), [(15, True), (16, False)])
def test_an_older_period_gives_a_figure_for_so_long(months: int, given: bool, statement, as_fundamentals) -> None:
    day, newest = date(2018, 11, 30), date(2018, 9, 30)
    old = month_end(shift_month("2018-09", -months))
    figures = {"total_debt": 3e6, "shares": 1e6, "revenue": 10e6, "net_income": 1e6}
    rows = [statement(old, known_on(old), "annual", **figures), statement(newest, known_on(newest), total_equity=6e6)]
    (row,) = ask(as_fundamentals(rows), day)
    expected = {
        "debt_to_equity": 0.5,
        "book_to_market": 6 / 50,
        "earnings_yield": 1 / 50,
        "return_on_equity": 1 / 6,
        "net_margin": 0.1,
    }
    for name, value in expected.items():
        assert row[name] == (pytest.approx(value) if given else None), name
    assert row["statement_age_days"] == (day - known_on(newest) + timedelta(days=1)).days


def test_growth_needs_the_year_before(quarterly, statement, as_fundamentals) -> None:
    day = date(2018, 6, 15)
    holed = [row for row in quarterly() if row["period_end"] != date(2016, 9, 30)]
    (row,) = ask(as_fundamentals(holed), day)
    assert row["net_margin"] == pytest.approx(0.1)
    assert row["revenue_growth"] is row["earnings_growth"] is None
    years = [(2017, 8.0), (2015, 4.0)]
    annual = [statement(date(year, 12, 31), date(year + 1, 4, 3), "annual", revenue=revenue) for year, revenue in years]
    assert ask(as_fundamentals(annual), day)[0]["revenue_growth"] is None
    annual.append(statement(date(2016, 12, 31), date(2017, 4, 3), "annual", revenue=5.0, net_income=-2.0))
    (row,) = ask(as_fundamentals(annual), day)
    assert (row["revenue_growth"], row["earnings_growth"]) == (pytest.approx(0.6), None)
    annual[0]["net_income"] = 4.0
    assert ask(as_fundamentals(annual), day)[0]["earnings_growth"] == pytest.approx(3.0)
    # Quarters without the year before: the growth from one annual statement to the next, not from a year to four
    # quarters.
    (row,) = ask(as_fundamentals(holed + annual), day)
    assert (row["revenue_growth"], row["net_margin"]) == pytest.approx((0.6, 0.1))


def test_two_names_of_the_last_day_a_month_apart_do_not_hide_the_year_before(statement, as_fundamentals) -> None:
    # SimFin gives some years of Johnson & Johnson twice, to December and to January.
    ends = [(date(2016, 12, 31), 5.0), (date(2017, 1, 31), 5.0), (date(2017, 12, 31), 8.0), (date(2018, 1, 31), 8.0)]
    rows = [statement(end, known_on(end), "annual", revenue=revenue) for end, revenue in ends]
    assert ask(as_fundamentals(rows), date(2018, 6, 15))[0]["revenue_growth"] == pytest.approx(0.6)


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


def test_shares_keep_the_split_factor_of_the_statement_that_gives_them(statement, as_fundamentals) -> None:
    year, quarter = date(2017, 12, 31), date(2018, 3, 31)
    rows = [
        statement(year, date(2018, 2, 20), "annual", total_equity=1e7, shares=1e6),
        statement(quarter, date(2018, 5, 10), total_equity=2e7),
    ]
    # The split lies between the statement with shares and the newer one without: two million shares at 50.
    (row,) = ask(as_fundamentals(rows), date(2018, 6, 1), prices=bars(split=date(2018, 4, 2)))
    assert row["book_to_market"] == pytest.approx(2e7 / 100e6)


def test_without_a_close_as_traded_there_is_no_market_value(quarterly, as_fundamentals) -> None:
    adjusted = bars().with_columns(
        close_unadjusted=pl.when(pl.col("date") >= date(2018, 6, 15)).then("close_unadjusted")
    )
    before, after = ask(as_fundamentals(quarterly()), date(2018, 6, 14), date(2018, 6, 15), prices=adjusted)
    assert before["earnings_yield"] is before["book_to_market"] is None
    assert before["return_on_equity"] == after["return_on_equity"]
    assert after["book_to_market"] == pytest.approx(32e6 / 50e6)


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
    assert ask(rows, date(2018, 6, 5), prices=halted.filter(pl.col("date") > known))[0][
        "book_to_market"
    ] == pytest.approx(0.1)


def test_ratios_over_what_is_not_positive_are_missing(quarterly, as_fundamentals) -> None:
    day = date(2018, 6, 15)
    (row,) = ask(as_fundamentals(quarterly(total_equity=-1e6)), day)
    assert (row["return_on_equity"], row["debt_to_equity"]) == (None, None)
    assert row["book_to_market"] == pytest.approx(-1e6 / 50e6)
    # The newest figures count: an older period, or year, with positive ones does not stand in for them.
    (row,) = ask(
        as_fundamentals([*quarterly()[:-1], {**quarterly()[-1], "total_equity": -1e6, "revenue": -1e9}]),
        date(2019, 3, 1),
    )
    assert (row["return_on_equity"], row["debt_to_equity"], row["net_margin"]) == (None, None, None)
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

    # One provider lacks what SEC extracts lack, and any figure may be missing.
    rng = np.random.default_rng(5)
    statements = statements.with_columns(
        pl.when(
            (pl.lit(name not in ("gross_profit", "total_debt", "shares")) | (pl.col("provider") == "p"))
            & pl.Series(rng.uniform(size=statements.height) < 0.95)
        ).then(name)
        for name in FIGURES
    )
    whole = compute(market, statements, months[0], months[-1])
    for name in whole.columns[2:]:
        assert whole[name].null_count() < 0.7 * whole.height, name
        assert whole[name].n_unique() > 25, name
    identical(pl.concat([compute(market, statements, month, month) for month in months]).sort("ticker", "date"), whole)
    shuffled = statements.sample(fraction=1.0, shuffle=True, seed=3)
    identical(compute(market, shuffled, months[0], months[-1]), whole)
    day = date(2020, 5, 14)
    known = statements.filter(pl.col("panel_from") <= day)
    assert known.height < statements.height
    identical(compute(cut(market, day), known, months[0], "2020-05"), whole.filter(pl.col("date") <= day))


def test_values_of_june_2016(shared_data: Path) -> None:
    # Market value at the close of 30 June 2016, net income and debt of the last fiscal year, equity of the last 10-Q,
    # in billions. The newest statements known are SEC filings, which give neither shares nor debt.
    world = {"AAPL": (524.0, 53.4, 64.5, 130.5), "MSFT": (402.0, 12.2, 35.3, 74.8), "IBM": (146.0, 13.2, 39.9, 15.1)}
    start, day = date(2013, 1, 2), date(2016, 6, 30)
    settings = load_settings("files", data_dir=shared_data)
    source = FilesSource(settings.files, shared_data, start)
    days, snapshots = sessions(start, day), source.sector_snapshots(day)
    prices = adjust(
        sector_bars(
            company_bars(source.bars(list(world), start, day), DELISTINGS.to_frame(), days, settings.bars),
            snapshots,
            "it",
            days,
        )[0]
    )
    known = as_known(source.statements(list(world), day), snapshots, "it", settings.fundamentals, days)
    rows = prices.select("ticker", "date").filter(pl.col("date") == day)
    result = {
        row["ticker"]: row for row in fundamental(rows, prices, known, settings.fundamentals, day, day).to_dicts()
    }
    for ticker, (market_value, net_income, debt, equity) in world.items():
        row = result[ticker]
        # Shares are the diluted average of the fiscal year before, since when the companies bought back up to 6
        # percent.
        assert row["earnings_yield"] == pytest.approx(net_income / market_value, rel=0.08)
        assert row["book_to_market"] == pytest.approx(equity / market_value, rel=0.08)
        assert row["return_on_equity"] == pytest.approx(net_income / equity, rel=0.01)
        assert row["debt_to_equity"] == pytest.approx(debt / equity, rel=0.01)
        assert row["statement_age_days"] < 100


def test_the_calendar_never_holds_more_sessions_than_are_asked_for() -> None:
    every = pl.Series(sessions(date(1998, 1, 1), date(2026, 12, 31)), dtype=pl.Date)
    by_month = every.to_frame("date").group_by(pl.col("date").dt.truncate("1mo")).len().sort("date")["len"]
    for months in range(15, 61):
        settings = FundamentalSettings(lookback_months=months)
        most = by_month.rolling_sum(months).max()
        assert most + 6 <= price_sessions(settings) <= most + 30
