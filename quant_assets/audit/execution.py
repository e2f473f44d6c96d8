"""Trades at a close may depend only on what was known a session before, and earn from that close on.

The audit alters decisions and compares results up to their execution; it alters prices before the execution and
compares returns after it. Truncation and perturbation cannot see these mistakes, because all data that is used was
known at the date of the row.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from quant_assets.audit.compare import compare
from quant_assets.audit.datasets import Alter, compute, read_all, with_datasets
from quant_assets.audit.findings import AuditResult, Comparison
from quant_assets.audit.label_prices import label_prices, reprice
from quant_assets.audit.runs import Recomputed
from quant_assets.backtest.simulation import lookback_months
from quant_assets.market.calendar import sessions
from quant_assets.partitions import RunPartitions, month_range, parse_key, shift_month
from quant_assets.planning.plan import Planner
from quant_assets.profile import Profile
from quant_assets.schemas import Dataset
from quant_assets.settings.loading import Settings

Progress = Callable[[str, int, int], None]

#: Number of tickers in a made-up decision.
_HELD = 5


def audit_execution(
    of: Profile | Settings, *, sectors: Sequence[str], first: str, last: str, progress: Progress | None = None
) -> AuditResult:
    """Alter the last decision executed within the months; compare trades and returns up to its execution.

    Then alter prices before the execution and compare later returns, and prices up to a session for its labels.

    A dataset executes decisions if it has `gross_return` and `turnover` and reads a dataset with `weight` and `as_of`.
    Decisions are made up from the members at the time, so that their upstream need not be computed.

    Args:
        of: profile, or its settings.
        sectors: slugs.
        first: first month of the rows.
        last: last month of the rows; the decision is that of the month before it.
        progress: told of each step.

    Raises:
        RunFailedError: an asset failed.

    """
    began, profile = time.perf_counter(), of if isinstance(of, Profile) else Profile(of)
    comparisons, notes = list[Comparison](), list[str]()
    month = max(first, shift_month(last, -1))
    before = lookback_months(profile.settings.labels.entry_lag, profile.settings.backtest)
    start = max(shift_month(month, -before), profile.months.start)
    if start == month:
        note = f"execution was not tested: {month} is the first month of the profile"
        return AuditResult(profile.settings.profile, tuple(sectors), first, last, 0.0, (), (note,))
    for number, sector in enumerate(sectors):
        if progress is not None:
            progress(f"execution: {sector}", number, len(sectors))
        with tempfile.TemporaryDirectory(prefix="quant-audit-") as folder:
            base = Recomputed.at(Path(folder) / "base", profile.settings, profile.provider)
            compared, label_notes = label_prices(base, sector, month, Path(folder))
            comparisons, notes = [*comparisons, *compared], [*notes, *label_notes]
            results = executed(base.planner, profile.datasets)
            if not results:
                notes.append("execution was not tested: no dataset executes decisions")
                break
            decision_datasets = set(results.values())
            prices = sorted(
                {name for each in results for name in base.planner.reads(each)} - decision_datasets | {"universe"}
            )
            compute(base, prices, sector, start, last)
            months = month_range(start, last)
            as_of = profile.decision_sessions(RunPartitions((sector,), (month,)))[0]
            entry = _entry(profile, as_of)
            names = _decided_by(base, sector, months)
            runs = {}
            for name, seed, alter in (("decided", 1, None), ("otherwise", 2, None), ("priced", 1, _priced(entry))):
                altered = {each: alter if each == "prices" else None for each in prices}
                run = with_datasets(base, Path(folder) / name, profile.settings, altered)
                for each in decision_datasets:
                    _decide(run, run.profile.datasets[each], sector, months, as_of, seed, names)
                compute(run, list(results), sector, month, last)
                runs[name] = run
            for name in results:
                dataset = profile.datasets[name]
                compared = _compared(dataset, runs, sector, as_of, entry)
                comparisons += compared
                notes += [
                    f"execution was not tested: {name} of {sector} has no row {where}"
                    for where, part in (("up to its entry", compared[:2]), ("after its entry", compared[-1:]))
                    if not any(each.compared for each in part)
                ]
    seconds = time.perf_counter() - began
    return AuditResult(profile.settings.profile, tuple(sectors), first, last, seconds, tuple(comparisons), tuple(notes))


def executed(planner: Planner, datasets: Mapping[str, Dataset]) -> dict[str, str]:
    """Datasets of results, with the dataset of decisions that they execute."""
    columns = {name: set(dataset.columns) for name, dataset in datasets.items()}
    results = [name for name, names in columns.items() if {"gross_return", "turnover"} <= names]
    return {
        name: upstream
        for name in results
        for upstream in planner.reads(name)
        if {"weight", "as_of"} <= columns[upstream]
    }


def _decide(
    run: Recomputed,
    dataset: Dataset,
    sector: str,
    months: list[str],
    altered: date,
    seed: int,
    members: Mapping[date, list[str]],
) -> None:
    """Write made-up decisions of every month: random tickers and weights; `seed` is for one session."""
    parts = [dataset.empty()]
    for as_of, names in members.items():
        rng = np.random.default_rng(seed if as_of == altered else 0)
        held = rng.choice(np.array(names, dtype=object), min(_HELD, len(names)), replace=False).tolist()
        weights = rng.dirichlet(np.ones(max(1, len(held))))[: len(held)].tolist()
        fixed = {"sector": sector, "as_of": as_of}
        rows = [
            {**_filled(dataset), **fixed, "ticker": name, "weight": weight}
            for name, weight in zip(held, weights, strict=True)
        ]
        parts.append(pl.DataFrame(rows, schema=parts[0].schema))
    keys = dataset.grain.keys(months, [sector])
    run.profile.store.write(dataset, pl.concat(parts), keys, lambda each: run.profile.known_through(parse_key(each)[1]))


def _filled(dataset: Dataset) -> dict[str, object]:
    """A valid value for every column that must not be null."""
    return {
        name: column.isin[0] if column.isin else (0.5 if column.dtype == pl.Float64 else 1)
        for name, column in dataset.columns.items()
        if not column.nullable and column.dtype != pl.Date
    }


def _entry(profile: Profile, as_of: date) -> date:
    """The session at whose close a decision is executed."""
    lag = profile.settings.labels.entry_lag
    days = sessions(as_of, as_of + timedelta(days=10 + 2 * lag))
    return days[lag].item()  # type: ignore[no-any-return]


def _decided_by(run: Recomputed, sector: str, months: Sequence[str]) -> dict[date, list[str]]:
    """Members at every decision session, without unexplained price steps, which depend on earlier prices."""
    universe, marked = read_all(run, "universe"), read_all(run, "prices").filter(pl.col("unexplained"))
    members = universe.join(marked, on="ticker", how="anti")
    days = run.profile.decision_sessions(RunPartitions((sector,), tuple(months)))
    return {day: members.filter(pl.col("date") == day)["ticker"].sort().to_list() for day in days}


def _priced(entry: date) -> Alter:
    """Every price before a session times a number of its own; those of one bar alike, so that it stays one."""
    return lambda rows: reprice(rows, pl.col("date") < entry)


def _compared(
    dataset: Dataset, runs: Mapping[str, Recomputed], sector: str, as_of: date, entry: date
) -> list[Comparison]:
    """Rows before the entry and what is earned at it, under two decisions; what is earned later, under other prices."""
    rows = {name: read_all(run, dataset.name).drop("month") for name, run in runs.items()}
    day = pl.col(dataset.dated_by)
    earned = {name: column for name, column in dataset.columns.items() if name == "gross_return"}
    asked = (
        (
            "otherwise",
            day < entry,
            None,
            f"the decision of {as_of} is traded before {entry}, perhaps at the close that it was made from: "
            "execute it a session later",
        ),
        (
            "otherwise",
            day == entry,
            earned,
            f"the decision of {as_of} is bought at the close of {entry} and earns the return of that session: "
            "count returns from the next session on",
        ),
        (
            "priced",
            day > entry,
            earned,
            f"the return of a position bought at the close of {entry} uses an earlier price, such as the decision's: "
            "count from the price of the execution",
        ),
    )
    found = []
    for name, which, columns, cause in asked:
        given = compare(dataset, rows["decided"].filter(which), rows[name].filter(which), columns)
        if not given.differences:
            found.append(Comparison(dataset.name, "execution", as_of, compared=given.rows))
        for each in given.differences:
            first = each.rows.row(0, named=True)
            found.append(
                Comparison(
                    dataset.name,
                    "execution",
                    as_of,
                    each.column,
                    each.compared,
                    len(each.rows),
                    first[dataset.dated_by],
                    sector=sector,
                    key=f"{dataset.dated_by}={first[dataset.dated_by]}",
                    expected=str(first["expected"]),
                    found=str(first["found"]),
                    deviation=each.deviation,
                    cause=cause,
                )
            )
    return found
