"""The ensemble: weights from the folds of earlier trainings, the mixture's moments, rows that stand by themselves."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from quant_assets.learning.checkpoints import young_checkpoints
from quant_assets.learning.ensemble import combined, ensemble_weights, judged_by
from quant_assets.schemas import CHECKPOINTS, DATASETS
from quant_assets.settings.domain import ENSEMBLE, PredictionSettings, TrainingSettings

SETTINGS = PredictionSettings()
DAYS = [date(2024, 6, 3) + timedelta(days=place) for place in range(5)]


def forecasts(model: str, seed: int, horizons: tuple[int, ...] = (5, 20)) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {
            "ticker": f"T{place}",
            "date": day,
            "horizon": horizon,
            "prediction": float(rng.normal(0, 0.02)),
            "prediction_std": float(rng.uniform(0.05, 0.1)),
            "prob_up": float(rng.uniform(0.3, 0.7)),
            "confidence": 0.1,
            "model": model,
            "model_version": f"{model}-{horizon}",
            "prediction_lower": -0.1,
            "prediction_upper": 0.1,
        }
        for place in range(4)
        for day in DAYS
        for horizon in horizons
    ]
    return pl.DataFrame(rows, schema=DATASETS["predictions"].schema)


def judged(*rows: tuple[str, int, date, float | None]) -> pl.DataFrame:
    made = [
        {"model": model, "horizon": horizon, "as_of": as_of, "rank_ic": ic, "status": "trained"}
        for model, horizon, as_of, ic in rows
    ]
    return pl.DataFrame(made, schema=CHECKPOINTS.schema)


MARCH, DECEMBER = date(2024, 3, 28), date(2023, 12, 29)
JUDGED = judged(
    ("a", 5, MARCH, 0.06), ("a", 5, DECEMBER, 0.02), ("b", 5, MARCH, 0.01), ("b", 5, DECEMBER, None),
    ("a", 20, MARCH, -0.02), ("b", 20, MARCH, -0.01),
)  # fmt: skip


def test_weights_are_the_mean_rank_ic_as_far_as_it_is_positive() -> None:
    assert ensemble_weights({"a": [0.06, 0.02], "b": [0.01, None]}) == pytest.approx({"a": 0.8, "b": 0.2})
    assert ensemble_weights({"a": [0.06], "b": [-0.01], "c": [None]}) == {"a": 1.0}
    assert ensemble_weights({"a": [-0.06], "b": [], "c": [None]}) == pytest.approx(dict.fromkeys("abc", 1 / 3))


def test_moments_are_those_of_the_mixture() -> None:
    parts = {"a": forecasts("a", 1), "b": forecasts("b", 2)}
    found = combined(parts.values(), JUDGED, SETTINGS)
    DATASETS["predictions"].conform(found.with_columns(sector=pl.lit("it")))
    assert set(found["model"]) == {ENSEMBLE}
    for horizon, weights in ((5, (0.8, 0.2)), (20, (0.5, 0.5))):
        a, b = (each.filter(pl.col("horizon") == horizon).sort("ticker", "date") for each in parts.values())
        mine = found.filter(pl.col("horizon") == horizon)
        (p, s, up), (q, t, down) = (
            [each[name].to_numpy() for name in ("prediction", "prediction_std", "prob_up")] for each in (a, b)
        )
        mean = weights[0] * p + weights[1] * q
        second = weights[0] * (s**2 + p**2) + weights[1] * (t**2 + q**2)
        assert mine["prediction"].to_numpy() == pytest.approx(mean, abs=1e-15)
        assert mine["prediction_std"].to_numpy() == pytest.approx(np.sqrt(second - mean**2), abs=1e-12)
        assert mine["prob_up"].to_numpy() == pytest.approx(weights[0] * up + weights[1] * down, abs=1e-15)
        assert mine["confidence"].to_numpy() == pytest.approx(abs(2 * mine["prob_up"].to_numpy() - 1))
        assert mine["model_version"].n_unique() == 1
        assert mine["prediction_lower"].null_count() == mine["prediction_upper"].null_count() == len(mine) > 0
    assert found["model_version"].n_unique() == 2


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    parts = [forecasts("a", 1), forecasts("b", 2)]
    bulk = combined(parts, JUDGED, SETTINGS)
    days = [combined([each.filter(pl.col("date") == day) for each in parts], JUDGED, SETTINGS) for day in DAYS]
    assert bulk.equals(pl.concat(days).sort("ticker", "date", "horizon"))
    assert bulk.equals(combined([each.sample(fraction=1, shuffle=True, seed=3) for each in parts], JUDGED, SETTINGS))


def test_what_was_judged_later_changes_nothing_and_what_was_judged_before_does() -> None:
    month, training = date(2024, 6, 1), TrainingSettings()
    later = judged(("a", 5, date(2024, 6, 28), -0.5), ("b", 5, date(2024, 7, 31), 0.5))
    too_old = judged(("b", 5, date(2023, 11, 30), 0.9))
    young = young_checkpoints(pl.concat([JUDGED, later, too_old]), month, training)
    assert young.equals(JUDGED)
    parts = [forecasts("a", 1), forecasts("b", 2)]
    other = combined(parts, pl.concat([JUDGED, judged(("b", 5, date(2024, 5, 31), 0.5))]), SETTINGS)
    same = combined(parts, young, SETTINGS)
    assert not same.filter(pl.col("horizon") == 5).equals(other.filter(pl.col("horizon") == 5))
    assert same.filter(pl.col("horizon") == 20).equals(other.filter(pl.col("horizon") == 20))


def test_a_training_that_suggests_a_leak_is_not_judged() -> None:
    leaks = judged(("a", 5, MARCH, 0.9), ("a", 5, DECEMBER, 0.02), ("b", 5, MARCH, 0.02), ("b", 5, DECEMBER, None))
    found = judged_by(leaks, {"a": MARCH, "b": MARCH}, 0.1)
    assert found.equals(leaks.filter(pl.col("rank_ic").is_null() | (pl.col("rank_ic") < 0.1)))
    of_ic = judged_by(leaks.with_columns(ic=pl.lit(0.2), rank_ic=pl.lit(0.05)), {"a": MARCH, "b": MARCH}, 0.1)
    assert of_ic.is_empty()
    parts = [forecasts("a", 1, (5,)), forecasts("b", 2, (5,))]
    mine = combined(parts, found, SETTINGS)
    half = (parts[0]["prediction"] + parts[1]["prediction"]) / 2
    both = parts[0].with_columns(prediction=half).sort("ticker", "date")
    assert mine.sort("ticker", "date")["prediction"].to_numpy() == pytest.approx(both["prediction"].to_numpy())


def test_a_model_is_weighed_by_no_later_training_than_the_one_that_forecasts() -> None:
    """Its newest one could not be read; model b is not among those that forecast."""
    assert judged_by(JUDGED, {"a": DECEMBER}, 0.1).equals(
        JUDGED.filter((pl.col("model") == "a") & (pl.col("as_of") == DECEMBER))
    )


def test_a_horizon_of_one_model_has_no_ensemble() -> None:
    found = combined([forecasts("a", 1), forecasts("b", 2, (5,))], JUDGED, SETTINGS)
    assert found["horizon"].unique().to_list() == [5]
    assert combined([forecasts("a", 1)], JUDGED, SETTINGS).is_empty()
    assert combined([], JUDGED, SETTINGS).is_empty()
