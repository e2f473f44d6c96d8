"""Realised rank IC of a checkpoint's forecasts compared with the rank IC on its test folds."""

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
        least: lower end of the one-sided confidence interval of `realised` if `expected` is right.

    """

    horizon: int
    sessions: int
    expected: float
    realised: float
    least: float

    @property
    def low(self) -> bool:
        """Whether `realised` is below the interval."""
        return self.realised < self.least

    @property
    def said(self) -> str:
        """One line for messages."""
        return (
            f"rank IC {self.realised:.3f} of {self.sessions} sessions at horizon {self.horizon}, at least "
            f"{self.least:.3f} was expected ({self.expected:.3f} over the test folds)"
        )


def realised_ics(
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    expected: Mapping[int, tuple[float, float]],
    as_of: date,
    confidence: float,
    min_sessions: int,
) -> list[Realised]:
    r"""Compare the forecasts of one checkpoint with its test folds, at each horizon with enough known outcomes.

    The difference of the two means has the standard error :math:`\sqrt{e^2 + r^2}`; both terms allow for overlapping
    outcomes (`metrics.standard_error`). The confidence is corrected for the number of horizons (Bonferroni).

    Args:
        predictions: `ticker, date, horizon, prediction` of one checkpoint.
        labels: dataset `labels`, of any dates; labels known after `as_of` are ignored.
        expected: mean rank IC over the test folds and its standard error, by horizon.
        as_of: session of the comparison.
        confidence: probability that a sound checkpoint passes.
        min_sessions: least number of sessions with known outcomes; at least twice the horizon, below which the scatter
            of overlapping outcomes is unknown.

    Returns:
        One result for each horizon with enough sessions, in order.

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
        Realised(horizon, sessions, mean, realised, mean - quantile * error)
        for horizon, sessions, mean, realised, error in judged
    ]
