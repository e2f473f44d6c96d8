"""`quant predict` and `quant batch-predict` on a storage made by hand: table, files, and mistakes as one line."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.cli import predict
from quant_assets_tests.command import Quant, status_of
from quant_assets_tests.synthetic_predictions import ENVIRONMENT, SECTOR, write

GIVEN = ("--sector", SECTOR, "--year", "2021", "--month", "6")
RANGE = ("-s", SECTOR, "--start-year", "2021", "--start-month", "4", "--end-year", "2021", "--end-month", "6")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    write(folder)
    return folder


@pytest.fixture
def quant(storage: Path, monkeypatch: pytest.MonkeyPatch, command: Quant) -> Quant:
    for name, value in {**ENVIRONMENT, "QUANT__STORAGE": str(storage)}.items():
        monkeypatch.setenv(name, value)
    return command


@pytest.mark.slow
def test_the_table_and_the_file_say_the_same(quant: Quant, storage: Path) -> None:
    path = storage / "demo/exports/predictions/it/2021_06_predictions.json"
    unsaved = quant("predict", *GIVEN, "--top-n", "5", "--no-save")
    assert not path.exists()
    outcome = quant("predict", *GIVEN, "--top-n", "5", "--candidate-type", "long")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.splitlines()[:-1] == unsaved.out.splitlines(), "and where the file is"
    assert outcome.out.splitlines()[-1] == str(path)
    document = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert [row["ticker"] for row in outcome.rows] == document["selected_stocks"]
    assert [row["rank"] for row in outcome.rows] == ["1", "2", "3", "4", "5"]
    assert [row["ML score"] for row in outcome.rows] == [f"{x:+.2%}" for x in document["predicted_scores"].values()]
    scores = list(document["predicted_scores"].values())
    assert scores == sorted(scores, reverse=True)
    assert sum(document["portfolio_weights"].values()) == pytest.approx(1)
    metadata = document["metadata"]
    assert (metadata["sector"], metadata["date"], metadata["num_candidates"]) == (SECTOR, "2021-06-30", 3)
    assert len(metadata["model_version"]) == 12
    assert f"version {metadata['model_version']}" in outcome.out


@pytest.mark.slow
def test_shorts_are_the_lowest_scores_and_both_sides_are_pooled(quant: Quant) -> None:
    tables = {kind: quant("predict", *GIVEN, "-t", kind, "-n", "6", "--no-save").rows for kind in ("short", "both")}
    values = {kind: [float(row["ML score"].rstrip("%")) for row in rows] for kind, rows in tables.items()}
    assert values["short"] == sorted(values["short"])
    assert values["both"] == sorted(values["both"], reverse=True)
    assert {row["algo score"][0] for row in tables["short"]} == {"-"}
    assert {row["algo score"][0] for row in tables["both"]} == {"+", "-"}


@pytest.mark.slow
def test_picks_of_the_other_side_are_another_file_and_say_so(quant: Quant, storage: Path) -> None:
    folder = storage / "demo/exports/predictions/it"
    quant("predict", *GIVEN)
    longs = (folder / "2021_06_predictions.json").read_bytes()
    for kind, name in (("long", "2021_06_predictions.json"), ("short", "2021_06_predictions_short.json")):
        assert quant("predict", *GIVEN, "-t", kind).out.splitlines()[-1] == str(folder / name)
        metadata = json.loads((folder / name).read_text())["metadata"]
        assert (metadata["candidate_type"], metadata["horizon"], metadata["model"]) == (kind, 20, "lightgbm")
    assert (folder / "2021_06_predictions.json").read_bytes() == longs
    quant("batch-predict", *RANGE, "--candidate-type", "short")
    assert (folder / "2021_06_predictions.json").read_bytes() == longs
    assert (folder / "it_batch_results_short.csv").exists()


@pytest.mark.slow
def test_a_failed_month_is_reported_and_the_rest_go_on(quant: Quant, storage: Path) -> None:
    outcome = quant("batch-predict", *RANGE, "--top-n", "3")
    assert outcome.status == 1
    assert outcome.err == "error: 1 of 3 months failed, see the reasons above: 2021-04\n"
    assert outcome.out.splitlines()[0].startswith("2021-04: failed: 1 of 1 partitions of 'candidates' are missing")
    folder = storage / "demo/exports/predictions/it"
    rows = pl.read_csv(folder / "it_batch_results.csv")
    assert rows.columns == ["sector", "year", "month", "date", "ticker", "ml_score"]
    assert rows.select("month", "date").unique().sort("month").rows() == [(5, "2021-05-28"), (6, "2021-06-30")]
    for month in (5, 6):
        document = json.loads((folder / f"2021_{month:02d}_predictions.json").read_text())
        own = rows.filter(pl.col("month") == month)
        assert dict(own.select("ticker", "ml_score").iter_rows()) == document["predicted_scores"]


@pytest.mark.slow
def test_nothing_of_an_earlier_call_stands_for_a_month_that_failed(
    quant: Quant, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where it is a mistake nor where the system refuses to read."""
    folder = storage / "demo/exports/predictions/it"
    quant("batch-predict", *RANGE)
    picked, gone = predict._picked, folder / "2021_05_predictions.json"
    assert gone.exists()

    def refusing(profile: Any, sector: str, month: str, *given: Any) -> Any:
        if month == "2021-05":
            raise PermissionError(13, "Permission denied")
        return picked(profile, sector, month, *given)

    monkeypatch.setattr(predict, "_picked", refusing)
    outcome = quant("batch-predict", *RANGE)
    assert outcome.err == "error: 2 of 3 months failed, see the reasons above: 2021-04, 2021-05\n"
    assert "2021-05: the picks of an earlier call were removed" in outcome.out
    assert not gone.exists()
    assert (folder / "2021_06_predictions.json").exists()
    monkeypatch.setattr(predict, "_picked", lambda *given: refusing(None, "it", "2021-05"))
    assert "0 rows of 0 months" in quant("batch-predict", *RANGE).out
    assert pl.read_csv(folder / "it_batch_results.csv").is_empty()


@pytest.mark.slow
def test_a_month_is_the_same_alone_and_in_a_batch(quant: Quant, storage: Path) -> None:
    path = storage / "demo/exports/predictions/it/2021_06_predictions.json"
    quant("batch-predict", *RANGE)
    together = path.read_bytes()
    path.unlink()
    quant("predict", *GIVEN)
    assert path.read_bytes() == together


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "-s", SECTOR, "-y", "2021", "-m", "13"), "month 13 of year 2021 does not exist"),
        (("predict", "-s", "tech", "-y", "2021", "-m", "6"), "sector 'tech' does not exist"),
        (("predict", *GIVEN, "-t", "up"), "--candidate-type up does not exist"),
        (("predict", *GIVEN, "-n", "0"), "--top-n 0"),
        (("predict", *GIVEN, "--model", "none"), "model 'none' is none of models: lightgbm, ensemble"),
        (("predict", "-s", SECTOR, "-y", "2021", "-m", "1"), "'candidates' are missing"),
        (("batch-predict", *RANGE[:-1], "3"), "is later than the last month"),
    ],
)
def test_mistakes_are_one_line(quant: Quant, arguments: tuple[str, ...], message: str) -> None:
    outcome = quant(*arguments)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (status_of(outcome.err), "", 1)
    assert message in outcome.err
