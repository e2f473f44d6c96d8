"""From which day on a version of a collected fact counts as known. Views of every kind of facts go by this.

What a first collection tells of the past counts as known in that past, as of its publication: there is no other
knowledge of it. Whatever was fetched later was known when it was fetched, and not before it was published: so the view
of an early day is that of a late one, cut at what was known by then (`audit.providers` compares the two).
"""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from quant_assets.collectors.tables import FETCHED_AT

#: Whose days facts are known on: those of the sessions.
EXCHANGE = "America/New_York"
#: The column that `as_known` adds.
KNOWN_ON = "known_on"
#: A first collection that was interrupted goes on until the day after it began.
INTERRUPTED = pl.duration(days=1)


def as_known(
    versions: pl.DataFrame, key: Sequence[str], together: Sequence[pl.Expr], published: pl.Expr, by: datetime
) -> pl.DataFrame:
    """Versions that had been collected, and the past that a first collection tells, each with its day.

    Args:
        versions: of a table, in the order in which they were fetched.
        key: columns that name a fact.
        together: what facts that are asked for together have in common: a ticker, a series; empty for all.
        published: Date on which a fact was given to the public; null where nobody tells.
        by: what was fetched then or later is left out, but for the past of a first collection.

    Returns:
        The rows with `known_on` (Date; null where a fact of the past has no day of publication), in the same order.

    """
    fetched_on = pl.col(FETCHED_AT).dt.convert_time_zone(EXCHANGE).dt.date()
    dated = versions.with_columns(_published=published, _fetched=fetched_on)
    begun = pl.col("_fetched").min()
    dated = dated.with_columns(
        _begun=begun.over(together) if together else begun, _version=pl.int_range(pl.len()).over(key)
    )
    first = (pl.col("_version") == 0) & (pl.col("_fetched") <= pl.col("_begun") + INTERRUPTED)
    past = first & (pl.col("_published") < pl.col("_begun")).fill_null(value=True)
    known = pl.when(past).then("_published").otherwise(pl.max_horizontal("_published", "_fetched"))
    found = dated.with_columns(known.alias(KNOWN_ON)).filter((pl.col(FETCHED_AT) < by) | past)
    return found.drop("_published", "_fetched", "_begun", "_version")
