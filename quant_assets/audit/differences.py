"""Description of a difference between an altered run and the unaltered input: first row, cause, root asset."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from quant_assets.audit.altered_runs import AlteredRun
from quant_assets.audit.causes import likely_cause
from quant_assets.audit.compare import ORDER, Difference
from quant_assets.audit.findings import Comparison
from quant_assets.schemas import Dataset


def differing(dataset: Dataset, run: AlteredRun, difference: Difference) -> Comparison:
    """The comparison for a difference in an asset, described by its first row."""
    row, cut = difference.rows.row(0, named=True), run.cut
    if run.days:  # the day of the ticker or series of the first row
        cut = dict(run.days).get(str(row.get("ticker", row.get("series_id"))))
    declared = ""
    if run.test == "warm_up":
        declared = dataset.anchored or (dataset.columns[difference.column].anchored if difference.column else "")
    return Comparison(
        asset=dataset.name,
        test=run.test,
        cut=cut,
        column=difference.column,
        compared=difference.compared,
        differing=len(difference.rows),
        first_date=row[dataset.dated_by],
        ticker=row.get("ticker"),
        sector=row.get("sector"),
        key=", ".join(f"{name}={row[name]}" for name in dataset.identity if name in row),
        expected=_text(row["expected"]),
        found=_text(row["found"]),
        deviation=difference.deviation,
        cause=_cause(dataset, run, difference, cut),
        declared=declared,
    )


def _cause(dataset: Dataset, run: AlteredRun, difference: Difference, cut: date | None) -> str:
    if difference.column == ORDER:
        return "the rows are stored in another order: sorted by something that became known later, or not sorted"
    likely = likely_cause(run.test, dataset, difference, cut)
    if difference.column is not None and difference.column not in dataset.columns:
        return f"the metadata of the partition differ: {likely}"
    if difference.column is not None and difference.column.endswith("_file"):
        return f"a figure or curve of the file differs: {likely}"
    return likely


def inherited(found: Sequence[Comparison], upstream: dict[str, list[str]]) -> list[Comparison]:
    """The comparisons; a failure names the most upstream failing asset that it reads."""
    failing = {comparison.asset for comparison in found if comparison.failed}
    named = []
    for comparison in found:
        roots = [name for name in upstream[comparison.asset] if name in failing] if comparison.failed else []
        named.append(replace(comparison, inherited_from=roots[0]) if roots else comparison)
    return named


def assets_of(reason: str) -> list[str]:
    """The asset names at the start of a failed run's reason."""
    return reason.partition(" (")[0].partition(":")[0].split(", ")


def _text(value: object) -> str:
    return "null" if value is None else repr(value) if isinstance(value, float) else str(value)
