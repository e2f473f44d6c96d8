"""Whether a model's rows, as recorded by `fitting`, were known in time."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from quant_assets.audit.findings import Comparison
from quant_assets.audit.fitting import Fit
from quant_assets.audit.learning_stage import Stage
from quant_assets.market.calendar import session_number

#: Share of training rows that may have no stored counterpart, because repeated values are ambiguous.
_NOT_FOUND = 0.02


def rows_were_known(stage: Stage, trainer: str, fits: Sequence[Fit]) -> tuple[list[Comparison], list[str]]:
    """Whether the rows of the fits were known before the training, the validation slice and the test slice."""
    stored = stage.stored(stage.base)
    training, validation, test = list[pl.DataFrame](), list[pl.DataFrame](), list[pl.DataFrame]()
    for fit in fits:
        horizon = stored.horizon(fit.fitted)
        horizon = fit.horizon if horizon is None else horizon
        fitted, stopping = stored.rows(fit.fitted, horizon), [stored.rows(given, horizon) for given in fit.stopped_by]
        training += [_needed_by(rows, stage.as_of) for rows in (fitted, *stopping)]
        validation += [_needed_by(fitted, rows["date"].min()) for rows in stopping]
        test += [
            _needed_by(rows, stored.called(given)["date"].min())
            for given in fit.predicted
            for rows in (fitted, *stopping)
        ]
    embargo = stage.base.profile.settings.training.embargo_sessions
    cases = (
        (
            training,
            0,
            "the training",
            "a label is used before it was known: known_at of dataset labels is not compared, or was changed",
        ),
        (
            validation,
            1,
            "its validation slice",
            "labels overlap the validation slice: the split shuffles, "
            "or its purge counts rows instead of comparing known_at, date by date and across tickers",
        ),
        (
            test,
            1,
            "its test slice",
            "the model saw labels of its own test slice: it is fitted on them, or they choose the number of trees",
        ),
    )
    comparisons = [
        _known_before(stage, trainer, pl.concat(parts), embargo + strictly, what, why)
        for parts, strictly, what, why in cases
        if parts
    ]
    notes = [
        f"learning was not tested: no fit of {trainer}, {stage.sector}, has rows of {what}"
        for parts, _, what, _ in cases
        if not parts
    ]
    rows = pl.concat(training)
    apart = (pl.col("paired_date") != pl.col("date")) | (pl.col("paired_ticker") != pl.col("ticker"))
    first = rows.filter(apart).sort("date", "ticker").head(1).rows(named=True)
    shown: dict[str, Any] = {}
    if first:
        shown = {
            "expected": f"features of {first[0]['ticker']} at {first[0]['date']}",
            "found": f"features of {first[0]['paired_ticker']} at {first[0]['paired_date']}",
            "cause": "features and labels of different rows are joined: join them on ticker and date",
        }
    paired = len(rows) - rows["paired_date"].null_count()
    comparisons.append(stage.comparison(trainer, "date", paired, rows.select(apart.sum()).item(), first=first, **shown))
    unknown = rows["known_at"].null_count()
    if unknown > _NOT_FOUND * len(rows):
        notes.append(
            f"learning was not tested: {unknown} of {len(rows)} training rows of {trainer}, {stage.sector}, "
            "match no stored row, neither by value nor by ticker and date"
        )
    return comparisons, notes


def _needed_by(rows: pl.DataFrame, day: object) -> pl.DataFrame:
    return rows.with_columns(needed_by=pl.lit(day, pl.Date))


def _known_before(stage: Stage, trainer: str, rows: pl.DataFrame, sessions: int, what: str, why: str) -> Comparison:
    """Rows whose labels were known fewer than `sessions` sessions before the day they were needed."""
    known = rows.drop_nulls(["known_at", "needed_by"])
    late = session_number(known["known_at"].to_numpy()) > session_number(known["needed_by"].to_numpy()) - sessions
    first = known.filter(pl.Series(late, dtype=pl.Boolean)).sort("date", "ticker").head(1).rows(named=True)
    shown: dict[str, Any] = {}
    if first:
        begins = first[0]["needed_by"]
        shown = {
            "expected": f"known {sessions} sessions before {begins}, when {what} begins",
            "found": f"known at {first[0]['known_at']}",
        }
        shown["cause"] = why
    return stage.comparison(trainer, "known_at", len(known), int(late.sum()), first=first, **shown)
