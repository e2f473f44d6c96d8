"""Sessions on which two providers of a ticker disagree. Which one is right is not decided here.

`market.events` repairs events and `market.quarantine` refuses disputed stale closes; all other disagreements are only
listed. Two different returns do not show which is wrong, the better provider is right more often, and the proof, a
return to the level before, comes later: a vendor that gave APTV adjusted prices on some days and unadjusted ones on
others from 2017-11-16 to 2017-12-04 can be distinguished from a real fall of 15 % only on the day after.
"""

from itertools import combinations

import numpy as np
import polars as pl

from quant_assets.market.delistings import company_day
from quant_assets.settings.domain import EventSettings

COMPARED = pl.Schema(
    {
        "ticker": pl.String,
        "date": pl.Date,
        "provider": pl.String,
        "other_provider": pl.String,
        "since": pl.Date,
        "total_return": pl.Float64,
        "other_return": pl.Float64,
        "difference": pl.Float64,
        "explanation": pl.String,
    }
)


def compare(stepped: pl.DataFrame, settings: EventSettings) -> pl.DataFrame:
    """Total returns of every two providers between consecutive sessions on which both have a clean bar.

    Args:
        stepped: result of `steps.with_steps`.
        settings: `disagreement`.

    Returns:
        `ticker`, `date`, `provider` and `other_provider` (the better one first), `since` (Date of the common bar
        before), `total_return`, `other_return`, `difference` (the first less the second, as a ratio: 0.02 is 2 points)
        and `explanation` (null if they agree, else `event`: one has a split or dividend; `stale_close`: one repeats the
        close before; or `price`), sorted by pair, ticker and date. A ticker's first common bar is absent.

    """
    steps = stepped.select(
        "precedence",
        "level",
        day=company_day(stepped),
        event=((pl.col("shares") != 1.0) | (pl.col("cash") > 0.0)) & pl.col("shares").is_not_nan(),
        stale=(pl.col("previous") >= 0) & (pl.col("close") == pl.col("close").gather(pl.col("previous").clip(0))),
    )
    precedence, day, level = (steps[name].to_numpy() for name in ("precedence", "day", "level"))
    explained = steps.select("event", "stale").to_numpy()
    clean = ~np.isnan(level)
    places = steps["precedence"].unique().sort().to_list()
    frames = []
    for pair in combinations(places, 2):
        one, other = (np.flatnonzero(clean & (precedence == place)) for place in pair)
        _, first, second = np.intersect1d(day[one], day[other], assume_unique=True, return_indices=True)
        one, other = one[first], other[second]
        same = np.flatnonzero(day[one[1:]] >> 24 == day[one[:-1]] >> 24)
        before, other_before, one, other = one[same], other[same], one[same + 1], other[same + 1]
        returns = level[one] / level[before] - 1.0
        other_returns = level[other] / level[other_before] - 1.0
        event, stale = (explained[one] | explained[other]).T
        explanation = (
            pl.when("event").then(pl.lit("event")).when("stale").then(pl.lit("stale_close")).otherwise(pl.lit("price"))
        )
        frames.append(
            pl.DataFrame(
                {
                    "ticker": stepped["ticker"][one],
                    "date": stepped["date"][one],
                    "provider": stepped["provider"][one],
                    "other_provider": stepped["provider"][other],
                    "since": stepped["date"][before],
                    "total_return": returns,
                    "other_return": other_returns,
                    "difference": returns - other_returns,
                    "event": event,
                    "stale": stale,
                }
            )
            .with_columns(explanation=pl.when(pl.col("difference").abs() > settings.disagreement).then(explanation))
            .drop("event", "stale")
        )
    return pl.concat([pl.DataFrame(schema=COMPARED), *frames])


def by_ticker(compared: pl.DataFrame) -> pl.DataFrame:
    """Number of disagreements of two providers on a ticker.

    Args:
        compared: rows of `compare`.

    Returns:
        `ticker`, `provider`, `other_provider`, `compared` (bars), `disagreements`, `worst` (the largest difference,
        signed) and `worst_date`, for the tickers with a disagreement, those with the most first.

    """
    key = ["ticker", "provider", "other_provider"]
    counted = compared.group_by(key).agg(compared=pl.len())
    apart = compared.drop_nulls("explanation")
    worst = pl.col("difference").abs().arg_max()
    worst_bars = apart.group_by(key).agg(
        disagreements=pl.len(), worst=pl.col("difference").get(worst), worst_date=pl.col("date").get(worst)
    )
    ordered = counted.join(worst_bars, on=key).sort("disagreements", *key, descending=[True, False, False, False])
    return ordered.select(*key, "compared", "disagreements", "worst", "worst_date")
