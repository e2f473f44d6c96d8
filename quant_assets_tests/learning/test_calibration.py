"""Probabilities and intervals: against other implementations, and that they hold where they say so."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from quant_assets.learning.calibration import Calibration, Interval, reliability
from quant_assets.learning.out_of_fold import judge
from quant_assets.market.calendar import session_number, sessions
from quant_assets.settings.domain import PredictionSettings

DAYS = sessions(date(2015, 1, 2), date(2019, 12, 31))


def overconfident(count: int = 20_000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """What is stated has twice the log odds that come true, and a bias."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(size=count)
    risen = rng.random(count) < expit(0.3 + odds)
    return expit(2 * odds), np.where(risen, 0.01, -0.01)


def test_the_line_is_found_and_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    stated, outcome = overconfident()
    found = Calibration.fit(stated, outcome)
    assert (found.offset, found.slope) == pytest.approx((0.3, 0.5), abs=0.06)
    theirs = LogisticRegression(C=1e12, tol=1e-12, max_iter=1_000).fit(
        logit(np.clip(stated, 1e-3, 1 - 1e-3))[:, None], outcome > 0
    )
    assert (found.offset, found.slope) == pytest.approx((theirs.intercept_[0], theirs.coef_[0, 0]), abs=2e-3)
    before, after = (reliability(each, outcome)["brier"] for each in (stated, found.of(stated)))
    assert after < before - 0.005
    assert Calibration.from_manifest(found.to_manifest()) == found


def test_rows_count_for_the_periods_that_lie_apart() -> None:
    stated, outcome = overconfident()
    few, many, all_of_them = (Calibration.fit(stated, outcome, apart) for apart in (4.0, 4_000.0, None))
    assert abs(few.offset) < 0.05 < many.offset < all_of_them.offset + 0.01
    assert few.slope > many.slope + 0.2
    assert few.rows == many.rows == len(stated)


def test_a_calibration_never_turns_the_order_round() -> None:
    stated, outcome = overconfident()
    turned = Calibration.fit(1 - stated, outcome)
    assert turned.slope == 0
    assert turned.of(stated) == pytest.approx((outcome > 0).mean(), abs=2e-3)
    constant = Calibration.fit(np.full(1_000, 0.5), outcome[:1_000])
    assert constant.slope == 1  # log odds of 0 say nothing of it
    assert constant.of(np.array([0.5])) == pytest.approx((outcome[:1_000] > 0).mean(), abs=6e-3)


def test_where_the_slope_reaches_zero_nothing_jumps() -> None:
    """Three quarters rose; four periods hold that back, on either side of a slope of 0."""
    rng = np.random.default_rng(5)
    odds, risen = np.clip(rng.normal(size=4_000), -3, 3), rng.random(4_000) < 0.75
    outcome = np.where(risen, 0.01, -0.01)

    def tilted(turn: float) -> Calibration:
        return Calibration.fit(expit(odds * 8 - turn * risen), outcome, 4.0)

    turns = np.linspace(0.0, 40.0, 161)
    found = [tilted(turn) for turn in turns]
    assert found[0].slope > 0 == found[-1].slope
    first = next(place for place, each in enumerate(found) if each.slope == 0)
    low, high = turns[first - 1], turns[first]
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if tilted(middle).slope > 0 else (low, middle)
    (rises,), (flat,) = (tilted(each).of(np.array([0.5])) for each in (low, high))
    assert flat == pytest.approx(rises, abs=1e-6)
    assert 0.5 < flat < 0.6, "of 4 periods, not of 4000 rows"


def test_too_few_forecasts_or_one_direction_change_nothing() -> None:
    stated, outcome = overconfident(30)
    for given_outcome in (outcome, np.full(30, 0.01)):
        assert Calibration.fit(stated, given_outcome) == Calibration()
    assert Calibration().of(stated) is stated
    assert Calibration.from_manifest(None) == Calibration()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(41, 400), strength=st.floats(0, 50))
def test_every_fit_gives_probabilities_in_order(seed: int, count: int, strength: float) -> None:
    """Separable and extreme ones among them."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(size=count) * strength
    found = Calibration.fit(expit(odds), np.where(rng.random(count) < expit(odds), 1.0, -1.0))
    calibrated = found.of(np.linspace(0, 1, 101))
    assert np.isfinite(calibrated).all()
    assert (np.diff(calibrated) >= 0).all()
    assert 0 <= calibrated[0] <= calibrated[-1] <= 1


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_an_interval_covers_what_it_says_of_errors_with_heavy_tails(coverage: float) -> None:
    rng = np.random.default_rng(2)
    held = []
    for _ in range(300):
        std = rng.uniform(0.5, 2, size=400)
        prediction = rng.normal(size=400)
        outcome = prediction + std * rng.standard_t(3, size=400)
        early, late = slice(0, 99), slice(99, 400)
        found = Interval.fit(prediction[early], std[early], outcome[early], coverage)
        held.append(found.holds(prediction[late], std[late], outcome[late]))
    # Exactly k / (n + 1) with k = ceil((n + 1) coverage): 100 times a coverage in whole percents is whole.
    assert np.mean(held) == pytest.approx(coverage, abs=0.01)
    few = Interval.fit(np.zeros(3), np.ones(3), np.ones(3), 0.9)
    assert (few.width, few.holds(np.zeros(3), np.ones(3), np.ones(3))) == (None, None)
    assert Interval.from_manifest(found.to_manifest()) == found


def test_reliability_counts_by_what_was_said() -> None:
    stated, outcome = np.array([0.2] * 50 + [0.7] * 50), np.array([1.0] * 10 + [-1.0] * 40 + [1.0] * 35 + [-1.0] * 15)
    found = reliability(stated, outcome)
    assert [(each["rows"], each["stated"], each["rose"]) for each in found["bins"]] == [
        (50, pytest.approx(0.2), 0.2),
        (50, pytest.approx(0.7), 0.7),
    ]
    assert found["brier"] == pytest.approx(0.5 * 0.16 + 0.5 * 0.21)
    assert found["brier_base"] == pytest.approx(0.45 * 0.55)
    assert reliability(np.empty(0), np.empty(0)) == {"rows": 0, "bins": [], "brier": None, "brier_base": None}


# --- Over folds -------------------------------------------------------------------------------------------------------


def fold(first: int, days: int, *, names: int = 20, delay: int = 5, seed: int = 1, spread: float = 1.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed + first)
    count = days * names
    prediction = rng.normal(size=count) * 0.02
    at = first + np.arange(count) // names
    return pl.DataFrame(
        {
            "ticker": pl.Series([f"T{number % names:02d}" for number in range(count)], dtype=pl.String),
            "date": DAYS[at],
            "known_at": DAYS[at + delay],
            "forward_return": prediction + 0.05 * spread * rng.standard_t(4, size=count),
            "prediction": prediction,
        }
    ).with_columns(std=pl.lit(None, pl.Float64), prob_up=pl.lit(None, pl.Float64))


def test_each_fold_is_measured_by_those_before_it() -> None:
    """The second fold is three times as wild: the first one's interval is too narrow for it, the stored one is not."""
    tests = [fold(0, 100), fold(100, 100, spread=3.0)]
    found = judge(tests, 5, PredictionSettings(), 5).entries
    assert found["interval"]["rows"] == found["calibration"]["rows"] == 4_000
    assert found["measured_coverage"]["rows"] == 2_000
    assert found["measured_coverage"]["share"] < 0.6
    rows = pl.concat(tests)
    std = np.array(found["residuals"]["std"])[np.digitize(rows["prediction"], found["residuals"]["edges"])]
    inside = (rows["forward_return"] - rows["prediction"]).abs() <= found["interval"]["width"] * std
    assert inside.mean() == pytest.approx(0.9, abs=0.001)
    alike = judge([fold(0, 100), fold(100, 100)], 5, PredictionSettings(), 5).entries
    assert alike["measured_coverage"]["share"] == pytest.approx(0.9, abs=0.03)


def test_what_was_not_known_when_a_fold_began_has_no_part_in_its_measure() -> None:
    tests = [fold(0, 100, delay=60), fold(100, 100, delay=60)]
    before = judge(tests, 60, PredictionSettings(), 5).entries
    begins = session_number(tests[1]["date"].to_numpy()).min() - 5
    known = pl.Series(session_number(tests[0]["known_at"].to_numpy()) < begins)
    assert 0 < known.sum() < len(known)
    wild = pl.when(known).then("forward_return").otherwise(pl.col("forward_return") * 100)
    after = judge([tests[0].with_columns(forward_return=wild), tests[1]], 60, PredictionSettings(), 5).entries
    for measured in ("measured_coverage", "reliability"):
        assert after[measured] == before[measured]
    assert after["interval"] != before["interval"]
    late = judge([fold(0, 100, delay=200), tests[1]], 60, PredictionSettings(), 5).entries
    assert late["measured_coverage"] == {"rows": 0, "share": None}
    assert late["reliability"]["calibrated"]["bins"] == []


def test_a_models_own_deviation_and_probability_are_taken() -> None:
    tests = [
        each.with_columns(std=pl.lit(0.5), prob_up=pl.lit(0.5) + pl.col("prediction").clip(-0.05, 0.05))
        for each in (fold(0, 100), fold(100, 100))
    ]
    found = judge(tests, 5, PredictionSettings(calibration="none"), 5).entries
    errors = pl.concat(tests).select((pl.col("forward_return") - pl.col("prediction")).abs() / 0.5).to_series()
    assert found["interval"]["width"] == pytest.approx(errors.quantile(0.9), rel=0.01)
    assert found["calibration"] == Calibration().to_manifest()
    assert found["reliability"]["calibrated"] == found["reliability"]["stated"]
    said = [each["stated"] for each in found["reliability"]["stated"]["bins"]]
    assert min(said) > 0.44
    assert max(said) < 0.56
