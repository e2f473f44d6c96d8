"""`quant files`: what is proposed for a folder, and a profile that is written and runs."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from dagster import AssetKey, DagsterInstance

from quant_assets.errors import SettingsError
from quant_assets.market.calendar import sessions
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets_tests.command import Quant
from quant_assets_tests.graph import PROJECT
from quant_assets_tests.pages import blocks

DAYS = sessions(date(2024, 1, 2), date(2024, 2, 29))
FIRST, LATER = date(2024, 1, 31), date(2024, 2, 1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of three tickers in Yahoo's layout, of the index and its sectors; settings and storage of their own."""
    found = tmp_path / "data"
    found.mkdir()
    rng = np.random.default_rng(1)
    for ticker in ("AAAA", "BBBB", "CCCC"):
        closes = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, len(DAYS))))
        lines = [
            f"{day.item()},{close:.4f},{close * 1.01:.4f},{close * 0.99:.4f},{close:.4f},{close:.4f},1000000"
            for day, close in zip(DAYS, closes, strict=True)
        ]
        (found / f"{ticker}.csv").write_text("Date,Open,High,Low,Close,Adj Close,Volume\n" + "\n".join(lines) + "\n")
    with (found / "CCCC.csv").open("a") as file:
        file.write("2024-02-30,1,1,1,1,1,1\n2024-03-01,null,null,null,null,null,null\n")
    tickers = ("AAAA", "BBBB", "CCCC")
    (found / "index.csv").write_text(
        "ticker;start_date;end_date\n" + "".join(f"{each};2020-01-01;\n" for each in tickers)
    )
    (found / "sectors.csv").write_text(
        "Symbol,GICS Sector,as_of\n" + "".join(f"{each},Technology,2020-01-01\n" for each in tickers)
    )
    conf = tmp_path / "conf"
    (conf / "profiles").mkdir(parents=True)
    (conf / "base.yaml").write_bytes((PROJECT / "conf" / "base.yaml").read_bytes())
    (conf / "dagster.yaml").write_bytes((PROJECT / "conf" / "dagster.yaml").read_bytes())
    monkeypatch.setenv("QUANT_CONF_DIR", str(conf))
    monkeypatch.setenv("QUANT__STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QUANT__DAGSTER__STORAGE", "sqlite")
    monkeypatch.delenv("QUANT_DATA_DIR", raising=False)
    return found


def test_check_proposes_a_mapping_and_says_what_would_be_refused(command: Quant, folder: Path) -> None:
    done = command("files", "check", str(folder))
    assert done.status == 0
    proposal = yaml.safe_load(done.out[done.out.index("files:\n") : done.out.index("Write it")])["files"]
    assert proposal["prices"][0]["file"] == "{ticker}.csv"
    assert proposal["prices"][0]["columns"]["adjusted_close"] == "Adj Close"
    assert proposal["membership"] == {"file": "index.csv"}
    assert proposal["securities"]["sectors"] == {"Technology": "it"}
    assert "{ticker}.csv (3 files) read as: ticker from the file's name" in done.out
    assert f"{3 * len(DAYS) + 2} rows, {3 * len(DAYS) + 1} read, refused 1 not_a_date" in done.out
    assert f"{3 * len(DAYS) + 1} bars; 1 of them would go into quarantine (1 missing_price)" in done.out
    assert done.out.count("│ AAAA   │ 2024-01-02 │") == 1
    assert "index.csv read as: separator ;" in done.out


def test_init_writes_a_profile_and_overwrites_none(command: Quant, folder: Path) -> None:
    done = command("files", "init", str(folder), "--name", "own")
    assert done.status == 0
    written = Path(
        next(line for line in done.out.splitlines() if line.startswith("written: ")).removeprefix("written: ")
    )
    assert "next: quant run -p own --sector it --from 2024-01 --to 2024-03" in done.out
    assert "to run it every day, remove as_of and partitions.end" in done.out
    assert "the prices are of 3 months: most windows are full after a year only" in done.out
    lines = written.read_text().splitlines()
    assert len(lines) <= 12
    assert [line for line in lines if line.startswith("#")][1].endswith(
        "conf/base.yaml and docs/reference/settings.md list them."
    )
    settings = load_settings("own")
    for path in paths(yaml.safe_load(written.read_text())):
        assert without(written, path) != settings, f"{'.'.join(map(str, path))} is the default"
    settings = load_settings("own")
    assert (settings.data_dir, settings.as_of, settings.partitions.start) == (folder, date(2024, 3, 1), "2024-01")
    before = written.read_text()
    again = command("files", "init", str(folder), "--name", "own")
    assert (again.status, written.read_text()) == (1, before)
    assert "own.yaml exists; choose another --name" in again.err
    assert "cannot be a profile's name" in command("files", "init", str(folder), "-n", "../x").err
    (folder.parent / "bare").mkdir()
    assert "has no table" in command("files", "init", str(folder.parent / "bare")).err
    (folder.parent / "bare" / "sectors.csv").write_text("a,b\n1,2\n")
    assert "has no price file that can be read" in command("files", "init", str(folder.parent / "bare")).err


def paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of everything that a YAML value has."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in items:
        yield (*above, name)
        yield from paths(each, (*above, name))


def without(profile: Path, path: tuple[Any, ...]) -> object:
    """The settings of a profile that lacks one thing; None where it needs it."""
    content = yaml.safe_load(profile.read_text())
    place = content
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    other = profile.with_name("other.yaml")
    other.write_text(yaml.safe_dump(content))
    try:
        return load_settings("other").model_copy(update={"profile": "own"})
    except SettingsError:
        return None


def test_what_is_no_table_is_a_line(command: Quant, folder: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(3).bytes(5000)
    bad = tmp_path / "bad"
    (bad / "below").mkdir(parents=True)
    for name in ("noise.csv", "below/noise.txt", "noise.parquet", "noise.json", "noise.csv.gz", "noise.zip"):
        (bad / name).write_bytes(noise)
    (bad / "picture.csv").write_bytes((PROJECT / "docs" / "images" / "factors.png").read_bytes())
    (bad / "picture.png").write_bytes(noise)
    (bad / "empty.csv").touch()
    (bad / "book.xlsx").write_bytes(b"PK\x03\x04" + noise)
    (bad / "book.csv").write_bytes(b"PK\x03\x04" + noise)
    (bad / "numbers.csv").write_bytes(np.arange(1000).tobytes())
    (bad / "wide.csv").write_bytes("date,close\n2024-01-02,1\n".encode("utf-32"))
    done = command("files", "check", str(bad))
    assert (done.status, done.err) == (
        1,
        f"error: no file of {bad} can be read; docs/files.md has the supported forms\n",
    )
    assert set(done.out) <= {"\n", *map(chr, range(32, 127))}
    lines = sorted(done.out.splitlines())
    assert len(lines) == 12
    binary = "is no table: binary data, or text that is not UTF-8, UTF-16 or Latin-1; remove it, or save it as UTF-8"
    for name in ("noise.csv", "below/noise.txt", "picture.csv", "numbers.csv", "wide.csv"):
        assert f"NOT USED: {name} {binary}" in lines
    assert "NOT USED: empty.csv is empty; download it again or remove it" in lines
    assert (
        "NOT USED: book.xlsx is a workbook (Excel), which cannot be read; save its sheet as CSV and name that file"
        in lines
    )
    for place, message in ((tmp_path / "conf" / "profiles", "has no table"), (tmp_path / "nowhere", "is not a folder")):
        done = command("files", "check", str(place))
        assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1)
        assert message in done.err


@pytest.mark.parametrize(
    ("sectors", "message"),
    [
        (
            "Symbol,GICS Sector,as_of\nAAAA,Technology,2020-01-01\n"
            " BBBB,Helth Care,2020-01-01\nCCCC,Enrgy,2020-01-01\n",
            "securities: sectors.csv: line 3, ticker BBBB has the unknown sector 'Helth Care'; map it in {profile}, or "
            "correct it in the file (nearest: Health Care); unknown too: Enrgy",
        ),
        (
            "Symbol,GICS Sector\nAAAA,Technology\n",
            "securities: sectors.csv has no column 'known_at'; it has Symbol, GICS Sector; fix the file or its columns "
            "in {profile}; known_at is the day from which on the sector was known: without it a later sector would be "
            "used in earlier months",
        ),
        (
            "Symbol,Sektor,as_of\nAAAA,Technology,2020-01-01\n",
            "securities: sectors.csv: unknown kind by its columns (Symbol, Sektor, as_of); for securities it lacks "
            "sector; nearest: Sektor; rename the column in the file, or name its columns in your own entry "
            "(docs/files.md)",
        ),
    ],
)
def test_init_refuses_a_file_of_sectors_that_it_would_have_to_leave_out(
    command: Quant, folder: Path, sectors: str, message: str
) -> None:
    (folder / "sectors.csv").write_text(sectors)
    profile = folder.parent / "conf" / "profiles" / "own.yaml"
    done = command("files", "init", str(folder), "--name", "own")
    assert (done.status, done.out, profile.exists()) == (1, "", False)
    assert done.err.splitlines() == [
        f"error: {message.format(profile=profile)}",
        f"error: {profile} is not written: fix the file, move it out of {folder} to go without it, or write {profile} "
        "by hand from what quant files check shows",
    ]
    checked = command("files", "check", str(folder))
    assert (checked.status, "files init" in checked.out) == (1, False)
    assert checked.err.splitlines()[0] == f"error: {message.format(profile='your profile')}"
    assert checked.err.splitlines()[1].startswith(
        f"error: quant files init refuses it too: fix the file, move it out of {folder} to go without it, or write"
    )


def test_check_reads_by_the_mapping_of_a_profile(command: Quant, folder: Path) -> None:
    (folder / "sectors.csv").write_text("Symbol,GICS Sector,as_of\nAAAA,Chips,2020-01-01\nBBBB,Chips,2020-01-01\n")
    assert "map it in your profile" in command("files", "check", str(folder)).err
    profile = folder.parent / "conf" / "profiles" / "own.yaml"
    columns = {name: name.capitalize() for name in ("date", "open", "high", "low", "close", "volume")}
    head = {"source": "files", "data_dir": str(folder), "partitions": {"start": "2024-01"}}
    files: dict[str, Any] = {
        "prices": [{"file": "{ticker}.csv", "provider": "own", "adjustment": "split_adjusted", "columns": columns}],
        "membership": {"file": "index.csv"},
        "securities": {
            "file": "sectors.csv",
            "columns": {"ticker": "Symbol", "sector": "GICS Sector", "known_at": "as_of"},
            "sectors": {"Chips": "it"},
        },
    }
    profile.write_text(yaml.safe_dump(head | {"files": files}))
    done = command("files", "check", "-p", "own")
    assert (done.status, done.err) == (0, "")
    assert f"{3 * len(DAYS) + 2} rows, {3 * len(DAYS) + 1} read, refused 1 not_a_date" in done.out
    assert "│ AAAA   │ it     │ 2020-01-01 │" in done.out
    assert "tickers with prices but without a sector in sectors.csv are left out of every sector: CCCC" in done.out
    assert done.out.splitlines()[-1] == f"every file can be read by the mapping of {profile}"
    files["securities"]["sectors"] = {"Oil": "energy"}
    profile.write_text(yaml.safe_dump(head | {"files": files}))
    done = command("files", "check", "-p", "own", str(folder))
    assert done.status == 1
    assert f"ticker AAAA has the unknown sector 'Chips'; map it in {profile}, or" in done.err
    assert done.err.splitlines()[-1] == f"error: fix the file, or its entry in {profile}"
    profile.with_name("demo.yaml").write_bytes((PROJECT / "conf" / "profiles" / "demo.yaml").read_bytes())
    for arguments, message in (((), "give the FOLDER"), (("-p", "demo"), "--profile demo reads no files")):
        done = command("files", "check", *arguments)
        assert (done.status, done.out) == (2, "")
        assert message in done.err


def test_the_file_of_sectors_in_the_documentation_is_read(command: Quant, folder: Path) -> None:
    (example,) = [each for each in blocks(PROJECT / "docs" / "files.md") if each.title == "sectors.csv"]
    (folder / example.title).write_text(example.text)
    assert command("files", "init", str(folder), "--name", "own").status == 0
    source = Profile(load_settings("own")).source
    known = {day: dict(source.sector_snapshots(day).select("ticker", "sector").rows()) for day in (FIRST, LATER)}
    assert known[FIRST] == {"AAAA": "it", "BBBB": "it", "CCCC": "cons_discretionary"}
    assert known[LATER]["CCCC"] == "telecoms"


def test_init_names_each_file_that_it_does_not_use(command: Quant, folder: Path) -> None:
    (folder / "notes.csv").write_text("what,why\n1,2\n")
    (folder / "sectors_old.csv").write_text("Symbol,Sector,as_of\nAAAA,Energy,2019-01-01\n")
    unused = [
        line for line in command("files", "init", str(folder), "--name", "own").out.splitlines() if "NOT USED" in line
    ]
    assert unused[0] == "NOT USED: sectors_old.csv: another file of securities, and one is read: sectors.csv"
    assert unused[1].startswith("NOT USED: notes.csv: unknown kind by its columns (what, why)")
    assert len(unused) == 2


def test_init_names_the_sectors_of_the_files_and_tickers_without_one(command: Quant, folder: Path) -> None:
    (folder / "sectors.csv").write_text(
        "Symbol,GICS Sector,as_of\nAAAA,Technology,2020-01-01\nBBBB,Energy,2020-01-01\n"
    )
    said = "tickers with prices but without a sector in sectors.csv are left out of every sector: CCCC"
    assert said in command("files", "check", str(folder)).out
    done = command("files", "init", str(folder), "--name", "own")
    assert said in done.out
    assert said in Profile(load_settings("own")).source.left_out("prices"), "a run tells it too"
    assert "next: quant run -p own --sector energy,it --from 2024-01 --to 2024-03" in done.out


def test_dates_of_several_forms_are_refused(command: Quant, folder: Path) -> None:
    prices = folder / "BBBB.csv"
    lines = prices.read_text().splitlines()
    prices.write_text("\n".join([*lines[:4], lines[4].replace("2024-01-05", "01/05/2024"), *lines[5:]]) + "\n")
    done = command("files", "init", str(folder), "--name", "own")
    assert done.status == 1
    assert (
        "{ticker}.csv: line 5 of BBBB.csv, column 'Date', ticker BBBB: '01/05/2024' is not written like most dates of "
        "the column ('2024-01-02', dates iso; 1 of " in done.err
    )
    assert "write all of them as 2024-01-31: the order of day and month is not guessed row by row" in done.err


def test_init_of_prices_alone_says_by_which_rules_they_run(command: Quant, folder: Path) -> None:
    for name in ("index.csv", "sectors.csv"):
        (folder / name).unlink()
    done = command("files", "init", str(folder), "--name", "alone")
    assert done.status == 0
    assert "there is no securities file: every ticker is put into sector 'it'" in done.out
    assert "there is no membership file: every ticker with a price is a member" in done.out
    assert "next: quant run -p alone --sector it --from 2024-01 --to 2024-03" in done.out
    settings = load_settings("alone").files
    assert (settings.sector, settings.securities, settings.membership) == ("it", None, None)


@pytest.mark.slow
def test_the_profile_runs(command: Quant, folder: Path) -> None:
    assert command("files", "init", str(folder), "--name", "own").status == 0
    done = command(
        "run", "-p", "own", "-s", "it", "--from", "2024-01", "--to", "2024-02", "--select", "ohlcv,prices", "-w", "1"
    )
    assert done.status == 0, done.err
    profile = Profile(load_settings("own"))
    prices = profile.store.read(profile.datasets["prices"], ["2024-01|it", "2024-02|it"]).collect()
    assert len(prices) == 3 * len(DAYS)
    assert prices["dollar_volume"].is_not_null().all()
    told = DagsterInstance.get().get_latest_materialization_event(AssetKey("ohlcv"))
    assert told is not None
    assert told.asset_materialization is not None
    run = DagsterInstance.get().get_run_by_id(told.run_id)
    assert run is not None
    again = "quant run -p own -s it --from 2024-01 --to 2024-02 --select ohlcv,prices"
    assert run.tags["quant/command"] == again, "the alert of a failure names it"
    said = told.asset_materialization.metadata["read {ticker}.csv"].value
    assert said.startswith("{ticker}.csv (3 files) read as: ticker from the file's name, ")
    assert said.endswith(f"{3 * len(DAYS) + 2} rows, {3 * len(DAYS) + 1} read, refused 1 not_a_date")
    recorded = [
        json.loads(path.read_text()) for path in (folder.parent / "storage" / "own" / "artifacts" / "sources").iterdir()
    ]
    assert {"AAAA.csv", "BBBB.csv", "CCCC.csv", "sectors.csv"} <= {name for each in recorded for name in each}
