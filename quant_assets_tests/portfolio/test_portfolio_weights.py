import math
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.errors import InfeasibleError
from quant_assets.portfolio.optimisers.inverse_volatility import inverse_volatility
from quant_assets.portfolio.weights import cap_weights, sector_weights, usable_volatility
from quant_assets.schemas import DATASETS
from quant_assets.settings.weights import ConstraintSettings, WeightSettings

MAY, JUNE = date(2016, 5, 31), date(2016, 6, 30)


def candidates(scores: dict[str, float], as_of: date = JUNE, side: str = "long") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ticker": list(scores),
            "as_of": [as_of] * len(scores),
            "candidate_type": [side] * len(scores),
            "composite_score": list(scores.values()),
        },
        schema={"ticker": pl.String, "as_of": pl.Date, "candidate_type": pl.String, "composite_score": pl.Float64},
    )


def predictions(values: dict[str, float], day: date = JUNE, horizon: int = 20) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ticker": list(values),
            "date": [day] * len(values),
            "horizon": [horizon] * len(values),
            "prediction": list(values.values()),
        },
        schema={"ticker": pl.String, "date": pl.Date, "horizon": pl.Int32, "prediction": pl.Float64},
    )


def indicators(values: dict[str, float | None], day: date = JUNE) -> pl.DataFrame:
    return pl.DataFrame(
        {"ticker": list(values), "date": [day] * len(values), "garch_volatility": list(values.values())},
        schema={"ticker": pl.String, "date": pl.Date, "garch_volatility": pl.Float64},
    )


NO_PREDICTIONS = predictions({})


def test_the_model_that_is_named_is_followed_be_it_the_ensemble() -> None:
    said = {"lightgbm": {"A": 0.03, "B": 0.01}, "linear": {"A": -0.02, "B": 0.04}, "ensemble": {"A": 0.005, "B": 0.025}}
    every = pl.concat([predictions(each).with_columns(model=pl.lit(name)) for name, each in said.items()])
    given = candidates({"A": 3.0, "B": 2.0}), every, indicators({"A": 0.1, "B": 0.2}), [JUNE]
    for name, scores in said.items():
        frame = sector_weights(*given, WeightSettings(model=name))
        assert by_ticker(frame, "score") == scores
        assert set(frame["score_source"]) == {"prediction"}


def by_ticker(frame: pl.DataFrame, column: str = "weight") -> dict[str, float]:
    return dict(frame.select("ticker", column).iter_rows())


def test_weights_are_inverse_to_volatility_and_follow_the_prediction() -> None:
    frame = sector_weights(
        candidates({"A": 3.0, "B": 2.0, "C": 1.0}),
        predictions({"A": 0.01, "B": 0.03, "C": 0.02}),
        indicators({"A": 0.1, "B": 0.2, "C": 0.4}),
        [JUNE],
        WeightSettings(top_n=2, max_weight=1.0),
    )
    # B and C have the best predictions; 1/0.2 : 1/0.4 = 2 : 1
    assert by_ticker(frame) == pytest.approx({"B": 2 / 3, "C": 1 / 3}, abs=1e-15)
    assert by_ticker(frame, "rank") == {"B": 1, "C": 2}
    assert by_ticker(frame, "score") == {"B": 0.03, "C": 0.02}
    assert set(frame["score_source"]) == {"prediction"}
    assert frame.schema == DATASETS["weights"].schema


def test_the_excess_over_the_cap_goes_to_the_others_in_proportion() -> None:
    frame = sector_weights(
        candidates({"A": 3.0, "B": 2.0, "C": 1.0, "D": 0.5}),
        NO_PREDICTIONS,
        indicators({"A": 0.05, "B": 0.2, "C": 0.2, "D": 0.4}),
        [JUNE],
        WeightSettings(max_weight=0.4),
    )
    # 20 : 5 : 5 : 2.5 of 32.5 puts 0.615 on A; the cap leaves 0.6 for 5 : 5 : 2.5
    assert by_ticker(frame) == pytest.approx({"A": 0.4, "B": 0.24, "C": 0.24, "D": 0.12}, abs=1e-15)


def test_a_second_name_pushed_over_the_cap_is_capped_too() -> None:
    # 0.50, 0.30, 0.10, 0.10 with a cap of 0.35: A's excess lifts B to 0.39, so B is capped as well
    assert cap_weights(np.array([0.5, 0.3, 0.1, 0.1]), 0.35) == pytest.approx([0.35, 0.35, 0.15, 0.15], abs=1e-15)


def test_with_too_few_names_all_are_at_the_cap_and_the_rest_is_cash_or_it_is_an_error() -> None:
    given = candidates({"A": 3.0, "B": 2.0}), NO_PREDICTIONS, indicators({"A": 0.1, "B": 0.4}), [JUNE]
    assert by_ticker(sector_weights(*given, WeightSettings(max_weight=0.35))) == {"A": 0.35, "B": 0.35}
    refusing = WeightSettings(max_weight=0.35, constraints=ConstraintSettings(infeasible="error"))
    with pytest.raises(InfeasibleError, match=r"weights of 2016-06-30: .*\(A, B\).*weights.max_weight"):
        sector_weights(*given, refusing)


def test_without_predictions_the_composite_score_ranks_and_says_so() -> None:
    # predictions of another session or horizon do not count
    other = pl.concat([predictions({"C": 9.0}, day=MAY), predictions({"C": 9.0}, horizon=5)])
    frame = sector_weights(
        candidates({"A": 3.0, "B": 2.0, "C": 1.0}),
        other,
        indicators({"A": 0.1, "B": 0.1, "C": 0.1}),
        [JUNE],
        WeightSettings(top_n=2),
    )
    assert by_ticker(frame, "score") == {"A": 3.0, "B": 2.0}
    assert set(frame["score_source"]) == {"composite_score"}


def test_where_some_have_a_prediction_the_others_are_left_out() -> None:
    frame = sector_weights(
        candidates({"A": 3.0, "B": 2.0, "C": 1.0}),
        predictions({"B": -0.02, "C": float("nan")}),
        indicators({}),
        [JUNE],
        WeightSettings(max_weight=1.0),
    )
    assert by_ticker(frame) == {"B": 1.0}


def test_shorts_are_not_held_and_an_as_of_without_longs_has_no_rows() -> None:
    frame = sector_weights(
        candidates({"A": 3.0}, side="short"), NO_PREDICTIONS, indicators({"A": 0.1}), [MAY, JUNE], WeightSettings()
    )
    assert frame.is_empty()
    assert frame.schema == DATASETS["weights"].schema


def test_missing_volatility_counts_as_the_median_and_all_missing_as_equal() -> None:
    long = candidates({"A": 4.0, "B": 3.0, "C": 2.0, "D": 1.0})
    free = WeightSettings(max_weight=1.0)
    frame = sector_weights(long, NO_PREDICTIONS, indicators({"A": 0.1, "B": None, "C": 0.3, "D": 0.2}), [JUNE], free)
    assert by_ticker(frame, "volatility")["B"] == 0.2
    assert by_ticker(frame)["B"] == by_ticker(frame)["D"]
    frame = sector_weights(long, NO_PREDICTIONS, indicators({"A": None, "C": 0.0}), [JUNE], free)
    assert set(by_ticker(frame).values()) == {0.25}
    assert frame["volatility"].null_count() == 4


def test_equal_scores_are_ordered_by_ticker() -> None:
    frame = sector_weights(
        candidates({"C": 1.0, "A": 1.0, "B": 1.0}), NO_PREDICTIONS, indicators({}), [JUNE], WeightSettings(top_n=2)
    )
    assert by_ticker(frame, "rank") == {"A": 1, "B": 2}


@given(
    st.lists(st.one_of(st.none(), st.floats(1e-3, 10.0)), min_size=1, max_size=40),
    st.floats(0.01, 1.0),
)
@settings(max_examples=200, deadline=None)
def test_weights_sum_to_one_and_respect_the_cap(volatility: list[float | None], max_weight: float) -> None:
    values = np.array([np.nan if v is None else v for v in volatility])
    weights = cap_weights(inverse_volatility(usable_volatility(values)), max_weight)
    assert abs(math.fsum(weights) - min(1.0, max_weight * len(values))) < 1e-12
    assert weights.max() <= max_weight * (1 + 1e-15)
    assert weights.min() > 0
    order = np.argsort(usable_volatility(values), kind="stable")
    assert (np.diff(weights[order]) <= 1e-15).all()  # a calmer name never has less


def universe_of(
    seed: int, months: list[date], rename: dict[str, str] | None = None
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    names = [f"N{i:02d}" for i in range(20)]
    label = rename or {name: name for name in names}
    parts = []
    for as_of in months:
        scores, forecast, vol = (dict(zip(map(label.get, names), rng.random(20), strict=True)) for _ in range(3))
        parts.append((candidates(scores, as_of), predictions(forecast, as_of), indicators(vol, as_of)))
    blocks = [pl.concat(frames) for frames in zip(*parts, strict=True)]
    return blocks[0], blocks[1], blocks[2]


def test_relabelling_the_tickers_relabels_the_weights_and_nothing_else() -> None:
    names = [f"N{i:02d}" for i in range(20)]
    label = dict(zip(names, reversed(names), strict=True))
    plain = by_ticker(sector_weights(*universe_of(1, [JUNE]), [JUNE], WeightSettings()))
    renamed = by_ticker(sector_weights(*universe_of(1, [JUNE], label), [JUNE], WeightSettings()))
    assert {
        label[name]: weight for name, weight in plain.items()
    } == renamed  # bit for bit: sums do not depend on the order


def test_a_range_equals_its_months_and_the_order_of_rows_does_not_matter() -> None:
    months = [date(2016, m, 28) for m in range(1, 13)]
    frames = universe_of(2, months)
    bulk = sector_weights(*frames, months, WeightSettings())
    singles = pl.concat(
        [
            sector_weights(
                frames[0].filter(pl.col("as_of") == m),
                frames[1].filter(pl.col("date") == m),
                frames[2].filter(pl.col("date") == m).reverse(),
                [m],
                WeightSettings(),
            )
            for m in months
        ]
    )
    assert bulk.equals(singles.sort("ticker", "as_of"))
