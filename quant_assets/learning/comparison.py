"""Comparison of two models on the same rows: IC, spread, turnover, and the standard error of the difference."""

import math
from typing import NamedTuple

import numpy as np
import polars as pl

from quant_assets.errors import HistoryError
from quant_assets.learning.metrics import BEST_SHARE, MIN_NAMES, daily_ic, standard_error

_ON = ["ticker", "date"]


class Difference(NamedTuple):
    """One figure of two models.

    Attributes:
        figure: `ic`, `rank_ic`, `spread` (mean outcome of the best fifth less that of the worst), `turnover` (share of
            the best fifth that was not in it on the previous session).
        champion: mean over the sessions.
        challenger: the same.
        difference: the challenger's less the champion's.
        error: standard error of the difference; None with fewer than two sessions.
        sessions: number of sessions on which both have the figure.

    """

    figure: str
    champion: float
    challenger: float
    difference: float
    error: float | None
    sessions: int


def compared(champion: pl.DataFrame, challenger: pl.DataFrame, labels: pl.DataFrame, horizon: int) -> list[Difference]:
    """Compare two models on the rows that both forecast and whose outcome is known.

    The standard error is that of the mean difference per session, with outcomes that overlap over `horizon` sessions
    (`metrics.standard_error`); errors common to both models cancel. Turnover has no outcome, and its sessions do not
    overlap.

    Args:
        champion: `ticker`, `date`, `prediction`, one row per name and session.
        challenger: the same.
        labels: `ticker`, `date`, known `forward_return` of the horizon.
        horizon: sessions ahead.

    Raises:
        HistoryError: there is no session with at least three such rows.

    """
    both = champion.select(*_ON, first="prediction").join(
        challenger.select(*_ON, second="prediction"), on=_ON, how="inner", validate="1:1"
    )
    rows = both.join(labels.select(*_ON, "forward_return"), on=_ON, how="inner", validate="1:1").sort("date", "ticker")
    sides = [rows.select(*_ON, "forward_return", prediction=name) for name in ("first", "second")]
    daily = [_daily(side) for side in sides]
    differences = []
    for figure, overlap in (("ic", horizon), ("rank_ic", horizon), ("spread", horizon), ("turnover", 1)):
        one, other = (figures.select("date", figure).drop_nulls() for figures in daily)
        joined = one.join(other.rename({figure: "other"}), on="date", how="inner").sort("date")
        if joined.is_empty():
            continue
        first, second = joined[figure].to_numpy(), joined["other"].to_numpy()
        error = standard_error(second - first, joined["date"].to_numpy(), overlap)
        differences.append(
            Difference(
                figure,
                float(first.mean()),
                float(second.mean()),
                float((second - first).mean()),
                error,
                len(joined),
            )
        )
    if not differences:
        raise HistoryError(
            f"no session has {MIN_NAMES} names that both models forecast over {horizon} sessions and whose outcome is "
            "known; choose earlier or more months"
        )
    return differences


def _daily(rows: pl.DataFrame) -> pl.DataFrame:
    """Figures of all sessions, null where undefined."""
    days, first, counts = np.unique(rows["date"].to_numpy(), return_index=True, return_counts=True)
    ordered = rows.sort("date", "prediction", "ticker", descending=[False, True, False])
    names, outcome = ordered["ticker"].to_list(), ordered["forward_return"].to_numpy()
    figures_by_day, previous = list[tuple[object, float, float | None]](), set[str]()
    for day, start, count in zip(days, first, counts, strict=True):
        if count < MIN_NAMES:
            previous = set()
            continue
        size = math.ceil(count * BEST_SHARE)
        best = set(names[start : start + size])
        spread = outcome[start : start + size].mean() - outcome[start + count - size : start + count].mean()
        figures_by_day.append((day.item(), float(spread), len(best - previous) / size if previous else None))
        previous = best
    figures = pl.DataFrame(
        figures_by_day, schema={"date": pl.Date, "spread": pl.Float64, "turnover": pl.Float64}, orient="row"
    )
    return figures.join(daily_ic(rows).select("date", "ic", "rank_ic"), on="date", how="left").sort("date")
