"""Labels count from their entry: they must not depend on prices up to their own session.

Truncation and perturbation cannot see this mistake, because a label knows later prices anyway.
"""

from collections.abc import Mapping
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from quant_assets.audit.compare import compare
from quant_assets.audit.datasets import compute, read_all, with_datasets
from quant_assets.audit.findings import Comparison
from quant_assets.audit.runs import Recomputed
from quant_assets.features.labels import forward_sessions
from quant_assets.market.calendar import sessions
from quant_assets.partitions import month_end, month_start, months_covering, shift_month
from quant_assets.planning.plan import Planner
from quant_assets.schemas import Dataset

#: Prices of a bar; with a common factor the bar stays valid.
_PRICES = ("open", "high", "low", "close", "close_unadjusted")

#: Compared columns of a label; its marks depend on price steps from the start of the month.
_COUNTED = ("forward_return", "entry_date", "exit_date", "known_at", "delisted")


def reprice(prices: pl.DataFrame, which: pl.Expr) -> pl.DataFrame:
    """Prices, multiplied by a factor per bar between 0.5 and 1.5 where `which` is true."""
    factor = pl.when(which).then(pl.Series(np.random.default_rng(1).uniform(0.5, 1.5, len(prices)))).otherwise(1.0)
    return prices.sort("ticker", "date").with_columns(
        pl.col(name) * factor for name in _PRICES if name in prices.columns
    )


def labelled(planner: Planner, datasets: Mapping[str, Dataset]) -> list[str]:
    """Datasets of labels that are computed from prices."""
    return [
        name
        for name, dataset in datasets.items()
        if {"forward_return", "entry_date", "known_at"} <= set(dataset.columns) and "prices" in planner.reads(name)
    ]


def label_prices(base: Recomputed, sector: str, month: str, folder: Path) -> tuple[list[Comparison], list[str]]:
    """Alter all prices up to and including a session; compare labels from that session on.

    The sessions are the middle and the last one of the month.

    Args:
        base: where the inputs of labels are computed.
        sector: slug.
        month: of the sessions; at most the newest whose labels are all known.
        folder: for the altered runs.

    Returns:
        Comparisons of the test `execution`, and what was not tested.

    Raises:
        RunFailedError: an asset failed.

    """
    profile = base.profile
    due = shift_month(profile.last_month(), -months_covering(forward_sessions(profile.settings.labels)))
    month = max(profile.months.start, min(month, due))
    names = labelled(base.planner, profile.datasets)
    if not names:
        return [], ["execution was not tested: no dataset of labels reads prices"]
    compute(base, names, sector, month, month)
    inputs = sorted({read for name in names for read in base.planner.reads(name)})
    days = sessions(month_start(month), month_end(month))
    comparisons = list[Comparison]()
    for number, day in enumerate(each.item() for each in (days[len(days) // 2], days[-1])):
        altered = {each: partial(reprice, which=pl.col("date") <= day) if each == "prices" else None for each in inputs}
        run = with_datasets(base, folder / f"labels-{number}", profile.settings, altered)
        compute(run, names, sector, month, month)
        comparisons += [_compared(base, run, name, sector, day) for name in names]
    notes = [
        f"execution was not tested: {name} of {sector} and {month} has no label for its sessions"
        for name in names
        if not any(each.compared for each in comparisons if each.asset == name)
    ]
    return comparisons, notes


def _compared(base: Recomputed, run: Recomputed, name: str, sector: str, day: date) -> Comparison:
    """Labels from a session on, with unaltered and altered prices; the first column that differs."""
    dataset, which = base.profile.datasets[name], pl.col("date") >= day
    columns = {each: dataset.columns[each] for each in _COUNTED if each in dataset.columns}
    expected, found = (read_all(each, name).drop("month").filter(which) for each in (base, run))
    comparison = compare(dataset, expected, found, columns)
    if not comparison.differences:
        return Comparison(name, "execution", day, compared=comparison.rows)
    first = comparison.differences[0]
    row = first.rows.row(0, named=True)
    return Comparison(
        name,
        "execution",
        day,
        first.column,
        first.compared,
        len(first.rows),
        row[dataset.dated_by],
        row["ticker"],
        sector,
        ", ".join(f"{each}={row[each]}" for each in dataset.identity),
        str(row["expected"]),
        str(row["found"]),
        first.deviation,
        f"a label depends on prices up to {day}, before its entry: count from the close entry_lag sessions later",
    )
