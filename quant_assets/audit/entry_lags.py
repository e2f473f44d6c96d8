"""Scores against the return from their own close and from the next one: whether they know a return that is gone.

A trader who enters a session after the score cannot earn the return in between. A score that orders that return much
better than the next one, by more than trading costs, knows a close at which it is too late to trade.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from quant_assets.audit.datasets import read_all
from quant_assets.audit.findings import Comparison, Exempt
from quant_assets.audit.runs import Recomputed
from quant_assets.learning.metrics import best_returns, daily_ic, standard_error
from quant_assets.market.calendar import session_number
from quant_assets.schemas import Dataset

#: Standard errors above which a drop is not chance: one false alarm in 31 thousand comparisons.
_STANDARD_ERRORS = 4.0

#: Columns that rank tickers, by priority.
_SCORES = ("prediction", "composite_score")

#: If a drop must be larger than this to be significant, there are too few rows for the test.
_TELLING = 0.9


def entry_lags(run: Recomputed, names: Sequence[str]) -> tuple[list[Comparison], list[str]]:
    """Compare the rank IC of each dataset's scores with the first session's return and with the second one's.

    A member of the sector without a score counts as 0: a dataset may hold the chosen tickers only.

    Args:
        run: whose computed datasets are read.
        names: of the datasets.

    Returns:
        Comparisons of the test `execution` (`compared`: sessions), and what was not tested.

    """
    comparisons, notes = list[Comparison](), list[str]()
    scored = {
        name: score
        for name in names
        if {"ticker", "sector"} <= set((dataset := run.profile.datasets[name]).columns) | {"sector"}
        if (score := next((column for column in _SCORES if column in dataset.columns), None))
    }
    if not scored:
        return comparisons, notes
    returns = _returns(read_all(run, "prices"))
    members = read_all(run, "universe").select("sector", "ticker", "date").unique()
    for name, score in scored.items():
        dataset = run.profile.datasets[name]
        judged = list(_judged(run, dataset, score, returns, members))
        comparisons += [comparison for comparison, _ in judged]
        notes += [note for _, note in judged if note]
        if not judged:
            notes.append(Exempt(f"execution was not tested: {name} has no score with prices of the next two sessions"))
    return comparisons, notes


def _returns(prices: pl.DataFrame) -> pl.DataFrame:
    """Returns of the next session and of the one after, by `ticker` and `date`; without unexplained price steps."""
    bars = prices.unique(["ticker", "date"], keep="first").sort("ticker", "date")
    step = pl.col("close") / pl.col("close").shift(1) - 1.0
    clean = pl.when(~pl.col("unexplained").fill_null(False)).then(step).over("ticker").alias("step")
    bars = bars.with_columns(clean, day=pl.Series(session_number(bars["date"].to_numpy())))
    ahead = [pl.col(name).shift(-lag).over("ticker") for lag in (1, 2) for name in ("step", "day")]
    steps = bars.select(
        "ticker",
        "date",
        "day",
        *(value.alias(alias) for value, alias in zip(ahead, ("now", "day_1", "then", "day_2"), strict=True)),
    )
    # Neither a halt nor a gap of months that were not computed is a next session.
    near = (pl.col("day_1") == pl.col("day") + 1) & (pl.col("day_2") == pl.col("day") + 2)
    return steps.filter(near).select("ticker", "date", "now", "then").drop_nulls()


def _judged(
    run: Recomputed, dataset: Dataset, score: str, returns: pl.DataFrame, members: pl.DataFrame
) -> Iterator[tuple[Comparison, str]]:
    """A comparison per sector, model and horizon of a dataset, and a note if it is not conclusive."""
    rows = read_all(run, dataset.name).drop_nulls(score).rename({dataset.dated_by: "date"})
    by = [column for column in ("sector", "model", "horizon") if column in rows.columns]
    cost = 2.0 * run.profile.settings.backtest.cost_bps / 1e4
    for values, part in rows.group_by(by, maintain_order=True):
        which: dict[str, Any] = dict(zip(by, values, strict=True))
        days = part.select("date").unique()
        everybody = members.filter(pl.col("sector") == which["sector"]).join(days, on="date", how="semi")
        scored = everybody.join(part.select("ticker", "date", score), on=["ticker", "date"], how="left").join(
            returns, on=["ticker", "date"]
        )
        scored = scored.with_columns(prediction=pl.col(score).cast(pl.Float64).fill_null(0.0))
        sides = {}
        for side in ("now", "then"):
            frame = scored.with_columns(forward_return=pl.col(side))
            ic = daily_ic(frame)
            best = best_returns(frame).join(frame.group_by("date").agg(mean=pl.col("forward_return").mean()), on="date")
            gained = best.select("date", gained=pl.col("best_return") - pl.col("mean"))
            sides[side] = ic.join(gained, on="date")
        both = sides["now"].join(sides["then"], on="date", suffix="_then").sort("date")
        if len(both) < 2:
            continue
        yield _told(dataset, both, which, cost)


def _told(dataset: Dataset, both: pl.DataFrame, which: Mapping[str, Any], cost: float) -> tuple[Comparison, str]:
    drop = (both["rank_ic"] - both["rank_ic_then"]).to_numpy()
    # Two correlations of n unrelated names, both of variance 1 / (n - 1).
    least = math.sqrt(float((2.0 / (both["names"] - 1)).sum())) / len(both)
    error = max(least, standard_error(drop, both["date"].to_numpy()) or 0.0)
    named = ", ".join(f"{name} {value!s}" for name, value in which.items())
    mean, gained = float(np.mean(drop)), float((both["gained"] - both["gained_then"]).mean() or 0.0)  # type: ignore[arg-type]
    first, last = both["date"][0], both["date"][-1]
    if _STANDARD_ERRORS * least >= _TELLING:
        return Comparison(dataset.name, "execution", last, empty=True), Exempt(
            f"execution was not tested by entry lag: {dataset.name} of {named} has scores of {len(both)} sessions "
            f"and {both.get_column('names').to_numpy().max()} names, too few to call a drop of the IC significant"
        )
    if not (mean > _STANDARD_ERRORS * error and gained > cost):
        return Comparison(dataset.name, "execution", last, compared=len(both)), ""
    now, then = (float(both[name].mean() or 0.0) for name in ("rank_ic", "rank_ic_then"))  # type: ignore[arg-type]
    return Comparison(
        dataset.name,
        "execution",
        last,
        next(column for column in _SCORES if column in dataset.columns),
        len(both),
        len(both),
        first,
        sector=str(which["sector"]),
        key=named,
        expected=f"rank IC with the first session's return within {_STANDARD_ERRORS * error:.3f} of the second one's",
        found=f"{now:+.3f} and {then:+.3f}: a drop of {mean:.3f} with a standard error of {error:.3f}",
        cause=(
            f"the scores predict the next session's return, and an entry one session later loses {gained:.2%} of it, "
            f"more than the trading costs of {cost:.2%}: an input knows the next session"
        ),
    ), ""
