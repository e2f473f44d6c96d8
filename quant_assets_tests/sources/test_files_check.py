"""What folders as people have them are taken for, and that what is proposed for them can be read."""

import zipfile
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.files import FilesSource
from quant_assets.sources.files_check import SEVERAL, Checked, looked_at

YAHOO = "Date,Open,High,Low,Close,Adj Close,Volume\n2024-01-02,10,11,9,10,9,100\n2024-01-03,10,11,9,10,9,100\n"
PLAIN = "Date,Open,High,Low,Close,Volume\n2024-01-02,10,11,9,10,100\n2024-01-03,10,11,9,10,100\n"
STOOQ = """<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>
A.US,D,20240102,000000,10,11,9,10,100,0
"""


def looked(folder: Path, files: dict[str, str]) -> dict[str, Checked]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return {each.file: each for each in looked_at(folder)}


def proposed(folder: Path, found: Iterable[Checked]) -> FilesSource:
    """The provider, with what is proposed of a folder."""
    settings: dict[str, Any] = {}
    for each in found:
        if each.kind and not each.error:
            settings |= {each.kind: [*settings.get(each.kind, []), each.entry] if each.kind in SEVERAL else each.entry}
    return FilesSource(FilesSettings.model_validate(settings), folder, date(2024, 1, 1))


def bars(source: FilesSource, *tickers: str) -> dict[str, int]:
    counted = source.bars(tickers, date(2024, 1, 1), date(2024, 12, 31)).group_by("ticker").len().rows()
    return dict(counted)


def test_files_that_the_pattern_of_tickers_does_not_stand_for_are_set_apart(tmp_path: Path) -> None:
    files = {"AA.csv": YAHOO, "BB.csv": YAHOO, "CC.csv": PLAIN, "NOTES.csv": "what,why\n1,2\n"}
    found = looked(tmp_path, files)
    assert found["{ticker}.csv"].entry["apart"] == ["NOTES.csv"]
    # Of other columns, and so with an entry of its own.
    assert found["CC.csv"].entry["read"] == {"ticker": "CC"}
    assert found["NOTES.csv"].error.startswith("unknown kind by its columns (what, why)")
    assert bars(proposed(tmp_path, found.values()), "AA", "BB", "CC", "NOTES") == {"AA": 2, "BB": 2, "CC": 2}


@pytest.mark.parametrize("packed", [False, True])
def test_empty_files_among_those_of_tickers_are_said_and_left_out(tmp_path: Path, packed: bool) -> None:
    files = {"daily/aa.us.txt": STOOQ, "daily/bb.us.txt": STOOQ, "daily/none.us.txt": ""}
    if packed:
        with zipfile.ZipFile(tmp_path / "d_us_txt.zip", "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        files = {}
    found = looked(tmp_path, files)
    pattern = next(each for each in found.values() if "{ticker}" in each.file)
    assert "1 empty files, " in pattern.read
    assert "none.us.txt the first" in pattern.read
    source = proposed(tmp_path, found.values())
    assert bars(source, "AA", "BB", "NONE") == {"AA": 1, "BB": 1}


def test_names_of_columns_that_nobody_knows_are_named_with_what_is_lacking(tmp_path: Path) -> None:
    error = looked(tmp_path, {"quotes.csv": "Date,Ouverture,High,Low,Close\n"})["quotes.csv"].error
    assert "(Date, Ouverture, High, Low, Close); for prices it lacks open; rename the column" in error


@pytest.mark.parametrize(
    ("names", "kind", "lacks"),
    [
        ("Date,Ticker,Open,High,Low,Closing,Volume", "prices", "lacks close; nearest: Closing; rename"),
        ("Date,Ticker,Opening,High,Low,CLOSING", "prices", "lacks open; nearest: Opening; close; nearest: CLOSING;"),
        ("Ticker,Sektor,known_at", "securities", "lacks sector; nearest: Sektor;"),
        ("Ticker,Published,Period_ends,Revenue", "fundamentals", "lacks period_end; nearest: Period_ends;"),
        ("Ticker,Published,Period_end,Turnover", "", "lacks one of revenue, net_income, total_assets;"),
    ],
)
def test_a_misspelt_column_makes_a_file_of_its_kind_that_cannot_be_read(
    tmp_path: Path, names: str, kind: str, lacks: str
) -> None:
    found = looked(tmp_path, {"a.csv": f"{names}\n"})["a.csv"]
    assert (found.kind, found.entry) == (kind, {})
    assert lacks in found.error


def test_german_names_of_columns_are_known(tmp_path: Path) -> None:
    table = "Symbol;Datum;Eröffnung;Hoch;Tief;Schluss;Volumen\nAAA;31.01.2024;7,62;7,66;7,58;7,64;1.493.730\n"
    source = proposed(tmp_path, looked(tmp_path, {"kurse.csv": table}).values())
    row = source.bars(["AAA"], date(2024, 1, 1), date(2024, 12, 31)).row(0, named=True)
    assert [row[name] for name in ("open", "high", "low", "close", "volume")] == [7.62, 7.66, 7.58, 7.64, 1_493_730.0]


def test_currencies_and_rates_of_exchange_are_proposed_and_read(tmp_path: Path) -> None:
    days = "".join(f"2024-01-{day:02},EUR,USD,1.5\n" for day in range(1, 32))
    found = looked(
        tmp_path,
        {
            "prices.csv": "ticker,date,open,high,low,close,volume\nAAA,2024-01-02,10,10,10,10,100\n",
            "statements.csv": "Ticker;Currency;Report Date;Publish Date;Total Assets;Revenue\n"
            "AAA;EUR;2024-01-31;2024-03-01;100;\n",
            "fx/daily.csv": "Date,From,To,Rate\n" + days,
        },
    )
    assert found["statements.csv"].entry["columns"]["currency"] == "Currency"
    assert found["fx/daily.csv"].kind == "rates"
    assert "frequency" not in found["fx/daily.csv"].entry
    source = proposed(tmp_path, found.values())
    assert source.statements(["AAA"], date(2024, 12, 31))["total_assets"].to_list() == [150.0]
    monthly = "Date,From,To,Rate\n2024-01-31,EUR,USD,1.5\n2024-02-29,EUR,USD,1.5\n2024-03-31,EUR,USD,1.5\n"
    assert looked(tmp_path, {"fx/daily.csv": monthly})["fx/daily.csv"].entry["frequency"] == "monthly"


@pytest.mark.parametrize(
    ("table", "series"),
    [
        ("observation_date,DGS10,UNRATE\n2020-01-01,,3.6\n2020-01-02,1.9,\n2020-01-03,1.9,\n2020-02-01,,4\n", None),
        (
            "DATE,VALUE\n2020-01-01,1\n2020-04-01,.\n2020-07-01,2\n",
            {"FRED": {"frequency": "quarterly", "lag_days": 90}},
        ),
        (
            "observation_date,GDP_20200130\n2019-07-01,1\n2019-10-01,2\n",
            {"GDP": {"frequency": "quarterly", "lag_days": 90}},
        ),
    ],
)
def test_tables_of_fred_are_proposed_and_read(tmp_path: Path, table: str, series: dict[str, Any] | None) -> None:
    found = looked(tmp_path, {"fred.csv": table})["fred.csv"]
    daily, monthly = {"frequency": "daily", "lag_days": 8}, {"frequency": "monthly", "lag_days": 45}
    assert found.entry["series"] == (series or {"DGS10": daily, "UNRATE": monthly})
    assert proposed(tmp_path, [found]).macro(date(2024, 1, 1)).height == (4 if series is None else 2)


def test_a_table_of_closes_by_ticker_is_not_taken_for_macro_series(tmp_path: Path) -> None:
    found = looked(
        tmp_path, {"closes.csv": "Date,AAA,BBB\n2024-01-02,1,2\n", "one.csv": "DATE,CLOSE,VOLUME\n2024-01-02,1,2\n"}
    )
    assert {each.kind for each in found.values()} == {""}
