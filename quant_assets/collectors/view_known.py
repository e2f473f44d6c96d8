"""From which day on a version of a collected fact counts as known. Views of every kind of facts go by this.

A fact that was first told with the past counts as known in that past, whenever it was published: there is no other
knowledge of it. What was published since the first collection, and every other version of a fact, was known when it
was fetched, and not before it was published.
"""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from quant_assets.collectors.tables import FETCHED_AT

#: Whose days facts are known on: those of the sessions.
EXCHANGE = "America/New_York"
#: The column that `as_known` adds.
KNOWN_ON = "known_on"


def as_known(
    versions: pl.DataFrame, key: Sequence[str], begun: Sequence[str], published: pl.Expr, by: datetime
) -> pl.DataFrame:
    """Versions that had been collected, and the past that a first collection tells, each with its day.

    Args:
        versions: of a table, in the order in which they were fetched.
        key: columns that name a fact.
        begun: columns that name what was collected together for the first time: a ticker, a series.
        published: Date on which a fact was given to the public; null where nobody tells.
        by: what was fetched then or later is left out, but for the past of a first collection.

    Returns:
        The rows with `known_on` (Date; null where a fact of the past has no day of publication), in the same order.

    """
    fetched_on = pl.col(FETCHED_AT).dt.convert_time_zone(EXCHANGE).dt.date()
    dated = versions.with_columns(_published=published, _fetched=fetched_on).with_columns(
        # Of a first collection that took until after midnight as well.
        _begun=pl.col("_fetched").min().over(begun) if begun else pl.col("_fetched").min(),
        _first=pl.int_range(pl.len()).over(key) == 0,
    )
    past = pl.col("_first") & (pl.col("_published") < pl.col("_begun")).fill_null(
        pl.col("_fetched") <= pl.col("_begun")
    )
    known = pl.when(past).then("_published").otherwise(pl.max_horizontal("_published", "_fetched"))
    told = (pl.col(FETCHED_AT) < by) | (past & (pl.col("_fetched") <= pl.col("_begun")))
    return dated.with_columns(known.alias(KNOWN_ON)).filter(told).drop("_published", "_fetched", "_begun", "_first")
