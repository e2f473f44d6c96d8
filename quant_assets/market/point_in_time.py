"""Rows as known on a day: the version of each period in force, and the newest known period.

For any frame with a column that says when a row became known: statements, macro observations, your own figures.
"""

from collections.abc import Sequence
from datetime import date

import polars as pl


def known(rows: pl.DataFrame, key: Sequence[str], as_of: date, known_at: str = "known_at") -> pl.DataFrame:
    """The version of each key in force at the close of `as_of`: the last one known by then.

    Args:
        rows: any frame with the key and the date column `known_at`; for equal days, later rows are later versions.
        key: columns that identify the restated item, for example `ticker, period_end, frequency, provider`.
        as_of: the day.
        known_at: name of the column with the day on which a row became known; null means never.

    Returns:
        Rows of the frame, one per known key, sorted by key.

    """
    then = rows.filter(pl.col(known_at) <= as_of).sort(known_at, maintain_order=True)
    return then.unique(list(key), keep="last", maintain_order=True).sort(list(key))


def newest(rows: pl.DataFrame, by: Sequence[str], period: str, as_of: date, known_at: str = "known_at") -> pl.DataFrame:
    """The newest period of each group known at the close of `as_of`, in the version in force then.

    The newest period counts, not the newest announcement: the late publication or restatement of an older period
    changes nothing.

    Args:
        rows: as for `known`.
        by: columns that identify a series, for example `ticker, frequency, provider`, or `series_id`.
        period: column that orders a series' periods.
        as_of: the day.
        known_at: name of the column with the day on which a row became known.

    Returns:
        Rows of the frame, one per group with a known row, sorted by group.

    """
    in_force = known(rows, [*by, period], as_of, known_at).sort(period, maintain_order=True)
    return in_force.unique(list(by), keep="last", maintain_order=True).sort(list(by))
