"""What is traded at a close may depend only on what was known the session before.

Decisions are altered, and results are compared up to their own close.

The test is `publication`, with a lag of one session: a decision is made of a close, so it is too late for that close.
Neither truncation nor perturbation sees it where it is broken, because everything that is used was known at the date of
the row.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from quant_assets.audit.compare import compare
from quant_assets.audit.datasets import compute, read_all, with_datasets
from quant_assets.audit.findings import AuditResult, Comparison
from quant_assets.audit.runs import Recomputed
from quant_assets.backtest.simulation import lookback_months
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
    """Alter the last decision executed within the months; compare what was traded and earned up to its own close.

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
    start = max(shift_month(month, -lookback_months(profile.settings.labels.entry_lag)), profile.months.start)
    if start == month:
        note = f"execution was not tested: {month} is the first month of the profile"
        return AuditResult(profile.settings.profile, tuple(sectors), first, last, 0.0, (), (note,))
    for number, sector in enumerate(sectors):
        if progress is not None:
            progress(f"execution: {sector}", number, len(sectors))
        with tempfile.TemporaryDirectory(prefix="quant-audit-") as folder:
            base = Recomputed.at(Path(folder) / "base", profile.settings, profile.provider)
            results = executed(base.planner, profile.datasets)
            if not results:
                notes.append("execution was not tested: no dataset executes decisions")
                break
            decided = set(results.values())
            prices = sorted({name for each in results for name in base.planner.reads(each)} - decided | {"universe"})
            compute(base, prices, sector, start, last)
            months = month_range(start, last)
            as_of = profile.decision_sessions(RunPartitions((sector,), (month,)))[0]
            runs = []
            for seed in (1, 2):
                run = with_datasets(base, Path(folder) / f"decided-{seed}", profile.settings, dict.fromkeys(prices))
                for each in decided:
                    _decide(run, run.profile.datasets[each], sector, months, as_of, seed)
                compute(run, list(results), sector, month, last)
                runs.append(run)
            for name in results:
                compared = _compared(profile.datasets[name], runs[0], runs[1], sector, as_of)
                found += compared
                if not any(each.compared for each in compared):
                    notes.append(f"execution was not tested: {name} of {sector} has no row up to {as_of}")
    seconds = time.perf_counter() - began
    return AuditResult(profile.settings.profile, tuple(sectors), first, last, seconds, tuple(found), tuple(notes))


def executed(planner: Planner, datasets: Mapping[str, Dataset]) -> dict[str, str]:
    """Each dataset of results, and the dataset of the decisions that it executes."""
    columns = {name: set(dataset.columns) for name, dataset in datasets.items()}
    results = [name for name, found in columns.items() if {"gross_return", "turnover"} <= found]
    return {name: each for name in results for each in planner.reads(name) if {"weight", "as_of"} <= columns[each]}


def _decide(run: Recomputed, dataset: Dataset, sector: str, months: list[str], altered: date, seed: int) -> None:
    """Write made-up decisions of every month: random names and weights, of one session by a seed of the caller's."""
    universe = read_all(run, "universe")
    parts = [dataset.empty()]
    for as_of in run.profile.decision_sessions(RunPartitions((sector,), tuple(months))):
        rng = np.random.default_rng(seed if as_of == altered else 0)
        members = universe.filter(pl.col("date") == as_of)["ticker"].sort().to_numpy()
        held = rng.choice(members, min(_HELD, len(members)), replace=False).tolist()
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


def _compared(dataset: Dataset, one: Recomputed, other: Recomputed, sector: str, as_of: date) -> list[Comparison]:
    expected, given = (
        read_all(run, dataset.name).drop("month").filter(pl.col(dataset.dated_by) <= as_of) for run in (one, other)
    )
    compared = compare(dataset, expected, given)
    if not compared.differences:
        return [Comparison(dataset.name, "publication", as_of, compared=compared.rows)]
    found = []
    for each in compared.differences:
        first = each.rows.row(0, named=True)
        found.append(
            Comparison(
                dataset.name,
                "publication",
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
                cause=(
                    f"the decision of {as_of} is traded at the very close that it was made of: "
                    "let it be executed a session later"
                ),
            )
        )
    return found
