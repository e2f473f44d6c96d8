"""Rows, pages and old partitions of a storage by the command: what `show`, `report` and `prune` print and change."""

import contextlib
import csv
import io
import json
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.io.store import DatasetStore
from quant_assets.running.instance import dagster_home
from quant_assets_tests.command import Outcome, Quant, status_of
from quant_assets_tests.graph import demo_datasets

DATASETS = demo_datasets()
DAYS = {"2024-04": date(2024, 4, 30), "2024-05": date(2024, 5, 31), "2024-06": date(2024, 6, 28)}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetStore:
    """Weights of two sectors and three months, and a total portfolio of them with its track."""
    for name, value in {
        "QUANT__STORAGE": str(tmp_path / "storage"),
        "DAGSTER_HOME": str(tmp_path / "home"),
        "QUANT__DAGSTER__STORAGE": "sqlite",
        "QUANT__AS_OF": "2024-06-28",
        "QUANT__PARTITIONS__START": "2024-03",
    }.items():
        monkeypatch.setenv(name, value)
    made = DatasetStore(str(tmp_path / "storage" / "demo"))
    rows = [
        {"sector": sector, "ticker": ticker, "as_of": day, "weight": weight, "rank": 1}
        for day in DAYS.values()
        for sector, ticker, weight in (("it", "AAA", 0.75), ("it", "[b]<i>", 0.25), ("energy", "ZZZ", 1.0))
    ]
    keys = [f"{month}|{sector}" for month in DAYS for sector in ("energy", "it")]
    made.write(DATASETS["weights"], framed("weights", rows), keys, lambda key: DAYS[key[:7]])
    held = [{"sector": "it", "ticker": "AAA", "weight": 0.6}, {"sector": "energy", "ticker": "<b>", "weight": 0.4}]
    before = [{"sector": "it", "ticker": "AAA", "weight": 0.5}, {"sector": "it", "ticker": "OLD", "weight": 0.5}]
    rows = [each | {"as_of": DAYS["2024-05"]} for each in before] + [each | {"as_of": DAYS["2024-06"]} for each in held]
    made.write(DATASETS["portfolio_weights"], framed("portfolio_weights", rows), ["2024-05", "2024-06"])
    days = (date(2024, 5, 30), DAYS["2024-05"], date(2024, 6, 3), DAYS["2024-06"])
    rows = [{"date": day, "net_return": 0.1, "equity": 1.0} for day in days]
    made.write(DATASETS["portfolio_backtest"], framed("portfolio_backtest", rows), ["2024-05", "2024-06"])
    figures = {"as_of": DAYS["2024-06"], "since": DAYS["2024-05"], "sessions": 3, "total_return": 0.331}
    made.write(DATASETS["portfolio_track_record"], framed("portfolio_track_record", [figures]), ["2024-06"])
    return made


def framed(name: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    """Rows of a dataset in which numbers that nobody gives are zero."""
    schema = DATASETS[name].empty().schema
    numbers = {column: 0 for column, dtype in schema.items() if dtype.is_numeric()}
    texts = {"score_source": "prediction"} if "score_source" in schema else {}
    return pl.DataFrame([numbers | texts | row for row in rows], schema=schema)


def refusal(outcome: Outcome) -> str:
    assert (outcome.status, outcome.out) == (status_of(outcome.err), "")
    assert outcome.err.count("\n") == 1
    return outcome.err


def test_rows_of_the_newest_month_in_every_format(store: DatasetStore, command: Quant, tmp_path: Path) -> None:
    outcome = command("show", "weights", "-s", "it", "-c", "ticker,weight")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.rows == [{"ticker": "AAA", "weight": "0.75"}, {"ticker": "[b]<i>", "weight": "0.25"}]
    assert outcome.out.endswith("weights, 1 partition: 2 rows\n")
    text = command("show", "weights", "--format", "csv", "-c", "sector,month,ticker", "--from", "2024-05").out
    lines = list(csv.reader(io.StringIO(text)))
    assert lines[0] == ["sector", "month", "ticker"]
    assert [line[:2] for line in lines[1:]] == [
        *([["energy", month] for month in ("2024-05", "2024-06")]),
        *([["it", month] for month in ("2024-05", "2024-05", "2024-06", "2024-06")]),
    ]
    (row,) = json.loads(command("show", "weights", "-t", "ZZZ", "-m", "2024-05", "--format", "json").out)
    assert (row["sector"], row["as_of"], row["weight"]) == ("energy", "2024-05-31", 1.0)
    out = tmp_path / "w.parquet"
    assert command("show", "weights", "--format", "parquet", "--out", str(out)).out == f"written: {out}, 3 rows\n"
    stored = store.read(DATASETS["weights"], ["2024-06|energy", "2024-06|it"]).collect()
    assert pl.read_parquet(out).equals(stored)
    assert "exists; choose another --out" in refusal(command("show", "weights", "--out", str(out)))


def test_a_table_says_how_many_rows_it_leaves_out(store: DatasetStore, command: Quant) -> None:
    outcome = command("show", "weights", "--from", "2024-04", "--limit", "2", "-c", "ticker")
    assert outcome.out.endswith("weights, 6 partitions: 2 of 9 rows; --limit 0 shows all of them\n")
    assert len(outcome.rows) == 2
    assert len(command("show", "weights", "--from", "2024-04", "--limit", "0", "-c", "ticker").rows) == 9


@pytest.mark.parametrize(
    "arguments",
    [
        "weights",
        "weights -s it --from 2024-05 -t AAA,ZZZ -c ticker,weight",
        "weights --from 2024-04 --to 2024-05 --limit 3",
        "portfolio_weights -m 2024-05",
    ],
)
def test_the_python_that_is_printed_gives_the_same_rows(store: DatasetStore, command: Quant, arguments: str) -> None:
    lines = command("show", *arguments.split(), "--python").out
    assert len(lines.splitlines()) == 3
    caught = io.StringIO()
    given: dict[str, object] = {}
    with contextlib.redirect_stdout(caught):
        exec(lines.replace("print(", "found = (").replace("\nprint", "\nfound"), given)  # noqa: S102 (what a user would run)
    found = given["found"]
    assert isinstance(found, pl.DataFrame)
    told = json.loads(command("show", *arguments.split(), "--format", "json").out)
    assert json.loads(found.write_json()) == told
    assert told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("show nosuch", "there is no dataset 'nosuch'; choose one of universe, ohlcv"),
        ("show wieghts", "there is no dataset 'wieghts'; did you mean weights"),
        ("prune --before 2024-05 -d ohlvc", "there is no dataset 'ohlvc'; did you mean ohlcv?; choose one of"),
        ("show weights -c wieght", "dataset 'weights' has no column wieght; choose among sector, month, ticker"),
        ("show portfolio_weights -s it -m 2024-04", "has no sectors of its own; leave --sector out"),
        ("show macro -t AAA", "dataset 'macro' has no column ticker; leave --ticker out"),
        ("show weights -m 2024-6", "month '2024-6' is not a month; write it as YYYY-MM"),
        ("show weights -m 2024-05 --to 2024-06", "--month is one month, --from and --to are a range"),
        (
            "show weights --from 2024-06 --to 2024-05",
            "the first month 2024-06 is later than the last month 2024-05; swap --from and --to",
        ),
        ("show weights -s re", "nothing of 'weights' of re is in "),
        ("show weights -m 2024-07", "month 2024-07 has no closed session at as_of 2024-06-28"),
        ("show weights --from 2023-01 --to 2023-05", "month 2023-01 is outside the range of profile 'demo'"),
        ("show weights --format xlsx", "--format xlsx does not exist; choose one of table, csv, json, parquet"),
        ("show weights --format parquet", "add --out FILE"),
        ("report -s it", "no report of it is in "),
        ("report -s it -m 2024-05", "no report of it for 2024-05 is in "),
        ("report --portfolio -m 2024-04", "no total portfolio of 2024-04 is in "),
        ("report --portfolio -s it", "--portfolio spans the sectors; leave --sector out"),
        ("prune --before 2024", "month '2024' is not a month"),
        ("prune --before 2024-05 -d nosuch", "there is no dataset 'nosuch'"),
        (
            "prune --before 2024-05 -d decisions",
            "'decisions' belongs to the ledger of live decisions and is never pruned",
        ),
    ],
)
def test_a_mistake_is_one_line(store: DatasetStore, command: Quant, arguments: str, message: str) -> None:
    assert message in refusal(command(*arguments.split()))


def test_rows_from_after_a_pinned_day_are_refused(
    store: DatasetStore, command: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT__AS_OF", "2024-06-14")
    message = refusal(command("show", "weights", "-s", "it"))
    assert "weights of 2024-06|it was written with data known on 2024-06-28, after as_of 2024-06-14" in message
    assert command("show", "weights", "-s", "it", "-m", "2024-05").status == 0


def test_the_page_of_the_total_portfolio_shows_what_changed_and_no_later_day(
    store: DatasetStore, command: Quant
) -> None:
    (address,) = command("report", "--portfolio").out.splitlines()
    assert address == store.artifact_url("portfolio_report/2024-06/report.html")
    page = Path(address).read_text()
    assert "2 names, 100.0% invested" in page
    assert 'AAA</td><td class="text">it</td><td>60.0%</td><td>+10.0%</td>' in page
    assert '&lt;b&gt;</td><td class="text">energy</td><td>40.0%</td><td>+40.0%</td>' in page
    assert "No longer held: OLD (50.0%)." in page
    assert ">133<" in page, "three sessions of a tenth from the first execution on"
    (earlier,) = command("report", "--portfolio", "-m", "2024-05").out.splitlines()
    assert "2024-06" not in Path(earlier).read_text()
    assert command("report", "--portfolio").out.splitlines() == [address]
    assert Path(address).read_text() == page, "same rows, same bytes"


def test_the_list_has_every_page_by_month_and_opens(
    store: DatasetStore, command: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no page is in" in refusal(command("report"))
    for name in (
        "ops_report/it/2024-05/report.html",
        "ops_report/energy/2024-06/report.html",
        "risk/it/2024-06/risk.html",
    ):
        store.write_artifact(name, b"page")
    store.write_artifact("ops_report/it/stray.html", b"none by month")
    opened: list[str] = []

    def noted(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr("webbrowser.open", noted)
    outcome = command("report", "--open")
    path = store.artifact_url("index.html")
    assert (outcome.out, opened) == (f"opened: {path}\n", [Path(path).as_uri()])
    page = Path(path).read_text()
    assert page.index("2024-06") < page.index("2024-05")
    for name in (
        "ops_report/it/2024-05/report.html",
        "ops_report/energy/2024-06/report.html",
        "risk/it/2024-06/risk.html",
    ):
        assert f'href="{name}"' in page
    assert "stray" not in page


@pytest.mark.slow
def test_pruning_shows_first_and_then_removes_rows_files_and_what_dagster_lists(
    store: DatasetStore, command: Quant
) -> None:
    store.write_artifact("weights/it/2024-04/x.html", b"old")
    store.write_artifact("weights/it/2024-05/x.html", b"kept")
    store.write_artifact("registry/versions/2024-04/x", b"kept")
    dagster_home("demo")
    assert command("status", "--report").status == 0
    before = sorted(path for path in Path(store.url).rglob("*") if path.is_file())
    outcome = command("prune", "--before", "2024-05", "-s", "it")
    assert "1 partitions before 2024-05" in outcome.out
    assert "nothing was removed" in outcome.out
    assert sorted(path for path in Path(store.url).rglob("*") if path.is_file()) == before
    gone = {Path(store.path(DATASETS["weights"], "2024-04|it")), Path(store.artifact_url("weights/it/2024-04/x.html"))}
    (row,) = outcome.rows
    size = sum(path.stat().st_size for path in gone)
    assert (row["dataset"], row["partitions"], row["files"], row["size"]) == (
        "weights",
        "1",
        "1",
        f"{size / 1e3:,.1f} kB",
    )
    outcome = command("prune", "--before", "2024-05", "-s", "it", "--yes")
    assert outcome.status == 0, outcome.err
    assert set(before) - {path for path in Path(store.url).rglob("*") if path.is_file()} == gone
    with dg.DagsterInstance.get() as instance:
        listed = instance.get_materialized_partitions(dg.AssetKey("weights"))
    assert listed == {f"{month}|{sector}" for month in DAYS for sector in ("energy", "it")} - {"2024-04|it"}
    assert "lists the same partitions" in command("status").out
    assert command("prune", "--before", "2024-05", "-s", "it").out.startswith("nothing before 2024-05")


def test_pruning_a_sector_keeps_what_other_sectors_need(store: DatasetStore, command: Quant) -> None:
    outcome = command("prune", "--before", "2024-06", "-s", "it")
    assert [row["dataset"] for row in outcome.rows] == ["weights"]
    outcome = command("prune", "--before", "2024-06", "-s", "it", "-d", "portfolio_weights")
    assert [row["dataset"] for row in outcome.rows] == ["portfolio_weights"]
    outcome = command("prune", "--before", "2024-06")
    assert [row["dataset"] for row in outcome.rows] == ["weights", "portfolio_weights", "portfolio_backtest"]


def test_an_interrupted_removal_is_completed_with_files_in_nested_folders(
    store: DatasetStore, command: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("weights/it/2024-04/a/x.bin", "weights/it/2024-04/y.html"):
        store.write_artifact(name, b"old")
    for name in ("weights/it/2024-05/a/x.bin", "weights/it/stray.html", "weights/2024-04/z/x.bin"):
        store.write_artifact(name, b"kept")

    def interrupted(self: DatasetStore, name: str) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(DatasetStore, "remove_file", interrupted)
        with contextlib.suppress(KeyboardInterrupt):
            command("prune", "--before", "2024-05", "-s", "it", "--yes")
    assert store.missing(DATASETS["weights"], ["2024-04|it"])
    outcome = command("prune", "--before", "2024-05", "-s", "it", "--yes")
    assert "0 partitions before 2024-05, 2 files" in outcome.out, outcome.err
    assert store.artifacts("weights") == [
        "weights/2024-04/z/x.bin",
        "weights/it/2024-05/a/x.bin",
        "weights/it/stray.html",
    ]
