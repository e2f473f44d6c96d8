"""The log on a folder: what is one trial and what another, that nothing is lost, and the real assets that write it."""

import runpy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.backtest.trials import counted
from quant_assets.errors import DatasetError
from quant_assets.features.library import FeatureLibrary
from quant_assets.graph import build_defs
from quant_assets.io.store import DatasetStore
from quant_assets.learning.trained import TrainedModel
from quant_assets.market.calendar import sessions
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets.trial_log import PORTFOLIO, TrialLog, TrialPaths, trial_name

IMPORT = "from quant_assets.windows.declarations import Feature"
FEATURES = ("return_20", "volatility_20")
MONTHS = [date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 28)]


def log_at(folder: Path, features: tuple[str, ...] = FEATURES, **overrides: Any) -> TrialLog:
    return TrialLog(DatasetStore(str(folder)), load_settings("demo", **overrides), features, deciding())


@cache
def deciding() -> TrialPaths:
    """Of the real assets."""
    profile = Profile(load_settings("demo"))
    build_defs(profile)
    assert profile.trials.paths is not None
    return profile.trials.paths


def returns(seed: int = 0, until: date = MONTHS[-1]) -> pl.DataFrame:
    days = sessions(date(2024, 1, 1), until)
    return pl.DataFrame({"date": days, "net_return": 0.01 * np.random.default_rng(seed).standard_normal(len(days))})


def trained(as_of: date, horizon: int = 20, seed: int = 0) -> TrainedModel:
    days = sessions(date(2023, 1, 1), date(2023, 6, 30))[::5]
    values = np.random.default_rng(seed).standard_normal(len(days))
    series = pl.DataFrame({"date": days, "rank_ic": values / 10, "best_return": values})
    return TrainedModel("lightgbm", "lightgbm", as_of, horizon, 100, None, None, None, b"{}", None, series)


def names(log: TrialLog, scope: str = "it", first: str = "2024-01", last: str = "2024-03") -> list[tuple[str, str]]:
    return sorted((trial.kind, trial.name) for trial in log.trials(scope, first, last))


def test_what_was_noted_comes_back_bit_for_bit(tmp_path: Path) -> None:
    log, frame = log_at(tmp_path), returns()
    log.note_backtest("it", frame, MONTHS)
    log.note_training("it", [trained(MONTHS[-1], horizon) for horizon in (1, 5, 20)])
    found = {trial.kind: trial for trial in log_at(tmp_path).trials("it", "2024-01", "2024-03")}
    training, strategy = found["training"], found["strategy"]
    assert strategy.measured.select("date", net_return="value").equals(frame.with_columns(pl.col("date").cast(pl.Date)))
    assert training.name == trial_name(log.settings_of_training())
    assert strategy.trainings == (training.name,)
    assert (strategy.first, training.first, training.sessions) == (MONTHS[0], MONTHS[-1], 20)
    assert training.measured["value"].to_list() == trained(MONTHS[-1]).out_of_fold["best_return"].to_list()  # type: ignore[index]
    assert log.settings_of(strategy) == log.settings_of_strategy("it")
    assert [trial.scope for trial in log.trials("energy", "2024-01", "2024-03")] == []


def test_the_same_trial_again_is_one_and_a_changed_setting_is_another(tmp_path: Path) -> None:
    log_at(tmp_path).note_backtest("it", returns(), MONTHS)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    again = {
        "models": {"lightgbm": {"parameters": {"num_threads": 2}}},
        "demo": {"seed": 8},
        "report": {"history_months": 3},
        "labels": {"horizons": (1, 5, 10, 20, 60)},
    }
    log_at(tmp_path, **again).note_backtest("it", returns(), MONTHS)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == files
    log_at(tmp_path).note_backtest("it", returns(seed=1), MONTHS)  # the data was mended: what the trial gives now
    assert len(names(log_at(tmp_path))) == 1
    changes: list[dict[str, Any]] = [
        {"weights": {"top_n": 5}},
        {"candidates": {"long_fraction": 0.2}},
        {"training": {"seed": 1}},
        {"models": {"lightgbm": {"parameters": {"num_leaves": 7}}}},
        {"backtest": {"cost_bps": 0}},
        {"features": FEATURES[:1]},
        # Groups that nobody listed: they count because the assets' code reads them.
        {"bars": {"splice_sessions": 25}},
        {"labels": {"entry_lag": 2}},
        {"fundamentals": {"min_lag_days": 3}},
    ]
    for number, change in enumerate(changes, start=2):
        log_at(tmp_path, **change).note_backtest("it", returns(), MONTHS)
        assert len(names(log_at(tmp_path))) == number, change
    windows = load_settings("demo").indicators.model_dump()
    windows["windows"]["energy"]["momentum_lag"] += 1  # another sector's
    log_at(tmp_path, indicators=windows).note_backtest("it", returns(), MONTHS)
    assert len(names(log_at(tmp_path))) == len(changes) + 1


def test_a_changed_formula_of_an_own_feature_is_another_trial(tmp_path: Path) -> None:
    def named(number: int, formula: str) -> str:
        module = tmp_path / f"own_{number}.py"
        module.write_text(f"{IMPORT}\n\nFEATURES = (Feature('mine', ('close',), 5, lambda x, w: {formula}, 'mine'),)\n")
        library = FeatureLibrary({"own": runpy.run_path(str(module))["FEATURES"]})
        return trial_name(log_at(tmp_path, library.formulas).settings_of_training())

    assert named(1, "w.mean(x['close'], 5)") == named(2, "w.mean(x['close'], 5)")
    assert named(3, "w.mean(x['close'], 4)") != named(1, "w.mean(x['close'], 5)")
    profile = Profile(load_settings("demo", storage=str(tmp_path)))
    build_defs(profile)
    assert profile.trials.present("it")["training"]["features"] == list(profile.features.formulas)


def test_a_strategy_of_the_ensemble_uses_the_trainings_of_its_models(tmp_path: Path) -> None:
    log = log_at(tmp_path, weights={"model": "ensemble"})
    models = log.present("it")["strategy"]["training"]
    followed = load_settings("demo", weights={"model": "ensemble"}).followed_models
    assert followed == ("lightgbm", "linear", "xgboost", "random_forest")
    assert models == [trial_name(log.settings_of_training(name)) for name in followed]
    for name in followed:
        log.note_training("it", [replace(trained(MONTHS[-1]), model=name)])
    log.note_backtest("it", returns(), MONTHS)
    assert sorted(trial.kind for trial in log.trials("it", "2024-01", "2024-03")) == ["strategy", *["training"] * 4]
    (strategy,) = counted(log.trials("it", "2024-01", "2024-03"), MONTHS[-1])
    assert strategy.trainings == tuple(models)
    # By one model it is another strategy, which leaves the other trainings unused.
    one = log_at(tmp_path)
    assert trial_name(one.settings_of_strategy("it")) != strategy.name
    assert one.present("it")["strategy"]["training"] == trial_name(one.settings_of_training("lightgbm"))


def test_how_much_of_a_training_is_shown_makes_no_other_trial(tmp_path: Path) -> None:
    shown = log_at(tmp_path, training={"shap_rows": 7})
    assert shown.present("it") == log_at(tmp_path).present("it")


def test_a_training_without_a_model_is_no_trial(tmp_path: Path) -> None:
    log_at(tmp_path).note_training("it", [TrainedModel("lightgbm", "lightgbm", MONTHS[-1], 20, 3, None, None)])
    assert names(log_at(tmp_path)) == []


def test_the_total_portfolio_counts_the_trainings_of_every_sector_once(tmp_path: Path) -> None:
    log = log_at(tmp_path)
    for sector in ("it", "energy"):
        log.note_training(sector, [trained(MONTHS[-1])])
        log_at(tmp_path, training={"seed": 2}).note_training(sector, [trained(MONTHS[-1])])
    log.note_backtest(PORTFOLIO, returns(), MONTHS)
    trials = log.trials(PORTFOLIO, "2024-01", "2024-03")
    assert (
        len({trial.name for trial in counted(trials, MONTHS[-1])}) == 2
    )  # the strategy, and the training that it does not use
    assert counted(trials, MONTHS[0]) == [trial for trial in trials if trial.kind == "strategy"]


def test_months_outside_are_not_read_but_the_trial_is_known(tmp_path: Path) -> None:
    log = log_at(tmp_path)
    log.note_backtest("it", returns(), MONTHS)
    for month in (date(2023, 3, 31), date(2023, 12, 29)):
        log.note_training("it", [trained(month)])
    (strategy,) = (trial for trial in log.trials("it", "2024-03", "2024-03") if trial.kind == "strategy")
    assert (strategy.first, strategy.measured["date"].min()) == (date(2024, 1, 1), date(2024, 3, 1))
    (training,) = (trial for trial in log.trials("it", "2024-03", "2024-03") if trial.kind == "training")
    assert training.measured["as_of"].unique().to_list() == [date(2023, 12, 29)]  # the newest before, and no older one
    (training,) = (trial for trial in log.trials("it", "2023-05", "2024-03") if trial.kind == "training")
    assert (
        training.returns(date.min, date(2023, 11, 30))["date"].len()
        == training.measured.filter(as_of=date(2023, 3, 31)).height
    )
    assert names(log, last="2023-12", first="2023-12")
    assert counted(log.trials("it", "2023-01", "2023-02"), date(2023, 2, 28)) == []


def test_a_view_of_the_past_does_not_shorten_a_month(tmp_path: Path) -> None:
    log = log_at(tmp_path)
    log.note_backtest("it", returns(until=date(2024, 3, 14)), [*MONTHS[:2], date(2024, 3, 14)])
    log.note_backtest("it", returns(), MONTHS)  # the month is over
    log.note_backtest("it", returns(until=date(2024, 3, 14)), [*MONTHS[:2], date(2024, 3, 14)])
    (strategy,) = log.trials("it", "2024-01", "2024-03")
    assert strategy.measured["date"].max() == MONTHS[-1]


def _write(folder: Path, top_n: int) -> None:
    log = log_at(folder, weights={"top_n": top_n})
    for _ in range(5):
        log.note_backtest("it", returns(), MONTHS)


def test_writers_beside_each_other_lose_nothing(tmp_path: Path) -> None:
    """Threads, each with a store of its own: what two processes do to one file is tested with the store."""
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda top_n: _write(tmp_path, top_n), (3, 3, 4)))
    trials = log_at(tmp_path).trials("it", "2024-01", "2024-03")
    assert len(trials) == 2
    assert all(trial.measured["value"].to_list() == returns()["net_return"].to_list() for trial in trials)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    log = log_at(tmp_path)
    log.note_backtest("it", returns(), MONTHS)
    broken = next(tmp_path.rglob("2024-02.json"))
    broken.write_text("{")
    with pytest.raises(DatasetError, match=r"2024-02\.json is not the JSON of a trial"):
        log.trials("it", "2024-01", "2024-03")
    broken.unlink()
    next(tmp_path.rglob("settings.json")).unlink()  # as after a power cut before the first month
    assert names(log) == []
