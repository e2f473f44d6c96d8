"""Which trained models are promoted: held against the baseline of their sector, session and horizon."""

from datetime import date

import polars as pl
import pytest

from quant_assets.learning.gate import against, beaten, gated, suspected
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.loading import load_settings
from quant_assets.settings.model_use import PromotionSettings

EARLY, LATE = date(2024, 3, 28), date(2024, 6, 28)
SETTINGS = PromotionSettings()


def rows(*given: tuple[str, date, int, str, str, float | None]) -> pl.DataFrame:
    """Of sector, session, horizon, model, kind, and IC, which is the rank IC, too."""
    return pl.DataFrame(
        [
            {
                "sector": sector,
                "as_of": as_of,
                "horizon": horizon,
                "model": model,
                "kind": kind,
                "status": "trained" if ic is not None else "too_little_history",
                "ic": ic,
                "rank_ic": ic,
            }
            for sector, as_of, horizon, model, kind, ic in given
        ],
        schema={"sector": pl.String} | CHECKPOINTS.schema,
    )


def promoted(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return gated(frame, SETTINGS, ()).filter("promoted").select("sector", "as_of", "horizon", "model").rows()


def test_a_model_is_held_against_the_baseline_of_its_own_place() -> None:
    frame = rows(
        ("it", EARLY, 5, "line", "linear", 0.03),
        ("it", EARLY, 5, "trees", "lightgbm", 0.04),
        ("it", EARLY, 5, "woods", "random_forest", 0.02),
        ("it", EARLY, 20, "line", "linear", 0.05),
        ("it", EARLY, 20, "trees", "lightgbm", 0.04),
        ("it", LATE, 5, "line", "linear", 0.01),
        ("it", LATE, 5, "woods", "random_forest", 0.02),
        ("energy", EARLY, 5, "line", "linear", 0.08),
        ("energy", EARLY, 5, "trees", "lightgbm", 0.07),
    )
    assert promoted(frame) == [
        ("energy", EARLY, 5, "line"),
        ("it", EARLY, 5, "line"),
        ("it", EARLY, 5, "trees"),
        ("it", EARLY, 20, "line"),
        ("it", LATE, 5, "line"),
        ("it", LATE, 5, "woods"),
    ]
    assert beaten(gated(frame, SETTINGS, ())) == [
        "energy 2024-03-28 trees, 5 sessions: rank IC 0.070, the baseline's 0.080",
        "it 2024-03-28 woods, 5 sessions: rank IC 0.020, the baseline's 0.030",
        "it 2024-03-28 trees, 20 sessions: rank IC 0.040, the baseline's 0.050",
    ]
    assert promoted(frame.sample(fraction=1, shuffle=True, seed=1)) == promoted(frame)


def test_too_good_is_not_promoted_and_named_the_best_first() -> None:
    frame = rows(
        ("it", EARLY, 5, "line", "linear", 0.03),
        ("it", EARLY, 5, "trees", "lightgbm", 0.25),
        ("it", EARLY, 20, "line", "linear", 0.99),
        ("it", EARLY, 20, "trees", "lightgbm", 1.0),
    )
    assert promoted(frame) == [("it", EARLY, 5, "line")]
    found = suspected(gated(frame, SETTINGS, ()), SETTINGS)
    assert [line.split(",")[0] for line in found] == [
        "it 2024-03-28 trees",
        "it 2024-03-28 line",
        "it 2024-03-28 trees",
    ]
    assert found[2] == "it 2024-03-28 trees, 5 sessions: daily IC 0.250 over promotion.max_daily_ic 0.1"
    only_ranks = frame.with_columns(ic=pl.lit(0.0))
    assert len(suspected(gated(only_ranks, SETTINGS, ()), SETTINGS)) == 3
    loose = PromotionSettings(max_daily_ic=0.3)
    assert len(suspected(gated(frame, loose, ()), loose)) == 2


def test_what_is_not_trained_or_has_no_baseline_is_not_promoted() -> None:
    frame = rows(
        ("it", EARLY, 5, "trees", "lightgbm", 0.04),
        ("it", EARLY, 20, "line", "linear", None),
        ("it", EARLY, 20, "trees", "lightgbm", 0.04),
    )
    found = gated(frame, SETTINGS, ())
    assert found.select("horizon", "model", "beats_baseline").rows() == [(5, "trees", None), (20, "trees", None)]
    assert promoted(frame) == beaten(found) == suspected(found, SETTINGS) == []
    assert gated(frame.clear(), SETTINGS, ()).is_empty()
    assert against(found, SETTINGS) == [
        "it 2024-03-28 trees, 5 sessions: no linear baseline to compare with",
        "it 2024-03-28 trees, 20 sessions: no linear baseline to compare with",
    ]


def test_a_model_of_directions_is_no_baseline() -> None:
    frame = rows(
        ("it", EARLY, 5, "a_rise", "linear", 0.09),
        ("it", EARLY, 5, "line", "linear", 0.03),
        ("it", EARLY, 5, "trees", "lightgbm", 0.04),
    )
    found = gated(frame, SETTINGS, ["a_rise"])
    assert found.filter("promoted")["model"].to_list() == ["a_rise", "line", "trees"]
    assert found["baseline_rank_ic"].unique().to_list() == [0.03]
    assert against(gated(frame, SETTINGS, ["a_rise", "line"]), SETTINGS) != []


def test_whatever_is_not_promoted_has_a_reason() -> None:
    frame = rows(*(("it", EARLY, 5, f"m{place}", "lightgbm", 0.01 * place) for place in range(15)))
    for ic in (0.03, 0.5, None):
        line = rows(("it", EARLY, 5, "line", "linear", ic)).with_columns(status=pl.lit("trained"))
        found = gated(pl.concat([frame, line]), SETTINGS, ())
        refused = found.filter(~pl.col("promoted"))
        assert len(refused) > 4
        assert {reason.split()[2].strip(",") for reason in against(found, SETTINGS)} == set(refused["model"])
        assert against(found.filter("promoted"), SETTINGS) == []


@pytest.mark.parametrize(("profile", "bound"), [("demo", 0.6), ("files", 0.1)])
def test_the_bound_is_that_of_the_profile(profile: str, bound: float) -> None:
    assert load_settings(profile).promotion.max_daily_ic == bound
