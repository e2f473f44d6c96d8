"""Features of news sentiment, from dataset `sentiment`: windows of sessions that end with the row's own.

Null if a window has no scored news: news from before the end of the scorer's training are never scored, and no news is
not neutral news. A ticker's news from before it moved into the sector are not used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.windows.declarations import Declared


@dataclass(frozen=True, eq=False)
class SentimentFeature(Declared[pl.Expr]):
    """A figure over the stories of a window.

    `lookback` counts the sessions before the row's own. `compute` aggregates the inputs, which are columns of dataset
    `sentiment`, over the window's sessions with news, in order.
    """


def _mean(sessions: int) -> SentimentFeature:
    weight = pl.col("scored").cast(pl.Float64)
    return SentimentFeature(
        f"news_sentiment_{sessions}",
        ("sentiment", "scored"),
        sessions - 1,
        (pl.col("sentiment") * weight).sum() / weight.sum(),
        f"mean of P(positive) less P(negative) over the scored stories of the last {sessions} sessions",
        ge=-1.0,
        le=1.0,
    )


FEATURES: tuple[SentimentFeature, ...] = (
    _mean(1),
    _mean(5),
    _mean(20),
    SentimentFeature(
        "news_dispersion_20",
        ("sentiment", "dispersion", "scored"),
        19,
        (
            (pl.col("scored") * (pl.col("dispersion") ** 2 + pl.col("sentiment") ** 2)).sum() / pl.col("scored").sum()
            - ((pl.col("scored") * pl.col("sentiment")).sum() / pl.col("scored").sum()) ** 2
        )
        .clip(lower_bound=0.0)
        .sqrt(),
        "standard deviation of P(positive) less P(negative) over the scored stories of the last 20 sessions",
        ge=0.0,
        le=1.0,
    ),
    SentimentFeature(
        "news_stories_20",
        ("scored",),
        19,
        pl.col("scored").sum().cast(pl.Float64),
        "scored stories of the last 20 sessions; null where there is none",
        "stories",
        gt=0.0,
    ),
)


def news_features(
    rows: pl.DataFrame,
    sentiment: pl.DataFrame,
    features: Sequence[SentimentFeature],
    sessions: NDArray[np.datetime64],
) -> pl.DataFrame:
    """News features of rows, from the sessions of their windows alone.

    Args:
        rows: `ticker, date`.
        sentiment: dataset `sentiment` of the sector, from the longest lookback before the first row on.
        features: the features to compute.
        sessions: datetime64[D] without a gap, from that lookback before the first row (or from the start of the
            history) to the last row.

    Returns:
        `ticker, date` and the features, for the rows of tickers with scored news.

    """
    places = pl.DataFrame({"date": pl.Series(sessions, dtype=pl.Date)}).with_row_index("_place")
    scored = sentiment.filter(pl.col("scored") > 0).join(places, on="date").sort("ticker", "date")
    result = rows.select("ticker", "date").join(scored.select("ticker").unique(), on="ticker", how="semi")
    for lookback in sorted({feature.lookback for feature in features}):
        own = [feature for feature in features if feature.lookback == lookback]
        inputs = list(dict.fromkeys(name for feature in own for name in feature.inputs))
        # A row of news belongs to the windows that end at its session or up to `lookback` sessions later.
        windows = (
            scored.select("ticker", "_place", *inputs)
            .with_columns(_of=pl.int_ranges(pl.col("_place"), pl.col("_place") + lookback + 1, dtype=pl.UInt32))
            .explode("_of")
            .sort("ticker", "_of", "_place")
            .group_by("ticker", "_of", maintain_order=True)
            .agg(feature.compute.alias(feature.name) for feature in own)
        )
        of_days = windows.join(places.rename({"_place": "_of"}), on="_of").drop("_of")
        result = result.join(of_days, on=["ticker", "date"], how="left", maintain_order="left")
    return result
