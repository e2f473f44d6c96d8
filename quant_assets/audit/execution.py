"""What is traded at a close may depend only on what was known the session before, and earns from that close on.

Decisions are altered, and results are compared up to the session of their execution; prices before that session are
altered, and what is earned after it is compared. Neither truncation nor perturbation sees it where this is broken,
because everything that is used was known at the date of the row.
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

#: Names that the made-up decisions hold.
_HELD = 5


def audit_execution(
    of: Profile | Settings, *, sectors: Sequence[str], first: str, last: str, progress: Progress | None = None
) -> AuditResult:
    """Alter the last decision executed within the months; compare what was traded and earned up to its execution.

    Then prices: those before the execution, for what is earned after it, and those up to a session, for its labels.

    A dataset counts as executed where it has `gross_return` and `turnover` and reads one with `weight` and `as_of`. The
    decisions are made up of the members at the time, so that nothing upstream of them is computed.

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
    found, notes = list[Comparison](), list[str]()
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
            compared, said = label_prices(base, sector, month, Path(folder))
            found, notes = [*found, *compared], [*notes, *said]
            results = executed(base.planner, profile.datasets)
            if not results:
                notes.append("execution was not tested: no dataset executes decisions")
                break
            decided = set(results.values())
            prices = sorted({name for each in results for name in base.planner.reads(each)} - decided | {"universe"})
            compute(base, prices, sector, start, last)
            months = month_range(start, last)
            as_of = profile.decision_sessions(RunPartitions((sector,), (month,)))[0]
            entry = _entry(profile, as_of)
            names = _decided_by(base, sector, months)
            runs = {}
            for name, seed, alter in (("decided", 1, None), ("otherwise", 2, None), ("priced", 1, _priced(entry))):
                altered = {each: alter if each == "prices" else None for each in prices}
                run = with_datasets(base, Path(folder) / name, profile.settings, altered)
                for each in decided:
                    _decide(run, run.profile.datasets[each], sector, months, as_of, seed, names)
                compute(run, list(results), sector, month, last)
                runs[name] = run
            for name in results:
                dataset = profile.datasets[name]
                compared = _compared(dataset, runs, sector, as_of, entry)
                found += compared
                notes += [
                    f"execution was not tested: {name} of {sector} has no row {where}"
                    for where, part in (("up to its entry", compared[:2]), ("after its entry", compared[-1:]))
                    if not any(each.compared for each in part)
                ]
    seconds = time.perf_counter() - began
    return AuditResult(profile.settings.profile, tuple(sectors), first, last, seconds, tuple(found), tuple(notes))


def executed(planner: Planner, datasets: Mapping[str, Dataset]) -> dict[str, str]:
    """Each dataset of results, and the dataset of the decisions that it executes."""
    columns = {name: set(dataset.columns) for name, dataset in datasets.items()}
    results = [name for name, found in columns.items() if {"gross_return", "turnover"} <= found]
    return {name: each for name in results for each in planner.reads(name) if {"weight", "as_of"} <= columns[each]}


def _decide(
    run: Recomputed,
    dataset: Dataset,
    sector: str,
    months: list[str],
    altered: date,
    seed: int,
    members: Mapping[date, list[str]],
) -> None:
    """Write made-up decisions of every month: random names and weights, of one session by a seed of the caller's."""
    parts = [dataset.empty()]
    for as_of, names in members.items():
        rng = np.random.default_rng(seed if as_of == altered else 0)
        held = rng.choice(np.array(names, dtype=object), min(_HELD, len(names)), replace=False).tolist()
        weights = rng.dirichlet(np.ones(max(1, len(held))))[: len(held)].tolist()
        given = {"sector": sector, "as_of": as_of}
        rows = [
            {**_filled(dataset), **given, "ticker": name, "weight": weight}
            for name, weight in zip(held, weights, strict=True)
        ]
        parts.append(pl.DataFrame(rows, schema=parts[0].schema))
    keys = dataset.grain.keys(months, [sector])
    run.profile.store.write(dataset, pl.concat(parts), keys, lambda each: run.profile.known_through(parse_key(each)[1]))


def _filled(dataset: Dataset) -> dict[str, object]:
    """A legal value for each column that may not be missing."""
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
    """Members of each decision session without a step that nothing explains, which earlier prices decide about."""
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
            f"the decision of {as_of} is traded before {entry}, perhaps at the very close that it was made of: "
            "let it be executed a session later",
        ),
        (
            "otherwise",
            day == entry,
            earned,
            f"the decision of {as_of} is bought at the close of {entry} and earns the return of that very session: "
            "let it earn from the next one on",
        ),
        (
            "priced",
            day > entry,
            earned,
            f"what is bought at the close of {entry} earns by a price before it, such as that of the decision: "
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
