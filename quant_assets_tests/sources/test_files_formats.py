"""Price files in the forms that people have: each holds the same good bar, and what cannot be told is refused."""

import bz2
import gzip
import json
import re
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import SourceError
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.files import FilesSource
from quant_assets.sources.files_check import looked_at
from quant_assets.sources.files_found import on_disk

TICKERS = ["AAAA", "BBBB"]
DAY = date(2024, 1, 2)
#: AAAA on 2024-01-02: open, high, low, close and volume.
GOOD = ("AAAA", DAY, 10.0, 10.5, 9.5, 10.2, 1_000_000.0)
LARGE = ("AAAA", DAY, 1010.0, 1010.5, 1009.5, 1010.2, 1_250_000.0)
HEAD = "ticker,date,open,high,low,close,volume\n"
ROW = "AAAA,2024-01-02,10,10.5,9.5,10.2,1000000\n"
INVESTING = {
    "ticker": "Symbol",
    "date": "Date",
    "open": "Open",
    "high": "High",
    "low": "Low",
    "close": "Price",
    "volume": "Vol.",
}


def source_of(folder: Path, file: str, adjustment: str = "as_traded", **entry: Any) -> FilesSource:
    given = {"file": file, "provider": "mine", "adjustment": adjustment, **entry}
    return FilesSource(FilesSettings.model_validate({"prices": [given]}), folder, date(2020, 1, 1))


def bars_of(source: FilesSource) -> list[tuple[Any, ...]]:
    bars = source.bars(TICKERS, date(2020, 1, 1), date(2025, 1, 1))
    return bars.select("ticker", "date", "open", "high", "low", "close", "volume").rows()


def read(folder: Path, text: str | bytes, file: str = "prices.csv", **entry: Any) -> list[tuple[Any, ...]]:
    (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    return bars_of(source_of(folder, file, **entry))


@pytest.mark.parametrize(
    ("text", "entry", "bar"),
    [
        pytest.param(HEAD + ROW + "\n", {}, GOOD, id="a blank line at the end"),
        pytest.param(HEAD + "AAAA,20240102,10,10.5,9.5,10.2,1000000\n", {}, GOOD, id="a date as a whole number"),
        pytest.param(
            '\ufeff"Symbol","Date","Price","Open","High","Low","Vol.","Change %"\n'
            '"AAAA","01/02/2024","1,010.20","1,010.00","1,010.50","1,009.50","1.25M","0.5%"\n',
            {"columns": INVESTING, "read": {"dates": "month_first"}},
            LARGE,
            id="investing.com",
        ),
        pytest.param(
            '"Symbol";"Date";"Price";"Open";"High";"Low";"Vol."\n'
            '"AAAA";"02.01.2024";"1.010,20";"1.010,00";"1.010,50";"1.009,50";"1,25M"\n',
            {"columns": INVESTING, "read": {"dates": "day_first"}},
            LARGE,
            id="investing.com in German",
        ),
        pytest.param(
            HEAD + "AAAA,2024-01-02 00:00:00-05:00,10,10.5,9.5,10.2,1000000\n", {}, GOOD, id="a time stamp of pandas"
        ),
        pytest.param(
            HEAD.replace(",", ";") + "AAAA;2024-01-02;10,0;10,5;9,5;10,2;1000000\n", {}, GOOD, id="semicolons"
        ),
        pytest.param((HEAD + ROW).replace(",", "\t"), {}, GOOD, id="tabs"),
        pytest.param((HEAD + ROW).replace(",", "|"), {}, GOOD, id="bars"),
        pytest.param(
            HEAD + 'AAAA,2024-01-02,"1,010.0","1,010.5","1,009.5","1,010.2","1,250,000"\n', {}, LARGE, id="thousands"
        ),
        pytest.param(
            HEAD + "AAAA,2024-01-02,1'010.0,1 010.5,$1009.5,1010.2,1250K\n", {}, LARGE, id="other thousands, currency"
        ),
        pytest.param(
            HEAD + "AAAA,01/02/2024,10,10.5,9.5,10.2,1000000\n", {"read": {"dates": "%m/%d/%Y"}}, GOOD, id="a pattern"
        ),
        pytest.param(
            HEAD + "AAAA,01/02/2024 12:00:00 AM,10,10.5,9.5,10.2,1000000\n",
            {"read": {"dates": "month_first"}},
            GOOD,
            id="a date of Excel",
        ),
        pytest.param(
            HEAD + 'AAAA,"Jan 02, 2024",10,10.5,9.5,10.2,1000000\n', {}, GOOD, id="the name of the month first"
        ),
        pytest.param(HEAD + "AAAA,2-Jan-24,10,10.5,9.5,10.2,1000000\n", {}, GOOD, id="the name of the month second"),
        pytest.param(HEAD + "AAAA,1704153600,10,10.5,9.5,10.2,1000000\n", {}, GOOD, id="seconds at midnight"),
        pytest.param(HEAD + "AAAA,1704205800000,10,10.5,9.5,10.2,1000000\n", {}, GOOD, id="milliseconds at the open"),
        pytest.param(
            "Price,Close,High,Low,Open,Volume\nTicker,AAAA,AAAA,AAAA,AAAA,AAAA\nDate,,,,,\n"
            "2024-01-02,10.2,10.5,9.5,10,1000000\n",
            {},
            GOOD,
            id="yfinance's three lines of names",
        ),
        pytest.param("# made up\n# twice\n" + HEAD + ROW, {}, GOOD, id="comments"),
        pytest.param("#" + HEAD + ROW, {}, GOOD, id="names in a comment"),
        pytest.param("Prices of AAAA\n\n" + HEAD + ROW, {}, GOOD, id="a title"),
        pytest.param(HEAD + ROW + "Total,,,,,,1000000\nSource: made up,,,,,,\n", {}, GOOD, id="lines below"),
        pytest.param(HEAD + ROW + "Source: made up\n", {}, GOOD, id="a short line below"),
        pytest.param((HEAD + ROW).replace("\n", "\r\n"), {}, GOOD, id="line ends of Windows"),
        pytest.param((HEAD + ROW).replace(",", ", "), {}, GOOD, id="spaces"),
        pytest.param((HEAD + ROW).encode("utf-16"), {}, GOOD, id="UTF-16"),
        pytest.param((HEAD + ROW).encode("utf-16-le"), {}, GOOD, id="UTF-16 without a mark"),
        pytest.param(("note," + HEAD + "Aktien der Börse," + ROW).encode("latin-1"), {}, GOOD, id="Latin-1"),
        pytest.param(
            ("note," + HEAD + 3000 * ("plain," + ROW.replace("AAAA", "CCCC")) + "Börse," + ROW).encode("latin-1"),
            {},
            GOOD,
            id="Latin-1 after a long plain beginning",
        ),
        pytest.param(
            ROW,
            {"columns": {name: f"column_{place}" for place, name in enumerate(HEAD.strip().split(","), 1)}},
            GOOD,
            id="no names",
        ),
        pytest.param(
            "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOLUME>\nAAAA.US,D,20240102,000000,10,10.5,9.5,10.2,1000000\n",
            {"read": {"ticker_suffix": ".US"}},
            GOOD,
            id="names in brackets",
        ),
        pytest.param(
            "Date,Open,High,Low,Close,Volume\n2024-01-02,10,10.5,9.5,10.2,1000000\n",
            {"read": {"ticker": "AAAA"}},
            GOOD,
            id="a ticker of the settings",
        ),
    ],
)
def test_the_same_bar_in_every_form(tmp_path: Path, text: str | bytes, entry: dict[str, Any], bar: object) -> None:
    assert read(tmp_path, text, **entry) == [bar]


def test_null_words_are_missing_prices_and_other_texts_are_counted(tmp_path: Path) -> None:
    rows = [
        ROW,
        *(
            f"AAAA,2024-01-{day:02},{word},10.5,9.5,{word},1\n"
            for day, word in ((3, "null"), (4, "N/A"), (5, "-"), (8, ""))
        ),
    ]
    found = read(tmp_path, HEAD + "".join(rows))
    assert [row[2:6] for row in found] == [(10.0, 10.5, 9.5, 10.2), *4 * [(None, 10.5, 9.5, None)]]
    source = source_of(tmp_path, "prices.csv", read={"nulls": ["closed"]})
    (tmp_path / "prices.csv").write_text(
        HEAD + 8 * ROW + "AAAA,2024-01-03,closed,10,9,9,1\nAAAA,2024-01-04,10,?!,9,9,1\n"
    )
    found = bars_of(source)
    assert found[-2][2:] == (None, 10.0, 9.0, 9.0, 1.0)
    assert found[-1][2:] == (10.0, None, 9.0, None, 1.0)  # without a close, so that it is refused as missing_price
    assert [each.refused for each in source.told()] == [{"not_a_number": 1}]
    assert (source.told()[0].rows, source.told()[0].read) == (10, 10)


def test_a_row_without_a_date_is_refused_and_counted(tmp_path: Path) -> None:
    text = HEAD + 8 * ROW + "AAAA,tomorrow,10,10.5,9.5,10.2,1\nTotal,,,,,,8000000\n\n"
    (tmp_path / "prices.csv").write_text(text)
    source = source_of(tmp_path, "prices.csv")
    assert len(bars_of(source)) == 8
    (told,) = source.told()
    assert (told.rows, told.refused) == (11, {"blank": 1, "total_line": 1, "not_a_date": 1})
    assert told.shown == (
        "prices.csv read as: first not_a_date: line 10, column 'date', ticker AAAA, 'tomorrow'; "
        "11 rows, 8 read, refused 1 blank, 1 total_line, 1 not_a_date"
    )
    with pytest.raises(
        SourceError,
        match=r"prices.csv: line 9, column 'date', ticker AAAA: 'tomorrow' is no date, nor are 4 of 11 values",
    ):
        read(tmp_path, HEAD + 7 * ROW + 3 * "AAAA,tomorrow,10,10.5,9.5,10.2,1\n" + "AAAA,today,1,1,1,1,1\n")


def test_a_line_with_more_columns_is_refused_and_counted(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text(HEAD + ROW + ROW.replace("\n", ",7\n") + ROW.replace("\n", ",\n"))
    source = source_of(tmp_path, "prices.csv")
    assert bars_of(source) == [GOOD, GOOD]
    assert source.told()[0].refused == {"too_many_columns": 1}
    with pytest.raises(SourceError, match=r"prices.csv cannot be read: 2 of 3 rows have more columns than the 7 names"):
        read(tmp_path, HEAD + ROW + 2 * "AAAA,2024-01-02,10,0,10,5,9,5,10,2,1000000\n")


def test_what_a_file_does_not_settle_names_the_setting(tmp_path: Path) -> None:
    for text, message in (
        (
            HEAD + "AAAA,01/02/2024,10,10.5,9.5,10.2,1\n",
            r"column 'date': day and month of 01/02/2024 .*dates: day_first",
        ),
        (HEAD + 'AAAA,2024-01-02,"1,010","1,010","1,010","1,010",1\n', r"whether 1,010 has thousands.*decimal: '\.'"),
        (HEAD.replace("ticker,", "") + "2024-01-02,1,1,1,1,1\n", r"no column 'ticker'.*\{ticker\}.*read: \{ticker"),
        ("", r"prices.csv is empty"),
    ):
        with pytest.raises(SourceError, match=message) as caught:
            read(tmp_path, text)
        assert "\n" not in str(caught.value)
    settled = HEAD + "AAAA,01/02/2024,10,10.5,9.5,10.2,1000000\nAAAA,01/16/2024,10,10.5,9.5,10.2,1000000\n"
    assert [row[1] for row in read(tmp_path, settled)] == [DAY, date(2024, 1, 16)]
    decimals = HEAD + 'AAAA,2024-01-02,"1,010","1,010","1,010","1,010",1\n'
    assert read(tmp_path, decimals, read={"decimal": ","})[0][2] == 1.01
    assert read(tmp_path, decimals, read={"decimal": "."})[0][2] == 1010.0
    for wrong, message in (
        ({"dates": "us"}, "is not a date format"),
        ({"zone": "Mars"}, "is not a time zone"),
        ({"encoding": "x"}, "is not an encoding"),
    ):
        with pytest.raises(ValueError, match=message):
            source_of(tmp_path, "prices.csv", read=wrong)


def test_how_a_file_was_read_is_said(tmp_path: Path) -> None:
    text = HEAD.replace(",", ";") + "AAAA;31.01.2024;10,0;10,5;9,5;10,2;1.000.000\n"
    (tmp_path / "prices.csv").write_text(text)
    source = source_of(tmp_path, "prices.csv")
    bars_of(source)
    assert source.told()[0].shown == (
        "prices.csv read as: separator ;, decimal comma, point between thousands, dates day first; 1 rows, all read"
    )


# --- Time zones -------------------------------------------------------------------------------------------------------

SESSIONS = [date(2024, 1, day) for day in (2, 3, 4, 5, 8)]


def stamped(folder: Path, kind: str, stamps: list[datetime], **entry: Any) -> list[date]:
    prices = {"open": 10.0, "high": 10.5, "low": 9.5, "close": 10.0, "volume": 1.0}
    frame = pl.DataFrame({"ticker": "AAAA", "date": stamps}).with_columns(
        pl.lit(each).alias(name) for name, each in prices.items()
    )
    if kind == "parquet":
        frame.write_parquet(folder / "prices.parquet")
    else:
        frame.with_columns(pl.Series("date", [stamp.isoformat(sep=" ") for stamp in stamps])).write_csv(
            folder / "prices.csv"
        )
    return [row[1] for row in bars_of(source_of(folder, f"prices.{kind}", **entry))]


def at(zone: str | None, hour: int = 0, minute: int = 0) -> list[datetime]:
    return [
        datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(zone) if zone else None)
        for day in SESSIONS
    ]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Tokyo", "America/New_York", "UTC", "Pacific/Auckland"])
def test_a_midnight_counts_for_its_own_day(tmp_path: Path, kind: str, zone: str) -> None:
    assert stamped(tmp_path, kind, at(zone)) == SESSIONS


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_another_time_counts_for_the_session_in_new_york(tmp_path: Path, kind: str) -> None:
    for hour, minute in ((0, 0), (9, 30), (16, 0)):
        moments = [moment.astimezone(ZoneInfo("UTC")) for moment in at("America/New_York", hour, minute)]
        assert stamped(tmp_path, kind, moments) == SESSIONS
    assert stamped(tmp_path, kind, at(None, 16)) == SESSIONS
    assert stamped(tmp_path, kind, at(None)) == SESSIONS


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Tokyo", "Asia/Shanghai", "Asia/Kolkata"])
def test_a_midnight_that_lost_its_zone_is_refused_and_the_zone_brings_it_back(
    tmp_path: Path, kind: str, zone: str
) -> None:
    moments = [moment.astimezone(ZoneInfo("UTC")) for moment in at(zone)]
    for given in (moments, [moment.replace(tzinfo=None) for moment in moments]):
        with pytest.raises(
            SourceError, match=rf"prices.{kind}: column 'date': the session of .* is ambiguous.*read: {{zone: "
        ):
            stamped(tmp_path, kind, given)
        assert stamped(tmp_path, kind, given, read={"zone": zone}) == SESSIONS


def test_dates_of_parquet_in_texts_and_numbers_are_read_where_the_settings_say_how(tmp_path: Path) -> None:
    prices = {"open": 10.0, "high": 10.5, "low": 9.5, "close": 10.2, "volume": 1e6}
    for value, form in (("2024-01-02", "iso"), (20240102, "yyyymmdd"), (1704153600, "epoch")):
        pl.DataFrame({"ticker": "AAAA", "date": value, **prices}).write_parquet(tmp_path / "prices.parquet")
        assert bars_of(source_of(tmp_path, "prices.parquet", read={"dates": form})) == [GOOD]
        with pytest.raises(SourceError, match=r"column 'date' is \w+, but date needs a date.*read: \{dates: iso\}"):
            bars_of(source_of(tmp_path, "prices.parquet"))


# --- Folders, archives, JSON ------------------------------------------------------------------------------------------

PLAIN = "Date,Open,High,Low,Close,Volume\n2024-01-02,10,10.5,9.5,10.2,1000000\n"


def test_a_file_for_each_ticker_has_it_in_its_name(tmp_path: Path) -> None:
    for name in ("daily/us/1/aaaa.us.txt", "daily/us/2/bbbb.us.txt", "daily/us/2/notes.md", "daily/uk/cccc.uk.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(PLAIN)
    other = ("BBBB", *GOOD[1:])
    assert bars_of(source_of(tmp_path, "daily/us/**/{ticker}.us.txt")) == [GOOD, other]
    assert bars_of(source_of(tmp_path, "daily/us/*/{ticker}.us.txt")) == [GOOD, other]
    assert bars_of(source_of(tmp_path, "daily/us/1/{ticker}.us.txt")) == [GOOD]
    assert on_disk(tmp_path, "daily/us/**/{ticker}.us.txt") == ["daily/us/1/aaaa.us.txt", "daily/us/2/bbbb.us.txt"]
    with pytest.raises(SourceError, match=r"nobody/\{ticker\}.csv is missing; put it there"):
        bars_of(source_of(tmp_path, "nobody/{ticker}.csv"))
    source = source_of(tmp_path, "daily/us/**/{ticker}.us.txt")
    bars_of(source)
    assert "(2 files) read as: ticker from the file's name" in source.told()[0].shown
    (tmp_path / "daily/us/2/dddd.us.txt").write_text("Date,Open\n2024-01-02,1\n")
    with pytest.raises(SourceError, match=r"\(dddd.us.txt\) has no column 'high'"):
        bars_of(source)


def test_a_pattern_leaves_out_files_that_have_a_name_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "AAAA.csv").write_text(PLAIN)
    (tmp_path / "members.csv").write_text("ticker,start_date,end_date\nAAAA,2020-01-01,\n")
    settings = {
        "prices": [{"file": "{ticker}.csv", "provider": "mine", "adjustment": "as_traded"}],
        "membership": {"file": "members.csv"},
    }
    source = FilesSource(FilesSettings.model_validate(settings), tmp_path, date(2020, 1, 1))
    assert bars_of(source) == [GOOD]
    assert source.membership(DAY).rows() == [("AAAA", date(2020, 1, 1), None)]


def test_packed_files_and_folders(tmp_path: Path) -> None:
    whole = (HEAD + ROW).encode()
    (tmp_path / "prices.csv.gz").write_bytes(gzip.compress(whole))
    (tmp_path / "prices.csv.bz2").write_bytes(bz2.compress(whole))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one.csv").write_bytes(whole)
    with zipfile.ZipFile(tmp_path / "bulk.zip", "w") as archive:
        archive.writestr("data/us/aaaa.us.txt", PLAIN)
        archive.writestr("data/readme.md", "nothing")
        archive.writestr("data/._aaaa.us.txt", "what a Mac keeps of a file")
    with zipfile.ZipFile(tmp_path / "prices.zip", "w") as archive:
        archive.writestr("prices.csv", whole)
    for file in (
        "prices.csv.gz",
        "prices.csv.bz2",
        "prices.zip",
        "folder",
        "folder/*.csv",
        "bulk.zip/**/{ticker}.us.txt",
    ):
        assert bars_of(source_of(tmp_path, file)) == [GOOD], file
    assert on_disk(tmp_path, "bulk.zip/**/{ticker}.us.txt") == ["bulk.zip"]
    assert on_disk(tmp_path, "folder") == ["folder/one.csv"]
    for name in ("prices.csv.gz", "prices.zip"):
        (tmp_path / name).write_bytes(b"PK damaged")
        with pytest.raises(SourceError, match=rf"{name} cannot be unpacked"):
            bars_of(source_of(tmp_path, name))
    (tmp_path / "prices.docx").write_bytes(b"PK")
    with pytest.raises(SourceError, match=r"prices.docx is neither .parquet nor .csv"):
        bars_of(source_of(tmp_path, "prices.docx"))


def test_parquet_files_by_ticker(tmp_path: Path) -> None:
    for ticker in TICKERS:
        pl.DataFrame(
            {"date": [DAY], "open": 10.0, "high": 10.5, "low": 9.5, "close": 10.2, "volume": 1e6}
        ).write_parquet(tmp_path / f"{ticker.lower()}.parquet")
    assert bars_of(source_of(tmp_path, "{ticker}.parquet")) == [GOOD, ("BBBB", *GOOD[1:])]


def test_parquet_files_by_ticker_need_not_have_the_same_types(tmp_path: Path) -> None:
    given = pl.DataFrame({"date": [DAY], "open": 10.0, "high": 10.5, "low": 9.5, "close": 10.2, "volume": 1e6})
    whole = given.with_columns(pl.col("volume").cast(pl.Int64), pl.col("date").cast(pl.Datetime("ns")), more=pl.lit(1))
    for first, second in ((given, whole), (whole, given)):
        first.write_parquet(tmp_path / "aaaa.parquet")
        second.write_parquet(tmp_path / "bbbb.parquet")
        source = source_of(tmp_path, "{ticker}.parquet")
        assert bars_of(source) == [GOOD, ("BBBB", *GOOD[1:])]
        assert source.told()[0].shown.endswith("2 rows, all read")
    (tmp_path / "cccc.parquet").write_bytes(b"")
    with pytest.raises(SourceError, match=r"^cccc.parquet cannot be read: "):
        bars_of(source)


def test_a_link_to_nothing_is_named_and_a_circle_of_links_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "us").mkdir()
    (tmp_path / "us" / "aaaa.csv").write_text(PLAIN)
    (tmp_path / "us" / "circle").symlink_to(tmp_path)
    (tmp_path / "us" / "notes").symlink_to(tmp_path / "nothing")
    for file in ("us/{ticker}.csv", "**/{ticker}.csv", "us"):
        entry = {} if "{" in file else {"read": {"ticker": "AAAA"}}
        assert bars_of(source_of(tmp_path, file, **entry)) == [GOOD]
    (tmp_path / "us" / "bbbb.csv").symlink_to(tmp_path / "nothing")
    for file in ("us/{ticker}.csv", "**/{ticker}.csv", "us"):
        with pytest.raises(SourceError, match=r"us/bbbb.csv is a broken link; fix or remove it$"):
            bars_of(source_of(tmp_path, file))


RECORD = {
    "ticker": "AAAA",
    "date": "2024-01-02",
    "open": 10,
    "high": 10.5,
    "low": 9.5,
    "close": 10.2,
    "volume": 1000000,
}
BARE = {name: value for name, value in RECORD.items() if name not in ("ticker", "date")}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([RECORD], id="records"),
        pytest.param({"AAAA": [{"date": "2024-01-02", **BARE}]}, id="records by ticker"),
        pytest.param({"AAAA": {"2024-01-02": BARE}}, id="by ticker and date"),
        pytest.param({name: [value] for name, value in RECORD.items()}, id="columns"),
        pytest.param({name: {"0": value} for name, value in RECORD.items()}, id="pandas' columns"),
        pytest.param({"columns": [*RECORD], "index": [0], "data": [[*RECORD.values()]]}, id="pandas' split"),
        pytest.param({"0": RECORD}, id="pandas' index"),
        pytest.param(
            {"symbol": "x", "ticker": "AAAA", "historical": [{"date": "2024-01-02", **BARE}]},
            id="one table among other things",
        ),
        pytest.param(
            {
                "datatable": {
                    "data": [[*RECORD.values()]],
                    "columns": [{"name": name, "type": "x"} for name in RECORD],
                },
                "meta": {"next": None},
            },
            id="Quandl",
        ),
        pytest.param([[*RECORD], [*RECORD.values()]], id="lists"),
    ],
)
def test_kinds_of_json(tmp_path: Path, content: object) -> None:
    assert read(tmp_path, json.dumps(content), "prices.json") == [GOOD]


def test_lines_of_json_and_a_time_series_of_alpha_vantage(tmp_path: Path) -> None:
    assert read(tmp_path, f"{json.dumps(RECORD)}\n\n{json.dumps(RECORD)}\n", "prices.jsonl") == [GOOD, GOOD]
    numbered = {f"{place}. {name}": str(value) for place, (name, value) in enumerate(BARE.items(), 1)}
    content = {"Meta Data": {"2. Symbol": "AAAA"}, "Time Series (Daily)": {"2024-01-02": numbered}}
    columns = {name: f"{place}. {name}" for place, name in enumerate(BARE, 1)}
    assert read(tmp_path, json.dumps(content), "aaaa.json", columns=columns, read={"ticker": "AAAA"}) == [GOOD]
    for wrong, message in (("{", "is not JSON"), ('"text"', "has no table")):
        with pytest.raises(SourceError, match=message):
            read(tmp_path, wrong, "prices.json")


def test_a_table_of_yfinance_with_several_tickers(tmp_path: Path) -> None:
    fields = ["Close", "High", "Low", "Open", "Volume"]
    values = ["10.2", "10.5", "9.5", "10", "1000000"]
    above = ",".join(["Price", *(field for field in fields for _ in TICKERS)])
    below = ",".join(["Ticker", *(ticker for _ in fields for ticker in TICKERS)])
    row = ",".join(["2024-01-02", *(value for value in values for _ in TICKERS)])
    lone = ",".join(["2024-01-03", *(value for each in values for value in (each, ""))])
    found = read(tmp_path, f"{above}\n{below}\nDate{',' * 10}\n{row}\n{lone}\n")
    other = ("BBBB", *GOOD[1:])
    assert found == [GOOD, ("AAAA", date(2024, 1, 3), *GOOD[2:]), other]  # BBBB has no bar on the 3rd
    by_ticker = (
        "Ticker,AAAA,AAAA,AAAA,AAAA,AAAA\nPrice,Close,High,Low,Open,Volume\nDate,,,,,\n"
        "2024-01-02,10.2,10.5,9.5,10,1000000\n"
    )
    assert read(tmp_path, by_ticker) == [GOOD]


# --- Any of these together --------------------------------------------------------------------------------------------

DATES = {
    "%Y-%m-%d": None,
    "%Y%m%d": None,
    "%d.%m.%Y": None,
    "%m/%d/%Y": None,
    "%d-%b-%y": None,
    "%Y-%m-%d %H:%M:%S": None,
    "%d/%m/%Y": "day_first",
}


@pytest.mark.parametrize("seed", range(40))
def test_what_is_written_in_any_form_is_read_again(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    separator, form = str(rng.choice([",", ";", "\t", "|"])), str(rng.choice([*DATES]))
    decimal = str(rng.choice([".", ","]))
    thousands = str(rng.choice(["", "," if decimal == "." else ".", " "]))
    encoding, null = (
        str(rng.choice(["utf-8", "utf-8-sig", "utf-16", "cp1252"])),
        str(rng.choice(["", "null", "N/A", "-"])),
    )
    days = [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 31), date(2024, 12, 11)]
    expected, lines = [], []

    def number(value: float, decimals: int) -> str:
        whole, _, rest = f"{value:,.{decimals}f}".partition(".")
        text = whole.replace(",", thousands) + (decimal + rest if rest else "")
        return f'"{text}"' if separator in text else text

    for ticker in TICKERS:
        for day in days:
            prices = [round(float(each), 2) for each in rng.uniform(0.5, 5000.0, 4)]
            low, high = min(prices), max(prices)
            volume = float(rng.integers(1, 10**7))
            lost = rng.random() < 0.1
            expected.append((ticker, day, None if lost else prices[0], high, low, prices[1], volume))
            cells = [
                ticker,
                day.strftime(form),
                null if lost else number(prices[0], 2),
                number(high, 2),
                number(low, 2),
                number(prices[1], 2),
                number(volume, 0),
                "Börse",
            ]
            lines.append(separator.join(cells))
    order = rng.permutation(len(lines))
    head = ["A title"] if rng.random() < 0.3 else []
    head.append(separator.join(["Ticker", "Date", "Open", "High", "Low", "Close", "Volume", "Note"]))
    ends = str(rng.choice(["\n", "\r\n"]))
    below = ["", f"Total{separator * 7}"] if rng.random() < 0.3 else []
    text = ends.join([*head, *(lines[place] for place in order), *below]) + ends
    content = text.encode(encoding)
    packed = gzip.compress(content) if rng.random() < 0.3 else content
    file = "prices.csv.gz" if packed is not content else "prices.csv"
    reading = {"dates": DATES[form]} if DATES[form] else {}
    assert read(tmp_path, packed, file, read=reading) == expected
    (told,) = source_told(tmp_path, file, reading)
    assert told.read == told.rows - sum(told.refused.values()) == len(expected)


def source_told(folder: Path, file: str, reading: dict[str, Any]) -> list[Any]:
    source = source_of(folder, file, read=reading)
    bars_of(source)
    return source.told()


def test_damaged_files_are_one_line_that_names_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    good = HEAD + "".join(f"AAAA,2024-01-{day:02},10,10.5,9.5,10.2,1000\n" for day in range(2, 20))
    signs = [
        ",",
        ";",
        "\n",
        '"',
        "\x00",
        "null",
        "2024-13-45",
        "1e999",
        "Total",
        "{",
        "#",
        "\r",
        "9" * 20,
        "1.2.3",
        "€",
    ]
    messages = []
    for _ in range(60):
        text = good
        for _ in range(int(rng.integers(1, 5))):
            at = int(rng.integers(0, len(text)))
            text = text[:at] + str(rng.choice(signs)) + text[at + int(rng.integers(0, 6)) :]
        try:
            read(tmp_path, text)
        except SourceError as error:
            messages.append(str(error))
    assert 0 < len(messages) < 50
    assert all("prices.csv" in each and "\n" not in each for each in messages)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("prices.xlsx", r"^prices\.xlsx is a workbook \(Excel\), which cannot be read; save its sheet as CSV and name"),
        ("prices.csv", r"^prices\.csv is not text but an archive or a workbook \(Excel\); .* save its sheet as CSV$"),
    ],
)
def test_a_workbook_is_refused_by_its_name_and_by_what_is_in_it(tmp_path: Path, file: str, message: str) -> None:
    with zipfile.ZipFile(tmp_path / file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(SourceError, match=message):
        bars_of(source_of(tmp_path, file))
    found = {each.file: each.error for each in looked_at(tmp_path)}
    assert re.search(message, found[file])


def test_a_quote_that_nothing_closes_swallows_no_rows_in_silence(tmp_path: Path) -> None:
    text = HEAD + ROW + 'AAAA,2024-01-03,10,10.5,9.5,"10.2,1\n' + 3 * ROW + 'AAAA,2024-01-04,10,10.5,9.5,"10.2,1\n'
    with pytest.raises(SourceError, match=r"prices.csv"):
        read(tmp_path, text)


# --- Statements, membership, macro series -----------------------------------------------------------------------------


def test_a_period_that_is_named_by_its_quarter_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "statements.csv").write_text("ticker;period_end;published;revenue\nAAAA;2023Q1;2023-05;(1.234,5)\n")
    (tmp_path / "macro.csv").write_text("series_id\tdate\tvalue\nGDP\t2023Q1\t1.5\nGDP\t2023-Q2\t.\nGDP\t2023Q3\tn/a\n")
    (tmp_path / "members.json").write_text('[{"ticker": "AAAA", "start_date": "2020-01", "end_date": "2023-06"}]')
    settings = {
        "fundamentals": [
            {"file": "statements.csv", "provider": "own", "frequency": "quarterly", "columns": {"revenue": "revenue"}}
        ],
        "macro": [
            {
                "file": "macro.csv",
                "columns": {"period": "date"},
                "series": {"GDP": {"frequency": "quarterly", "lag_days": 30}},
            }
        ],
        "membership": {"file": "members.json", "end_is_member": True},
    }
    source = FilesSource(FilesSettings.model_validate(settings), tmp_path, date(2020, 1, 1))
    later = date(2024, 1, 1)
    statements = source.statements(["AAAA"], later).select("period_end", "published", "revenue")
    assert statements.rows() == [(date(2023, 3, 31), date(2023, 5, 31), -1234.5)]
    assert source.macro(later).select("period", "value").rows() == [(date(2023, 1, 1), 1.5)]
    assert source.membership(later).rows() == [("AAAA", date(2020, 1, 1), date(2023, 6, 30))]
    assert {each.kind: each.read for each in source.told()} == {"fundamentals": 1, "macro": 3, "membership": 1}


def test_a_statement_with_a_figure_that_is_none_is_refused_and_counted(tmp_path: Path) -> None:
    good = "".join(f"AAAA,{year}-12-31,{year + 1}-02-01,5\n" for year in range(2010, 2020))
    (tmp_path / "s.csv").write_text(f"ticker,period_end,published,revenue\n{good}AAAA,2020-12-31,2021-02-01,five\n")
    entry = {"file": "s.csv", "provider": "own", "frequency": "annual", "columns": {"revenue": "revenue"}}
    source = FilesSource(FilesSettings.model_validate({"fundamentals": [entry]}), tmp_path, date(2010, 1, 1))
    assert len(source.statements(["AAAA"], date(2024, 1, 1))) == 10
    assert source.told()[0].shown == (
        "s.csv read as: first not_a_number: line 12, column 'revenue', ticker AAAA, 'five'; 11 rows, 10 read, "
        "refused 1 not_a_number"
    )
