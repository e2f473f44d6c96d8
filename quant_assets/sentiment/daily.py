"""Sentiment of companies by session: dataset `sentiment`. Pure: input are texts with the time when they were known."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.calendar import closing_times
from quant_assets.sentiment.mentions import Names, mentions
from quant_assets.sentiment.scorers.base import FloatArray
from quant_assets.settings.sentiment import SentimentSettings

#: Columns of dataset `sentiment` without `sector`.
ROWS = pl.Schema(
    {
        "ticker": pl.String(),
        "date": pl.Date(),
        "stories": pl.Int32(),
        "scored": pl.Int32(),
        "sentiment": pl.Float64(),
        "dispersion": pl.Float64(),
    }
)

Scores = Callable[[Sequence[str]], FloatArray]


class Daily(NamedTuple):
    """Scores of sessions, and the use of the news items.

    Attributes:
        rows: `ROWS`, sorted by ticker and date: for all companies named, a row for each session with news.
        items: `item, date, companies, ambiguous, early`: each item with each session for which it counts for a company,
            the number of these companies, whether it has an ambiguous name, and whether it was known before the end of
            the scorer's `trained_through`.

    """

    rows: pl.DataFrame
    items: pl.DataFrame


def daily(
    news: pl.DataFrame,
    names: Names,
    sessions: NDArray[np.datetime64],
    first_day: date,
    settings: SentimentSettings,
    scores: Scores | None,
    trained_through: date | None,
) -> Daily:
    """Mean and spread of P(positive) less P(negative) over the stories of each company and session.

    A story counts for the first session at whose close, less `settings.cut_minutes`, it was known; of items with the
    same title that follow each other within `settings.story_days` only the first one. Stories known on
    `trained_through` or before are counted but not scored: the scorer may know what followed. A session without a
    scored story has a null sentiment, not 0.

    Args:
        news: `sources.base.NEWS` from `settings.story_days` before the session before `first_day` on.
        names: names of companies, for items without a ticker.
        sessions: datetime64[D] without a gap, the one before `first_day` among them.
        first_day: first day of the rows.
        settings: cut and stories.
        scores: function from titles to probabilities of shape (n_texts, 3); None without a scorer.
        trained_through: of the scorer; None with `scores`.

    """
    calendar = pl.DataFrame({"date": pl.Series(sessions, dtype=pl.Date)})
    calendar = calendar.with_columns(
        cut=pl.Series(closing_times(sessions), dtype=pl.Datetime("us", "UTC")) - timedelta(minutes=settings.cut_minutes)
    )
    of_companies = stories(mentions(news, names), timedelta(days=settings.story_days))
    of_companies = of_companies.sort("known_at", "item", "ticker").join_asof(
        calendar.with_columns(pl.col("cut").set_sorted()), left_on="known_at", right_on="cut", strategy="forward"
    )
    day = pl.col("known_at").dt.convert_time_zone("America/New_York").dt.date()
    early = day <= pl.lit(trained_through, pl.Date) if trained_through else pl.lit(value=False)
    # Session and `early` belong to a row: an item may have become known for another company later.
    of_companies = of_companies.filter(pl.col("date") >= first_day).with_columns(early=early)
    items = of_companies.group_by("item", "date", maintain_order=True).agg(
        companies=pl.col("ticker").drop_nulls().n_unique().cast(pl.Int32),
        ambiguous=pl.col("ambiguous").any(),
        early=pl.col("early").any(),
    )
    of_companies = of_companies.drop_nulls("ticker")
    titles = of_companies.filter(~pl.col("early") & pl.lit(scores is not None))["title"].unique(maintain_order=True)
    probabilities = scores(titles.to_list()) if scores is not None and len(titles) else np.empty((0, 3))
    score = pl.Series(probabilities[:, 2] - probabilities[:, 0], dtype=pl.Float64)
    scored = pl.DataFrame({"title": titles, "_score": score})
    rows = (
        of_companies.join(scored, on="title", how="left")
        .with_columns(score=pl.when(~pl.col("early")).then("_score"))
        .sort("ticker", "date", "item", "known_at")
        .group_by("ticker", "date", maintain_order=True)
        .agg(
            stories=pl.len().cast(pl.Int32),
            scored=pl.col("score").count().cast(pl.Int32),
            sentiment=pl.col("score").mean(),
            dispersion=pl.col("score").std(ddof=0),
        )
    )
    return Daily(rows.select(list(ROWS)).cast(ROWS), items)


def looks_ahead(rows: pl.DataFrame, trained_through: date | None) -> pl.DataFrame:
    """The rows with a score although their scorer may know the future, sorted by date and ticker.

    Args:
        rows: dataset `sentiment`.
        trained_through: of the scorer; None without a scorer, and then no row can have a score.

    """
    scored = pl.any_horizontal(pl.col("sentiment", "dispersion").is_not_null()) | (pl.col("scored") > 0)
    early = pl.col("date") <= trained_through if trained_through else pl.lit(value=True)
    return rows.filter(scored, early).sort("date", "ticker")


def stories(news: pl.DataFrame, within: timedelta) -> pl.DataFrame:
    """Each story of a company once: among items with the same title or ID within `within` of each other, the first.

    Titles are compared in lower case, without punctuation and without the publisher's name at the end. Each is compared
    with the one before it, so that the news of `within` before a day decide what is new on it.

    Args:
        news: `sources.base.NEWS`, `ticker` as of `mentions`.
        within: a title that recurs later is a new story.

    Returns:
        Some of the rows, sorted by `known_at` and `item`.

    """
    publisher = pl.concat_str(pl.lit(" - "), pl.col("publisher").fill_null(""))
    words = pl.col("title").str.strip_suffix(publisher).str.to_lowercase().str.replace_all(r"[\W_]+", " ")
    news = news.sort("known_at", "item").with_columns(_words=words.str.strip_chars())
    new = (
        (pl.col("known_at").diff().over("ticker", same) > within).fill_null(value=True) for same in ("_words", "item")
    )
    return news.filter(*new).drop("_words")
