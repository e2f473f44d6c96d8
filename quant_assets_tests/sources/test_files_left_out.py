"""Nothing that a file holds is dropped without a word: rows that contradict themselves are refused by name, halves of a
statement complete each other, and what is not used is counted with the reason. The order of rows decides nothing."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.errors import SettingsError, SourceError
from quant_assets.market.fundamentals import as_known
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.settings.loading import load_settings
from quant_assets.settings.providers import FilesSettings, FundamentalFile
from quant_assets.sources.files import FilesSource
from quant_assets.sources.files_report import FilesReport

START, THROUGH = date(2018, 1, 1), date(2020, 12, 31)
FIGURES = ["revenue", "net_income", "total_assets", "total_equity"]


def opened(folder: Path, files: Mapping[str, str], **settings: Any) -> FilesSource:
    for name, text in files.items():
        (folder / name).write_text(text.replace(" ", ""), encoding="utf-8")
    return FilesSource(FilesSettings.model_validate(settings), folder, START)


def left_out(source: FilesSource) -> list[str]:
    """What the source says of its rows, without what stands in for files that it has not."""
    return [each for each in source.left_out() if not each.startswith(("no membership file", "no securities file"))]


def shuffled(text: str) -> str:
    head, *rows = text.strip().splitlines()
    return "\n".join([head, *reversed(rows)])


# --- Membership and sectors -------------------------------------------------------------------------------------------


def members(folder: Path, rows: str, **how: Any) -> FilesSource:
    files = {"members.csv": f"ticker,start_date,end_date\n{rows}"}
    return opened(folder, files, membership={"file": "members.csv", **how})


def test_a_member_without_a_start_is_refused_by_name_or_always_was_one(tmp_path: Path) -> None:
    rows = "BBBB,2019-01-02,\nAAAA,,\nCCCC,,2019-05-01\n"
    with pytest.raises(SourceError) as caught:
        members(tmp_path, rows).membership(THROUGH)
    assert "members.csv: ticker AAAA (end_date empty) is a member without a start_date, as are 1 other" in str(
        caught.value
    )
    assert "membership.without_start: always" in str(caught.value)
    found = members(tmp_path, rows, without_start="always").membership(THROUGH)
    assert found.rows() == [
        ("AAAA", date(1, 1, 1), None),
        ("BBBB", date(2019, 1, 2), None),
        ("CCCC", date(1, 1, 1), date(2019, 4, 30)),
    ]


def test_a_membership_that_ends_before_it_starts_is_refused_by_name(tmp_path: Path) -> None:
    rows = "BBBB,2019-01-02,\nAAAA,2019-05-01,2019-04-01\n"
    with pytest.raises(SourceError, match="AAAA ends on 2019-04-01, before it starts on 2019-05-01"):
        members(tmp_path, rows, end_is_member=True).membership(THROUGH)


def test_rows_of_no_day_and_of_no_ticker_are_counted(tmp_path: Path) -> None:
    source = members(tmp_path, "AAAA,2019-05-01,2019-05-01\n,2019-05-01,\nBBBB,2019-01-02,\n")
    assert source.membership(THROUGH)["ticker"].to_list() == ["BBBB"]
    assert left_out(source) == [
        "members.csv: 1 of 3 rows have no ticker (2019-05-01)",
        "members.csv: 1 of 3 rows end on the day on which they start (AAAA 2019-05-01)",
    ]


def sectors(folder: Path, rows: str) -> FilesSource:
    files = {"sectors.csv": f"ticker,sector,known_at\n{rows}"}
    names = {"Tech": "it", "Software": "it", "Phones": "telecoms"}
    return opened(folder, files, securities={"file": "sectors.csv", "sectors": names})


def test_two_sectors_of_a_ticker_on_a_day_are_refused_whatever_their_order(tmp_path: Path) -> None:
    rows = "AAAA,Tech,2019-01-02\nAAAA,Phones,2019-01-02\n"
    for each in (rows, shuffled(f"\n{rows}")):
        with pytest.raises(SourceError, match="ticker AAAA is in it and in telecoms on 2019-01-02; fix the file"):
            sectors(tmp_path, each).sector_snapshots(THROUGH)
    twice = sectors(tmp_path, "AAAA,Tech,2019-01-02\nAAAA,Software,2019-01-02\nAAAA,Tech,2019-01-02\n")
    assert twice.sector_snapshots(THROUGH).rows() == [("AAAA", "it", date(2019, 1, 2), None)]


def test_snapshots_without_a_sector_are_counted(tmp_path: Path) -> None:
    source = sectors(tmp_path, "AAAA,Tech,2019-01-02\nBBBB,,2019-01-02\nCCCC,Tech,\n")
    assert source.sector_snapshots(THROUGH)["ticker"].to_list() == ["AAAA"]
    assert left_out(source) == [
        "sectors.csv: 1 of 3 rows have no sector (BBBB)",
        "sectors.csv: 1 of 3 rows have no known_at (CCCC)",
    ]


def test_tickers_that_differ_only_in_case_are_said(tmp_path: Path) -> None:
    bar = "2019-01-02,1,1,1,1,1"
    files = {
        "prices.csv": f"ticker,date,open,high,low,close,volume\naaaa,{bar}\nBBBB,{bar}\n",
        "members.csv": "ticker,start_date,end_date\nAAAA,2019-01-02,\nBBBB,2019-01-02,\n",
    }
    prices = [{"file": "prices.csv", "provider": "p", "adjustment": "as_traded"}]
    source = opened(tmp_path, files, prices=prices, membership={"file": "members.csv"})
    assert left_out(source) == ["tickers that differ only in case are taken for different ones: AAAA and aaaa"]


def test_tickers_that_differ_only_in_spaces_or_signs_are_said(tmp_path: Path) -> None:
    (tmp_path / "members.csv").write_text(
        "ticker,start_date,end_date\nBRK.B,2019-01-02,\nAAAA\u200b,2019-01-02,\nA-B,2019-01-02,\nAB,2019-01-02,\n"
    )
    names = ["BRK-B", "AAAA", "CCCC", "CCCC ", "AB"]
    bars = pl.DataFrame({"ticker": names, "date": date(2019, 1, 2), "open": 1.0, "high": 1.0, "low": 1.0})
    bars.with_columns(close=1.0, volume=1.0).write_parquet(tmp_path / "prices.parquet")
    prices = [{"file": "prices.parquet", "provider": "p", "adjustment": "as_traded"}]
    source = opened(tmp_path, {}, prices=prices, membership={"file": "members.csv"})
    assert left_out(source) == [
        "tickers that differ only in spaces or signs are taken for different ones: "
        r"'AAAA\u200b' and AAAA, 'CCCC ' and CCCC, BRK-B and BRK.B"
    ]


def test_tickers_with_the_same_bars_are_said(tmp_path: Path) -> None:
    def priced(ticker: str, first: float, last: float, volume: int = 1000, day: str = "2019-01-02") -> str:
        return f"{ticker},{day},1,9,1,{first},{volume}\n{ticker},2019-01-04,1,9,1,{last},{volume}\n"

    bars = [
        priced("AAAA", 2, 3),
        priced("AAAA(1)", 2, 3),
        priced("BBBB", 2, 4),  # one of the days alone is alike
        priced("CCCC", 2, 3, day="2019-01-03"),
        priced("DDDD", 2, 3, volume=2000),
        priced("EEEE", 5, 5, volume=0),
        priced("FFFF", 5, 5, volume=0),
        priced("GGGG", 6, 7),
        priced("HHHH", 6, 7),
    ]
    files = {"prices.csv": "ticker,date,open,high,low,close,volume\n" + "".join(bars)}
    prices = [{"file": "prices.csv", "provider": "p", "adjustment": "as_traded"}]
    renames = [{"old": "GGGG", "new": "HHHH", "since": "2019-01-03"}]
    said = "prices.csv: tickers with the same bars are taken for different companies: AAAA and AAAA(1)"
    assert left_out(opened(tmp_path, files, prices=prices, renames=renames)) == [said]
    assert left_out(opened(tmp_path, files, prices=prices)) == [f"{said}, GGGG and HHHH"]


# --- Statements -------------------------------------------------------------------------------------------------------

ONE = {"provider": "vendor", "frequency": "annual"}
HALVES = """ticker,period_end,published,revenue,net_income,total_assets,total_equity
AAAA,2018-12-31,2019-02-15,1000,100,,
AAAA,2018-12-31,2019-02-15,,,5000,2000
"""
INCOME = "ticker,period_end,published,revenue,net_income\nAAAA,2018-12-31,2019-02-15,1000,100\n"
BALANCE = "ticker,period_end,published,total_assets,total_equity\nAAAA,2018-12-31,2019-02-15,5000,2000\n"
WHOLE = [(date(2019, 2, 15), 0, 1000.0, 100.0, 5000.0, 2000.0)]


def columns(*figures: str) -> dict[str, str]:
    return {figure: figure for figure in figures}


def one_file(folder: Path, text: str, **how: Any) -> FilesSource:
    file = {"file": "statements.csv", **ONE, "columns": columns(*FIGURES), **how}
    return opened(folder, {"statements.csv": text}, fundamentals=[file])


def two_files(folder: Path, income: str, balance: str, *, turned: bool = False) -> FilesSource:
    files = [
        {"file": "income.csv", **ONE, "columns": columns("revenue", "net_income")},
        {"file": "balance.csv", **ONE, "columns": columns("total_assets", "total_equity")},
    ]
    given = {"income.csv": income, "balance.csv": balance}
    return opened(folder, given, fundamentals=files[::-1] if turned else files)


def told(source: FilesSource, through: date = THROUGH) -> list[tuple[Any, ...]]:
    return source.statements(["AAAA"], through).select("published", "version", *FIGURES).rows()


def test_half_empty_rows_of_one_publication_complete_each_other(tmp_path: Path) -> None:
    for text in (HALVES, shuffled(HALVES)):
        source = one_file(tmp_path, text)
        assert told(source) == WHOLE
        assert left_out(source) == []


@pytest.mark.parametrize("turned", [False, True])
def test_files_of_one_provider_complete_each_other(tmp_path: Path, turned: bool) -> None:
    source = two_files(tmp_path, INCOME, BALANCE, turned=turned)
    assert told(source) == WHOLE
    sessions = pl.date_range(date(2019, 1, 2), date(2019, 3, 1), "1d", eager=True).to_numpy()
    snapshots = pl.DataFrame(
        {"ticker": "AAAA", "sector": "it", "known_at": START, "since": pl.Series([None], dtype=pl.Date)}
    )
    known = as_known(source.statements(["AAAA"], THROUGH), snapshots, "it", FundamentalSettings(), sessions)
    assert known.filter(pl.col("known_at") <= date(2019, 2, 19)).select(FIGURES).rows() == [WHOLE[0][2:]]


@pytest.mark.parametrize("turned", [False, True])
def test_what_a_file_has_no_column_for_stays_as_the_other_one_told_it(tmp_path: Path, turned: bool) -> None:
    """The balance sheet comes a week later, an empty revenue is taken back later still, and nothing is known early."""
    later = BALANCE.replace("2019-02-15", "2019-02-22")
    source = two_files(tmp_path, f"{INCOME}AAAA,2018-12-31,2019-03-01,,110\n", later, turned=turned)
    rows = [
        (date(2019, 2, 15), 0, 1000.0, 100.0, None, None),
        (date(2019, 2, 22), 1, 1000.0, 100.0, 5000.0, 2000.0),
        (date(2019, 3, 1), 2, None, 110.0, 5000.0, 2000.0),
    ]
    assert told(source) == rows
    assert told(source, date(2019, 2, 21)) == rows[:1]


def test_files_of_one_provider_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    files = [{"file": name, **ONE, "columns": columns("revenue")} for name in ("a.csv", "b.csv")]
    head = "ticker,period_end,published,revenue\n"
    given = {"a.csv": f"{head}AAAA,2018-12-31,2019-02-15,1000\n", "b.csv": f"{head}AAAA,2018-12-31,2019-02-15,1001\n"}
    for each in (files, files[::-1]):
        with pytest.raises(SourceError) as caught:
            opened(tmp_path, given, fundamentals=each).statements(["AAAA"], THROUGH)
        assert "files of provider 'vendor' have different figures of ticker AAAA for 2018-12-31" in str(caught.value)
        assert "a.csv" in str(caught.value)
        assert "b.csv" in str(caught.value)
    same = {**given, "b.csv": given["a.csv"]}
    assert opened(tmp_path, same, fundamentals=files).statements(["AAAA"], THROUGH)["revenue"].to_list() == [1000.0]
    other = [files[0], {**files[1], "provider": "another"}]
    assert opened(tmp_path, given, fundamentals=other).statements(["AAAA"], THROUGH)["revenue"].to_list() == [
        1001,
        1000,
    ]


def test_of_statements_that_contradict_each_other_the_same_one_counts_in_any_order_and_is_said(tmp_path: Path) -> None:
    text = (
        "ticker,period_end,published,revenue,net_income,total_assets,total_equity\n"
        "AAAA,2018-12-31,2019-02-15,10,1,50,20\n"
        "AAAA,2018-12-31,2019-02-15,1000,100,5000,2000\n"
        "AAAA,2018-12-31,2019-02-15,1000,101,5000,2000\n"
        "AAAA,2018-12-31,2019-02-15,,,9000,\n"
    )
    found = [one_file(tmp_path, each) for each in (text, shuffled(text))]
    for source in found:
        assert told(source) == [(date(2019, 2, 15), 0, 1000.0, 101.0, 5000.0, 2000.0)]
        assert left_out(source) == [
            "statements.csv: 4 of 4 rows contradict others of the same publication; of these the complete one with the "
            "largest figures counts (AAAA 2018-12-31)"
        ]


def test_statements_that_are_not_used_are_counted_with_the_reason(tmp_path: Path) -> None:
    text = (
        "ticker,period_end,published,form,revenue,net_income,total_assets,total_equity\n"
        "AAAA,2018-12-31,2019-02-15,10-K,1000,100,5000,2000\n"
        "AAAA,2018-12-31,2019-02-16,10-K405,1,1,1,1\n"
        "BBBB,2018-12-31,2019-02-16,,1,1,1,1\n"
        ",2018-12-31,2019-02-15,10-K,1,1,1,1\n"
        "CCCC,2018-12-31,2019-02-15,10-K,,,,\n"
        "DDDD,2018-12-31,2018-11-15,10-K,1,1,1,1\n"
    )
    how = {"frequency": None, "forms": {"10-K": "annual"}, "columns": columns("form", *FIGURES)}
    source = one_file(tmp_path, text, **how)
    assert told(source) == WHOLE
    assert left_out(source) == [
        "statements.csv: 1 of 6 rows have no ticker or no end of a period (2018-12-31)",
        "statements.csv: 2 of 6 rows are of a form that `forms` does not name (empty, 10-K405)",
        "statements.csv: 1 of 6 rows have no figure (CCCC 2018-12-31)",
        "statements.csv: 1 of 6 rows were published before the end of their period; that day is not used "
        "(DDDD 2018-12-31)",
    ]


def test_entries_of_one_file_are_counted_apart_each_of_its_own_forms(tmp_path: Path) -> None:
    text = (
        "ticker,period_end,published,form,revenue\n"
        "AAAA,2018-09-30,2018-11-15,Q,1\n"
        ",2018-09-30,2018-11-15,Q,1\n"
        "AAAA,2018-12-31,2019-02-15,Y,4\n"
        "AAAA,2018-12-31,2019-02-15,Z,5\n"
    )
    entry = {"file": "f.csv", "columns": columns("form", "revenue")}
    files = [
        {**entry, "provider": "q", "forms": {"Q": "quarterly"}},
        {**entry, "provider": "y", "forms": {"Y": "annual"}},
    ]
    source = opened(tmp_path, {"f.csv": text}, fundamentals=files)
    assert source.statements(["AAAA"], THROUGH)["revenue"].to_list() == [1.0, 4.0]
    assert left_out(source) == [
        "f.csv (q, Q): 1 of 3 rows have no ticker or no end of a period (2018-09-30)",
        "f.csv (q, Q): 1 of 3 rows are of a form that `forms` does not name (Z)",
        "f.csv (y, Y): 1 of 2 rows are of a form that `forms` does not name (Z)",
    ]


def test_rows_are_counted_of_a_file_of_which_none_were_left_out() -> None:
    file = FundamentalFile(file="f.csv", provider="p", frequency="annual", columns={})
    report = FilesReport()
    report.count(file, pl.DataFrame({"ticker": ["AAAA"]}), "are odd", "ticker")
    assert [(each.kind, each.sentence) for each in report.left_out()] == [
        ("fundamentals", "f.csv: 1 rows are odd (AAAA)")
    ]


def test_of_some_kinds_of_files_no_other_one_is_read(tmp_path: Path) -> None:
    source = members(tmp_path, "AAAA,2019-05-01,2019-05-01\nBBBB,2019-01-02,\n", without_start="always")
    files = FilesSettings.model_validate(
        {**source._settings.model_dump(), "fundamentals": [{"file": "none.csv", **ONE, "columns": {}}], "sector": "it"}
    )
    source = FilesSource(files, tmp_path, START)
    source.membership(THROUGH)
    assert source.left_out("membership", "securities") == [
        "no securities file: every ticker is in sector 'it' (files.sector)",
        "members.csv: 1 of 2 rows end on the day on which they start (AAAA 2019-05-01)",
    ]
    assert source.left_out("macro") == []
    with pytest.raises(SourceError, match=r"none\.csv is missing"):
        source.left_out()


def test_halves_that_cannot_be_held_together_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vintages = {"file": "a.csv", **ONE, "columns": columns("snapshot", "revenue")}
    filings = {"file": "b.csv", **ONE, "columns": columns("total_assets")}
    with pytest.raises(SettingsError, match=r"a\.csv and b\.csv have the same statements.*its own provider"):
        load_settings("files", files={"fundamentals": [vintages, filings]})
    for changed in ({"provider": "another"}, {"frequency": "quarterly"}):
        assert load_settings("files", files={"fundamentals": [vintages, {**filings, **changed}]})


def test_the_order_of_rows_decides_nothing(tmp_path: Path) -> None:
    head = "ticker,symbol,period_end,published,seen,sales,profit\n"
    rows = [
        f"A,{symbol},2018-{quarter},{published},{seen},{sales if seen < '2018-10' else 12},{profit}"
        for symbol in ("A", "A_old", "A_new")
        for quarter in ("03-31", "06-30")
        for published in ("2018-08-01", "2018-08-09", "")
        for seen in ("2018-09-01", "2018-12-01")
        for sales, profit in ((10, ""), ("", 3), (11, 3))
    ]
    names = {"snapshot": "seen", "company": "symbol", "revenue": "sales", "net_income": "profit"}
    file = {"file": "a.csv", "provider": "p", "frequency": "quarterly", "columns": names}
    answers = []
    for order in (rows, rows[::-1], sorted(rows, key=lambda row: row[::-1])):
        source = opened(tmp_path, {"a.csv": head + "\n".join(order)}, fundamentals=[file])
        answers.append(source.statements(["A"], THROUGH))
    assert len(answers[0]) > 2
    for answer in answers[1:]:
        assert_frame_equal(answer, answers[0])


# --- Currency ---------------------------------------------------------------------------------------------------------

BAR = "2019-01-02,1,1,1,1,1"
STATEMENT = "2018-12-31,2019-02-15,1000"


def currencies(folder: Path, prices: Mapping[str, str], statements: str, **settings: Any) -> FilesSource:
    """Price files (of tickers, or `ticker,currency`) and a file of statements (`ticker,currency`)."""
    files, named = {}, []
    for name, rows in prices.items():
        told = "," in rows
        head = f"{'currency,' if told else ''}date,open,high,low,close,volume"
        files[f"{name}.csv"] = "\n".join([f"ticker,{head}", *(f"{row},{BAR}" for row in rows.split()), ""])
        columns = {"currency": "currency"} if told else {}
        named.append({"file": f"{name}.csv", "provider": name, "adjustment": "as_traded", "columns": columns})
    files["statements.csv"] = "\n".join(
        ["ticker,money,period_end,published,revenue", *(f"{row},{STATEMENT}" for row in statements.split()), ""]
    )
    file = {"file": "statements.csv", **ONE, "columns": {"revenue": "revenue", "currency": "money"}}
    for name, text in files.items():
        (folder / name).write_text(text)
    given = {"prices": named, "fundamentals": [file], **settings}
    return FilesSource(FilesSettings.model_validate(given), folder, START)


def test_a_statement_in_another_currency_than_its_prices_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = "AAAA,USD BBBB,EUR CCCC, DDDD,EUR EEEE,GBP"
    source = currencies(tmp_path, {"us": "AAAA BBBB CCCC", "eu": "DDDD,EUR EEEE,"}, rows)
    known = source.statements(["AAAA", "BBBB", "CCCC", "DDDD", "EEEE"], THROUGH)["ticker"].to_list()
    assert known == ["AAAA", "CCCC", "DDDD"]
    assert (
        "statements.csv: 2 of 5 rows are in another currency than the prices of their ticker, and files.rates names no "
        "file of rates (BBBB EUR, EEEE GBP)" in left_out(source)
    )
    euros = currencies(tmp_path, {"us": "AAAA BBBB"}, "AAAA,USD BBBB,EUR FFFF,EUR", currency="EUR")
    assert euros.statements(["AAAA", "BBBB", "FFFF"], THROUGH)["ticker"].to_list() == ["BBBB", "FFFF"]


def test_a_statement_before_the_first_price_does_not_depend_on_what_the_price_will_be_in(tmp_path: Path) -> None:
    rows = "AAAA,USD SOON,EUR"
    for prices in ("AAAA,USD", "AAAA,USD SOON,EUR"):
        source = currencies(tmp_path, {"all": prices}, rows)
        assert source.statements(["AAAA", "SOON"], THROUGH)["ticker"].to_list() == ["AAAA", "SOON"], prices
    # An altered source has the currencies of the files as they are, whichever bars it lacks.
    source = currencies(tmp_path, {"all": "AAAA,USD SOON,USD"}, rows)
    for later in (source, source.altered(lambda file, given: given.filter(pl.col("ticker") != "SOON"), START)):
        assert source.statements(["AAAA", "SOON"], THROUGH)["ticker"].to_list() == ["AAAA"], later


def test_prices_of_a_ticker_in_two_currencies_are_refused(tmp_path: Path) -> None:
    source = currencies(tmp_path, {"us": "AAAA", "eu": "AAAA,EUR"}, "AAAA,USD")
    with pytest.raises(SourceError, match=r"prices of ticker AAAA are in EUR \(eu\) and in USD \(us\); one series"):
        source.statements(["AAAA"], THROUGH)


# --- Folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "d [a]*, é ~"
    folder.mkdir()
    assert told(one_file(folder, HALVES)) == WHOLE


def test_statements_none_of_which_is_of_a_ticker_with_a_price_are_said(tmp_path: Path) -> None:
    files = {
        "prices.csv": "ticker,date,open,high,low,close,volume\nAAAA,2019-01-02,1,1,1,1,1\n",
        "a.csv": INCOME.replace("AAAA", "AAAA.US"),
        "b.csv": INCOME + INCOME.splitlines()[1].replace("AAAA", "BBBB") + "\n",
    }
    entry = {"frequency": "annual", "columns": columns("revenue", "net_income")}
    settings = {
        "prices": [{"file": "prices.csv", "provider": "p", "adjustment": "as_traded"}],
        "fundamentals": [{"file": f"{name}.csv", "provider": name, **entry} for name in ("a", "b")],
    }
    said = (
        "no statement of a is of a ticker with a price (AAAA.US); spell tickers alike in all files, or "
        "set read: {ticker_suffix: …} in its mapping"
    )
    assert left_out(opened(tmp_path, files, **settings)) == [said]
