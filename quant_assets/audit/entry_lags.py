"""Scores against the return from their own close and from the next one: whether they know what nobody can earn.

Who trades a session after the score cannot earn the return in between. A score that orders it much better than the
return of the session after, and by more than trading costs, knows the close that it is too late for.
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

#: A drop of so many standard errors is none of chance: one false alarm in 31 thousand comparisons.
_STANDARD_ERRORS = 4.0

#: Columns that order names, in the order in which they are looked for.
_SCORES = ("prediction", "composite_score")

#: A drop that must be larger than this to be told from chance would not be found where it is.
_TELLING = 0.9


def entry_lags(run: Recomputed, names: Sequence[str]) -> tuple[list[Comparison], list[str]]:
    """Compare the rank IC of each dataset's scores with the first session's return and with the second one's.

    A name of the sector that has no score counts as 0: a dataset may hold the chosen ones alone.

    Args:
        run: what has been computed there is read.
        names: datasets.

    Returns:
        Comparisons of the test `execution` (`compared`: sessions), and what was not tested.

    """
    found, notes = list[Comparison](), list[str]()
    scored = {
        name: score
        for name in names
        if {"ticker", "sector"} <= set((dataset := run.profile.datasets[name]).columns) | {"sector"}
        if (score := next((each for each in _SCORES if each in dataset.columns), None))
    }
    if not scored:
        return found, notes
    returns = _returns(read_all(run, "prices"))
    members = read_all(run, "universe").select("sector", "ticker", "date").unique()
    for name, score in scored.items():
        dataset = run.profile.datasets[name]
        judged = list(_judged(run, dataset, score, returns, members))
        found += [each for each, _ in judged]
        notes += [note for _, note in judged if note]
        if not judged:
            notes.append(Exempt(f"execution was not tested: {name} has no score whose next two sessions are there"))
    return found, notes


def _returns(prices: pl.DataFrame) -> pl.DataFrame:
    """Returns of the next session and of the one after, by `ticker` and `date`; without steps that nothing explains."""
    bars = prices.unique(["ticker", "date"], keep="first").sort("ticker", "date")
    step = pl.col("close") / pl.col("close").shift(1) - 1.0
    clean = pl.when(~pl.col("unexplained").fill_null(False)).then(step).over("ticker").alias("step")
    bars = bars.with_columns(clean, day=pl.Series(session_number(bars["date"].to_numpy())))
    ahead = [pl.col(name).shift(-lag).over("ticker") for lag in (1, 2) for name in ("step", "day")]
    told = bars.select(
        "ticker",
        "date",
        "day",
        *(each.alias(alias) for each, alias in zip(ahead, ("now", "day_1", "then", "day_2"), strict=True)),
    )
    # A halt is no next session, and neither is a month that was not computed.
    near = (pl.col("day_1") == pl.col("day") + 1) & (pl.col("day_2") == pl.col("day") + 2)
    return told.filter(near).select("ticker", "date", "now", "then").drop_nulls()


def _judged(
    run: Recomputed, dataset: Dataset, score: str, returns: pl.DataFrame, members: pl.DataFrame
) -> Iterator[tuple[Comparison, str]]:
    """A comparison for each sector, model and horizon of a dataset, and a note where it cannot tell."""
    rows = read_all(run, dataset.name).drop_nulls(score).rename({dataset.dated_by: "date"})
    by = [each for each in ("sector", "model", "horizon") if each in rows.columns]
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
    # Two correlations of n names without a relation, each of variance 1 / (n - 1), and no less than was met with.
    least = math.sqrt(float((2.0 / (both["names"] - 1)).sum())) / len(both)
    error = max(least, standard_error(drop, both["date"].to_numpy()) or 0.0)
    named = ", ".join(f"{name} {value!s}" for name, value in which.items())
    mean, gained = float(np.mean(drop)), float((both["gained"] - both["gained_then"]).mean() or 0.0)  # type: ignore[arg-type]
    first, last = both["date"][0], both["date"][-1]
    if _STANDARD_ERRORS * least >= _TELLING:
        return Comparison(dataset.name, "execution", last, empty=True), Exempt(
            f"execution was not tested by entry lag: {dataset.name} of {named} has scores of {len(both)} sessions "
            f"and {both.get_column('names').to_numpy().max()} names, too few to tell a drop of the IC from chance"
        )
    if not (mean > _STANDARD_ERRORS * error and gained > cost):
        return Comparison(dataset.name, "execution", last, compared=len(both)), ""
    now, then = (float(both[name].mean() or 0.0) for name in ("rank_ic", "rank_ic_then"))  # type: ignore[arg-type]
    return Comparison(
        dataset.name,
        "execution",
        last,
        next(each for each in _SCORES if each in dataset.columns),
        len(both),
        len(both),
        first,
        sector=str(which["sector"]),
        key=named,
        expected=f"rank IC with the first session's return within {_STANDARD_ERRORS * error:.3f} of the second one's",
        found=f"{now:+.3f} and {then:+.3f}: a drop of {mean:.3f} with a standard error of {error:.3f}",
        cause=(
            f"the scores order the return up to the close at which they are traded, and {gained:.2%} of it is lost "
            f"with an entry a session later, where trading costs {cost:.2%}: an input knows the next session"
        ),
    ), ""
