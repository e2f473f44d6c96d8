"""`quant trials` on a log made by hand."""

import re
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.backtest.metrics import sharpe
from quant_assets.cli.trials import differences
from quant_assets.graph import build_defs
from quant_assets.learning.trained import TrainedModel
from quant_assets.market.calendar import sessions
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets.trial_log import PORTFOLIO
from quant_assets_tests.command import Quant

AS_OFS = [date(2024, 1, 31), date(2024, 2, 29)]
DAYS = sessions(date(2024, 1, 1), AS_OFS[-1])
RETURNS = 0.01 * np.random.default_rng(1).standard_normal(len(DAYS))


def log(folder: Path, **overrides: Any) -> Any:
    profile = Profile(load_settings("demo", storage=str(folder), **overrides))
    build_defs(profile)  # tells the log which settings decide a trial
    return profile.trials


@pytest.fixture
def quant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Quant) -> Quant:
    """The command in this process on an empty storage."""
    for name, value in (("QUANT__STORAGE", str(tmp_path)), ("QUANT__AS_OF", "2024-06-28")):
        monkeypatch.setenv(name, value)

    return partial(command, "trials")


def test_trials_are_listed_with_what_differs(quant: Quant, tmp_path: Path) -> None:
    frame = pl.DataFrame({"date": DAYS, "net_return": RETURNS})
    log(tmp_path).note_backtest("it", frame, AS_OFS)
    log(tmp_path, weights={"top_n": 5}, candidates={"long_fraction": 0.2}).note_backtest("it", frame, AS_OFS)
    series = pl.DataFrame({"date": DAYS[:30], "rank_ic": np.full(30, 0.05), "best_return": RETURNS[:30]})
    trained = TrainedModel("lightgbm", "lightgbm", AS_OFS[0], 20, 100, None, None, None, b"{}", None, series)
    log(tmp_path, training={"seed": 3}).note_training("it", [trained])
    log(tmp_path).note_backtest(PORTFOLIO, frame, AS_OFS)
    shown = quant()
    assert (shown.status, shown.err) == (0, "")
    assert (
        "it 3, portfolio 2" in shown.out
    )  # the training is one that no strategy uses; the total portfolio's were chosen among it too
    deflated = re.search(r"deflated Sharpe ratios with the present settings: (.*)", " ".join(shown.out.split()))
    assert deflated
    assert re.fullmatch(r"it [\d.]+ % since 2024-01-02, portfolio [\d.]+ % since 2024-01-02", deflated[1].strip()), (
        "from the first execution on, like the ratios of the table"
    )
    differing = dict(re.findall(r"^  ([0-9a-f]{12})  (.+)$", shown.out, re.MULTILINE))
    by = {(row["scope"], row["kind"], differing.get(row["trial"], "")): row for row in shown.rows}
    assert {row["trial"] for row in shown.rows if row["settings"] == "other"} == set(differing)
    assert set(by) == {
        ("it", "strategy", ""),
        ("it", "strategy", "candidates.long_fraction=0.2, weights.top_n=5"),
        ("it", "training", "training.seed=3"),
        ("portfolio", "strategy", ""),
    }
    plain, training = by["it", "strategy", ""], by["it", "training", "training.seed=3"]
    assert (plain["first"], plain["last"], plain["sessions"]) == ("2024-01-02", "2024-02-29", str(len(DAYS)))
    assert plain["Sharpe"] == f"{sharpe(RETURNS.tolist()):.2f}"
    assert (training["first"], training["last"], training["rank IC"]) == ("2024-01-31", "2024-01-31", "+0.050")
    assert training["Sharpe"] == f"{sharpe(RETURNS[:30].tolist()) / 20**0.5:.2f}"  # type: ignore[operator]
    log(tmp_path).note_backtest("it", frame.head(19), AS_OFS)
    (short,) = (row for row in quant("-s", "it").rows if row["settings"] == "present")
    assert (short["sessions"], short["Sharpe"]) == ("19", "too short")
    in_cash = pl.col("date") < date(2024, 1, 23)
    later = frame.with_columns(net_return=pl.when(in_cash).then(0.0).otherwise("net_return"))
    log(tmp_path).note_backtest("it", later, AS_OFS)
    (shown_later,) = (row for row in quant("-s", "it").rows if row["settings"] == "present")
    assert shown_later["first"] == "2024-01-23", "the window of its Sharpe ratio"
    assert shown_later["sessions"] == str(later.filter(~in_cash).height)
    log(tmp_path).note_backtest("it", frame, AS_OFS)
    assert [row["scope"] for row in quant("--sector", "energy", "-s", "it").rows] == ["it"] * 3
    january = quant("-s", "it", "--month", "2024-01").rows
    assert {row["last"] for row in january} == {"2024-01-31"}


def test_nothing_tried_is_one_line(quant: Quant) -> None:
    status, out, err = quant("--sector", "it")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "no trial up to 2024-06" in err


def test_differences_of_nested_settings_and_long_lists() -> None:
    present = {"a": 1, "b": {"c": 2, "d": [1]}, "features": [f"f{i}" for i in range(20)]}
    tried = {"a": 1, "b": {"c": 3, "d": [2]}, "features": [f"f{i}" for i in range(1, 20)] + ["mine"], "new": "x"}
    assert differences(present, tried) == ["b.c=3", "b.d=[2]", "features: +mine, -f0", "new=x"]
    assert differences(tried, {"a": 1, "b": present["b"]}) == ["b.c=2", "b.d=[1]", "features=(none)", "new=(none)"]
    assert differences(present, present) == []
