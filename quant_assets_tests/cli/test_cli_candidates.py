"""`quant candidates` on a storage made by hand: what it shows, compares and exports, and that it changes nothing
there."""

import json
import re
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.io.store import DatasetStore
from quant_assets.settings.domain import CandidateSettings
from quant_assets.signals.candidates import candidates
from quant_assets_tests.command import Quant, status_of
from quant_assets_tests.graph import demo_datasets

DATASETS = demo_datasets()

SECTORS = ("it", "re")
AS_OF = {"2024-05": date(2024, 5, 31), "2024-06": date(2024, 6, 28)}


def indicators() -> pl.DataFrame:
    rng = np.random.default_rng(2)
    rows = [
        {
            "sector": sector,
            "ticker": f"{sector.upper()}{place:02d}",
            "date": day,
            "close": 10.0,
            "momentum": float(rng.normal()),
            "ma_slope": float(rng.normal()),
            "garch_volatility": float(rng.uniform(0.1, 0.5)),
            "dollar_volume": 1e8,
            "history_sessions": 60 if place == 19 and day == AS_OF["2024-05"] else 252,
            "garch_status": "fitted",
        }
        for sector in SECTORS
        for day in AS_OF.values()
        for place in range(20)
    ]
    return pl.DataFrame(rows, schema=DATASETS["indicators"].empty().schema)


def expected(settings: CandidateSettings, sector: str, *months: str) -> pl.DataFrame:
    rows = indicators().filter(pl.col("sector") == sector).drop("sector")
    return candidates(rows, rows, [AS_OF[month] for month in months], settings).with_columns(sector=pl.lit(sector))


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    store = DatasetStore(str(folder / "demo"))
    keys = [f"{month}|{sector}" for month in AS_OF for sector in SECTORS]
    members = indicators().select("sector", "ticker", "date", sector_assumed=pl.lit(False))
    stored = pl.concat(expected(CandidateSettings(), sector, *AS_OF) for sector in SECTORS)
    for name, rows in (("indicators", indicators()), ("universe", members), ("candidates", stored)):
        store.write(DATASETS[name], rows, keys, lambda key: AS_OF[key[:7]])
    return folder


@pytest.fixture
def quant(storage: Path, monkeypatch: pytest.MonkeyPatch, command: Quant) -> Iterator[Quant]:
    """The command in this process; whatever it does, the storage stays as it was."""
    for name, value in (("QUANT__STORAGE", str(storage)), ("QUANT__AS_OF", "2024-06-28")):
        monkeypatch.setenv(name, value)

    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in storage.rglob("*") if path.is_file()}
    yield partial(command, "candidates")
    assert {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in storage.rglob("*") if path.is_file()
    } == before


def cells(out: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if line.startswith("│")]


def test_a_month_shows_the_stored_candidates_of_each_sector(quant: Quant) -> None:
    status, out, err = quant("--month", "2024-06")
    assert (status, err) == (0, "")
    assert "it, decided at the close of 2024-06-28: 20 of 20 members eligible" in out
    wanted = [
        [
            row["candidate_type"],
            row["ticker"],
            str(row["selection_rank"]),
            *(f"{row[name]:+.2f}" for name in row if name.endswith("_score")),
        ]
        for sector in SECTORS
        for row in expected(CandidateSettings(), sector, "2024-06")
        .sort("candidate_type", "selection_rank")
        .rows(named=True)
    ]
    assert cells(out) == wanted
    assert quant() == (status, out, err), "the newest month"


def test_a_month_says_who_was_left_out_and_why(quant: Quant, storage: Path) -> None:
    _, out, _ = quant("--month", "2024-06")
    assert "it, re, left out under the present settings: none" in out
    _, out, _ = quant("--month", "2024-05", "-s", "it")
    assert "it, left out under the present settings: short_history IT19" in out
    _, out, _ = quant("-s", "it", "--with", "candidates.min_history_sessions=300")
    assert re.search(r"it, left out under the present settings: short_history IT00, .*, IT19\n", out)


def test_a_changed_setting_selects_from_the_stored_indicators(quant: Quant) -> None:
    _, out, _ = quant("-s", "it", "--with", "candidates.momentum_weight=0", "--with", "candidates.long_fraction=0.3")
    changed = expected(CandidateSettings(momentum_weight=0.0, long_fraction=0.3), "it", "2024-06")
    assert [row[1] for row in cells(out)] == changed.sort("candidate_type", "selection_rank")["ticker"].to_list()
    assert len(cells(out)) == 9


def test_a_range_shows_counts_and_turnover(quant: Quant) -> None:
    _, out, _ = quant("--from", "2024-05", "-s", "re")
    longs = [
        set(expected(CandidateSettings(), "re", month).filter(pl.col("candidate_type") == "long")["ticker"])
        for month in ("2024-05", "2024-06")
    ]
    new = f"{len(longs[1] - longs[0]) / 3:.0%}"
    assert [row[:7] for row in cells(out)] == [
        ["re", "2024-05", "20", "19", "2", "2", ""],
        ["re", "2024-06", "20", "20", "3", "3", new],
    ]


def test_two_selections_side_by_side(quant: Quant) -> None:
    status, out, err = quant("-s", "it", "--compare", "--with", "candidates.momentum_weight=0")
    assert (status, err) == (0, "")
    before = {row["ticker"]: row for row in expected(CandidateSettings(), "it", "2024-06").to_dicts()}
    after = {row["ticker"]: row for row in expected(CandidateSettings(momentum_weight=0.0), "it", "2024-06").to_dicts()}
    rows = {row[1]: row for row in cells(out)}
    assert set(rows) == set(before) | set(after)
    assert {ticker for ticker, row in rows.items() if row[0] == "enters"} == set(after) - set(before) != set()
    assert {ticker for ticker, row in rows.items() if row[0] == "leaves"} == set(before) - set(after) != set()
    for ticker, (_, _, place_before, place_after, *scores) in rows.items():
        for place, score, chosen in (
            (place_before, scores[0], before.get(ticker)),
            (place_after, scores[1], after.get(ticker)),
        ):
            assert place == ("" if chosen is None else f"{chosen['candidate_type']} {chosen['selection_rank']}")
            assert score, "the score of a name that is not chosen is known too"
            assert chosen is None or score == f"{chosen['composite_score']:+.2f}"
        assert float(scores[2]) == pytest.approx(float(scores[1]) - float(scores[0]), abs=0.011)
    assert re.search(rf"it 2024-06-28: {len(set(after) - set(before))} enters?, ", out)


def test_a_range_is_compared_in_figures(quant: Quant) -> None:
    _, out, _ = quant("--from", "2024-05", "--compare", "--with", "candidates.momentum_weight=0")
    rows = cells(out)
    assert [row[0] for row in rows] == list(SECTORS)
    for sector, months, differ, enter, leave, move, stay, overlap, *_ in rows:
        found = [
            {(row["as_of"], row["ticker"]): row["candidate_type"] for row in expected(each, sector, *AS_OF).to_dicts()}
            for each in (CandidateSettings(), CandidateSettings(momentum_weight=0.0))
        ]
        both = set(found[0]) & set(found[1])
        moved = {name for name in both if found[0][name] != found[1][name]}
        counts = (len(set(found[1]) - both), len(set(found[0]) - both), len(moved), len(both - moved))
        assert (int(enter), int(leave), int(move), int(stay)) == counts
        assert overlap == f"{counts[3] / len(set(found[0]) | set(found[1])):.0%}"
        assert (months, differ) == ("2", "2")


def test_compare_alone_sets_what_is_stored_against_the_present_settings(
    quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = quant("-s", "it", "--compare")
    assert {row[0] for row in cells(out)} == {"stays"}
    monkeypatch.setenv("QUANT__CANDIDATES__MOMENTUM_WEIGHT", "0")
    _, out, _ = quant("-s", "it", "--compare")
    assert {row[0] for row in cells(out)} > {"enters", "leaves"}


def test_an_export_of_a_range_and_of_a_changed_selection(quant: Quant, tmp_path: Path) -> None:
    status, out, err = quant("--from", "2024-05", "--export", str(tmp_path))
    assert (status, err) == (0, "")
    assert out.startswith(f"8 files in {tmp_path}: ")
    found = pl.read_parquet(tmp_path / "**/*.parquet")
    stored = pl.concat(expected(CandidateSettings(), sector, *AS_OF) for sector in SECTORS)
    order = ["sector", "as_of", "ticker"]
    assert found.sort(order).equals(stored.select(found.columns).sort(order))
    quant("-s", "it", "--export", str(tmp_path / "changed"), "--with", "candidates.momentum_weight=0")
    document = json.loads((tmp_path / "changed/year=2024/month=6/_candidates_it.json").read_text())
    assert sorted(document["tickers"]) == sorted(
        expected(CandidateSettings(momentum_weight=0.0), "it", "2024-06")["ticker"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--compare --with momentum_weight=1",
            "--with momentum_weight=1 is not a setting of the selection; write candidates.NAME=VALUE",
        ),
        (
            "--compare --with candidates.momentum_weigth=1",
            "candidates.momentum_weigth=1 is not a setting of the selection",
        ),
        ("--with candidates.momentum_weight", "candidates.momentum_weight is not a setting of the selection"),
        ("--with indicators.slope_sessions=3", "other settings change what is stored"),
        (
            "--with candidates.long_fraction=0.7",
            "--with candidates.long_fraction=0.7 is not valid: .*less than or equal to 0.5",
        ),
        ("--with candidates.standardise=mean", "--with candidates.standardise=mean is not valid: .*'zscore' or 'rank'"),
        ("--compare --export x", "--compare and --export do not go together"),
        ("--month 2024-06 --from 2024-05", "--month is one month, --from and --to are a range"),
        ("-s energy", r"1 of 1 partitions of 'candidates' are missing .*; stored: 2024-05 to 2024-06 \(it, re\)\n$"),
        ("-s energy --with candidates.momentum_weight=1", "1 of 1 partitions of 'indicators' are missing"),
        ("--from 2024-04", "2 of 6 partitions of 'candidates' are missing"),
        ("--month 2024-07", "month 2024-07 has no closed session"),
    ],
)
def test_a_mistake_is_one_line(arguments: str, message: str, quant: Quant) -> None:
    status, out, err = quant(*arguments.split())
    assert (status, out) == (status_of(err), "")
    assert re.fullmatch(r"error: [^\n]+\n", err)
    assert re.search(message, err), err


def test_a_month_that_was_written_before_it_was_over_is_not_compared(
    quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT__AS_OF", "2024-06-14")
    assert "the stored decision of it 2024-06 was taken at 2024-06-28, after as_of 2024-06-14" in quant()[2]
