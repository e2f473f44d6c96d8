"""Files as providers give them, made up in their layouts: what they are taken for, and what comes of their rows."""

import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import SourceError
from quant_assets.market.adjustment import adjust, join_providers
from quant_assets.market.calendar import sessions
from quant_assets.market.events import detect, repair
from quant_assets.market.quarantine import judge
from quant_assets.market.steps import with_steps
from quant_assets.settings.domain import BarSettings
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.files import FilesSource
from quant_assets.sources.files_check import SEVERAL, Checked, looked_at

#: Twelve sessions: a dividend on the sixth, two shares for one on the ninth.
DAYS = sessions(date(2024, 1, 2), date(2024, 1, 18))
PATH = np.array([100, 101, 99.5, 102, 103, 101, 104, 105, 106, 104, 107, 108.0])
PAID, SPLIT = np.where(np.arange(12) == 5, 0.02, 0.0), np.where(np.arange(12) == 8, 2.0, 1.0)
GROSS = PATH / PATH[0]  # what a holder has
AS_TRADED = PATH / np.cumprod(SPLIT * (1.0 + PAID))
SPLIT_ADJUSTED = AS_TRADED * np.cumprod(SPLIT) / 2.0
TOTAL = PATH / PATH[-1] * SPLIT_ADJUSTED[-1]
VOLUME = np.full(12, 1_000_000)


def table(closes: np.ndarray, row: str, volume: np.ndarray = VOLUME, **columns: np.ndarray) -> str:
    """A line for each session; `row` is a format with d (date), o, h, l, c, v and what else is given."""
    return "".join(
        row.format(
            d=day.item(),
            o=closes[at],
            h=closes[at] * 1.01,
            l=closes[at] * 0.99,
            c=closes[at],
            v=volume[at],
            **{name: values[at] for name, values in columns.items()},
        )
        + "\n"
        for at, day in enumerate(DAYS)
    )


def source_of(folder: Path, checked: list[Checked]) -> FilesSource:
    """The provider by what is proposed."""
    settings: dict[str, Any] = {}
    for each in checked:
        assert not each.error, each.error
        if each.kind in SEVERAL:
            settings.setdefault(each.kind, []).append(each.entry)
        elif each.kind:
            settings[each.kind] = each.entry
    return FilesSource(FilesSettings.model_validate(settings), folder, date(2024, 1, 1))


def prices_of(folder: Path, checked: list[Checked], ticker: str) -> pl.DataFrame:
    """Adjusted prices of a ticker by what is proposed."""
    bars = source_of(folder, checked).bars([ticker], date(2024, 1, 1), date(2024, 12, 31))
    judged = judge(bars, DAYS)
    assert judged["reason"].null_count() == len(DAYS)
    events = detect(with_steps(judged), BarSettings().events)
    series, _ = join_providers(with_steps(repair(judged, events)), BarSettings())
    return adjust(series.with_columns(in_sector=True, panel_from="date"))


def gross(prices: pl.DataFrame) -> np.ndarray:
    return (prices["close"] / prices["close"][0]).to_numpy()


YAHOO = "Date,Open,High,Low,Close,Adj Close,Volume\n"


def test_a_folder_of_yahoo_tells_dividends_by_its_adjusted_close(tmp_path: Path) -> None:
    for ticker in ("AAAA", "BRK-B"):
        (tmp_path / f"{ticker}.csv").write_text(
            YAHOO + table(SPLIT_ADJUSTED, "{d},{o:.6f},{h:.6f},{l:.6f},{c:.6f},{a:.6f},{v}", a=TOTAL)
        )
    (checked,) = looked_at(tmp_path)
    assert (checked.file, checked.entry["adjustment"], checked.entry["provider"]) == (
        "{ticker}.csv",
        "split_adjusted",
        "yahoo",
    )
    assert checked.entry["columns"]["adjusted_close"] == "Adj Close"
    assert "2 dividends and by no split" in checked.evidence[1]
    prices = prices_of(tmp_path, [checked], "BRK-B")
    np.testing.assert_allclose(gross(prices), GROSS, rtol=2e-7)
    np.testing.assert_allclose(prices["dollar_volume"], SPLIT_ADJUSTED * VOLUME, rtol=1e-7)
    bars = source_of(tmp_path, [checked]).bars(["AAAA"], date(2024, 1, 1), date(2024, 12, 31))
    assert bars["dividend"].to_list()[:5] == [None, 0.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(bars["dividend"][5], 0.02 * SPLIT_ADJUSTED[5], rtol=1e-4)
    assert bars["dividend"][6:].to_list() == [0.0] * 6


def test_what_comes_later_changes_no_dividend_that_was_told(tmp_path: Path) -> None:
    text = YAHOO + table(SPLIT_ADJUSTED, "{d},{o:.2f},{h:.2f},{l:.2f},{c:.2f},{a:.4f},{v}", a=TOTAL)
    entry = {"file": "AAAA.csv", "provider": "yahoo", "adjustment": "split_adjusted", "read": {"ticker": "AAAA"}}
    settings = FilesSettings.model_validate({"prices": [{**entry, "columns": {"adjusted_close": "Adj Close"}}]})
    found = []
    for lines in (13, 9):
        (tmp_path / "AAAA.csv").write_text("\n".join(text.splitlines()[:lines]) + "\n")
        source = FilesSource(settings, tmp_path, date(2024, 1, 1))
        found.append(source.bars(["AAAA"], date(2024, 1, 1), date(2024, 12, 31)))
    assert found[0][:8].equals(found[1])
    assert (found[0]["dividend"].fill_null(0.0) > 0.0).arg_true().to_list() == [5]  # rounding is no dividend


def test_prices_as_traded_beside_an_adjusted_close_tell_splits_too(tmp_path: Path) -> None:
    text = "ticker,date,open,high,low,close,adjusted_close,volume\n" + table(
        AS_TRADED, "AAAA,{d},{o:.4f},{h:.4f},{l:.4f},{c:.4f},{a:.4f},{v}", a=TOTAL
    )
    (tmp_path / "eod.csv").write_text(text)
    (checked,) = looked_at(tmp_path)
    assert checked.entry["adjustment"] == "as_traded"
    assert "a split that is not in the close" in checked.evidence[0]
    prices = prices_of(tmp_path, [checked], "AAAA")
    np.testing.assert_allclose(gross(prices), GROSS, rtol=2e-5)
    np.testing.assert_allclose(prices["close_unadjusted"], AS_TRADED, rtol=1e-5)


def test_a_close_that_is_adjusted_beside_prices_that_are_not_is_refused(tmp_path: Path) -> None:
    text = YAHOO + table(SPLIT_ADJUSTED, "{d},{o:.2f},{h:.2f},{l:.2f},{c:.2f},{a:.4f},{v}", a=TOTAL * 0.8)
    (tmp_path / "AAAA.csv").write_text(text)
    entry = {"file": "{ticker}.csv", "provider": "yahoo", "columns": {"close": "Adj Close"}}
    settings = FilesSettings.model_validate({"prices": [{**entry, "adjustment": "total_return"}]})
    source = FilesSource(settings, tmp_path, date(2024, 1, 1))
    with pytest.raises(
        SourceError, match=r"12 of 12 bars .*ohlc_violation.*AAAA on 2024-01-02.*adjusted_close"
    ) as told:
        source.bars(["AAAA"], date(2024, 1, 1), date(2024, 12, 31))
    assert "\n" not in str(told.value)
    for columns, adjustment, message in (
        ({"adjusted_close": "Adj Close"}, "total_return", "needs a close that is not adjusted"),
        ({"adjusted_close": "a", "dividend": "b"}, "as_traded", "both define the dividends"),
    ):
        with pytest.raises(ValueError, match=message):
            FilesSettings.model_validate({"prices": [{**entry, "columns": columns, "adjustment": adjustment}]})


@pytest.mark.parametrize("keep", [False, True])
def test_bars_of_another_company_tell_no_dividend(tmp_path: Path, keep: bool) -> None:
    count = np.arange(12)
    strange = (count >= 4) & (count <= 6)
    closes = np.where(strange, 40.1234, 10.1234)
    adjusted = np.where(strange, 20.1234, np.where(count, 9.1234, 8.6123))
    text = YAHOO + table(closes, "{d},{o},{h},{l},{c},{a},{v}", a=adjusted)
    (tmp_path / "AAAA.csv").write_text(text)
    entry = {"file": "AAAA.csv", "adjustment": "split_adjusted", "read": {"ticker": "AAAA"}}
    entry["columns"] = {"adjusted_close": "Adj Close"}
    span = {"AAAA": {"first": DAYS[4].item(), "last": DAYS[6].item()}}
    prices = [{**entry, "provider": "member", "not_the_member": span}, {**entry, "provider": "both"}]
    source = FilesSource(FilesSettings.model_validate({"prices": prices}), tmp_path, date(2024, 1, 1), keep=keep)
    bars = source.bars(["AAAA"], date(2024, 1, 1), date(2024, 12, 31))
    member, both = (bars.filter(pl.col("provider") == name) for name in ("member", "both"))
    assert member["date"].to_list() == DAYS[~strange].tolist()
    paid = member.filter(pl.col("dividend") > 0.0)
    assert paid["date"].to_list() == [DAYS[1].item()]
    assert both.filter(pl.col("dividend") > 0.0)["date"].to_list() == [DAYS[1].item(), DAYS[7].item()]


def test_a_few_bad_tickers_refuse_no_file_whichever_are_asked_for(tmp_path: Path) -> None:
    def rows(bad: int, of: int) -> pl.DataFrame:
        return pl.concat(
            pl.DataFrame({"date": DAYS, "open": 10.0, "high": 10.1, "low": 9.9}).with_columns(
                ticker=pl.lit(f"T{at:03}"), close=20.0 if at >= of - bad else 10.0, volume=100.0
            )
            for at in range(of)
        )

    settings = FilesSettings.model_validate(
        {"prices": [{"file": "p.parquet", "provider": "p", "adjustment": "as_traded"}]}
    )
    for bad, refused in ((1, False), (140, True)):
        rows(bad, 150).write_parquet(tmp_path / "p.parquet")
        for ticker in ("T000", "T149"):
            source = FilesSource(settings, tmp_path, date(2024, 1, 1))
            if refused:
                with pytest.raises(SourceError, match="have a close outside their low and high"):
                    source.bars([ticker], date(2024, 1, 1), date(2024, 12, 31))
            else:
                assert len(source.bars([ticker], date(2024, 1, 1), date(2024, 12, 31))) == len(DAYS)


def test_stooqs_bulk_folder(tmp_path: Path) -> None:
    head = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
    for place, ticker in enumerate(("aaaa", "bbbb"), 1):
        folder = tmp_path / "data" / "daily" / "us" / f"nasdaq stocks {place}"
        folder.mkdir(parents=True)
        row = ticker.upper() + ".US,D,{d:%Y%m%d},000000,{o:.4f},{h:.4f},{l:.4f},{c:.4f},{v},0"
        (folder / f"{ticker}.us.txt").write_text(head + table(TOTAL, row))
    (checked,) = looked_at(tmp_path)
    assert checked.file == "data/daily/us/**/{ticker}.us.txt"
    assert (checked.entry["provider"], checked.entry["adjustment"]) == ("stooq", "total_return")
    np.testing.assert_allclose(gross(prices_of(tmp_path, [checked], "BBBB")), GROSS, rtol=1e-5)
    assert "2 similar files" in checked.evidence[0]


def test_a_folder_of_kaggle_with_a_suffix_and_a_column_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "individual_stocks_5yr"
    folder.mkdir()
    for ticker in ("AAL", "AAPL"):
        row = "{d},{o:.4f},{h:.4f},{l:.4f},{c:.4f},{v}," + ticker
        (folder / f"{ticker}_data.csv").write_text(
            "date,open,high,low,close,volume,Name\n" + table(SPLIT_ADJUSTED, row)
        )
    (checked,) = looked_at(tmp_path)
    assert checked.file == "individual_stocks_5yr/{ticker}_data.csv"
    assert checked.entry["adjustment"] == "split_adjusted"
    assert "if your provider says they are, write adjustment: total_return" in checked.evidence[1]
    assert checked.evidence[2] == "no column of dividends: returns leave dividends out"
    assert len(prices_of(tmp_path, [checked], "AAPL")) == 12


def test_a_table_of_quandl_has_the_events_of_prices_as_traded(tmp_path: Path) -> None:
    head = "ticker,date,open,high,low,close,volume,ex-dividend,split_ratio,"
    head += "adj_open,adj_high,adj_low,adj_close,adj_volume\n"
    row = "AAAA,{d},{o},{h},{l},{c},{v}.0,{p},{s},{a},{a},{a},{a},{v}.0"
    (tmp_path / "WIKI_PRICES.csv").write_text(head + table(AS_TRADED, row, p=PAID * AS_TRADED, s=SPLIT, a=TOTAL))
    (checked,) = looked_at(tmp_path)
    assert checked.entry == {
        "file": "WIKI_PRICES.csv",
        "provider": "quandl_wiki",
        "adjustment": "as_traded",
        "columns": {"dividend": "ex-dividend", "split_ratio": "split_ratio"},
    }
    assert checked.evidence == ("as_traded: 1 of 1 closes fall with the split of the day",)
    prices = prices_of(tmp_path, [checked], "AAAA")
    np.testing.assert_allclose(gross(prices), GROSS, rtol=1e-12)
    np.testing.assert_allclose(prices["close_unadjusted"], AS_TRADED, rtol=1e-12)


def test_an_export_of_investing(tmp_path: Path) -> None:
    row = '"{d:%m/%d/%Y}","{c:,.2f}","{o:,.2f}","{h:,.2f}","{l:,.2f}","1.00M","0.00%"'
    lines = table(SPLIT_ADJUSTED * 100.0, row).splitlines()[::-1]  # the newest first
    head = '\ufeff"Date","Price","Open","High","Low","Vol.","Change %"\n'
    (tmp_path / "AAAA.csv").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    (checked,) = looked_at(tmp_path)
    assert (checked.entry["provider"], checked.entry["columns"]["close"]) == ("investing", "Price")
    assert "comma between thousands, dates month first" in checked.read
    found = checked.rows.select("date", "close", "volume").rows()
    assert found[0] == (date(2024, 1, 2), round(SPLIT_ADJUSTED[0] * 100.0, 2), 1e6)
    assert found[-1][0] == date(2024, 1, 18)


def test_simfins_zips_of_income_and_balance(tmp_path: Path) -> None:
    keys = "Ticker;SimFinId;Currency;Fiscal Year;Fiscal Period;Report Date;Publish Date;Restated Date;Shares (Diluted);"
    periods = (("2023", "Q1", "2023-03-31", "2023-05-02"), ("2023", "Q2", "2023-06-30", "2023-08-01"))
    start = "\n".join(f"AAAA;1;USD;{';'.join(period)};2023-08-01;1000;{{}}" for period in periods) + "\n"
    for name, columns, values in (
        ("income", "Revenue;Gross Profit;Operating Income (Loss);Net Income", "500;200;100;50"),
        ("balance", "Total Assets;Short Term Debt;Long Term Debt;Total Equity", "9000;100;;4000"),
    ):
        with zipfile.ZipFile(tmp_path / f"us-{name}-quarterly.zip", "w") as archive:
            archive.writestr(f"us-{name}-quarterly.csv", keys + columns + "\n" + start.format(values, values))
    balance, income = looked_at(tmp_path)
    for each in (balance, income):
        assert (each.kind, each.entry["provider"], each.entry["frequency"]) == ("fundamentals", "simfin", "quarterly")
        assert "separator ;" in each.read
        assert each.rows["published"].to_list() == [date(2023, 5, 2), date(2023, 8, 1)]
    assert income.file == "us-income-quarterly.zip"
    figures = "revenue", "gross_profit", "operating_income", "net_income", "shares"
    assert income.rows.select(figures).row(0) == (500.0, 200.0, 100.0, 50.0, 1000.0)
    assert balance.rows.select("total_assets", "total_debt", "total_equity").row(0) == (9000.0, 100.0, 4000.0)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_extract_of_compustat_without_a_day_of_publication(tmp_path: Path, kind: str) -> None:
    text = "gvkey,datadate,fyearq,fqtr,tic,saleq,niq,atq,ceqq,dlcq,dlttq,cshoq\n" + "".join(
        f"001234,{day},2023,{quarter},AAAA,500.5,50,9000,4000,100,,1.5\n"
        for quarter, day in enumerate(("2023-03-31", "2023-06-30", "2023-09-30"), 1)
    )
    (tmp_path / "compustat.csv").write_text(text)
    if kind == "parquet":
        extract = pl.read_csv(tmp_path / "compustat.csv", try_parse_dates=True)
        extract.with_columns(pl.col("dlttq").cast(pl.Float64)).write_parquet(tmp_path / "compustat.parquet")
        (tmp_path / "compustat.csv").unlink()
    (checked,) = looked_at(tmp_path)
    assert not checked.error
    assert checked.entry["read"] == {"scale": 1e6}
    assert checked.entry["frequency"] == "quarterly"
    assert "default_publication_lag_days" in " ".join(checked.evidence)
    assert "without a day of publication: a statement counts fundamentals.default_publication_lag_days" in checked.read
    statements = source_of(tmp_path, [checked]).statements(["AAAA"], date(2024, 1, 1))
    assert statements["published"].to_list() == [None] * 3
    assert statements.select("revenue", "total_debt", "shares").row(0) == (500.5e6, 1e8, 1.5e6)


def test_what_is_looked_at_is_sorted_out(tmp_path: Path) -> None:
    (tmp_path / "AAAA.csv").write_text(YAHOO + table(SPLIT_ADJUSTED, "{d},{o},{h},{l},{c},{a},{v}", a=TOTAL))
    (tmp_path / "index.csv").write_text(
        "Symbol,Date added,Date removed\nAAAA,2020-01-01,\nBBBB,2020-01-01,2021-06-30\n"
    )
    (tmp_path / "names.csv").write_text("Symbol,Sector,as of\nAAAA,Technology,2020-01-01\nBBBB,Gadgets,2020-01-01\n")
    (tmp_path / "fred.csv").write_text(
        "series_id,date,value\n"
        + "".join(f"GDP,{2020 + at}-{month:02}-01,{at}\n" for at in range(3) for month in (1, 4, 7, 10))
    )
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "void.csv").write_text("")
    found = {each.file: each for each in looked_at(tmp_path)}
    assert {file: each.kind for file, each in found.items()} == {
        "{ticker}.csv": "prices",
        "index.csv": "membership",
        "names.csv": "securities",
        "fred.csv": "macro",
        "other.csv": "",
        "void.csv": "",
    }
    assert "void.csv is empty" in found["void.csv"].error
    assert found["names.csv"].evidence == ("unknown sector 'Gadgets': map it in `sectors`",)
    assert "unknown sector 'Gadgets'" in found["names.csv"].error
    assert found["fred.csv"].entry["series"] == {"GDP": {"frequency": "quarterly", "lag_days": 90}}
    with pytest.raises(SourceError, match="has no table"):
        looked_at(_void(tmp_path))
    with pytest.raises(SourceError, match="is not a folder"):
        looked_at(tmp_path / "AAAA.csv")


def _void(tmp_path: Path) -> Path:
    (tmp_path / "void").mkdir()
    return tmp_path / "void"
