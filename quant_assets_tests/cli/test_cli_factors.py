"""`quant factors` on a tear sheet made by hand."""

from datetime import date
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from quant_assets.io.store import DatasetStore
from quant_assets.schemas import DATASETS
from quant_assets_tests.command import Quant, status_of


@pytest.fixture
def quant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Quant) -> Quant:
    """The command in this process; on a storage with two months."""
    head = {
        "sector": "it",
        "as_of": date(2024, 6, 28),
        "kind": "feature",
        "page_file": "factor_tear_sheet/it/2024-06/factors.html",
    }
    counts = dict.fromkeys(("months", "ic_sessions", "quantile_sessions", "turnover_sessions", "rank_sessions"), 24)
    rows = [
        head | counts | {"factor": factor, "horizon": horizon, "ic": ic, "ic_t": t, "names": 20.0, "quantile_5": 0.01}
        for factor, horizon, ic, t in (
            ("good", 20, 0.05, 3.0),
            ("bad", 20, -0.07, -4.0),
            ("good", 60, 0.02, None),
            ("new", 20, 0.01, None),
        )
    ]
    dataset = DATASETS["factor_tear_sheet"]
    DatasetStore(str(tmp_path / "demo")).write(
        dataset, pl.DataFrame(rows, schema=dataset.empty().schema), ["2024-06|it"]
    )
    DatasetStore(str(tmp_path / "demo")).write(dataset, dataset.empty(), ["2024-05|it"])
    for name, value in (("QUANT__STORAGE", str(tmp_path)), ("QUANT__AS_OF", "2024-08-30")):
        monkeypatch.setenv(name, value)

    return partial(command, "factors")


def test_the_strongest_come_first_and_the_page_last(quant: Quant, tmp_path: Path) -> None:
    status, out, _ = quant("-s", "it", "--month", "2024-06")
    assert status == 0
    lines = [line for line in out.splitlines() if line]
    assert lines[0] == "it, as known at the close of 2024-06-28: strongest of 3 factors by |t| at 20 sessions"
    factors = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert factors == ["bad", "good"]
    assert "-0.0700" in out
    assert lines[-1] == f"page: {tmp_path}/demo/artifacts/factor_tear_sheet/it/2024-06/factors.html"


def test_one_factor_at_every_horizon(quant: Quant) -> None:
    _, out, _ = quant("--month", "2024-06", "--factor", "good")
    assert [line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")] == ["20", "60"]
    assert "no std error and t at 60 sessions: they need an IC in 45 months, and there are 24\n" in out
    assert "at 20 sessions: they need" not in out
    _, out, _ = quant("--month", "2024-06", "--horizon", "60")
    assert "strongest of 1 factors by |IC|, since there are too few months for standard errors, at 60 sessions" in out
    assert [line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")] == ["good"]
    assert "no std error and t at 60 sessions: they need an IC in 45 months" in out
    _, out, _ = quant("--month", "2024-06", "--factor", "new")
    assert "no std error and t of new: the IC of every month is the same" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-s", "it", "-m", "2024-06", "-f", "goood"), "choose among bad, good, new"),
        (
            ("-s", "it", "-m", "2024-06", "-f", "rsi_14"),  # declared, and not among the statistics
            "quant run --profile demo --sector it --to 2024-06 --select factor_statistics,factor_tear_sheet --refresh",
        ),
        (("-s", "it", "-m", "2024-06", "--horizon", "7"), "--horizon 7 is not one of labels.horizons: 1, 5, 20, 60"),
        (("-s", "energy", "-m", "2024-06"), "quant run --profile demo --sector energy --from 2024-06 --to 2024-06"),
        (("-m", "2024-07"), "no sector has 'factor_tear_sheet' for 2024-07"),
    ],
)
def test_what_is_not_there_is_said(quant: Quant, arguments: tuple[str, ...], words: str) -> None:
    status, _, err = quant(*arguments)
    assert status == status_of(err)
    assert words in err


def test_a_month_without_figures_says_why(quant: Quant) -> None:
    status, out, _ = quant("-s", "it", "-m", "2024-05")
    assert status == 0
    assert "no session had 10 names (factors.min_names)" in out


def test_of_many_factors_the_nearest_are_named(quant: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quant_assets.cli.factors._FEW", 2)
    assert "choose among good …" in quant("-m", "2024-06", "-f", "goood").err
    assert "is no feature, score or model; quant features lists" in quant("-m", "2024-06", "-f", "x").err
