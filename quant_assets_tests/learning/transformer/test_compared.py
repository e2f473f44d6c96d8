"""Rows of a month against the reference of a Transformer: its usable rows alone, and each model in its own windows."""

from datetime import date

import numpy as np
import polars as pl

from quant_assets.learning.drift import Distances, feature_stability
from quant_assets.learning.models.transformer import Transformer
from quant_assets.learning.reference import Reference
from quant_assets_tests.synthetic_windows import prices, rows

FIRST, LAST = date(2021, 3, 1), date(2021, 3, 31)
LEARNER = Transformer("t", {"days": 16, "maximum_sessions": 60})


def asked(bars: pl.DataFrame) -> Distances:
    of = rows(bars, FIRST, LAST)
    frame = pl.DataFrame({"ticker": of.tickers.tolist(), "date": of.dates.astype("datetime64[D]")})
    return Distances(frame, of.bars)


def reference(distances: Distances) -> Reference:
    names = LEARNER.compared_names(())
    values = LEARNER.compared(distances.rows, names, distances.bars)
    return Reference.of(names, values, np.zeros(len(values), dtype=int), 500, 10, seed=5)


def test_a_name_without_a_window_is_no_drift_of_the_others() -> None:
    bars = prices()
    whole = asked(bars)
    kept = reference(whole)
    halted = (pl.col("ticker") == "T03") & pl.col("date").is_between(date(2021, 1, 4), LAST)
    without = Distances(whole.rows, asked(bars.filter(~halted)).bars)
    values, every = without.usable(kept, LEARNER), LEARNER.compared(whole.rows, kept.features, whole.bars)
    np.testing.assert_array_equal(values, every[(whole.rows["ticker"] != "T03").to_numpy()])
    assert len(values) < len(every)
    assert not np.isnan(values).any()
    found = feature_stability({"t": (kept, values)})
    assert found["psi"].max() < 0.1  # type: ignore[operator]
    everyone = LEARNER.compared(without.rows, kept.features, without.bars)
    assert feature_stability({"t": (kept, everyone)})["psi"].min() > found["psi"].max()  # type: ignore[operator]


def test_models_with_windows_of_as_many_sessions_are_told_apart() -> None:
    other = Transformer("u", {"days": 26, "maximum_sessions": 50})
    assert other.bar_sessions == LEARNER.bar_sessions
    distances = asked(prices())
    kept = reference(distances)
    first, second = distances.usable(kept, LEARNER), distances.usable(kept, other)
    np.testing.assert_array_equal(second, asked(prices()).usable(kept, other))
    assert not np.array_equal(first, second)
    assert not np.array_equal(distances.to(kept, LEARNER), distances.to(kept, other))
    both = feature_stability({"t": (kept, first), "u": (kept, second)})
    alone = feature_stability({"u": (kept, second)})
    assert both.filter(pl.col("model") == "u").equals(alone)
