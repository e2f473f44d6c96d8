"""Dataset `candidates`: the sector's long and short names by selection score at each decision session."""

import math
from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from quant_assets.market.panel import FloatArray
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import CandidateSettings

#: Decimals of a selection score, in standard deviations: coarser than rounding errors, finer than any meaningful
#: difference.
_DECIMALS = 9


def standardise(values: FloatArray, method: str) -> FloatArray:
    """Cross-sectional scores with mean 0 and standard deviation 1 (ddof 1) over the observed values.

    Args:
        values: float64 of shape (n_names,), NaN where missing.
        method: "zscore" of the values, or "rank": of their ranks, with the mean rank for ties.

    Returns:
        float64 of shape (n_names,). A missing value scores 0, the neutral middle; all are 0 if the values do not vary.

    """
    scores = np.zeros(len(values))
    observed = ~np.isnan(values)
    sample = values[observed]
    if len(sample) < 2 or sample.min() == sample.max():
        return scores
    if method == "rank":
        sample = pl.Series(sample).rank("average").to_numpy()
    # fsum rounds once, so the order of the names does not matter.
    deviations = sample - math.fsum(sample) / len(sample)
    deviation = math.sqrt(math.fsum(deviations**2) / (len(sample) - 1))
    if deviation > 0.0:
        scores[observed] = deviations / deviation
    return scores


def rules(settings: CandidateSettings) -> dict[str, pl.Expr]:
    """Conditions for a row of indicators to be eligible, by the reason for its exclusion otherwise, in order.

    A name is excluded from both sides with `unexplained_move` while its momentum, moving average or slope reach back to
    an unexplained step of the price.
    """
    volatility, known = pl.col("garch_volatility"), pl.col("garch_volatility").is_not_null()
    passes = {"pass": pl.lit(True), "young": pl.col("garch_status") == "too_young", "refuse": pl.lit(False)}
    return {
        "short_history": pl.col("history_sessions") >= settings.min_history_sessions,
        "illiquid": (pl.col("dollar_volume") >= settings.min_dollar_volume).fill_null(True),
        "momentum_unknown": pl.col("momentum").is_not_null(),
        "slope_unknown": pl.col("ma_slope").is_not_null(),
        "unexplained_move": pl.col("unexplained_sessions").is_null(),
        "volatility_unknown": known | passes[settings.unknown_volatility].fill_null(False),
        "volatility_outside": volatility.is_between(settings.min_volatility, settings.max_volatility).fill_null(True),
    }


def scores(
    indicators: pl.DataFrame, universe: pl.DataFrame, as_ofs: Sequence[date], settings: CandidateSettings
) -> pl.DataFrame:
    """Selection score and its parts of every name that passes the filters, at each decision session.

    composite = momentum_weight * momentum + moving_average_weight * slope + volatility_weight * (low volatility), each
    part standardised across the eligible names of the sector on that session, so that weights are comparable. It is
    rounded to 9 decimals: names that differ only by rounding errors (common with ranks) are tied.

    A name that meets all of `rules` is eligible.

    Args:
        indicators: dataset indicators.
        universe: dataset universe.
        as_ofs: decision sessions. One without an eligible name has no rows.
        settings: weights, filters.

    Returns:
        The columns of dataset candidates without side and rank, sorted by as_of and ticker.

    """
    decided = pl.col("date").is_in(list(as_ofs))
    members = universe.filter(decided).group_by(as_of="date").agg(universe_count=pl.len().cast(pl.Int32))
    eligible = (
        indicators.filter(
            decided,
            *rules(settings).values(),
        )
        .select("ticker", "momentum", "ma_slope", -pl.col("garch_volatility"), as_of="date")
        .join(members, on="as_of", how="left")
        .sort("as_of", "ticker")
    )
    ends = np.cumsum(eligible["as_of"].rle().struct.field("len").to_numpy())
    parts = {
        "momentum_score": ("momentum", settings.momentum_weight),
        "ma_slope_score": ("ma_slope", settings.moving_average_weight),
        "volatility_score": ("garch_volatility", settings.volatility_weight),
    }
    composite, columns = np.zeros(eligible.height), {}
    for name, (source, weight) in parts.items():
        sessions = np.split(eligible[source].fill_null(np.nan).to_numpy(), ends)
        columns[name] = np.concatenate([standardise(values, settings.standardise) for values in sessions])
        composite += weight * columns[name]
    return eligible.select(
        "ticker",
        "as_of",
        pl.Series("composite_score", np.round(composite, _DECIMALS) + 0.0),  # minus zero becomes zero
        *(pl.Series(name, values) for name, values in columns.items()),
        pl.col("universe_count").fill_null(0),
        eligible_count=pl.len().over("as_of").cast(pl.Int32),
    )


def select(scored: pl.DataFrame, settings: CandidateSettings) -> pl.DataFrame:
    """Best and worst names of each decision session by selection score.

    The best `long_fraction` of the eligible names (rounded down, at least one) are long; of the rest, the worst
    `short_fraction` of the eligible names (rounded in the same way) are short; none if only one name is eligible. Ties
    go to the first ticker in the alphabet.

    Args:
        scored: result of `scores`.
        settings: fractions.

    Returns:
        Dataset candidates without `sector`, sorted by ticker and as_of.

    """
    longs = _first(
        scored.sort("as_of", "composite_score", "ticker", descending=[False, True, False]), settings.long_fraction
    )
    rest = scored.join(longs, on=["as_of", "ticker"], how="anti")
    shorts = _first(rest.sort("as_of", "composite_score", "ticker"), settings.short_fraction)
    sides = [side.with_columns(candidate_type=pl.lit(name)) for name, side in (("long", longs), ("short", shorts))]
    return pl.concat(sides).select(list(DATASETS["candidates"].schema)).sort("ticker", "as_of")


def candidates(
    indicators: pl.DataFrame, universe: pl.DataFrame, as_ofs: Sequence[date], settings: CandidateSettings
) -> pl.DataFrame:
    """Dataset candidates without `sector`: `select` of `scores`."""
    return select(scores(indicators, universe, as_ofs, settings), settings)


def exclusions(
    indicators: pl.DataFrame, universe: pl.DataFrame, as_ofs: Sequence[date], settings: CandidateSettings
) -> pl.DataFrame:
    """Members that are not eligible, with the first reason that applies; arguments as for `scores`.

    Returns:
        Sorted `as_of, ticker, reason`. The reasons are those of `rules`, and `no_bar` if the decision session has no
        bar.

    """
    on = ["as_of", "ticker"]
    decided = pl.col("date").is_in(list(as_ofs))
    reasons = [pl.when(~holds).then(pl.lit(reason)) for reason, holds in rules(settings).items()]
    judged = indicators.filter(decided).select("ticker", as_of="date", reason=pl.coalesce(reasons), judged=pl.lit(True))
    members = universe.filter(decided).select("ticker", as_of="date").join(judged, on=on, how="left")
    without = pl.when(pl.col("judged").is_null()).then(pl.lit("no_bar")).otherwise("reason")
    return members.select(*on, without.alias("reason")).drop_nulls("reason").sort(*on)


def _first(ordered: pl.DataFrame, fraction: float) -> pl.DataFrame:
    """The first names of each session with their rank: this fraction of the eligible names."""
    # 0.29 * 100 is 28.999999999999996: rounding must not lose a name.
    count = (fraction * pl.col("eligible_count") + 1e-9).floor().clip(lower_bound=1.0)
    ranked = ordered.with_columns(selection_rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("as_of"))
    return ranked.filter(pl.col("selection_rank") <= count)
