"""A label of a session counts from its entry on: it may not depend on the price of its own session, nor on one before.

Neither truncation nor perturbation sees it where this is broken, because a label knows later prices anyway.
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

#: Prices of a bar, of which a factor in common makes another legal bar.
_PRICES = ("open", "high", "low", "close", "close_unadjusted")

#: What a label is made of; its marks go by steps from the first of its month on.
_COUNTED = ("forward_return", "entry_date", "exit_date", "known_at", "delisted")


def reprice(prices: pl.DataFrame, which: pl.Expr) -> pl.DataFrame:
    """Prices times a number between 0.5 and 1.5 of each bar's own, where `which` is true."""
    factor = pl.when(which).then(pl.Series(np.random.default_rng(1).uniform(0.5, 1.5, len(prices)))).otherwise(1.0)
    return prices.sort("ticker", "date").with_columns(
        pl.col(name) * factor for name in _PRICES if name in prices.columns
    )


def labelled(planner: Planner, datasets: Mapping[str, Dataset]) -> list[str]:
    """Datasets of labels that are made of prices."""
    return [
        name
        for name, dataset in datasets.items()
        if {"forward_return", "entry_date", "known_at"} <= set(dataset.columns) and "prices" in planner.reads(name)
    ]


def label_prices(base: Recomputed, sector: str, month: str, folder: Path) -> tuple[list[Comparison], list[str]]:
    """Alter all prices up to a session, its own among them; compare its labels and the later ones.

    The sessions are one in the middle of the month and its last.

    Args:
        base: where the inputs of labels are computed.
        sector: slug.
        month: of the sessions; the newest whose labels are all known is taken, if this one is later.
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
    found = list[Comparison]()
    for number, day in enumerate(each.item() for each in (days[len(days) // 2], days[-1])):
        altered = {each: partial(reprice, which=pl.col("date") <= day) if each == "prices" else None for each in inputs}
        run = with_datasets(base, folder / f"labels-{number}", profile.settings, altered)
        compute(run, names, sector, month, month)
        found += [_compared(base, run, name, sector, day) for name in names]
    notes = [
        f"execution was not tested: {name} of {sector} and {month} has no label of its sessions"
        for name in names
        if not any(each.compared for each in found if each.asset == name)
    ]
    return found, notes


def _compared(base: Recomputed, run: Recomputed, name: str, sector: str, day: date) -> Comparison:
    """Labels from a session on, with prices as they are and altered; the first column that differs."""
    dataset, which = base.profile.datasets[name], pl.col("date") >= day
    columns = {each: dataset.columns[each] for each in _COUNTED if each in dataset.columns}
    expected, found = (read_all(each, name).drop("month").filter(which) for each in (base, run))
    given = compare(dataset, expected, found, columns)
    if not given.differences:
        return Comparison(name, "execution", day, compared=given.rows)
    first = given.differences[0]
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
