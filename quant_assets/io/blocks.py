"""Rows that are made, written or looked at some months at a time: a long range then needs the memory of a short one.

How months are divided is here; what is done with a block is where it is done.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from quant_assets.schemas import Dataset

#: Bytes of a block's rows, each of their columns with 8. Of a block of features ten times as much is held while it is
#: computed and written: docs/running-elsewhere.md has the measurements.
BLOCK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Blocks:
    """What an asset function computes, block by block: partition keys, and the rows of these partitions.

    A block is computed when the one before it has been written.
    """

    parts: Iterable[tuple[Sequence[str], pl.DataFrame]]


def in_months(first: str, last: str) -> pl.Expr:
    """Whether a row of a loaded frame is of these months; files of others are not opened."""
    return pl.col("month").is_between(pl.lit(first), pl.lit(last))


def row_bytes(*datasets: Dataset) -> int:
    """Bytes of a row of the widest of some datasets."""
    return 8 * max(len(each.columns) for each in datasets)


def rows_by_month(frame: pl.LazyFrame) -> dict[str, int]:
    """How many rows each month of a loaded frame has; of stored files their metadata alone are read."""
    return dict(frame.select("month").group_by("month").len().collect().iter_rows())


def divided(months: Sequence[str], rows: Mapping[str, int], bytes_of_row: int) -> list[tuple[str, ...]]:
    """Months one after the other in blocks of about the same size: of at most `BLOCK_BYTES`, or of one month.

    Args:
        months: sorted.
        rows: of each month; none where a month is absent.
        bytes_of_row: of one row.

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
