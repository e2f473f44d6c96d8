"""Metrics of forecasts: errors, direction, and information coefficients with standard errors; null where undefined."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import DatasetError
from quant_assets.market.calendar import session_number
from quant_assets.market.panel import FloatArray

#: Least number of names for a correlation.
MIN_NAMES = 3

#: Share of the names that `best_returns` holds.
BEST_SHARE = 0.2


@dataclass(frozen=True)
class Metrics:
    """Metrics of a set of forecasts; None where undefined. Returns are ratios (0.01 is one percent).

    Attributes:
        rows: forecasts judged.
        rmse: root mean squared error.
        mae: mean absolute error.
        r2: 1 - residual over total sum of squares about the mean outcome; below 0 where that mean is a better forecast.
        direction_accuracy: share of rows with a non-zero outcome whose forecast has the same sign.
        ic_dates: dates on which a correlation is defined.
        ic: mean over these dates of the Pearson correlation across names.
        ic_standard_error: its standard error, see `standard_error`.
        rank_ic: the same with Spearman's correlation.
        rank_ic_standard_error: its standard error.
        quantile_spread: mean over the dates of the best fifth's mean outcome less the worst fifth's (`spreads`).
        quantile_spread_standard_error: its standard error.
        turnover: mean share of the best fifth's names that were not in it on the previous date.

    """

    rows: int
    rmse: float | None
    mae: float | None
    r2: float | None
    direction_accuracy: float | None
    ic_dates: int
    ic: float | None
    ic_standard_error: float | None
    rank_ic: float | None
    rank_ic_standard_error: float | None
    quantile_spread: float | None
    quantile_spread_standard_error: float | None
    turnover: float | None


def evaluate(frame: pl.DataFrame, overlap_sessions: int = 1) -> Metrics:
    """Judge forecasts against outcomes.

    Args:
        frame: `ticker`, `date`, `prediction`, `forward_return`, one row for each ticker and date, in any order.
        overlap_sessions: sessions over which the outcomes of neighbouring dates overlap: the horizon.

    Raises:
        DatasetError: a prediction or outcome is missing.

    """
    return measured(frame, overlap_sessions)[0]


def measured(frame: pl.DataFrame, overlap_sessions: int = 1) -> tuple[Metrics, pl.DataFrame, pl.DataFrame]:
    """The results of `evaluate`, `daily_ic` and `spreads` at once; arguments and errors as in `evaluate`."""
    frame = _checked(frame)
    prediction, outcome = frame["prediction"].to_numpy(), frame["forward_return"].to_numpy()
    residual = outcome - prediction
    moved = outcome != 0
    total = float(((outcome - outcome.mean()) ** 2).sum()) if len(outcome) else 0.0
    daily, spread = _daily_ic(frame), _spreads(frame)
    dates = daily["date"].to_numpy()
    ic, rank_ic = daily["ic"].to_numpy(), daily["rank_ic"].to_numpy()
    differences = spread["spread"].to_numpy()
    metrics = Metrics(
        rows=len(frame),
        rmse=math.sqrt(float((residual**2).mean())) if len(frame) else None,
        mae=float(np.abs(residual).mean()) if len(frame) else None,
        r2=1 - float((residual**2).sum()) / total if total > 0 else None,
        direction_accuracy=float((np.sign(prediction[moved]) == np.sign(outcome[moved])).mean())
        if moved.any()
        else None,
        ic_dates=len(daily),
        ic=float(ic.mean()) if len(ic) else None,
        ic_standard_error=standard_error(ic, dates, overlap_sessions),
        rank_ic=float(rank_ic.mean()) if len(rank_ic) else None,
        rank_ic_standard_error=standard_error(rank_ic, dates, overlap_sessions),
        quantile_spread=float(differences.mean()) if len(spread) else None,
        quantile_spread_standard_error=standard_error(differences, spread["date"].to_numpy(), overlap_sessions),
        turnover=spread["turnover"].mean(),  # type: ignore[arg-type]
    )
    return metrics, daily, spread


def daily_ic(frame: pl.DataFrame) -> pl.DataFrame:
    """Information coefficient of each date: correlation across names of prediction and outcome.

    A date with fewer than three names, or on which the predictions or the outcomes are all equal, is left out.

    Args:
        frame: as in `evaluate`.

    Returns:
        `date`, `names`, `ic` (Pearson), `rank_ic` (Spearman, ties get their mean rank), sorted by date.

    References:
        Grinold and Kahn (2000), Active Portfolio Management, chapter 6.

    """
    return _daily_ic(_checked(frame))


def _daily_ic(frame: pl.DataFrame) -> pl.DataFrame:
    frame = frame.with_columns(
        prediction_rank=pl.col("prediction").rank("average").over("date"),
        outcome_rank=pl.col("forward_return").rank("average").over("date"),
    )
    days, first, counts = np.unique(frame["date"].to_numpy(), return_index=True, return_counts=True)
    columns = [frame[name].to_numpy() for name in ("prediction", "forward_return", "prediction_rank", "outcome_rank")]
    ic, rank_ic = np.full(len(days), np.nan), np.full(len(days), np.nan)
    for count in np.unique(counts[counts >= MIN_NAMES]).tolist():
        # All dates with the same number of names at once, one row per date; each row is summed by itself.
        at = np.flatnonzero(counts == count)
        places = first[at][:, None] + np.arange(count)
        prediction, outcome, prediction_rank, outcome_rank = (column[places] for column in columns)
        ic[at], rank_ic[at] = _correlations(prediction, outcome), _correlations(prediction_rank, outcome_rank)
    defined = ~np.isnan(ic)
    return pl.DataFrame(
        {"date": days[defined], "names": counts[defined], "ic": ic[defined], "rank_ic": rank_ic[defined]},
        schema={"date": pl.Date, "names": pl.Int32, "ic": pl.Float64, "rank_ic": pl.Float64},
    )


def best_returns(frame: pl.DataFrame) -> pl.DataFrame:
    """Mean outcome of the fifth of the names (at least one) with the highest predictions on each date.

    Args:
        frame: as in `evaluate`.

    Returns:
        `date`, `best_return`, sorted by date; a date with fewer than three names is left out.

    """
    return spreads(frame).select("date", "best_return")


def spreads(frame: pl.DataFrame) -> pl.DataFrame:
    """Returns of the fifth of the names (at least one) with the highest predictions on each date, and of the lowest.

    Ties are broken by ticker.

    Args:
        frame: as in `evaluate`.

    Returns:
        `date`, `best_return` and `worst_return` (mean outcomes), `spread` (best less worst), `turnover` (share of the
        best names that were not among them on the previous date; null on the first), sorted by date; a date with fewer
        than three names is left out.

    """
    return _spreads(_checked(frame))


def _spreads(frame: pl.DataFrame) -> pl.DataFrame:
    size, place = (pl.col("names") * BEST_SHARE).ceil(), pl.int_range(pl.len()).over("date")
    ordered = (
        frame.lazy()
        .sort("date", "prediction", "ticker", descending=[False, True, False])
        .with_columns(names=pl.len().over("date"))
        .filter(pl.col("names") >= MIN_NAMES)
        .with_columns(
            day=pl.col("date").rle_id().cast(pl.Int64), best=place < size, worst=place >= pl.col("names") - size
        )
        .collect(engine="in-memory")
    )
    chosen = ordered.lazy().filter("best").select("ticker", "day")
    before = chosen.with_columns(pl.col("day") + 1)
    kept = chosen.join(before, on=["ticker", "day"], how="semi").group_by("day").agg(kept=pl.len())
    days = (
        ordered.lazy()
        .group_by("date", "day", maintain_order=True)
        .agg(
            best_return=pl.col("forward_return").filter("best").mean(),
            worst_return=pl.col("forward_return").filter("worst").mean(),
            chosen=pl.col("best").sum(),
        )
    )
    turnover = 1.0 - pl.col("kept").fill_null(0) / pl.col("chosen")
    return (
        days.join(kept, on="day", how="left", maintain_order="left")
        .select(
            "date",
            "best_return",
            "worst_return",
            spread=pl.col("best_return") - pl.col("worst_return"),
            turnover=pl.when(pl.col("day") > 0).then(turnover),
        )
        .collect(engine="in-memory")
    )


def standard_error(values: FloatArray, dates: NDArray[np.datetime64], overlap_sessions: int = 1) -> float | None:
    r"""Standard error of the mean of a series whose neighbours may share part of their outcome.

    Two outcomes d sessions apart share :math:`w = \max(0, 1 - d / h)` of their returns, where h is `overlap_sessions`,
    so the mean has the variance :math:`s^2 / n^2 \sum_{ij} w_{ij}`. Newey-West with these weights would count the
    overlap twice, the second time by the series' own autocorrelation, and is 20 to 30 % too small. Distances are in
    sessions, not observations, so gaps and sampling are handled. With an overlap of 1 it is the usual s / sqrt(n).

    Args:
        values: shape (n_dates,).
        dates: datetime64[D] of shape (n_dates,), ascending.
        overlap_sessions: distance in sessions from which two values share nothing.

    Returns:
        The standard error; None with fewer than two values.

    References:
        Hansen and Hodrick (1980), Journal of Political Economy 88(5), section 2.

    """
    count = len(values)
    if count < 2:
        return None
    number = session_number(dates)
    shared = float(count)
    for step in range(1, count):
        weight = np.maximum(1 - (number[step:] - number[:-step]) / overlap_sessions, 0)
        if not weight.any():
            break
        shared += 2 * float(weight.sum())
    return math.sqrt(float(((values - values.mean()) ** 2).sum()) / (count - 1) * shared) / count


def _checked(frame: pl.DataFrame) -> pl.DataFrame:
    """Sorted by date and ticker, so that sums run in one order; refuses missing values."""
    frame = frame.select("ticker", "date", "prediction", "forward_return").sort("date", "ticker")
    bad = frame.filter(
        ~pl.col("prediction").is_finite().fill_null(False) | ~pl.col("forward_return").is_finite().fill_null(False)
    )
    if len(bad):
        row = bad.row(0, named=True)
        raise DatasetError(
            f"ticker {row['ticker']} has no finite prediction or forward return on {row['date']}; filter the rows first"
        )
    return frame


def _correlations(left: FloatArray, right: FloatArray) -> FloatArray:
    """Correlation of each row of two arrays of shape (n_dates, n_names); NaN where one of them is constant."""
    left, right = (values - values.mean(axis=1, keepdims=True) for values in (left, right))
    scale = np.sqrt((left**2).sum(axis=1)) * np.sqrt((right**2).sum(axis=1))
    varies = (np.ptp(left, axis=1) > 0) & (np.ptp(right, axis=1) > 0) & (scale > 0)
    correlation = np.divide((left * right).sum(axis=1), scale, out=np.full(len(left), np.nan), where=varies)
    clipped: FloatArray = np.clip(correlation, -1.0, 1.0)
    return clipped
