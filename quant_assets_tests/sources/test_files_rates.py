"""Statements in another currency than their ticker's prices: by which rate they are converted, and what is refused."""

from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.audit.alterations import Perturbed, Truncated
from quant_assets.errors import SourceError
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.base import STATEMENTS
from quant_assets.sources.files import FilesSource
from quant_assets.sources.files_altered import AlterableFiles
from quant_assets_tests.synthetic_files import START, THROUGH, every_day

BARS = "ticker,date,open,high,low,close,volume\n{},2020-01-02,10,10,10,10,100\n"
HEAD = "ticker,period_end,published,currency,revenue,net_income,total_assets,shares\n"
QUARTER = "EEEE,2020-06-30,2020-08-01,EUR,100,10,1000,50\n"
COLUMNS = {name: name for name in ("currency", "revenue", "net_income", "total_assets", "shares")}
RATE = "date,from,to,rate\n"


def lines(days: Iterable[date], rate: float, pair: str = "EUR,USD") -> str:
    return "".join(f"{day},{pair},{rate}\n" for day in days if day.weekday() < 5)


#: 1.0 in April, 1.2 in May and 1.5 in June but for its last day, on which it is 2.0; 9.0 from July on.
DAILY = RATE + "".join(
    [
        lines(every_day(date(2019, 1, 1), date(2020, 4, 30)), 1.0),
        lines(every_day(date(2020, 5, 1), date(2020, 5, 31)), 1.2),
        lines(every_day(date(2020, 6, 1), date(2020, 6, 29)), 1.5),
        "2020-06-30,EUR,USD,2.0\n",
        lines(every_day(date(2020, 7, 1), date(2020, 12, 31)), 9.0),
    ]
)


def source_of(folder: Path, statements: str, rates: str | None, **entry: Any) -> FilesSource:
    tickers = sorted({line.split(",")[0] for line in statements.splitlines()})
    (folder / "prices.csv").write_text(
        "".join([BARS.format(tickers[0]), *(BARS.splitlines()[1].format(each) + "\n" for each in tickers[1:])])
    )
    (folder / "statements.csv").write_text(HEAD + statements)
    given: dict[str, Any] = {
        "prices": [{"file": "prices.csv", "provider": "us", "adjustment": "as_traded"}],
        "fundamentals": [
            {"file": "statements.csv", "provider": "mine", "frequency": "quarterly", "columns": COLUMNS, **entry}
        ],
    }
    if rates is not None:
        (folder / "rates.csv").write_text(rates)
        given["rates"] = {"file": "rates.csv"}
    return FilesSource(FilesSettings.model_validate(given), folder, START)


def figures(source: FilesSource, ticker: str = "EEEE") -> list[tuple[Any, ...]]:
    return source.statements([ticker], THROUGH).select("revenue", "net_income", "total_assets", "shares").rows()


def test_flows_are_converted_by_the_mean_of_the_period_and_balances_by_its_last_day(tmp_path: Path) -> None:
    source = source_of(tmp_path, QUARTER + QUARTER.replace("EEEE", "HOME").replace("EUR", "USD"), DAILY)
    # Weekdays of April, May and June 2020: 22, 21 and 21, and the last day.
    mean = (22 * 1.0 + 21 * 1.2 + 21 * 1.5 + 2.0) / 65
    assert figures(source) == [(pytest.approx(100 * mean), pytest.approx(10 * mean), 2000.0, 50.0)]
    assert figures(source, "HOME") == [(100.0, 10.0, 1000.0, 50.0)]
    assert source.statements(["EEEE"], THROUGH).schema == STATEMENTS
    said = "1 of 2 rows are converted into the currency of prices by rates.csv (EEEE EUR to USD)"
    assert f"statements.csv: {said}" in source.left_out("fundamentals")
    # A year's mean is of a year.
    year = source_of(tmp_path, QUARTER, DAILY, frequency="annual")
    weekdays = sum(day.weekday() < 5 for day in every_day(date(2019, 7, 1), date(2020, 3, 31)))
    assert figures(year)[0][0] == pytest.approx(100 * (65 * mean + weekdays) / (65 + weekdays))


def test_the_rate_of_a_weekend_is_the_one_before_and_a_pair_is_known_the_other_way_round(tmp_path: Path) -> None:
    weekend = QUARTER.replace("2020-06-30", "2020-05-31")  # a Sunday
    back = RATE + lines(every_day(date(2020, 1, 1), date(2020, 5, 29)), 0.8, "USD,EUR") + "2020-06-01,USD,EUR,5\n"
    assert figures(source_of(tmp_path, weekend, back)) == [(125.0, 12.5, 1250.0, 50.0)]
    both = back + lines(every_day(date(2020, 1, 1), date(2020, 6, 1)), 2.0)
    assert figures(source_of(tmp_path, weekend, both)) == [(200.0, 20.0, 2000.0, 50.0)]


def test_a_statement_without_a_rate_is_refused_with_ticker_period_and_pair(tmp_path: Path) -> None:
    other = "JJJJ,2020-06-30,2020-08-01,JPY,1,1,1,1\nOLDE,2018-06-30,2018-08-01,EUR,1,1,1,1\n"
    source = source_of(tmp_path, QUARTER + other, DAILY)
    assert source.statements(["JJJJ", "OLDE"], THROUGH).is_empty()
    assert figures(source)
    assert (
        "statements.csv: 2 of 3 rows are in another currency than the prices of their ticker, and rates.csv has no "
        "rate for them (JJJJ 2020-06-30 JPY to USD, OLDE 2018-06-30 EUR to USD)" in source.left_out("fundamentals")
    )
    # Rates that stop in the period have a last day before its end, and no mean.
    cut = "".join(line for line in DAILY.splitlines(keepends=True) if line < "2020-06-15" or line == RATE)
    assert figures(source_of(tmp_path, QUARTER, cut)) == []
    # What has no flow needs no mean: of a period in whose midst the rates begin.
    begun = RATE + "".join(line for line in DAILY.splitlines(keepends=True)[1:] if line >= "2020-06-15")
    assert figures(source_of(tmp_path, QUARTER, begun)) == []
    assert figures(source_of(tmp_path, QUARTER.replace("100,10,", ",,"), begun)) == [(None, None, 2000.0, 50.0)]
    without = source_of(tmp_path, QUARTER, None)
    assert figures(without) == []
    assert "EEEE EUR" in without.left_out("fundamentals")[0]


def test_a_monthly_rate_is_that_of_the_last_month_that_is_over(tmp_path: Path) -> None:
    monthly = RATE + "2020-05-01,EUR,USD,1.2\n2020-06-01,EUR,USD,1.5\n2020-07-01,EUR,USD,9\n"
    statements = QUARTER + QUARTER.replace("2020-06-30", "2020-06-27").replace("EEEE", "WEEK")
    source = source_of(tmp_path, statements, monthly)
    with pytest.raises(SourceError, match=r"rates\.csv: EUR to USD of 2020-05-01 and later has no rate a day"):
        figures(source)
    settings = source._settings.model_dump()
    settings["rates"]["frequency"] = "monthly"
    source = FilesSource(FilesSettings.model_validate(settings), tmp_path, START)
    assert figures(source) == [(150.0, 15.0, 1500.0, 50.0)]
    assert figures(source, "WEEK") == [(120.0, 12.0, 1200.0, 50.0)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("2020-06-30,EUR,USD,0", "is not above zero"),
        ("2020-06-30,EUR,USD,-1", "is not above zero"),
        ("2020-06-30,EUR,USD,3", "has several rates"),
    ],
)
def test_rates_that_cannot_be_right_are_refused(tmp_path: Path, wrong: str, message: str) -> None:
    with pytest.raises(SourceError, match=rf"rates\.csv: EUR to USD of 2020-06-30 {message}"):
        figures(source_of(tmp_path, QUARTER, f"{DAILY}{wrong}\n"))


def test_no_statement_follows_from_a_rate_that_is_later_than_its_period(tmp_path: Path) -> None:
    rows = QUARTER + QUARTER.replace("2020-06-30,2020-08-01", "2020-09-30,2020-11-01")
    known = figures(source_of(tmp_path, rows, DAILY))
    later = "".join(
        line.replace("9.0", "7.0") if line > "2020-10" else line for line in DAILY.splitlines(keepends=True)
    )
    assert figures(source_of(tmp_path, rows, later)) == known
    ended = "".join(line for line in DAILY.splitlines(keepends=True) if line < "2020-10" or line == RATE)
    assert figures(source_of(tmp_path, rows, ended)) == known
    # The audit removes and replaces rates as it does statements, each from its own day on.
    source = source_of(tmp_path, rows, DAILY)
    for change in (Truncated(date(2020, 8, 3)), Perturbed(date(2020, 8, 3))):
        altered = AlterableFiles(source).altered(change, FundamentalSettings(), START)
        assert altered.statements(["EEEE"], date(2020, 8, 3)).equals(source.statements(["EEEE"], date(2020, 8, 3)))
        later_rates = [each._rates.rows.filter(pl.col("date") > date(2020, 8, 3)) for each in (altered, source)]  # type: ignore[union-attr]
        assert not later_rates[0].equals(later_rates[1])


def test_rows_keep_their_order(tmp_path: Path) -> None:
    days = [START + timedelta(days=91 * place) for place in range(1, 4)]
    rows = "".join(
        f"EEEE,{day},{day + timedelta(days=30)},{money},{place},1,1,1\n"
        for place, (day, money) in enumerate(zip(days, ("EUR", "USD", "EUR"), strict=True), start=1)
    )
    found = figures(source_of(tmp_path, rows, RATE + lines(every_day(date(2019, 1, 1), THROUGH), 3.0)))
    assert [row[0] for row in found] == [3.0, 2.0, 9.0]
