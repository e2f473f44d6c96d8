"""On which sessions two providers of a ticker contradict each other. Who is right is not decided here."""

from itertools import combinations

import polars as pl

from quant_assets.settings import EventSettings


def compare(stepped: pl.DataFrame, settings: EventSettings) -> pl.DataFrame:
    """The total returns of every two providers between consecutive sessions on which both have a clean bar.

    Args:
        stepped: of `steps.with_steps`.
        settings: `disagreement`.

    Returns:
        `ticker`, `date`, `provider` and `other_provider` (the better one first), `since` (Date of the common bar before), `total_return`,
        `other_return`, `difference` (the first less the second, as a ratio: 0.02 are 2 points) and `explanation`, sorted by ticker, date and
        providers. `explanation` is null where they agree, else `event` (either has a split or dividend), `stale_close` (one close
        repeats the one before) or `price`. A ticker's first common bar is absent.

    """
    event = (pl.col("shares") != 1.0) | (pl.col("cash") > 0.0)
    bars = stepped.select(
        "ticker",
        "date",
        "precedence",
        "provider",
        "level",
        key=pl.col("ticker").rle_id().cast(pl.Int64) * 2**24 + pl.col("date").to_physical(),  # joins four times faster than two columns
        event=event & pl.col("shares").is_not_nan(),
        stale=pl.when(pl.col("previous") >= 0).then(pl.col("close") == pl.col("close").gather(pl.col("previous").clip(0))),
    ).filter(pl.col("level").is_not_nan())
    found = [_between(bars, one, other, settings.disagreement) for one, other in combinations(bars["precedence"].unique().sort(), 2)]
    none = _between(bars.clear(), 0, 0, settings.disagreement)
    return pl.concat([none, *found]).sort("ticker", "date", "provider", "other_provider")


def _between(bars: pl.DataFrame, one: int, other: int, points: float) -> pl.DataFrame:
    first, second = (bars.filter(pl.col("precedence") == each).drop("precedence") for each in (one, other))
    both = first.join(second.drop("ticker", "date"), on="key", suffix="_2", maintain_order="left")
    explanation = (
        pl.when(pl.col("difference").abs() <= points)
        .then(None)
        .when(pl.col("event") | pl.col("event_2"))
        .then(pl.lit("event"))
        .when(pl.col("stale").fill_null(False) | pl.col("stale_2").fill_null(False))
        .then(pl.lit("stale_close"))
        .otherwise(pl.lit("price"))
    )
    returns = both.with_columns(
        since=pl.when(pl.col("ticker") == pl.col("ticker").shift()).then(pl.col("date").shift()),
        total_return=pl.col("level") / pl.col("level").shift() - 1.0,
        other_return=pl.col("level_2") / pl.col("level_2").shift() - 1.0,
    ).drop_nulls("since")
    return returns.with_columns(difference=pl.col("total_return") - pl.col("other_return")).select(
        "ticker",
        "date",
        "provider",
        pl.col("provider_2").alias("other_provider"),
        "since",
        "total_return",
        "other_return",
        "difference",
        explanation.alias("explanation"),
    )


def by_ticker(compared: pl.DataFrame) -> pl.DataFrame:
    """How often two providers disagree on a ticker.

    Args:
        compared: rows of `compare`.

    Returns:
        `ticker`, `provider`, `other_provider`, `compared` (bars), `disagreements`, `worst` (the largest difference, signed) and
        `worst_date`, of the tickers with a disagreement, the most first.

    """
    key = ["ticker", "provider", "other_provider"]
    counted = compared.group_by(key).agg(compared=pl.len())
    apart = compared.drop_nulls("explanation")
    worst = pl.col("difference").abs().arg_max()
    found = apart.group_by(key).agg(
        disagreements=pl.len(), worst=pl.col("difference").get(worst), worst_date=pl.col("date").get(worst)
    )
    ordered = counted.join(found, on=key).sort("disagreements", *key, descending=[True, False, False, False])
    return ordered.select(*key, "compared", "disagreements", "worst", "worst_date")
