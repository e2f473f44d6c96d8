"""`quant analyse` and `quant factor-model` on a storage made by hand."""

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.partitions import key
from quant_assets_tests.command import Quant, status_of
from quant_assets_tests.synthetic_scores import (
    AS_OF,
    ENVIRONMENT,
    LAST,
    LEFT,
    NAMES,
    SECTOR,
    predicted,
    write,
    write_scores,
)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in (ENVIRONMENT | {"QUANT__STORAGE": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    write(tmp_path)
    return tmp_path


@pytest.fixture
def quant(storage: Path, command: Quant) -> Quant:
    return partial(command, "analyse")


def line(out: str, start: str) -> str:
    return next(each for each in out.splitlines() if each.startswith(start))


def test_the_page_of_text_has_everything(quant: Quant) -> None:
    status, out, err = quant("t00")
    assert (status, err) == (0, "")
    assert out.startswith("T00, Information Technology, as known at the close of 2024-06-28")
    for words in (
        "valuation",
        "ebitda yield",
        "forecasts (ML)",
        "drawdown 252",
        "discount rate",
        "growth 5.0%",
        "2024-03-31",
    ):
        assert words in out, words
    assert "fair value " in out
    assert "Graham's number 30.00" in out
    assert "9,000" not in out, "a statement that is known later"


def test_new_predictions_move_the_ml_line_and_the_composite(quant: Quant, storage: Path) -> None:
    """The acceptance test of the earlier system: write predictions, look at the page."""
    _, before, _ = quant("T00")
    profile = write(storage)
    other = predicted([AS_OF], [float(len(NAMES) - place) for place in range(len(NAMES))])
    dataset = profile.datasets["predictions"]
    stored = pl.concat([dataset.empty(), other], how="diagonal_relaxed").cast(dict(dataset.empty().schema))
    profile.store.write(dataset, stored, [key(SECTOR, LAST)], lambda _: AS_OF)
    write_scores(profile, other, [LAST])
    _, after, _ = quant("T00")
    assert line(before, "forecasts (ML): ").startswith("forecasts (ML): 3 of 100 by 2 forecasts: signal +0.0000")
    assert line(after, "forecasts (ML): ").startswith("forecasts (ML): 97 of 100 by 2 forecasts: signal +0.8")
    composites = [float(line(out, "composite ").split()[1].rstrip(":")) for out in (before, after)]
    moved = 0.25 * 0.6 * (96.7 - 3.3)
    assert composites[1] - composites[0] == pytest.approx(moved, abs=0.1)


def test_the_page_is_written_and_is_the_same_again(quant: Quant, storage: Path) -> None:
    path = storage / "t00.html"
    status, out, _ = quant("T00", "--html", str(path))
    assert status == 0
    assert out.splitlines()[-1] == f"written: {path}"
    first = path.read_bytes()
    quant("T00", "--html", str(path))
    assert path.read_bytes() == first


def test_an_earlier_day_has_the_decision_before_it(quant: Quant) -> None:
    _, out, _ = quant("T00", "--as-of", "2024-06-14")
    assert out.splitlines()[0].endswith("at the close of 2024-05-31")
    assert "no forecast at this session: momentum is its technical part alone" in out
    assert "not known, left out of the means: ml" in out
    assert quant(LEFT, "--as-of", "2024-06-14").status == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("T99",), "ticker 'T99' is in no sector with scores up to 2024-06-28; similar tickers: T09"),
        ((LEFT,), f"ticker '{LEFT}' was not a member of it at 2024-06-28; its last scores are of 2024-05-31"),
        (("T00", "--as-of", "2020-01-02"), "--as-of 2020-01-02 is before the first decision with scores, in 2023-01"),
        (("T00", "--as-of", "June"), "--as-of June is not a day"),
        (("T00", "--as-of", "2030-01-02"), "is later than the last closed session 2024-06-28"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(quant: Quant, arguments: tuple[str, ...], words: str) -> None:
    status, out, err = quant(*arguments)
    assert (status, out) == (status_of(err), "")
    assert len(err.splitlines()) == 1
    assert words in err


def test_without_scores_the_command_that_makes_them_is_named(
    command: Quant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (ENVIRONMENT | {"QUANT__STORAGE": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    status, _, err = command("analyse", "T00")
    assert status == 1
    assert f"quant run --profile demo --sector SECTOR --to {LAST} --select scores" in err


def test_a_backtest_against_the_universes_own_factors(command: Quant, storage: Path) -> None:
    """The mean price of all names is nearly the market."""
    status, out, _ = command("factor-model", "-s", SECTOR, "--model", "capm")
    assert status == 0
    assert "1 sectors, 16 names at the median decision; not published factors" in out
    assert "no risk-free rate is subtracted" in out
    row = next(each for each in out.splitlines() if each.startswith("│ mkt_rf"))
    assert 0.8 < float(row.split("│")[3]) < 1.2


def test_a_backtest_against_a_published_file(command: Quant, storage: Path) -> None:
    profile = write(storage)
    dataset = profile.datasets["backtest"]
    track = profile.store.read(dataset, profile.store.existing(dataset)).collect().sort("date")
    rng = np.random.default_rng(3)
    market = 100 * track["net_return"].to_numpy() / 2
    lines = [
        f"{day:%Y%m%d}, {value:.10f}, {rng.normal():.4f}, {rng.normal():.4f}, 0.000"
        for day, value in zip(track["date"], market, strict=True)
    ]
    path = storage / "factors.csv"
    path.write_text("Made by hand\n\n,Mkt-RF,SMB,HML,RF\n" + "\n".join(lines) + "\n\nCopyright\n", encoding="utf-8")
    status, out, _ = command("factor-model", "-s", SECTOR, "--returns", str(path))
    assert status == 0
    assert "factor returns: factors.csv; less the risk-free rate" in out
    row = next(each for each in out.splitlines() if each.startswith("│ mkt_rf"))
    assert float(row.split("│")[3]) == pytest.approx(2.0)
    status, _, err = command("factor-model", "-s", SECTOR, "--model", "ff5", "--returns", str(path))
    assert status == 1
    assert "model ff5 needs rmw, cma, which factors.csv does not have" in err
    assert command("factor-model", "-s", SECTOR, "--returns", str(storage / "none.csv")).status == 1
