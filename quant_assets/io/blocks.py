"""Division of long ranges into blocks of months, so that they need only the memory of short ranges."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from quant_assets.schemas import Dataset

#: Bytes of a block's rows, with 8 per value. While a block of features is computed and written, ten times as much is in
#: memory: docs/running-elsewhere.md has the measurements.
BLOCK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Blocks:
    """An asset function's result, block by block: partition keys, and the rows of these partitions.

    A block is computed after the one before it has been written.
    """

    parts: Iterable[tuple[Sequence[str], pl.DataFrame]]


def in_months(first: str, last: str) -> pl.Expr:
    """Whether a row of a loaded frame is in these months; files of other months are not opened."""
    return pl.col("month").is_between(pl.lit(first), pl.lit(last))


def row_bytes(*datasets: Dataset) -> int:
    """Bytes of a row of the widest of some datasets."""
    return 8 * max(len(dataset.columns) for dataset in datasets)


def rows_by_month(frame: pl.LazyFrame) -> dict[str, int]:
    """Number of rows of a loaded frame by month; of stored files only the metadata is read."""
    return dict(frame.select("month").group_by("month").len().collect().iter_rows())


def divided(months: Sequence[str], rows: Mapping[str, int], bytes_of_row: int) -> list[tuple[str, ...]]:
    """Consecutive months in blocks of about the same size: of at most `BLOCK_BYTES`, or one month.

    Args:
        months: sorted.
        rows: number of rows by month; an absent month has none.
        bytes_of_row: size of one row.

    """
    sizes = {month: rows.get(month, 0) * bytes_of_row for month in months}
    total = sum(sizes.values())
    usual = total / max(1, -(-total // BLOCK_BYTES))
    blocks: list[list[str]] = [[]]
    held = 0
    for month, size in sizes.items():
        if blocks[-1] and (held + size > BLOCK_BYTES or held + size / 2 > usual):
            blocks.append([])
            held = 0
        blocks[-1].append(month)
        held += size
    return [tuple(block) for block in blocks]
