"""What was known of collected texts and when: articles and posts of the collectors' tables, as `base.NEWS`. Pure."""

from datetime import datetime, timedelta

import polars as pl

#: Texts with when they were known; `base.NEWS` without the companies that they are about.
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

    `published` is what the publisher claims. A text is known from `delay` (of the plan) after it on, and not before it
    was seen: one that is found later is not dated back. What its publisher makes of it afterwards is left out.

    Args:
        versions: of the table `articles` or `posts`, with `fetched_at`; `publisher` may be absent.
        delay: after which the plan gives a text.
        through: what was known later is left out.

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
