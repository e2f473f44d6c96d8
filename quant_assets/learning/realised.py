"""Whether the forecasts of a checkpoint deliver the rank IC that its test folds promised, by what is known so far."""

import math
from collections.abc import Mapping
from datetime import date
from statistics import NormalDist
from typing import NamedTuple

import polars as pl

from quant_assets.learning.metrics import daily_ic, standard_error
from quant_assets.market.containment import known


class Realised(NamedTuple):
    """The rank IC of a checkpoint at one horizon.

    Attributes:
        horizon: sessions ahead.
        sessions: with known outcomes.
        expected: mean over the test folds of its training.
        realised: mean over these sessions.
        least: lower end of the one-sided interval of what is realised, were it as good as expected.

    """

    horizon: int
    sessions: int
    expected: float
    realised: float
    least: float

    @property
    def low(self) -> bool:
        """Whether it lies below the interval."""
        return self.realised < self.least

    @property
    def said(self) -> str:
        """In words."""
        return (
            f"rank IC {self.realised:.3f} of {self.sessions} sessions at horizon {self.horizon}, at least "
            f"{self.least:.3f} was to be expected ({self.expected:.3f} over the test folds)"
        )


def realised_ics(
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    expected: Mapping[int, tuple[float, float]],
    as_of: date,
    confidence: float,
    min_sessions: int,
) -> list[Realised]:
    r"""Hold the forecasts of one checkpoint against its test folds, at each horizon of which enough is known.

    The difference of two means has the error :math:`\sqrt{e^2 + r^2}` of theirs; each allows for outcomes that overlap
    (`metrics.standard_error`). The confidence is shared among the horizons (Bonferroni).

    Args:
        predictions: `ticker, date, horizon, prediction` of one checkpoint.
        labels: dataset `labels`, of any dates; those known after `as_of` count for nothing.
        expected: mean rank IC over the test folds and its standard error, by horizon.
        as_of: session of the judgement.
        confidence: that a sound checkpoint passes.
        min_sessions: with known outcomes; at least two horizons, before which the scatter of outcomes that overlap is
            not known.

    Returns:
        One for each horizon that is judged, in order.

    """
    outcomes = known(labels).filter(pl.col("known_at") <= as_of).drop_nulls("forward_return")
    on = ["ticker", "date", "horizon"]
    rows = predictions.select(*on, "prediction").join(
        outcomes.select(*on, "forward_return"), on=on, how="inner", validate="1:1"
    )
    judged = list[tuple[int, int, float, float, float]]()
    for horizon, (mean, error) in sorted(expected.items()):
        daily = daily_ic(rows.filter(pl.col("horizon") == horizon))
        if len(daily) < max(min_sessions, 2 * horizon):
            continue
        values = daily["rank_ic"].to_numpy()
        own = standard_error(values, daily["date"].to_numpy(), horizon)
        if own is not None:
            judged.append((horizon, len(daily), mean, float(values.mean()), math.hypot(error, own)))
    if not judged:
        return []
    quantile = NormalDist().inv_cdf(1 - (1 - confidence) / len(judged))
    return [
        Realised(horizon, sessions, mean, found, mean - quantile * error)
        for horizon, sessions, mean, found, error in judged
    ]
