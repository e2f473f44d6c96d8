"""Collected articles and posts as `base.NEWS`, with the time when they were known. Pure functions."""

from datetime import datetime, timedelta

import polars as pl

#: Texts with the time when they were known; `base.NEWS` without companies.
KNOWN = pl.Schema(
    {
        "item": pl.String(),
        "published": pl.Datetime("us", "UTC"),
        "known_at": pl.Datetime("us", "UTC"),
        "title": pl.String(),
        "text": pl.String(),
        "publisher": pl.String(),
    }
)


def known(versions: pl.DataFrame, delay: timedelta, through: datetime) -> pl.DataFrame:
    """Texts as they were first seen.

    `published` is the publisher's date. A text is known `delay` (of the plan) after it, but not before it was first
    seen: a text that is collected later is not dated back. Later versions are left out.

    Args:
        versions: of the table `articles` or `posts`, with `fetched_at`; `publisher` may be absent.
        delay: of the plan's texts.
        through: texts known later are left out.

    Returns:
        `KNOWN`, sorted by `known_at` and `item`.

    """
    if "publisher" not in versions.columns:
        versions = versions.with_columns(publisher=pl.concat_str(pl.lit("reddit.com/r/"), "subreddit"))
    return (
        versions.sort("fetched_at", maintain_order=True)
        .unique("item", keep="first", maintain_order=True)
        .with_columns(known_at=pl.max_horizontal(pl.col("published") + delay, "fetched_at"))
        .filter(pl.col("known_at") <= through)
        .select(list(KNOWN))
        .cast(KNOWN)
        .sort("known_at", "item")
    )
