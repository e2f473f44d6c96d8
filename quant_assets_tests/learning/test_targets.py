"""What is fitted, against definitions by hand."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm, rankdata

from quant_assets.audit.fitting import recorded
from quant_assets.learning.targets import directions, fitted_target, said_target
from quant_assets.learning.training import train_checkpoint, training_rows
from quant_assets.settings.domain import PredictionSettings, TrainingSettings
from quant_assets_tests.learning.ridge import Ridge
from quant_assets_tests.synthetic_learning import FEATURES, simulate

RNG = np.random.default_rng(4)


def rows(*sessions: np.ndarray) -> pl.DataFrame:
    return pl.concat(
        pl.DataFrame({"date": [date(2024, 1, 2 + place)] * len(values), "y": values})
        for place, values in enumerate(sessions)
    )


def target(frame: pl.DataFrame, name: str, limit: float = 5.0) -> np.ndarray:
    return fitted_target(frame, "y", TrainingSettings(target=name, target_limit=limit))


def test_raw_is_the_outcome() -> None:
    frame = rows(RNG.normal(size=20))
    assert np.array_equal(target(frame, "raw"), frame["y"].to_numpy())


@pytest.mark.parametrize("limit", [2.0, 5.0])
def test_winsorised_is_cut_within_each_session(limit: float) -> None:
    calm, wild = 0.01 * RNG.normal(size=40), 0.1 * RNG.normal(size=41)
    calm[3], wild[5] = 70.0, -0.99
    found = target(rows(calm, wild), "winsorised", limit)
    expected = []
    for values in (calm, wild):
        middle = np.median(values)
        reach = limit * 1.4826 * np.median(np.abs(values - middle))
        expected.append(np.clip(values, middle - reach, middle + reach))
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-14)
    assert found.max() < 1.0


def test_winsorised_leaves_small_and_flat_sessions() -> None:
    few, flat = np.array([0.0, 0.01, 0.0, 9.0]), np.array([0.0] * 9 + [3.0])
    assert np.array_equal(target(rows(few, flat), "winsorised"), np.concatenate([few, flat]))


@pytest.mark.parametrize("name", ["raw", "winsorised", "rank"])
def test_relative_to_the_sector_nothing_of_what_a_session_shares_is_fitted(name: str) -> None:
    own = [0.02 * RNG.normal(size=count) for count in (20, 25, 31)]
    shared = (0.05, -0.08, 0.01)
    moved = rows(*(values + move for values, move in zip(own, shared, strict=True)))
    settings = TrainingSettings(target=name, relative_to="sector")
    mean = np.mean([values.mean() + move for values, move in zip(own, shared, strict=True)])
    expected = rows(*(values - values.mean() + mean for values in own))
    np.testing.assert_allclose(fitted_target(moved, "y", settings), target(expected, name), rtol=1e-9, atol=1e-15)
    assert moved["y"].to_list() == rows(*(v + m for v, m in zip(own, shared, strict=True)))["y"].to_list()


def test_directions_are_signs_or_sides_of_the_sessions_mean() -> None:
    frame = rows(np.array([0.01, 0.02, 0.06]), np.array([-0.5, 0.0, 0.1]))
    assert directions(frame, "y", TrainingSettings()).to_list() == [1, 1, 1, 0, 0, 1]
    assert directions(frame, "y", TrainingSettings(relative_to="sector")).to_list() == [0, 0, 1, 0, 1, 1]
    assert said_target(TrainingSettings(relative_to="sector"), "classification").endswith("above its session's mean")
    assert said_target(TrainingSettings(), "regression") == "forward_return, winsorised"


def test_rank_is_a_normal_score_in_the_sessions_middle_and_spread() -> None:
    first, second = RNG.normal(size=30), np.round(RNG.standard_t(2, 31), 1)
    found = np.split(target(rows(first, second), "rank"), [30])
    for values, scores in zip((first, second), found, strict=True):
        middle = np.median(values)
        spread = 1.4826 * np.median(np.abs(values - middle))
        expected = middle + spread * norm.ppf((rankdata(values) - 0.5) / len(values))
        np.testing.assert_allclose(scores, expected, rtol=1e-12)


def test_other_sessions_change_nothing() -> None:
    one, other = RNG.normal(size=30), RNG.normal(size=30)
    for name in ("winsorised", "rank"):
        alone, both = target(rows(one), name), target(rows(one, other), name)
        assert np.array_equal(both[:30], alone)


@pytest.mark.parametrize("name", ["raw", "winsorised", "rank"])
def test_a_training_fits_the_target_and_is_judged_by_the_returns(name: str, tmp_path: Path) -> None:
    features, labels = simulate(horizons=(5,), first=date(2020, 1, 1), last=date(2020, 12, 31))
    as_of = date(2020, 12, 31)
    settings = TrainingSettings(target=name, target_limit=1.0, window_months=12, min_rows=100)
    with recorded() as fits:
        (trained,) = train_checkpoint(
            features, labels, as_of, settings, PredictionSettings(), Ridge("ridge"), [5], "it", FEATURES, tmp_path
        )
    assert trained.metrics is not None
    known = labels.filter(pl.col("horizon") == 5)["forward_return"]
    assert pl.Series(fits[-1].fitted.values).is_in(known.implode()).all(), "the audit tells rows by their returns"
    assert f'"target": "forward_return{"" if name == "raw" else f", {name}"}"' in trained.manifest.decode()


def test_a_label_over_an_unexplained_step_is_not_trained_on() -> None:
    features, labels = simulate(horizons=(5,), first=date(2020, 1, 1), last=date(2020, 12, 31))
    marked = (pl.col("ticker") == "T03") & (pl.col("date") < date(2020, 6, 1))
    spoiled = labels.with_columns(
        forward_return=pl.when(marked).then(70.0).otherwise("forward_return"), unexplained=marked
    )
    given = date(2020, 12, 31), TrainingSettings(window_months=12), 5, FEATURES
    found, plain = training_rows(features, spoiled, *given), training_rows(features, labels, *given)
    assert found.equals(plain.filter(~marked))
    assert 0 < len(found) < len(plain)
