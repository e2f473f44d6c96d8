"""What was known at a day: the version in force of each period, and the newest period that is known.

For any frame whose rows say when they became known: statements, macro observations, figures of one's own.
"""

from collections.abc import Sequence
from datetime import date

import polars as pl


def known(rows: pl.DataFrame, key: Sequence[str], as_of: date, known_at: str = "known_at") -> pl.DataFrame:
    """The version of each key that was in force at the close of `as_of`: the last of those that had become known.

    Args:
        rows: any frame with the key and the date column `known_at`; later rows are later versions where days are equal.
        key: columns that identify what is restated, for example `ticker, period_end, frequency, provider`.
        as_of: the day of the question.
        known_at: name of the column that says when a row became known; null counts as never.

    Returns:
        Rows of the frame, one for each key that was known, sorted by key.

    """
    then = rows.filter(pl.col(known_at) <= as_of).sort(known_at, maintain_order=True)
    return then.unique(list(key), keep="last", maintain_order=True).sort(list(key))


def newest(rows: pl.DataFrame, by: Sequence[str], period: str, as_of: date, known_at: str = "known_at") -> pl.DataFrame:
    """The newest period of each group that was known at the close of `as_of`, in the version in force then.

    The newest period wins, not the newest announcement: an old period that is published or restated late changes
    nothing.

    Args:
        rows: as for `known`.
        by: columns that identify a series, for example `ticker, frequency, provider`, or `series_id`.
        period: column that orders a series' periods.
        as_of: the day of the question.
        known_at: name of the column that says when a row became known.

    Returns:
        Rows of the frame, one for each group of which anything was known, sorted by group.

    """
    in_force = known(rows, [*by, period], as_of, known_at).sort(period, maintain_order=True)
    return in_force.unique(list(by), keep="last", maintain_order=True).sort(list(by))
