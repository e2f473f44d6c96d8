"""Two models against each other on the same rows: IC, spread, turnover, and the error of their difference."""

import math
from typing import NamedTuple

import numpy as np
import polars as pl

from quant_assets.errors import HistoryError
from quant_assets.learning.metrics import BEST_SHARE, MIN_NAMES, daily_ic, standard_error

_ON = ["ticker", "date"]


class Difference(NamedTuple):
    """A figure of two models.

    Attributes:
        figure: `ic`, `rank_ic`, `spread` (mean outcome of the best fifth less that of the worst), `turnover` (share of
            the best fifth that was not among it on the session before).
        champion: mean over the sessions.
        challenger: the same.
        difference: the challenger's less the champion's.
        error: standard error of the difference; None with fewer than two sessions.
        sessions: on which both have the figure.

    """

    figure: str
    champion: float
    challenger: float
    difference: float
    error: float | None
    sessions: int


def compared(champion: pl.DataFrame, challenger: pl.DataFrame, labels: pl.DataFrame, horizon: int) -> list[Difference]:
    """Judge two models on the rows that both forecast and whose outcome is known.

    The error is that of the mean of the sessions' differences, whose outcomes overlap over `horizon` sessions
    (`metrics.standard_error`): what both get right or wrong together is not in it. Turnover has no outcome, and its
    sessions do not overlap.

    Args:
        champion: `ticker`, `date`, `prediction`, each name once a session.
        challenger: the same.
        labels: `ticker`, `date`, `forward_return` of the horizon, as far as it is known.
        horizon: sessions ahead.

    Raises:
        HistoryError: there is no session with at least three such rows.

    """
    both = champion.select(*_ON, first="prediction").join(
        challenger.select(*_ON, second="prediction"), on=_ON, how="inner", validate="1:1"
    )
    rows = both.join(labels.select(*_ON, "forward_return"), on=_ON, how="inner", validate="1:1").sort("date", "ticker")
    sides = [rows.select(*_ON, "forward_return", prediction=name) for name in ("first", "second")]
    daily = [_daily(each) for each in sides]
    found = []
    for figure, overlap in (("ic", horizon), ("rank_ic", horizon), ("spread", horizon), ("turnover", 1)):
        one, other = (each.select("date", figure).drop_nulls() for each in daily)
        joined = one.join(other.rename({figure: "other"}), on="date", how="inner").sort("date")
        if joined.is_empty():
            continue
        first, second = joined[figure].to_numpy(), joined["other"].to_numpy()
        error = standard_error(second - first, joined["date"].to_numpy(), overlap)
        found.append(
            Difference(
                figure,
                float(first.mean()),
                float(second.mean()),
                float((second - first).mean()),
                error,
                len(joined),
            )
        )
    if not found:
        raise HistoryError(
            f"no session has {MIN_NAMES} names that both models forecast over {horizon} sessions and whose outcome is "
            "known; choose earlier or more months"
        )
    return found


def _daily(rows: pl.DataFrame) -> pl.DataFrame:
    """Figures of each session, null where undefined."""
    days, first, counts = np.unique(rows["date"].to_numpy(), return_index=True, return_counts=True)
    ordered = rows.sort("date", "prediction", "ticker", descending=[False, True, False])
    names, outcome = ordered["ticker"].to_list(), ordered["forward_return"].to_numpy()
    found, before = list[tuple[object, float, float | None]](), set[str]()
    for day, start, count in zip(days, first, counts, strict=True):
        if count < MIN_NAMES:
            before = set()
            continue
        held = math.ceil(count * BEST_SHARE)
        best = set(names[start : start + held])
        spread = outcome[start : start + held].mean() - outcome[start + count - held : start + count].mean()
        found.append((day.item(), float(spread), len(best - before) / held if before else None))
        before = best
    figures = pl.DataFrame(found, schema={"date": pl.Date, "spread": pl.Float64, "turnover": pl.Float64}, orient="row")
    return figures.join(daily_ic(rows).select("date", "ic", "rank_ic"), on="date", how="left").sort("date")
