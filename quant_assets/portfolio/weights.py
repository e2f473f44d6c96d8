"""Weights of one sector: the choice of candidates, long and short, and the inputs of the optimisers.

The optimisers are in optimisers/, their limits in book.py, shares between sectors in allocation.py.
"""

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import date

import numpy as np
import polars as pl

from quant_assets.errors import HistoryError, InfeasibleError
from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.book import book_limits, short_side
from quant_assets.portfolio.covariances import Window, covariance, scenarios
from quant_assets.portfolio.fitting import DUST, filled
from quant_assets.portfolio.history import History, needs_betas, needs_history, needs_previous
from quant_assets.portfolio.optimisers import Outlook, optimiser
from quant_assets.portfolio.turnover import moved_within
from quant_assets.schemas import DATASETS
from quant_assets.settings.weights import WeightSettings

SESSIONS_PER_YEAR = 252


def usable_volatility(volatility: FloatArray) -> FloatArray:
    """Replace a missing (NaN) or zero volatility by the median of the usable ones.

    Args:
        volatility: annualised volatilities of shape (n_names,), NaN where missing.

    Returns:
        Array of the same shape; all NaN where none is usable.

    """
    usable = np.isfinite(volatility) & (volatility > 0)
    if not usable.any():
        return np.full(len(volatility), np.nan)
    return np.where(usable, volatility, np.median(volatility[usable]))


def cap_weights(weights: FloatArray, max_weight: float) -> FloatArray:
    """Cap weights; names below the cap share the excess in proportion to their weights, until none is above the cap.

    Args:
        weights: positive weights of shape (n_names,) that sum to 1.
        max_weight: largest weight of a name.

    Returns:
        Weights of the same shape, summing to 1 within 1e-12; with fewer names than 1 / max_weight all are at the cap,
        and the rest is cash.

    """
    return filled(weights, np.zeros(len(weights)), np.full(len(weights), max_weight), 1.0)


def sector_weights(
    candidates: pl.DataFrame,
    predictions: pl.DataFrame,
    indicators: pl.DataFrame,
    as_ofs: Iterable[date],
    settings: WeightSettings,
    history: History | None = None,
    previous: pl.DataFrame | None = None,
    entry_lag: int = 1,
) -> pl.DataFrame:
    """Weights decided at each as_of among that month's candidates.

    Long holdings are the best `top_n` long candidates by the prediction of `horizon` at as_of; short holdings, if the
    book has shorts, the worst short candidates. If no candidate has a prediction (no model yet), the selection score
    ranks them, and `score_source` says so; if only some have one, the others are left out, because the two scores have
    different units. Equal scores are ordered by ticker.

    Weights come from the optimiser `method` within the limits of the settings (`book.book_limits`). A missing GARCH
    volatility at as_of counts as the median of the chosen names, and is null where all are missing. A decision without
    names, or without feasible weights, has no rows.

    Args:
        candidates: dataset candidates.
        predictions: dataset predictions; only rows dated as_of are read.
        indicators: dataset indicators; only rows dated as_of are read.
        as_ofs: decision sessions, of consecutive months where a decision depends on the decision before.
        settings: number of names, model (may be omitted where there is only one), horizon, optimiser, limits.
        history: the sessions before, required by some settings (`history.needs_history`).
        previous: dataset weights with the decision of the month before the first as_of, None without holdings.
        entry_lag: sessions from decision to execution.

    Returns:
        Dataset weights, sorted by ticker and as_of.

    Raises:
        HistoryError: the settings need the sessions before, and `history` is None.
        InfeasibleError: the limits cannot hold together; names them and the decision.

    """
    if history is None and needs_history(settings):
        raise HistoryError(
            f"weights.method {settings.method} with these limits depends on the sessions before a decision; pass them"
        )
    held = _last_decision(previous)
    decided = []
    with nullcontext() if history is None else _one_thread():
        for as_of in sorted(set(as_ofs)):
            chosen = _chosen(candidates, predictions, indicators, as_of, settings)
            before: dict[str, float] = {}
            if history is not None and needs_previous(settings) and held is not None:
                before = history.drifted(held[1], held[0], as_of, entry_lag)
            try:
                rows = _decide(chosen, indicators, as_of, settings, history, before)
            except InfeasibleError as error:
                raise InfeasibleError(f"weights of {as_of}: {error}") from None
            held = as_of, dict(rows.sort("ticker").select("ticker", "weight").iter_rows())
            decided.append(rows)
    schema = DATASETS["weights"].schema
    return pl.concat(
        [pl.DataFrame(schema=schema), *(d.select(list(schema)).cast(schema) for d in decided if len(d))]
    ).sort("ticker", "as_of")


def _one_thread() -> AbstractContextManager[object]:
    """One thread: the rounding of a product depends on the number of threads."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")  # type: ignore[no-any-return]


def _last_decision(previous: pl.DataFrame | None) -> tuple[date, dict[str, float]] | None:
    """The newest decision of a frame, and its weights."""
    if previous is None or previous.is_empty():
        return None
    newest = previous["as_of"].max()
    assert isinstance(newest, date)  # noqa: S101 - the column has that type and rows
    rows = previous.filter(pl.col("as_of") == newest).sort("ticker")
    return newest, dict(rows.select("ticker", "weight").iter_rows())


def _chosen(
    candidates: pl.DataFrame,
    predictions: pl.DataFrame,
    indicators: pl.DataFrame,
    as_of: date,
    settings: WeightSettings,
) -> pl.DataFrame:
    """The names of one decision in order of their rank.

    Columns: `ticker, as_of, candidate_type, score, score_source, rank, volatility`, `confidence` in the score and the
    names' `dollar_volume`, both null where unknown.
    """
    of_model = pl.lit(True) if settings.model is None else pl.col("model") == settings.model
    confidence = pl.col("confidence") if "confidence" in predictions.columns else pl.lit(None, pl.Float64)
    forecasts = predictions.filter(
        (pl.col("horizon") == settings.horizon) & of_model & (pl.col("date") == as_of)
    ).select("ticker", pl.col("prediction").fill_nan(None), confidence.alias("confidence"))
    volume = pl.col("dollar_volume") if "dollar_volume" in indicators.columns else pl.lit(None, pl.Float64)
    figures = indicators.filter(pl.col("date") == as_of).select(
        "ticker", pl.col("garch_volatility"), volume.alias("dollar_volume")
    )
    sides = ("long", "short") if short_side(settings) else ("long",)
    names = (
        candidates.filter((pl.col("as_of") == as_of) & pl.col("candidate_type").is_in(sides))
        .select("ticker", "as_of", "candidate_type", pl.col("composite_score").fill_nan(None))
        .join(forecasts, on="ticker", how="left", validate="m:1")
        .join(figures, on="ticker", how="left", validate="m:1")
    )
    source = "prediction" if names["prediction"].is_not_null().any() else "composite_score"
    scored = names.with_columns(score=source, score_source=pl.lit(source)).drop_nulls("score")
    longs = scored.filter(pl.col("candidate_type") == "long").sort("score", "ticker", descending=[True, False])
    shorts = scored.filter(pl.col("candidate_type") == "short").sort("score", "ticker")
    chosen = pl.concat([longs.head(settings.top_n), shorts.head(settings.top_n)])
    volatility = usable_volatility(chosen["garch_volatility"].cast(pl.Float64).fill_null(np.nan).to_numpy())
    forecast = pl.Series(volatility, dtype=pl.Float64, nan_to_null=True)
    return chosen.with_columns(rank=pl.int_range(1, pl.len() + 1), volatility=forecast)


def _decide(
    chosen: pl.DataFrame,
    indicators: pl.DataFrame,
    as_of: date,
    settings: WeightSettings,
    history: History | None,
    before: dict[str, float],
) -> pl.DataFrame:
    """Weights of one decision; `before` are the holdings before it."""
    if chosen.is_empty() and not before:
        return chosen.with_columns(weight=pl.lit(None, pl.Float64))
    tickers = chosen["ticker"].to_list()
    weights = np.zeros(0)
    if tickers:
        volatility = chosen["volatility"].fill_null(np.nan).to_numpy()
        matrix, window, betas = _estimated(tickers, as_of, volatility, settings, history)
        limits = book_limits(chosen, settings, betas)
        solution = optimiser(settings).weights(
            matrix,
            _outlook(chosen, matrix, window, settings),
            limits,
            np.array([before.get(name, 0.0) for name in tickers]),
        )
        weights = solution + 0.0  # minus zero becomes zero
    result = chosen.with_columns(weight=pl.Series(weights, dtype=pl.Float64))
    if before and settings.constraints.max_turnover is not None:
        today = indicators.filter(pl.col("date") == as_of)
        result = moved_within(result, before, today, as_of, settings, history)
    return result.filter(pl.col("weight").abs() > DUST * 1e-3).with_columns(rank=pl.int_range(1, pl.len() + 1))


def _estimated(
    tickers: list[str], as_of: date, volatility: FloatArray, settings: WeightSettings, history: History | None
) -> tuple[FloatArray, Window | None, FloatArray | None]:
    """Covariance per year, its window, and betas; the last two None where they are not used."""
    deviation = np.where(np.isfinite(volatility), volatility, 1.0)  # none is known: all equal
    of_window = optimiser(settings).needs_covariance
    if history is None or not (of_window or needs_betas(settings)):
        return np.diag(deviation * deviation), None, None
    estimate = settings.covariance
    window = history.window(tickers, as_of, estimate.sessions, volatility=of_window and estimate.of_garch)
    betas = history.betas(window, estimate.min_observations) if needs_betas(settings) else None
    return covariance(window, estimate) if of_window else np.diag(deviation * deviation), window, betas


def _outlook(chosen: pl.DataFrame, matrix: FloatArray, window: Window | None, settings: WeightSettings) -> Outlook:
    """Expected returns per year from the scores, and scenarios where there is a window.

    A forecast return counts once for each horizon of the year. A selection score z, in standard deviations, is
    `skill` times the name's deviation over the horizon times z (Grinold and Kahn 1999, Active Portfolio Management,
    equation 6.1).
    """
    score = chosen["score"].to_numpy().astype(np.float64)
    periods = SESSIONS_PER_YEAR / settings.horizon
    predicted = chosen["score_source"][0] == "prediction"
    deviation = np.sqrt(np.diag(matrix))
    expected = score * periods if predicted else settings.skill * deviation * score * math.sqrt(periods)
    sure = chosen["confidence"].cast(pl.Float64)
    confidence = sure.to_numpy() if predicted and not sure.null_count() else None
    sessions = None if window is None else scenarios(window, settings.covariance.min_observations)
    return Outlook(expected, confidence, sessions)
