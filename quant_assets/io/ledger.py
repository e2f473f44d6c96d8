"""What was said once stands: which partitions of a ledger are still to be written, and the refusal to write others."""

from collections.abc import Sequence

import polars as pl

from quant_assets.errors import LedgerError
from quant_assets.io.store import DatasetStore
from quant_assets.schemas import Dataset


def unsaid(store: DatasetStore, dataset: Dataset, frame: pl.DataFrame, keys: Sequence[str]) -> list[str]:
    """Those of the partitions `keys` in which nothing stands yet.

    Args:
        store: of the ledger.
        dataset: with `said`, the columns that must never come out otherwise.
        frame: rows of all the partitions, with `sector` at sector grain.
        keys: partitions of a run.

    Raises:
        LedgerError: a partition has said otherwise; names all of them. Nothing may be written then.

    """
    gone = set(store.missing(dataset, keys))
    standing = [key for key in keys if key not in gone]
    if not standing:
        return list(keys)
    columns = [*dataset.identity, *(name for name in dataset.said if name not in dataset.identity)]
    given = dataset.conform(frame).with_columns(dataset.grain.of_rows(dataset.dated_by).alias("__key"))
    rows = {str(key): part for (key,), part in given.partition_by("__key", as_dict=True).items()}
    other = []
    for key in standing:
        before = store.read(dataset, [key]).select(columns).collect()
        now = rows[key].select(columns) if key in rows else given.clear().select(columns)
        if not before.equals(now):
            other.append(key)
    if other:
        shown = f"{', '.join(other[:3])}{f' and {len(other) - 3} more' if len(other) > 3 else ''}"
        raise LedgerError(
            f"{dataset.name} of {shown} said otherwise, and what was said stands: nothing of the {len(keys)} "
            "partitions was written; quant live --compare shows what differs and why"
        )
    return [key for key in keys if key in gone]
