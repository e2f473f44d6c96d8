"""Dataset `candidates`: the sector's long and short names by composite score at each decision session."""

import math
from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from quant_assets.market.panel import FloatArray
from quant_assets.schemas import DATASETS
from quant_assets.settings import CandidateSettings


def standardise(values: FloatArray, method: str) -> FloatArray:
    """Cross-sectional scores with mean 0 and standard deviation 1 (ddof 1) over the observed values.

    Args:
        values: float64 of shape (n_names,), NaN where missing.
        method: "zscore" of the values, or "rank": of their ranks, ties sharing their mean rank.

    Returns:
        float64 of shape (n_names,). A missing value scores 0, the neutral middle; all are 0 where the values do not vary.

    """
    scores = np.zeros(len(values))
    observed = ~np.isnan(values)
    sample = values[observed]
    if len(sample) < 2 or sample.min() == sample.max():
        return scores
    if method == "rank":
        sample = pl.Series(sample).rank("average").to_numpy()
    # fsum rounds once, so the order of the names cannot matter.
    deviations = sample - math.fsum(sample) / len(sample)
    deviation = math.sqrt(math.fsum(deviations**2) / (len(sample) - 1))
    if deviation > 0.0:
        scores[observed] = deviations / deviation
    return scores


def candidates(indicators: pl.DataFrame, universe: pl.DataFrame, as_ofs: Sequence[date], settings: CandidateSettings) -> pl.DataFrame:
    """Best and worst names by composite score among those that pass the filters.

    composite = momentum_weight * momentum + moving_average_weight * slope + volatility_weight * (low volatility), each part
    standardised across the eligible names of the sector on that session, so that a weight means the same for every part.

    Eligible: enough history, momentum and slope known, dollar volume large enough or unknown, GARCH volatility inside the band or
    unknown. The best `long_fraction` of the eligible names (rounded down, at least one) are long. As many of `short_fraction`
    are short, the worst of those that are left; none where only one name is eligible. Ties go to the ticker that comes first
    in the alphabet.

    Args:
        indicators: dataset indicators.
        universe: dataset universe.
        as_ofs: decision sessions. One without an eligible name gives no rows.
        settings: weights, filters, fractions.

    Returns:
        Dataset candidates without `sector`, sorted by ticker and as_of.

    """
    columns = DATASETS["candidates"].schema
    decided = [_decide(indicators.filter(pl.col("date") == day), universe.filter(pl.col("date") == day).height, settings) for day in as_ofs]
    return pl.concat([pl.DataFrame(schema=columns), *(rows.select(list(columns)) for rows in decided)]).sort("ticker", "as_of")


def _decide(rows: pl.DataFrame, members: int, settings: CandidateSettings) -> pl.DataFrame:
    eligible = rows.filter(
        pl.col("history_sessions") >= settings.min_history_sessions,
        (pl.col("dollar_volume") >= settings.min_dollar_volume).fill_null(True),
        pl.col("momentum").is_not_null(),
        pl.col("ma_slope").is_not_null(),
        pl.col("garch_volatility").is_between(settings.min_volatility, settings.max_volatility).fill_null(True),
    ).sort("ticker")
    parts = {
        "momentum_score": (eligible["momentum"], settings.momentum_weight),
        "ma_slope_score": (eligible["ma_slope"], settings.moving_average_weight),
        "volatility_score": (-eligible["garch_volatility"], settings.volatility_weight),
    }
    scores = {name: standardise(part.fill_null(np.nan).to_numpy(), settings.standardise) for name, (part, _) in parts.items()}
    composite = np.zeros(eligible.height)
    for name, (_, weight) in parts.items():
        composite += weight * scores[name]
    scored = eligible.select("ticker", as_of="date").with_columns(
        composite_score=pl.Series(composite, dtype=pl.Float64),
        universe_count=pl.lit(members, pl.Int32),
        eligible_count=pl.lit(eligible.height, pl.Int32),
        **{name: pl.Series(values, dtype=pl.Float64) for name, values in scores.items()},
    )
    longs = scored.sort("composite_score", "ticker", descending=[True, False]).head(_count(settings.long_fraction, eligible.height))
    rest = scored.join(longs, on="ticker", how="anti")
    shorts = rest.sort("composite_score", "ticker").head(_count(settings.short_fraction, eligible.height))
    return pl.concat(
        side.with_columns(candidate_type=pl.lit(name), selection_rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32))
        for name, side in (("long", longs), ("short", shorts))
    )


def _count(fraction: float, eligible: int) -> int:
    # 0.29 * 100 is 28.999999999999996: what is a whole number up to rounding must not lose a name.
    return max(1, math.floor(fraction * eligible + 1e-9))
