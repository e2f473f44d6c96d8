"""What news say of companies, session by session: dataset `sentiment`. Pure: texts with when they were known in."""

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

#: Dataset `sentiment` without `sector`.
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
    """Scores of sessions, and what became of the news.

    Attributes:
        rows: `ROWS`, sorted by ticker and date: of all companies that are named, a row for each session with news.
        items: `item, date, companies, ambiguous, early`: each item with its session, how many companies it is of,
            whether it has a name that may be of several, and whether it was known before the scorer's
            `trained_through` ended.

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
    same title that follow each other within `settings.story_days` the first one alone. What was known on
    `trained_through` or before is counted and not scored: the scorer may know how it went on. A session of which
    nothing is scored has no sentiment, and not 0.

    Args:
        news: `sources.base.NEWS` from `settings.story_days` before the session before `first_day` on.
        names: what companies are called; for items that come without one.
        sessions: datetime64[D] without a gap, the one before `first_day` among them.
        first_day: first day to give rows for.
        settings: cut and stories.
        scores: gives probabilities of shape (n_texts, 3) for titles; None where nobody reads them.
        trained_through: of the scorer; None with `scores`.

    """
    calendar = pl.DataFrame({"date": pl.Series(sessions, dtype=pl.Date)})
    calendar = calendar.with_columns(
        cut=pl.Series(closing_times(sessions), dtype=pl.Datetime("us", "UTC")) - timedelta(minutes=settings.cut_minutes)
    )
    one = stories(news, timedelta(days=settings.story_days))
    one = one.sort("known_at", "item").join_asof(
        calendar.with_columns(pl.col("cut").set_sorted()), left_on="known_at", right_on="cut", strategy="forward"
    )
    one = one.filter(pl.col("date") >= first_day).with_columns(
        _day=pl.col("known_at").dt.convert_time_zone("America/New_York").dt.date()
    )
    of_companies, ambiguous = mentions(one, names)
    early = pl.col("_day") <= pl.lit(trained_through, pl.Date) if trained_through else pl.lit(value=False)
    items = (
        one.unique("item", keep="first", maintain_order=True)
        .join(of_companies.group_by("item").len("companies"), on="item", how="left", maintain_order="left")
        .select(
            "item",
            "date",
            pl.col("title"),
            pl.col("companies").fill_null(0).cast(pl.Int32),
            ambiguous=pl.col("item").is_in(ambiguous.implode()),
            early=early,
        )
    )
    read = items.filter((pl.col("companies") > 0) & ~pl.col("early")) if scores is not None else items.clear()
    titles = read["title"].unique(maintain_order=True)
    found = scores(titles.to_list()) if scores is not None and len(titles) else np.empty((0, 3))
    told = pl.DataFrame({"title": titles, "score": pl.Series(found[:, 2] - found[:, 0], dtype=pl.Float64)})
    of_items = read.join(told, on="title").select("item", "score")
    of_items = items.select("item", "date").join(of_items, on="item", how="left")
    rows = (
        of_companies.join(of_items, on="item")
        .sort("ticker", "date", "item")
        .group_by("ticker", "date", maintain_order=True)
        .agg(
            stories=pl.len().cast(pl.Int32),
            scored=pl.col("score").count().cast(pl.Int32),
            sentiment=pl.col("score").mean(),
            dispersion=pl.col("score").std(ddof=0),
        )
    )
    return Daily(rows.select(list(ROWS)).cast(ROWS), items.drop("title"))


def looks_ahead(rows: pl.DataFrame, trained_through: date | None) -> pl.DataFrame:
    """The rows with a score although their scorer may know what followed, sorted by date and ticker.

    Args:
        rows: dataset `sentiment`.
        trained_through: of the scorer; None where there is none, and nothing can have a score.

    """
    scored = pl.any_horizontal(pl.col("sentiment", "dispersion").is_not_null()) | (pl.col("scored") > 0)
    early = pl.col("date") <= trained_through if trained_through else pl.lit(value=True)
    return rows.filter(scored, early).sort("date", "ticker")


def stories(news: pl.DataFrame, within: timedelta) -> pl.DataFrame:
    """Each story of a company once: of items with the same title that follow each other `within` so long the first one.

    A title is compared in small letters, without signs and without the name of its publisher at its end. Each is
    compared with the one before it, so that news of `within` before a day decide what is new on it.

    Args:
        news: `sources.base.NEWS`.
        within: a title that comes back later is a story of its own.

    Returns:
        Some of the rows, sorted by `known_at` and `item`.

    """
    publisher = pl.concat_str(pl.lit(" - "), pl.col("publisher").fill_null(""))
    words = pl.col("title").str.strip_suffix(publisher).str.to_lowercase().str.replace_all(r"[\W_]+", " ")
    news = news.sort("known_at", "item").with_columns(_words=words.str.strip_chars())
    since = pl.col("known_at") - pl.col("known_at").shift(1).over("ticker", "_words")
    return news.filter(since.is_null() | (since > within)).drop("_words")
