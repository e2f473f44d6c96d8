"""Append-only datasets (ledgers): their unwritten partitions, and the refusal to change written ones."""

from collections.abc import Sequence

import polars as pl

from quant_assets.errors import LedgerError
from quant_assets.io.store import DatasetStore
from quant_assets.schemas import Dataset


def unsaid(store: DatasetStore, dataset: Dataset, frame: pl.DataFrame, keys: Sequence[str]) -> list[str]:
    """The partitions among `keys` that are not written yet.

    Args:
        store: of the ledger.
        dataset: with `said`, the columns that must never change.
        frame: rows of all the partitions, with `sector` at sector grain.
        keys: partitions of a run.

    Raises:
        LedgerError: rows differ from those of written partitions; names these. Nothing may be written then.

    """
    missing = set(store.missing(dataset, keys))
    written = [key for key in keys if key not in missing]
    if not written:
        return list(keys)
    columns = [*dataset.identity, *(name for name in dataset.said if name not in dataset.identity)]
    keyed = dataset.conform(frame).with_columns(dataset.grain.of_rows(dataset.dated_by).alias("__key"))
    rows = {str(key): part for (key,), part in keyed.partition_by("__key", as_dict=True).items()}
    changed = []
    for key in written:
        before = store.read(dataset, [key]).select(columns).collect()
        now = rows[key].select(columns) if key in rows else keyed.clear().select(columns)
        if not before.equals(now):
            changed.append(key)
    if changed:
        shown = f"{', '.join(changed[:3])}{f' and {len(changed) - 3} more' if len(changed) > 3 else ''}"
        raise LedgerError(
            f"{dataset.name} of {shown} differ from the rows written before, which must not change: none of the "
            f"{len(keys)} partitions was written; quant live --compare shows the differences and their causes"
        )
    return [key for key in keys if key in missing]
