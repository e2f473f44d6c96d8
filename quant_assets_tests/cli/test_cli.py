"""The `quant` command as a person meets it: a real run, what it shows, and mistakes as one line that says what to
do."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer

from quant_assets.cli.commands import app
from quant_assets.io.store import DatasetStore
from quant_assets.portfolio.optimisers import OPTIMISERS
from quant_assets.settings.sectors import SECTORS
from quant_assets_tests.command import Outcome, Quant, status_of
from quant_assets_tests.graph import PROJECT, SMALL, demo_datasets

DATASETS = demo_datasets()
SECTOR, FIRST, LAST, AS_OF = "cons_staples", "2024-05", "2024-06", date(2024, 6, 28)
GROUP = typer.main.get_command(app)
COMMANDS: dict[str, Any] = {
    " ".join((name, *below)): each
    for name, command in GROUP.commands.items()  # type: ignore[attr-defined]
    for below, each in (
        {(sub,): each for sub, each in getattr(command, "commands", {}).items()} or {(): command}
    ).items()
}


def environment(folder: Path) -> dict[str, str]:
    """Storage and instance of their own, a pinned day, and the small windows of the tests."""
    fixed = {
        "QUANT__STORAGE": str(folder / "storage"),
        "DAGSTER_HOME": str(folder / "home"),
        "QUANT__DAGSTER__STORAGE": "sqlite",
        "QUANT__AS_OF": str(AS_OF),
        "QUANT__PARTITIONS__START": "2024-03",
        "QUANT__CANDIDATES__MIN_HISTORY_SESSIONS": "20",
    }
    return dict(_variables("QUANT", SMALL)) | fixed


def _variables(prefix: str, settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _variables(f"{prefix}__{name.upper()}", value)
        else:
            yield f"{prefix}__{name.upper()}", "null" if value is None else str(value)


def in_a_shell(*arguments: str, **variables: str) -> Outcome:
    """The real command, in a process of its own."""
    command = [str(Path(sys.executable).parent / "quant"), *arguments]
    done = subprocess.run(command, env=os.environ | variables, cwd=PROJECT, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def quant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Quant) -> Quant:
    """The command in this process, on an empty storage."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return command


def refusal(outcome: Outcome) -> str:
    """The message of a command that refused: one line on stderr, nothing else anywhere."""
    assert outcome.status == status_of(outcome.err)
    assert outcome.out == ""
    assert re.fullmatch(r"error: [^\n]+\n", outcome.err), outcome.err
    return outcome.err


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """Every asset of one sector and two months, by the real command on a fresh instance."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, in_a_shell("run", "--sector", SECTOR, "--from", FIRST, "--to", LAST, **environment(folder))


@pytest.fixture
def again(finished: tuple[Path, Outcome], quant: Quant, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Quant]:
    """The command in this process, on the storage of the finished run."""
    for name, value in environment(finished[0]).items():
        monkeypatch.setenv(name, value)
    return finished[0] / "storage" / "demo", quant


def written(folder: Path) -> dict[str, int]:
    """When each partition was written last, by its path."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


@pytest.mark.slow
def test_a_run_writes_every_asset_with_its_warm_up_and_says_so_sparsely(finished: tuple[Path, Outcome]) -> None:
    folder, outcome = finished
    assert outcome.status == 0, outcome.err
    assert outcome.err == ""
    store = DatasetStore(str(folder / "storage" / "demo"))
    for name, dataset in DATASETS.items():
        wanted = {f"{month}|{SECTOR}" if dataset.grain.by_sector else month for month in (FIRST, LAST)}
        assert wanted <= store.existing(dataset), name
        assert {key.partition("|")[2] for key in store.existing(dataset)} == {SECTOR if dataset.grain.by_sector else ""}
    assert f"2024-03|{SECTOR}" in store.existing(DATASETS["prices"]), "warm-up"
    for name, month, known in (
        ("prices", "2024-03", date(2024, 3, 28)),
        ("prices", LAST, AS_OF),
        ("labels", FIRST, AS_OF),
    ):
        assert store.known_through(DATASETS[name], f"{month}|{SECTOR}") == known, (
            "labels of May look ahead to what June knows"
        )
    first, *progress = outcome.out.splitlines()
    assert first == (
        "warm-up: windows reach back to 2024-03; earlier partitions that are missing or unfinished are computed first"
    )
    ended = next(at for at, line in enumerate(progress) if line.startswith("written: "))
    progress, summary = progress[:ended], progress[ended:]
    counts = [re.fullmatch(r"(\d+) of (\d+) partitions, last \w+", line) for line in progress]
    assert all(counts), outcome.out
    assert 5 <= len(counts) <= 10, "a line for each tenth, whatever the length of the run"
    assert counts[-1] is not None
    total = sum(len(store.existing(dataset)) for dataset in DATASETS.values())
    assert counts[-1].groups() == (str(total), str(total))
    rows = {name: pl.scan_parquet(folder / "storage" / "demo" / name / "**" / "part-0.parquet") for name in DATASETS}
    counted = {name: frame.select(pl.len()).collect().item() for name, frame in rows.items()}
    assert summary[0] == (
        f"written: {total:,} partitions of {len(DATASETS)} datasets, {sum(counted.values()):,} rows; "
        f"{total:,} new or with other rows than before"
    )
    unexplained, without = (
        rows["ohlcv"].filter(pl.col("panel_from") == pl.col("date")).select(each).collect().item()
        for each in (pl.col("unexplained").sum(), pl.col("open").null_count())
    )
    assert summary[1] == (
        f"bars: {counted['ohlcv']:,} used, {counted['quarantine']:,} quarantined (quant show quarantine), "
        f"{unexplained:,} marked as unexplained moves, {without:,} without an open"
    )
    assert "stale: nothing" in summary
    report = folder / "storage" / "demo" / "artifacts" / "ops_report" / SECTOR / LAST / "report.html"
    assert f"report: {report}" in summary
    assert report.exists()
    option = f"-p demo -s {SECTOR} -m {LAST}"
    assert summary[-1] == f"next: quant picks {option}, quant report {option} --open"
    assert not re.search(r"[\x1b\r]", outcome.out), "no control characters in a log"


@pytest.mark.slow
def test_a_second_run_computes_what_is_asked_and_no_warm_up(again: tuple[Path, Quant]) -> None:
    folder, quant = again
    before = written(folder)
    outcome = quant("run", "--sector", SECTOR, "--to", LAST, "--select", "candidates,data_quality,macro")
    assert (outcome.status, outcome.err) == (0, "")
    changed = {path for path, when in written(folder).items() if before.get(path) != when}
    part = f"month={LAST}/part-0.parquet"
    assert changed == {f"candidates/sector={SECTOR}/{part}", f"data_quality/sector={SECTOR}/{part}", f"macro/{part}"}
    _, *summary = outcome.out[outcome.out.index("3 of 3 partitions, last macro\n") :].splitlines()
    same = "nothing changed: 3 partitions of 3 datasets, "
    assert re.fullmatch(rf"{same}[\d,]+ rows, recomputed, are the same as before", summary[0])
    assert "bars: " not in outcome.out, "none of this run"
    assert "warm-up" not in outcome.out


@pytest.mark.slow
def test_picks_show_the_decision_of_a_run(again: tuple[Path, Quant]) -> None:
    folder, quant = again
    candidates = pl.read_parquet(folder / "candidates" / f"sector={SECTOR}" / f"month={LAST}" / "part-0.parquet")
    assert len(candidates) > 1
    for outcome in (quant("picks", "--sector", SECTOR, "--month", LAST), quant("picks")):
        assert (outcome.status, outcome.err) == (0, "")
        assert outcome.out.startswith(f"{SECTOR}, decided at the close of {AS_OF}\n")
        for ticker, kind, score in candidates.select("ticker", "candidate_type", "composite_score").iter_rows():
            assert re.search(rf"{kind} .*{ticker} .*{score:+.2f}".replace("+", r"\+"), outcome.out)


@pytest.mark.slow
def test_weights_are_shown_and_optimisers_compared(again: tuple[Path, Quant]) -> None:
    folder, quant = again
    before = written(folder)
    stored = pl.read_parquet(folder / "weights" / f"sector={SECTOR}" / f"month={LAST}" / "part-0.parquet")
    outcome = quant("weights", "--sector", SECTOR, "--month", LAST)
    assert (outcome.status, outcome.err) == (0, "")
    for ticker, weight in stored.select("ticker", "weight").iter_rows():
        assert re.search(rf"long .*{ticker} .* {weight:.1%} ", outcome.out)
    for book in ("long_only", "dollar_neutral"):
        outcome = quant("weights", "-s", SECTOR, "-m", FIRST, "--compare", "--book", book)
        assert (outcome.status, outcome.err) == (0, "")
        cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in outcome.out.splitlines()]
        shown = {row[0]: row for row in cells if row[0] in OPTIMISERS and len(row) == 9}
        assert list(shown) == list(OPTIMISERS)
        volatility = {name: float(row[4].rstrip("%")) for name, row in shown.items()}
        assert volatility["minimum_variance"] <= min(volatility.values()) + 0.05
        assert all(re.fullmatch(r"[+-]\d+\.\d\d%", row[8]) for row in shown.values()), "June's prices are stored"
        assert {row[3] for row in shown.values()} == (
            {"0.0%"} if book == "long_only" else {row[2] for row in shown.values()}
        )
        assert f"book {book}, covariance ledoit_wolf" in outcome.out
    outcome = quant("weights", "-s", SECTOR, "-m", LAST, "--compare", "--method", "equal")
    assert "return: not known yet" in outcome.out
    assert "inverse_volatility" not in outcome.out
    assert written(folder) == before


@pytest.mark.slow
def test_status_shows_every_asset_whole_in_a_narrow_pipe(again: tuple[Path, Quant]) -> None:
    folder, quant = again
    outcome = quant("status")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(f"profile demo, {folder}\n")
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in outcome.out.splitlines()
        if line.startswith("│")
    ]
    assert [row[0] for row in rows] == list(DATASETS)
    assert {row[1] for row in rows} == {SECTOR, ""}
    store = DatasetStore(str(folder))
    for name, sector, first, last, count, gaps in rows:
        months = sorted(key.partition("|")[0] for key in store.existing(DATASETS[name]))
        assert (first, last, count, gaps) == (months[0], months[-1], str(len(months)), ""), name
        assert sector == (SECTOR if DATASETS[name].grain.by_sector else "")
    assert "…" not in outcome.out


def test_status_counts_the_months_missing_between(quant: Quant, tmp_path: Path) -> None:
    store = DatasetStore(str(tmp_path / "storage" / "demo"))
    store.write(
        DATASETS["prices"],
        DATASETS["prices"].empty(),
        ["2024-03|cons_discretionary", "2024-06|cons_discretionary", "2024-06|it"],
    )
    outcome = quant("status", "--sector", "cons_discretionary")
    assert re.search(r"│ prices +│ cons_discretionary +│ 2024-03 +│ 2024-06 +│ +2 +│ +2 +│", outcome.out)
    assert "it " not in outcome.out.replace("cons", "")
    assert "…" not in outcome.out


def picks_written(folder: Path, candidates: int) -> None:
    store = DatasetStore(str(folder / "storage" / "demo"))
    rows = [
        {
            "sector": "it",
            "ticker": ticker,
            "as_of": AS_OF,
            "candidate_type": kind,
            "selection_rank": rank,
            "composite_score": 1234.567,
            "momentum_score": -0.5,
            "ma_slope_score": 0.25,
        }
        for ticker, kind, rank in [("AAA", "short", 1), ("BRK.B", "long", 2), ("[bold]", "long", 1)][:candidates]
    ]
    weights = [
        {
            "sector": "it",
            "ticker": "BRK.B",
            "as_of": AS_OF,
            "weight": 0.35,
            "score": 0.0123,
            "score_source": "prediction",
        },
        {
            "sector": "it",
            "ticker": "[bold]",
            "as_of": AS_OF,
            "weight": 0.65,
            "score": 2.0,
            "score_source": "composite_score",
        },
    ][:candidates]
    for name, content in (("candidates", rows), ("weights", weights)):
        store.write(DATASETS[name], pl.DataFrame(content, schema=DATASETS[name].empty().schema), [f"{LAST}|it"])


def test_picks_show_weights_and_forecasts_and_cut_off_nothing(quant: Quant, tmp_path: Path) -> None:
    picks_written(tmp_path, 3)
    outcome = quant("picks", "--sector", "it", "--month", LAST)
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in outcome.out.splitlines()
        if line.startswith("│")
    ]
    assert rows == [
        ["long", "1", "[bold]", "+1234.57", "-0.50", "+0.25", "", "65.0%", ""],
        ["long", "2", "BRK.B", "+1234.57", "-0.50", "+0.25", "", "35.0%", "+1.23%"],
        ["short", "1", "AAA", "+1234.57", "-0.50", "+0.25", "", "", ""],
    ]
    assert all(name in outcome.out for name in ("selection", "momentum", "low vol", "forecast"))
    assert (
        "20-day: forecast return over 20 sessions; those of lightgbm (weights.model) choose the best 10" in outcome.out
    )
    assert "longs are the highest 15% of the eligible names, shorts the lowest 15%" in outcome.out
    assert "no forecast of lightgbm at this close: the weights follow the selection score" in outcome.out
    assert "no weight of shorts: book long_only" in outcome.out
    assert "earlier predictions" not in outcome.out


def test_picks_without_a_volatility_have_no_low_vol(quant: Quant, tmp_path: Path) -> None:
    picks_written(tmp_path, 2)
    store = DatasetStore(str(tmp_path / "storage" / "demo"))
    candidates = store.read(DATASETS["candidates"], [f"{LAST}|it"]).collect().drop("month")
    store.write(DATASETS["candidates"], candidates.with_columns(volatility_score=pl.lit(0.0)), [f"{LAST}|it"])
    volatilities = [("it", "AAA", AS_OF, 0.2), ("it", "BRK.B", AS_OF, None), ("it", "AAA", date(2024, 6, 3), None)]
    rows = pl.DataFrame(volatilities, schema=["sector", "ticker", "date", "garch_volatility"], orient="row")
    indicators = pl.concat([DATASETS["indicators"].empty(), rows], how="diagonal_relaxed")
    store.write(DATASETS["indicators"], indicators, [f"{LAST}|it"])
    out = quant("picks", "--sector", "it", "--month", LAST).out
    shown = [[cell.strip() for cell in line.split("│")] for line in out.splitlines() if "│" in line]
    assert [(row[3], row[7]) for row in shown] == [("BRK.B", ""), ("AAA", "+0.00")]
    assert "no low vol of BRK.B: a GARCH volatility needs 100 returns (indicators.garch.min_observations)" in out


def test_picks_show_what_every_model_forecasts(quant: Quant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the model of the weights: of a held name what decided its weight, of others what the model says too."""
    for name in ("LINEAR", "XGBOOST", "RANDOM_FOREST"):
        monkeypatch.delenv(f"QUANT__MODELS__{name}")
    picks_written(tmp_path, 3)
    values = {("BRK.B", "linear", 20): 0.05, ("AAA", "linear", 20): -0.01, ("AAA", "xgboost", 20): 0.02}
    values |= {("AAA", "lightgbm", 20): -0.03, ("BRK.B", "lightgbm", 20): 0.09, ("BRK.B", "linear", 5): 0.07}
    rows = [
        {"ticker": ticker, "date": AS_OF, "horizon": horizon, "model": model, "prediction": value, "sector": "it"}
        for (ticker, model, horizon), value in sorted(values.items())
    ]
    dataset = DATASETS["predictions"]
    content = pl.DataFrame(rows, schema=dataset.empty().schema)
    DatasetStore(str(tmp_path / "storage" / "demo")).write(dataset, content, [f"{LAST}|it"])
    outcome = quant("picks", "--sector", "it", "--month", LAST)
    shown = [
        [cell.strip() for cell in line.strip("│").split("│")][2:] for line in outcome.out.splitlines() if "│" in line
    ]
    assert [(row[0], row[6:]) for row in shown] == [
        ("[bold]", ["", "", ""]),
        ("BRK.B", ["+1.23%", "+5.00%", ""]),
        ("AAA", ["-3.00%", "-1.00%", "+2.00%"]),
    ]
    heading = next(line for line in outcome.out.splitlines() if "linear" in line)
    assert heading.index("lightgbm") < heading.index("linear") < heading.index("xgboost")
    assert "random_forest" not in heading
    assert (
        "BRK.B: weight and forecast are of earlier predictions than those stored now; quant run -p demo" in outcome.out
    )


def test_picks_name_companies_and_say_who_came_from_another_sector(
    quant: Quant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DatasetStore(str(tmp_path / "storage" / "demo"))
    scores = {"composite_score": 1.0, "momentum_score": 1.0, "ma_slope_score": 1.0, "candidate_type": "long"}
    picked = [
        {"sector": "it", "ticker": ticker, "as_of": AS_OF, "selection_rank": rank, **scores}
        for rank, ticker in enumerate(("COM22", "TEC01", "TEC05"), 1)
    ]
    since = {"COM22": date(2024, 6, 4), "TEC01": date(2024, 6, 3), "TEC05": date(2024, 6, 4)}  # TEC05 joined the index
    members = [
        {"sector": "it", "ticker": ticker, "date": day, "sector_assumed": False} for ticker, day in since.items()
    ]
    for name, content in (("candidates", picked), ("weights", []), ("universe", members)):
        store.write(DATASETS[name], pl.DataFrame(content, schema=DATASETS[name].empty().schema), [f"{LAST}|it"])
    names = {"COM22": [{"name": "Newer", "since": str(AS_OF + timedelta(1))}, "Commtel"], "TEC01": ["Tec", "Tec Inc"]}
    monkeypatch.setenv("QUANT__SENTIMENT__NAMES", json.dumps(names))
    lines = quant("picks", "--sector", "it", "--month", LAST).out.splitlines()
    shown = [[cell.strip() for cell in line.strip("│").split("│")][2:4] for line in lines if line.startswith("│")]
    assert shown == [["COM22", "Commtel"], ["TEC01", "Tec"], ["TEC05", ""]]
    assert [line for line in lines if "before" in line] == ["COM22: in sector it since 2020-07-23, in telecoms before"]
    assert "no weight of a long: not among the best weights.top_n (10) of its side" in lines


@pytest.mark.slow
def test_picks_say_when_they_were_chosen_under_other_settings(
    again: tuple[Path, Quant], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, quant = again
    assert all("outdated" not in quant(command, "-s", SECTOR).out for command in ("picks", "factors"))
    monkeypatch.setenv("QUANT__CANDIDATES__LONG_FRACTION", "0.31")
    last = quant("picks", "-s", SECTOR).out.splitlines()[-1]
    assert last.startswith("outdated, computed with other code or settings than the present ones (candidates: ")
    assert "settings candidates.long_fraction" in last
    assert last.endswith(f"quant run --profile demo --sector {SECTOR} --to {LAST} --refresh recomputes them")
    last = quant("factors", "-s", SECTOR).out.splitlines()[-1]
    assert last.startswith("outdated, computed with other code or settings than the present ones (factor_statistics: ")


def test_picks_of_a_month_without_candidates_say_why(quant: Quant, tmp_path: Path) -> None:
    picks_written(tmp_path, 0)
    assert quant("picks").out == f"it {LAST}: no candidates; no member passed the filters (candidates.* in conf/)\n"


def test_sectors_without_anything_to_show_are_one_line(quant: Quant, tmp_path: Path) -> None:
    picks_written(tmp_path, 0)
    store = DatasetStore(str(tmp_path / "storage" / "demo"))
    without = [f"{LAST}|{sector}" for sector in ("energy", "telecoms", "re")]
    for name, keys in (("candidates", without), ("weights", without), ("ohlcv", [f"{LAST}|telecoms"])):
        store.write(DATASETS[name], DATASETS[name].empty(), keys)
    for command in ("picks", "candidates"):
        said = [line for line in quant(command).out.splitlines() if ": no candidates; " in line]
        assert said == [
            f"energy, it, re {LAST}: no candidates; no member passed the filters (candidates.* in conf/)",
            f"telecoms {LAST}: no candidates; no member has a bar (dataset ohlcv); quant run shows the reason",
        ]
    assert f"energy, it, telecoms, re {LAST}: nothing is held" in quant("weights").out.splitlines()


def test_picks_of_a_decision_after_the_pinned_day_are_refused(
    quant: Quant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picks_written(tmp_path, 3)
    monkeypatch.setenv("QUANT__AS_OF", "2024-06-14")
    message = refusal(quant("picks", "--sector", "it"))
    assert (
        f"the stored decision of it {LAST} was taken at {AS_OF}, after as_of 2024-06-14; set QUANT__STORAGE" in message
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --sector tech", r"sector 'tech' does not exist; choose one of energy, .*, re$"),
        ("picks --sector tech", r"sector 'tech' does not exist"),
        ("status --sector tech", r"sector 'tech' does not exist"),
        ("run --sector it --to 2024-6", r"month '2024-6' is not a month; write it as YYYY-MM, for example 2024-06"),
        ("picks --month June", r"month 'June' is not a month; write it as YYYY-MM"),
        (
            "run --from 2023-12 --to 2024-06",
            r"month 2023-12 is outside the range of profile 'demo', 2024-03 to 2024-06; choose a month inside",
        ),
        ("run --from 2024-07", r"month 2024-07 has no closed session at as_of 2024-06-28; .*QUANT__AS_OF"),
        ("picks --month 2024-07", r"month 2024-07 has no closed session"),
        ("picks --month 2024-02", r"month 2024-02 is outside the range of profile 'demo', 2024-03 to 2024-06"),
        (
            "run --from 2024-06 --to 2024-05",
            r"the first month 2024-06 is later than the last month 2024-05; swap --from and --to",
        ),
        (
            "status --profile nosuch",
            r"profile 'nosuch' does not exist; choose one of demo, files, live, tutorial with --profile or "
            r"QUANT_PROFILE, or",
        ),
        (
            "run --sector it --select nosuch",
            r"selection 'nosuch' is not valid or selects nothing; write 'ohlcv,prices'.*assets are universe,",
        ),
        (
            "run --sector it --select fundamentals --memory 0.1",
            r"it, 2024-06: fundamentals need about 0\.\d GiB of memory .*, but 0\.1 GiB are available; .* --memory",
        ),
        ("run --sector it --select group:nosuch", r"selection 'group:nosuch' is not valid or selects nothing"),
        (
            "run --profile files --to 2024-06",
            r"QUANT_DATA_DIR is not set; set it to the folder that holds .*prices_sp500_raw\.parquet",
        ),
        ("status", r"nothing has been materialised in .*/storage/demo; start with: quant demo"),
        (
            "status --profile files",
            (
                r"nothing has been .*/storage/files; start with: "
                r"quant run --profile files --sector healthcare --to 2024-06"
            ),
        ),
        (
            "picks --sector it",
            (
                r"1 of 1 partitions of 'candidates' are missing .*2024-06\|it; "
                r".*quant run --profile demo --sector it --from 2024-06"
            ),
        ),
        (
            "weights --sector it",
            r"1 of 1 partitions of 'weights' are missing .*2024-06\|it.*; nothing of it is stored$",
        ),
        ("weights --method equal", r"--method and --book need --compare; add it"),
        ("weights -s it --compare --method best", r"there is no optimiser 'best'; choose among equal, "),
        (
            "picks --month 2024-05",
            (
                r"no sector has 'candidates' for 2024-05 in .*; run: "
                r"quant run --profile demo --sector healthcare --to 2024-05; nothing of it is stored"
            ),
        ),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(arguments: str, message: str, quant: Quant) -> None:
    assert re.search(message, refusal(quant(*arguments.split()))), message


def test_a_missing_or_empty_data_folder_is_one_line(
    quant: Quant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_DATA_DIR", str(tmp_path / "absent"))
    assert f"the data folder {tmp_path / 'absent'} does not exist; set QUANT_DATA_DIR" in refusal(
        quant("run", "-p", "files")
    )
    (tmp_path / "absent").mkdir()
    assert f"the data folder {tmp_path / 'absent'} is empty; put " in refusal(quant("run", "-p", "files"))
    assert not (tmp_path / "home").exists(), "nothing was started"


@pytest.mark.slow
def test_a_missing_upstream_partition_is_one_line(quant: Quant) -> None:
    """The total portfolio reads the sectors that are there; here is none."""
    message = refusal(quant("run", "--to", LAST, "--select", "portfolio_weights"))
    assert re.match(
        (
            rf"error: portfolio_weights \({LAST}\): 11 of 11 partitions of '(weights|regime_state)' are missing in "
            r".*/storage/demo: "
        ),
        message,
    )
    assert "materialise them first (web UI, or: quant run --profile demo --sector energy" in message
    assert message.endswith(f"--sector re --from {LAST} --to {LAST})\n")


@pytest.mark.slow
def test_a_sector_that_fails_is_named_and_the_others_are_finished(quant: Quant, tmp_path: Path) -> None:
    store = DatasetStore(str(tmp_path / "storage" / "demo"))
    path = Path(store.path(DATASETS["ohlcv"], f"{LAST}|energy"))
    for sector in ("energy", "it"):
        store.write(DATASETS["ohlcv"], DATASETS["ohlcv"].empty(), [f"{LAST}|{sector}"])
    command = ("run", "-s", "energy", "-s", "it", "--to", LAST, "--select", "prices", "--workers", "1")
    path.write_bytes(b"PAR1 cut short")
    assert refusal(quant(*command)).startswith(f"error: {path} cannot be read"), "said before anything starts"
    assert store.existing(DATASETS["prices"]) == set()
    stray = {
        "ticker": "A",
        "date": date(2024, 5, 2),
        "panel_from": date(2024, 5, 2),
        "adjustment": "as_traded",
        "provider": "p",
    }
    numbers = {name: 1.0 for name, dtype in DATASETS["ohlcv"].schema.items() if dtype == pl.Float64}
    pl.DataFrame([stray | numbers | {"in_sector": True}], schema=DATASETS["ohlcv"].schema).write_parquet(path)
    outcome = quant(*command)
    assert outcome.status == 1
    assert outcome.err.startswith(
        f"error: prices (energy, {LAST}): dataset 'prices': 1 rows lie outside the run's partitions"
    )
    assert outcome.err.count("\n") == 1
    assert store.existing(DATASETS["prices"]) == {f"{LAST}|it"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        ("run --sector tech", {}, "sector 'tech' does not exist; choose one of energy"),
        ("status", {"QUANT__NO__SUCH": "1"}, "environment variable QUANT__NO__SUCH names no setting"),
        (
            "run --to 2016-01",
            {"QUANT_PROFILE": "files", "QUANT_DATA_DIR": "/nowhere"},
            "the data folder /nowhere does not exist",
        ),
    ],
)
def test_the_real_command_refuses_in_the_same_way(arguments: str, variables: dict[str, str], message: str) -> None:
    assert message in refusal(in_a_shell(*arguments.split(), **variables))


def test_features_show_what_was_declared(quant: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = quant("features", "--set", "core")
    assert (outcome.status, outcome.err) == (0, "")
    assert re.search(
        r"│ rsi_14 +│ +\d{3} │ +0 │ percent +│ relative strength index over 14 sessions +│\n"
        r"│[ │]+│ inputs: bar_change, close +│\n│[ │]+│ Wilder",
        outcome.out,
    )
    lines = quant("features", "--markdown").out.splitlines()
    assert lines[0] == "| name | set | inputs | lookback | unit | lag | meaning | source |"
    assert "| garch_volatility | indicators | close | " in "\n".join(lines)
    assert "nosuch" in refusal(quant("features", "--set", "nosuch"))
    monkeypatch.setenv("QUANT__FEATURES__MODULES", '["nosuch"]')
    assert "module 'nosuch' is neither" in refusal(quant("features"))


def test_a_wrong_option_is_the_usual_message(quant: Quant) -> None:
    outcome = quant("run", "--workers", "0")
    assert outcome.status == 2
    assert "greater than or equal" in outcome.err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_work_and_fit_the_window(name: str, quant: Quant) -> None:
    outcome = quant(*name.split(), "--help")
    assert outcome.status == 0
    assert re.search(r"^ Examples?:", outcome.out, re.MULTILINE)
    examples = [line.strip() for line in (COMMANDS[name].help or "").splitlines() if line.strip().startswith("quant ")]
    assert examples
    for example in examples:
        assert f" {example} " in outcome.out, "an example that is broken into two lines cannot be copied"
        words = ["quant", *name.split()]
        arguments = shlex.split(example)[len(words) :]
        assert shlex.split(example)[: len(words)] == words
        given = COMMANDS[name].make_context(name, arguments).params
        sectors = given.get("sector") or ()
        assert ({sectors} if isinstance(sectors, str) else set(sectors)) <= set(SECTORS)
    for option in COMMANDS[name].params:
        if getattr(option, "hidden", False):
            continue
        # An argument is shown by its metavar where it has one.
        shown = option.metavar if option.param_type_name == "argument" and option.metavar else option.opts[0]
        assert shown in outcome.out
        assert option.help or option.name == "help", f"{option.name} says nothing"
    assert name.split()[0] in quant("--help").out
