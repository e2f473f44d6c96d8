"""The likely mistake behind a difference, from the test that found it and the pattern of the rows that differ."""

from datetime import date

import numpy as np
import polars as pl

from quant_assets.audit.compare import Difference
from quant_assets.audit.findings import TestName
from quant_assets.market import calendar
from quant_assets.schemas import Dataset

#: Differences within this many last sessions before the cut look like a window that reaches over it.
_NEAR_SESSIONS = 70

#: Also the cause in the other tests of the future, if the column differs in the test of publication.
PUBLISHED_LATER = (
    "uses a value before it was published: joined on the period's end or the day of the event, "
    "not on the day of publication"
)


#: Cause of a difference between two computations of the same input.
BY_ITSELF = (
    "is not deterministic: the unaltered input, computed twice, gives two results "
    "(a draw without a seed, the clock, the order of a set, threads); this is no sign of look-ahead"
)

#: Cause of a difference when the unaltered input is computed over the months of the altered run.
MONTHS_TOGETHER = (
    "depends on which months are computed together: a statistic over the rows of the run, later ones too; "
    "the alteration of this test does not matter"
)

#: Share of tickers that must show a pattern before it is stated of the column.
_MOST = 0.8


def likely_cause(test: TestName, dataset: Dataset, difference: Difference, cut: date | None) -> str:
    """One sentence for the person who looks for the mistake."""
    if test == "order":
        return "depends on the order of the input's rows: a sort is missing, or ties are broken by position"
    if test == "company":
        if difference.column is None:
            return "the set of rows depends on another ticker; declare `across` on the dataset if that is intended"
        return (
            "depends on another ticker: a shift or window that crosses from one ticker to the next, "
            "or a statistic over all of them; declare `across` on the column if that is intended"
        )
    if test == "publication":
        return PUBLISHED_LATER
    if test == "months":
        return (
            "a month by itself and a range of months give different rows: a statistic over the run's frame, "
            "or something of the months after it"
        )
    if test == "events" and cut is not None:
        first = difference.rows[dataset.dated_by][0]
        return (
            f"the row of {first} depends on what became known of the ticker after {cut}: a value of a later session, "
            "or an event (split, delisting, statement, move, index change) before it was known"
        )
    if test == "warm_up":
        return (
            "depends on more history than its declared lookback; raise the lookback, or declare the column `anchored`"
        )
    if difference.column is None:
        return (
            "the set of rows depends on what became known later: survivors only, "
            "a later sector or membership, or a later delisting"
        )
    return _of_the_future(dataset, difference, cut)


def _of_the_future(dataset: Dataset, difference: Difference, cut: date | None) -> str:
    rows, days = difference.rows, difference.days
    share = len(rows) / max(difference.compared, 1)
    if _same_factor(rows, dataset):
        return (
            "every row of a ticker differs by the same factor: "
            "scaled by a value from the end of the data (adjusted backwards?)"
        )
    first: date = rows[dataset.dated_by][0]
    sessions = len(calendar.sessions(first, cut)) if cut is not None else 0
    with_difference = rows[dataset.dated_by].n_unique()
    if dataset.dated_by == "as_of":
        return f"decisions from {first} on use what became known after the cut"
    in_month_of_cut = cut is not None and (first.year, first.month) == (cut.year, cut.month)
    if in_month_of_cut and first.day <= 5 and sessions > 5:
        return (
            "only rows of the cut's own month differ, from its start: a statistic over the calendar month, "
            "or a value decided at its end"
        )
    if first > days[0] and sessions <= _NEAR_SESSIONS:
        if _measured(difference, dataset):
            last = "session before the cut differs" if sessions == 1 else f"{sessions} sessions before the cut differ"
            return (
                f"only the last {last}: "
                f"a shift, a centred window or the end of a week that reaches {sessions} or more sessions ahead"
            )
        return (
            f"only rows from {first} on differ, which is near the cut: "
            "a shift, a window or a fill over it, or a rank, a choice or a statistic that moves few rows"
        )
    if share > 0.9 or with_difference > 0.9 * len(days):
        return (
            "rows of every day differ: "
            "a statistic over the whole sample (mean, deviation, maximum, rank, fit) or a later map"
        )
    return f"{share:.0%} of the rows differ, from {first} on: they use something that became known after the cut"


def _measured(difference: Difference, dataset: Dataset) -> bool:
    """Whether the rows that differ show how far ahead a column reaches.

    That is so if tickers are independent, and for most tickers every row differs from the same session on.
    """
    rows, days, column = difference.rows, difference.days, difference.column
    if column is None or "ticker" not in rows.columns or dataset.across or dataset.columns[column].across:
        return False
    day = dataset.dated_by
    tickers = rows.group_by("ticker").agg(pl.col(day).min().alias("first"), pl.col(day).n_unique().alias("count"))
    first = rows[day].min()
    sessions = int((days >= first).sum())
    alike = tickers.filter((pl.col("first") == first) & (pl.col("count") == sessions)).height
    return alike > 1 and alike >= _MOST * difference.compared / len(days)


def _same_factor(rows: pl.DataFrame, dataset: Dataset) -> bool:
    """Whether the ratio found / expected is constant per ticker, over many rows."""
    if "ticker" not in rows.columns or not rows.schema["expected"].is_float() or len(rows) < 20:
        return False
    ratios = (
        rows.select("ticker", ratio=pl.col("found") / pl.col("expected"))
        .filter(pl.col("ratio").is_finite())
        .group_by("ticker")
        .agg(low=pl.col("ratio").min(), high=pl.col("ratio").max(), rows=pl.len())
        .filter(pl.col("rows") >= 5)
    )
    if ratios.is_empty():
        return False
    same = np.isclose(ratios["low"].to_numpy(), ratios["high"].to_numpy(), rtol=1e-6, atol=0.0)
    return bool(same.mean() > 0.9)
