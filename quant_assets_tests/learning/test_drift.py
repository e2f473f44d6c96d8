"""Dissimilarity, population stability and expiry: by hand, of one row alone, and from the training rows alone."""

import json
import math
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.errors import ModelFileError
from quant_assets.learning import reference as kept_rows
from quant_assets.learning.drift import Applicability, Distances, drifted, feature_stability
from quant_assets.learning.ensemble import combined
from quant_assets.learning.reference import KeptReference, Reference, kept_reference
from quant_assets.learning.registry import Loaded
from quant_assets.schemas import CHECKPOINTS, DATASETS
from quant_assets.settings.domain import PredictionSettings
from quant_assets.settings.model_use import ApplicabilitySettings, DriftSettings

RNG = np.random.default_rng(3)
NAMES = tuple(f"f{place}" for place in range(6))


def rows(count: int, missing: float = 0.0, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(count, len(NAMES))) * np.arange(1, 7) + 3.0
    found[rng.uniform(size=found.shape) < missing] = np.nan
    return found


def reference(matrix: np.ndarray, sampled: int = 500, bins: int = 10) -> Reference:
    months = np.arange(len(matrix)) * 36 // max(len(matrix), 1)
    return Reference.of(NAMES[: matrix.shape[1]], matrix, months, sampled, bins, seed=5)


def by_hand(train: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Dissimilarity by the formula, pair by pair, with all training rows."""
    centre, scale = np.nanmean(train, axis=0), np.nanstd(train, axis=0)

    def distance(one: np.ndarray, other: np.ndarray) -> float:
        total = 0.0
        for mine, theirs in zip((one - centre) / scale, (other - centre) / scale, strict=True):
            mean = [0.0 if math.isnan(each) else each for each in (mine, theirs)]
            total += (mean[0] - mean[1]) ** 2 + math.isnan(mine) + math.isnan(theirs)
        return math.sqrt(total)

    pairs = [distance(train[i], train[j]) for i in range(len(train)) for j in range(i)]
    return np.array([min(distance(row, each) for each in train) for row in asked]) / np.mean(pairs)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_dissimilarity_is_the_distance_to_the_nearest_row_over_the_mean_distance(missing: float) -> None:
    train, asked = rows(40, missing), rows(15, missing, seed=2) * 1.5
    found = reference(train).dissimilarity(asked)
    told = ~np.isnan(found)
    assert told.sum() >= 12
    np.testing.assert_allclose(found[told], by_hand(train, asked[told]), rtol=1e-6)  # the sample has 32 bits


def test_a_training_row_is_not_dissimilar_and_one_far_away_is() -> None:
    train = rows(300)
    kept = reference(train)
    np.testing.assert_allclose(kept.dissimilarity(train), 0.0, atol=1e-6)
    assert (kept.dissimilarity(train + 100.0) > 5.0).all()
    assert np.median(kept.dissimilarity(rows(200, seed=9))) < 0.8
    # Far away in one of the features, and never there in training.
    odd = train[:1].copy()
    odd[0, 2] += 30 * train[:, 2].std()
    assert kept.dissimilarity(odd)[0] > 1.0


def test_it_is_null_where_less_than_half_of_what_varies_is_there() -> None:
    train = rows(50)
    train[:, 5] = 7.0  # never varies, so it says nothing of a distance
    kept = reference(train)
    asked = rows(3, seed=4)
    asked[0, :3], asked[1, :2] = np.nan, np.inf  # an infinite value is a missing one
    found = kept.dissimilarity(asked)
    assert np.isnan(found).tolist() == [True, False, False]
    np.testing.assert_array_equal(found[2], kept.dissimilarity(asked[2:] + np.array([0, 0, 0, 0, 0, 99.0]))[0])
    assert np.isnan(reference(np.ones((5, 6))).dissimilarity(asked)).all(), "no two training rows differ"
    assert np.isnan(reference(train[:1]).dissimilarity(asked)).all()
    assert np.isnan(reference(np.full((9, 6), np.nan)).dissimilarity(asked)).all()
    assert kept.dissimilarity(np.empty((0, 6))).shape == (0,)


@settings(deadline=None)  # the first example compiles
@given(st.integers(1, 30), st.integers(0, 29), st.floats(0, 0.4))
def test_a_rows_bytes_depend_on_no_other_row(count: int, place: int, missing: float) -> None:
    kept, asked = reference(rows(60, 0.1), sampled=33), rows(count, missing, seed=8)
    bulk, place = kept.dissimilarity(asked), place % count
    np.testing.assert_array_equal(bulk[place : place + 1], kept.dissimilarity(asked[place : place + 1]))
    np.testing.assert_array_equal(bulk[::-1], kept.dissimilarity(asked[::-1]))


def test_extreme_values_end_in_no_infinity() -> None:
    train = rows(50)
    train[0, 0], train[1, 1] = 1e200, -1e300
    with np.errstate(all="raise"):
        kept = reference(train)
        found = kept.dissimilarity(np.full((2, 6), 1e300))
    assert np.isfinite(found).all()
    assert np.isfinite(kept.distance)


def test_the_sample_is_bounded_and_the_same_every_time() -> None:
    train = rows(900, 0.1)
    kept = reference(train, sampled=100)
    assert kept.sample.shape == (100, 6)
    assert kept.rows == 900
    assert kept.to_bytes() == reference(train, sampled=100).to_bytes()
    assert kept.to_bytes() != Reference.of(NAMES, train, np.zeros(900, dtype=int), 100, 10, seed=6).to_bytes()
    assert 0 not in np.diff(np.sort(kept.sample[~np.isnan(kept.sample[:, 0]), 0])), "no row is drawn twice"
    # A sample says nearly what all rows say.
    asked = rows(100, seed=2)
    assert kept.distance == pytest.approx(reference(train, sampled=900).distance, rel=0.05)
    farther = kept.dissimilarity(asked) * kept.distance - reference(train, 900).dissimilarity(asked) * kept.distance
    assert 0.0 <= np.median(farther) < 0.2 * kept.distance


def test_psi_is_what_it_is_by_hand() -> None:
    train = np.array([[1.0], [1.0], [2.0], [2.0], [3.0], [3.0], [4.0], [np.nan]])
    kept = reference(train, bins=2)
    np.testing.assert_array_equal(kept.edges, [[2.0]])
    np.testing.assert_array_equal(kept.counts, [[4, 3, 1]])
    asked = np.array([[2.0], [5.0], [6.0], [np.nan]])  # a value at an edge lies below it
    p, q = (np.array([1, 2, 1]) + 0.5) / 5.5, (np.array([4, 3, 1]) + 0.5) / 9.5
    assert kept.stability(asked)[0] == pytest.approx(((p - q) * np.log(p / q)).sum(), rel=1e-12)


def test_the_usual_psi_is_that_of_the_month_of_training_that_differs_most() -> None:
    train = rows(1200)
    months = np.repeat(np.arange(12), 100)
    train[months == 7, 4] += 40.0
    few = np.append(months, [99] * 3)  # three rows are no month
    kept = Reference.of(NAMES, np.vstack([train, train[:3] + 1e3]), few, 500, 10, seed=5)
    by_month = np.array([kept.stability(train[months == month]) for month in range(12)])
    np.testing.assert_array_equal(kept.usual, by_month.max(axis=0))
    assert by_month[:, 4].argmax() == 7
    assert kept.usual[4] > 2.0 > 0.5 > kept.usual[0]


def test_psi_tells_what_moved_from_what_did_not() -> None:
    train = rows(4000, 0.05)
    kept, asked = reference(train), rows(1000, 0.05, seed=2)
    asked[:, 1] += train[~np.isnan(train[:, 1]), 1].std()  # by one deviation
    asked[:, 2] = np.nan
    asked[:, 3] = 3.0  # of one value
    found = kept.stability(asked)
    assert (found[[0, 4, 5]] < 0.05).all()
    assert (found[[1, 2, 3]] > 0.25).all()
    np.testing.assert_allclose(found, kept.stability(asked[::-1]), rtol=0)
    assert (kept.stability(train) == 0).all()


def test_a_feature_of_few_values_has_a_bin_of_each() -> None:
    flags = (RNG.uniform(size=(1000, 1)) < 0.03).astype(float)
    kept = reference(flags)
    assert kept.stability((np.arange(1000) < 30).astype(float)[:, None])[0] < 0.01
    assert kept.stability((np.arange(1000) < 500).astype(float)[:, None])[0] > 1.0


def test_a_reference_is_read_back_verified_and_without_pickles(tmp_path: Path) -> None:
    kept, asked = reference(rows(100, 0.1)), rows(20, seed=2)
    file = KeptReference.of(kept)
    files = {f"there/{file.name}": file.content}
    again = kept_reference({"reference": dict(file.entry)}, "there/manifest.json", files.__getitem__)
    assert again is not None
    assert again.features == NAMES
    np.testing.assert_array_equal(again.dissimilarity(asked), kept.dissimilarity(asked))
    np.testing.assert_array_equal(again.stability(asked), kept.stability(asked))
    assert again.to_bytes() == file.content
    assert kept_reference({}, "there/manifest.json", files.__getitem__) is None, "of before there were any"
    assert kept_reference({"reference": None}, "there/manifest.json", files.__getitem__) is None
    json.dumps(dict(file.entry), allow_nan=False)
    other = KeptReference.of(reference(rows(100, 0.1, seed=7)))
    with pytest.raises(ModelFileError, match=f"reference {other.name} has SHA-256"):
        kept_reference({"reference": dict(other.entry)}, "there/m.json", lambda _: file.content)
    files[f"there/{file.name}"] = b"changed"
    assert kept_reference({"reference": dict(file.entry)}, "there/m.json", files.__getitem__) is again, "loaded once"
    with pytest.raises(ModelFileError, match="the file was changed"):
        kept_reference({"reference": dict(file.entry)}, "there/m.json", files.__getitem__, Loaded(1))
    executes = tmp_path / "executes.npz"
    np.savez(executes, centre=np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        Reference.from_bytes(executes.read_bytes())


def test_a_checkpoint_lasts_until_the_next_one_is_due_or_as_long_as_is_said() -> None:
    applies = Applicability.of(ApplicabilitySettings(), 3)
    assert applies.expiry(date(2023, 12, 29)) == date(2024, 3, 31)
    assert applies.expiry(date(2023, 11, 30)) == date(2024, 2, 29)
    assert Applicability.of(ApplicabilitySettings(expires_after_months=1), 3).expiry(date(2024, 1, 31)) == date(
        2024, 2, 29
    )


def test_a_row_is_in_range_where_neither_limit_is_passed_and_null_where_that_is_not_known() -> None:
    day = date(2024, 3, 1)
    cases = [
        (0.4, date(2024, 3, 31), True), (0.5, date(2024, 3, 1), True), (0.6, date(2024, 3, 31), False),
        (0.4, date(2024, 2, 29), False), (None, date(2024, 2, 29), False), (None, date(2024, 3, 31), None),
        (0.6, None, False), (0.4, None, None),
    ]  # fmt: skip
    frame = pl.DataFrame(
        [{"date": day, "dissimilarity": unlike, "expires": expires} for unlike, expires, _ in cases],
        schema={"date": pl.Date, "dissimilarity": pl.Float64, "expires": pl.Date},
    )
    found = frame.select(Applicability(0.5, 3).in_range)
    assert found.to_series().to_list() == [expected for *_, expected in cases]


def test_the_ensemble_applies_where_all_its_models_do() -> None:
    def of(model: str, unlike: float | None, expires: date, inside: bool | None) -> pl.DataFrame:
        row = {"ticker": "T", "date": date(2024, 3, 1), "horizon": 5, "prediction": 0.01, "prediction_std": 0.1}
        row |= {"prob_up": 0.5, "confidence": 0.0, "model": model, "model_version": model}
        row |= {"dissimilarity": unlike, "expires": expires, "in_range": inside}
        return pl.DataFrame([row], schema=DATASETS["predictions"].schema)

    def joint(*parts: pl.DataFrame) -> tuple[object, ...]:
        found = combined(parts, pl.DataFrame(schema=CHECKPOINTS.schema), PredictionSettings())
        return found.select("dissimilarity", "expires", "in_range").row(0)

    march, june = date(2024, 3, 31), date(2024, 6, 30)
    assert joint(of("a", 0.4, june, True), of("b", 0.5, march, True)) == (0.5, march, True)
    assert joint(of("a", 0.4, june, True), of("b", 1.5, march, False)) == (1.5, march, False)
    assert joint(of("a", 0.4, june, True), of("b", None, june, None)) == (0.4, june, None)


def test_several_models_with_one_reference_are_reckoned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    kept, other, loop = reference(rows(50)), reference(rows(50, seed=6)), kept_rows.nearest_and_total
    monkeypatch.setattr(kept_rows, "nearest_and_total", lambda *given: [calls.append(1), loop(*given)][1])
    frame = pl.DataFrame(rows(10, seed=2), schema=list(NAMES))
    distances = Distances(frame)
    first = distances.to(kept)
    assert distances.to(kept) is first
    assert not np.array_equal(distances.to(other), first)
    assert len(calls) == 2


def test_stability_of_each_model_and_when_a_sector_has_drifted() -> None:
    train = rows(2000)
    frame = pl.DataFrame(rows(500, seed=2), schema=list(NAMES)).with_columns(pl.col("f0", "f1", "f2") + 20.0)
    found = feature_stability(frame, {"b": reference(train), "a": reference(train + 20.0)})
    assert found.columns == ["model", "feature", "psi", "usual_psi"]
    assert found["model"].unique(maintain_order=True).to_list() == ["a", "b"]
    of_b = dict(found.filter(pl.col("model") == "b").select("feature", "psi").iter_rows())
    assert [name for name, psi in of_b.items() if psi > 0.25] == ["f0", "f1", "f2"]
    forecast = pl.DataFrame({"model": ["a", "a", "a", "b"], "in_range": [True, False, None, None]})

    def told(**limits: float) -> list[tuple[object, ...]]:
        judged = drifted(found, forecast, DriftSettings(**limits))
        return judged.select("model", "drifted_share", "out_of_range", "drifted").rows()

    assert (found["usual_psi"] < 0.9).all()
    assert told(max_drifted_share=0.5) == [("a", 0.5, 0.5, True), ("b", 0.5, None, False)]
    assert [row[-1] for row in told(max_drifted_share=0.5, max_out_of_range=0.5)] == [False, False]
    assert [row[-1] for row in told(max_drifted_share=0.4, max_out_of_range=0.5)] == [True, True]
    assert [row[-1] for row in told(max_psi=1e3)] == [True, False]
    unusual = found.with_columns(usual_psi=pl.when(pl.col("feature") == "f0").then(99.0).otherwise("usual_psi"))
    assert drifted(unusual, forecast, DriftSettings())["drifted_share"].to_list() == pytest.approx([1 / 2, 1 / 3])
    assert drifted(found.clear(), forecast, DriftSettings()).is_empty()
