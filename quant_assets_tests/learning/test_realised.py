"""When the realised rank IC of a checkpoint counts as low."""

import math
from datetime import date
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest

from quant_assets.learning.metrics import daily_ic, standard_error
from quant_assets.learning.realised import realised_ics
from quant_assets.market.calendar import sessions

DAYS = sessions(date(2021, 1, 1), date(2021, 6, 30))
NAMES = 30


def forecasts(strength: float, horizon: int = 1, seed: int = 1, count: int = 60) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Predictions, and labels with a given correlation with them."""
    rng = np.random.default_rng(seed)
    prediction = rng.normal(size=(count, NAMES))
    outcome = strength * prediction + math.sqrt(1 - strength**2) * rng.normal(size=(count, NAMES))
    on = {
        "ticker": [f"T{name:02d}" for _ in range(count) for name in range(NAMES)],
        "date": pl.Series(np.repeat(DAYS[:count], NAMES), dtype=pl.Date),
        "horizon": pl.Series([horizon] * count * NAMES, dtype=pl.Int32),
    }
    labels = pl.DataFrame(
        on
        | {
            "forward_return": outcome.ravel(),
            "known_at": pl.Series(np.repeat(DAYS[horizon + 1 : count + horizon + 1], NAMES), dtype=pl.Date),
            "unexplained": [False] * count * NAMES,
        }
    )
    return pl.DataFrame(on | {"prediction": prediction.ravel()}), labels


def test_it_is_low_where_it_lies_below_the_interval_of_both_means() -> None:
    predictions, labels = forecasts(0.05)
    as_of = DAYS[80].item()
    (found,) = realised_ics(predictions, labels, {1: (0.2, 0.03)}, as_of, 0.99, 20)
    daily = daily_ic(predictions.join(labels, on=["ticker", "date", "horizon"]))
    values = daily["rank_ic"].to_numpy()
    own = standard_error(values, daily["date"].to_numpy(), 1)
    assert own is not None
    assert found.realised == pytest.approx(values.mean())
    assert found.least == pytest.approx(0.2 - NormalDist().inv_cdf(0.99) * math.sqrt(0.03**2 + own**2))
    assert found.low
    assert found.said.startswith(f"rank IC {found.realised:.3f} of 60 sessions at horizon 1, at least ")
    (sound,) = realised_ics(predictions, labels, {1: (0.05, 0.03)}, as_of, 0.99, 20)
    assert not sound.low
    (unsure,) = realised_ics(predictions, labels, {1: (0.2, 0.2)}, as_of, 0.99, 20)
    assert not unsure.low


def test_a_sound_checkpoint_is_seldom_called_low() -> None:
    """One in twenty at a confidence of 0.95, whose share of 400 is 20 with a deviation of 4.4."""
    low = 0
    expected_error = standard_error(np.random.default_rng(0).normal(scale=1 / math.sqrt(NAMES - 1), size=60), DAYS[:60])
    assert expected_error is not None
    for seed in range(400):
        predictions, labels = forecasts(0.0, seed=seed + 10)
        expected = np.random.default_rng(seed + 5_000).normal(scale=expected_error)
        (found,) = realised_ics(predictions, labels, {1: (expected, expected_error)}, DAYS[100].item(), 0.95, 20)
        low += found.low
    assert 8 <= low <= 35


def test_what_becomes_known_later_counts_for_nothing() -> None:
    predictions, labels = forecasts(0.9)
    as_of = DAYS[40].item()
    before = realised_ics(predictions, labels, {1: (0.8, 0.01)}, as_of, 0.99, 20)
    assert before[0].sessions == 39
    later = labels.with_columns(
        forward_return=pl.when(pl.col("known_at") > as_of).then(-pl.col("forward_return")).otherwise("forward_return")
    )
    assert realised_ics(predictions, later, {1: (0.8, 0.01)}, as_of, 0.99, 20) == before


def test_a_horizon_is_judged_once_two_of_it_have_passed() -> None:
    one, other = forecasts(0.1), forecasts(0.1, horizon=20)
    predictions, labels = (pl.concat(pair) for pair in zip(one, other, strict=True))
    expected = {1: (0.5, 0.01), 20: (0.5, 0.01)}
    few = realised_ics(predictions, labels, expected, DAYS[50].item(), 0.99, 20)
    assert [each.horizon for each in few] == [1]
    both = realised_ics(predictions, labels, expected, DAYS[70].item(), 0.99, 20)
    assert [each.horizon for each in both] == [1, 20]
    # Two horizons share the confidence: each alone is judged more leniently.
    (alone,) = realised_ics(*one, {1: (0.5, 0.01)}, DAYS[70].item(), 0.99, 20)
    assert both[0].least < alone.least
    assert realised_ics(predictions.clear(), labels.clear(), expected, DAYS[70].item(), 0.99, 20) == []
