"""The day from which on a version of a collected fact counts as known. All views use this rule.

The past in a first collection counts as known in that past, as of its publication: there is no other record of it.
Later data was known when it was fetched, and not before it was published: so the view of an early day equals that of a
late one, cut at what was known by then (`audit.providers` compares the two).
"""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from quant_assets.collectors.tables import FETCHED_AT

#: Time zone of the days on which facts become known: that of the sessions.
EXCHANGE = "America/New_York"
#: The column that `as_known` adds.
KNOWN_ON = "known_on"
#: A first collection that was interrupted may continue until the day after it began.
INTERRUPTED = pl.duration(days=1)


def as_known(
    versions: pl.DataFrame, key: Sequence[str], together: Sequence[pl.Expr], published: pl.Expr, by: datetime
) -> pl.DataFrame:
    """Collected versions, including the past of a first collection, with the day on which they became known.

    Args:
        versions: of a table, in the order in which they were fetched.
        key: columns that name a fact.
        together: columns shared by facts that are requested together: a ticker, a series; empty for all.
        published: Date on which a fact was published; null where unknown.
        by: data fetched then or later is left out, except the past of a first collection.

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
    known_on = pl.when(past).then("_published").otherwise(pl.max_horizontal("_published", "_fetched"))
    kept_rows = dated.with_columns(known_on.alias(KNOWN_ON)).filter((pl.col(FETCHED_AT) < by) | past)
    return kept_rows.drop("_published", "_fetched", "_begun", "_version")
