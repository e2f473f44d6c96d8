"""Trials before a result, and their effect on its Sharpe ratio. The storage of trials is elsewhere."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Literal

import numpy as np
import polars as pl

from quant_assets.backtest import statistics
from quant_assets.backtest.intervals import Interval, Statistic, bootstrap_interval, hac_interval
from quant_assets.backtest.statistics import Moments
from quant_assets.market.calendar import SESSIONS_PER_YEAR
from quant_assets.market.panel import FloatArray
from quant_assets.settings.results import StatisticsSettings

#: Rows of a trial's measurements: `as_of` of the measurement, `date` and `value` (a return), and for trainings
#: `rank_ic`.
MEASURED: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "as_of": pl.Date,
    "date": pl.Date,
    "value": pl.Float64,
    "rank_ic": pl.Float64,
}

#: Unit of each figure of `evidence`.
EVIDENCE_UNITS: Mapping[str, str] = {
    "sharpe_hac_low": "1",
    "sharpe_hac_high": "1",
    "sharpe_bootstrap_low": "1",
    "sharpe_bootstrap_high": "1",
    "information_ratio_hac_low": "1",
    "information_ratio_hac_high": "1",
    "information_ratio_bootstrap_low": "1",
    "information_ratio_bootstrap_high": "1",
    "skew": "1",
    "kurtosis": "1",
    "probabilistic_sharpe": "1",
    "minimum_track_record": "sessions",
    "trials": "trials",
    "trials_with_sharpe": "trials",
    "trials_sharpe_variance": "1",
    "expected_maximum_sharpe": "1",
    "deflated_sharpe": "1",
    "overfitting_probability": "1",
    "overfitting_strategies": "trials",
    "overfitting_sessions": "sessions",
}


@dataclass(frozen=True)
class Trial:
    """One set of settings that was tried, with its measurements.

    Attributes:
        name: first characters of the SHA-256 of its settings: the same settings are the same trial.
        kind: `strategy` (settings from indicators to costs, measured by a backtest) or `training` (settings of a model,
            measured over its test folds).
        trainings: names of the trainings whose models a strategy uses; empty for a training.
        scope: sector slug, or `portfolio`.
        first: earliest market day on which it was tried.
        measured: rows of `MEASURED`, sorted by as_of and date: for a strategy one per session, for a training the test
            dates of each as_of.
        sessions: sessions that a return covers: 1, or the horizon of a training.

    """

    name: str
    kind: Literal["strategy", "training"]
    trainings: tuple[str, ...]
    scope: str
    first: date
    measured: pl.DataFrame
    sessions: int = 1

    def returns(self, first: date, as_of: date) -> pl.DataFrame:
        """`date, value, rank_ic` as known at `as_of`.

        From `first` on; for a strategy from its first session that was not all in cash, for a training the results of
        its newest as_of.
        """
        if self.kind == "training":
            earlier = self.measured.filter(pl.col("as_of") <= as_of)
            newest = earlier.filter(pl.col("as_of") == pl.col("as_of").max())
            return newest.filter(pl.col("date") >= first).drop("as_of")
        returns = self.measured.filter(pl.col("date").is_between(first, as_of)).drop("as_of")
        invested = (returns["value"] != 0.0).arg_true()
        return returns.slice(invested[0]) if len(invested) else returns.clear()


def counted(trials: Iterable[Trial], as_of: date) -> list[Trial]:
    """Trials among which a result at `as_of` was chosen.

    These are all strategies, and all trainings that no strategy uses (examined and dropped).
    """
    earlier = [trial for trial in trials if trial.first <= as_of]
    used = {name for trial in earlier if trial.kind == "strategy" for name in trial.trainings}
    return [trial for trial in earlier if trial.kind == "strategy" or trial.name not in used]


@dataclass(frozen=True)
class Tried:
    """Trials up to a day.

    Attributes:
        names: of the `counted` trials, sorted.
        sharpes: Sharpe ratio of one session by name, of trials measured over at least half of the result's sessions.
            For a training of several sectors that of their mean return by date.
        together: returns of the strategies among them, over their common sessions, shape (n_sessions, n_strategies).

    """

    names: tuple[str, ...]
    sharpes: Mapping[str, float]
    together: FloatArray

    @classmethod
    def by(cls, as_of: date, trials: Iterable[Trial], first: date, sessions: int) -> "Tried":
        """Trials known at `as_of`, measured from `first` on; trials on later data do not count.

        Args:
            as_of: session of the result.
            trials: of the result's scope; for a total portfolio also the trainings of every sector.
            first: first session of the result.
            sessions: length of the result.

        """
        relevant = counted(trials, as_of)
        sharpes: dict[str, float] = {}
        together: list[pl.DataFrame] = []
        for _, group in groupby(sorted(relevant, key=_identity), key=_identity):
            same = sorted(group, key=lambda trial: trial.scope)
            trial, rows = same[0], _pooled([item.returns(first, as_of) for item in same])
            moments = Moments.of(rows["value"].to_numpy())
            # The test dates of a training lie sessions apart, so the spans are compared. A strategy may have run on
            # distant months with nothing between them: its sessions count.
            half = (
                2 * len(rows) >= sessions if trial.kind == "strategy" else 2 * _spanned(rows["date"]) >= _days(sessions)
            )
            if moments is not None and len(rows) >= statistics.MIN_OBSERVATIONS and half:
                sharpes[trial.name] = moments.sharpe / math.sqrt(trial.sessions)
                if trial.kind == "strategy":
                    together.append(rows)
        return cls(tuple(sorted({trial.name for trial in relevant})), sharpes, _side_by_side(together))

    @property
    def variance(self) -> float | None:
        """Sample variance of the trials' Sharpe ratios of one session; None with fewer than two."""
        values = list(self.sharpes.values())
        if len(values) < 2:
            return None
        mean = math.fsum(values) / len(values)
        return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def evidence(frame: pl.DataFrame, trials: Sequence[Trial], settings: StatisticsSettings) -> dict[str, float | None]:
    """Figures that qualify the Sharpe ratio and the information ratio of a track record.

    Sharpe ratios and their bounds are annualised like `metrics.sharpe`; the trials' variance is that of annualised
    ratios. `deflated_sharpe` is `probabilistic_sharpe` for one trial, and None where no trial is in the log or several
    are and fewer than two have a Sharpe ratio: neither their number nor their variance is ever assumed.

    Args:
        frame: `date, net_return` and, if known, `benchmark_return`, one row per session, in any order.
        trials: of the same scope; those later than the last session do not count.
        settings: replications, seed and blocks.

    Returns:
        Every key of `EVIDENCE_UNITS`, in its order; None where a figure is undefined.

    """
    figures: dict[str, float | None] = dict.fromkeys(EVIDENCE_UNITS)
    frame = frame.sort("date")
    returns = frame["net_return"].to_numpy()
    if not len(frame):
        return figures
    yearly = math.sqrt(SESSIONS_PER_YEAR)
    figures |= intervals("sharpe", returns, "sharpe", settings, scale=yearly)
    if "benchmark_return" in frame.columns:
        rows = frame.drop_nulls("benchmark_return")
        active = rows["net_return"].to_numpy() - rows["benchmark_return"].to_numpy()
        figures |= intervals("information_ratio", active, "sharpe", settings, scale=yearly)
    tried = Tried.by(frame["date"][-1], trials, frame["date"][0], len(frame))
    variance = tried.variance
    figures["trials"], figures["trials_with_sharpe"] = float(len(tried.names)), float(len(tried.sharpes))
    figures["trials_sharpe_variance"] = None if variance is None else variance * SESSIONS_PER_YEAR
    overfitting = statistics.probability_of_backtest_overfitting(tried.together, settings.overfitting_blocks)
    figures["overfitting_probability"] = overfitting
    if overfitting is not None:
        figures["overfitting_sessions"], figures["overfitting_strategies"] = map(float, tried.together.shape)
    moments = Moments.of(returns)
    if moments is None or moments.count < statistics.MIN_OBSERVATIONS:
        return figures
    figures["skew"], figures["kurtosis"] = moments.skew, moments.kurtosis
    figures["probabilistic_sharpe"] = statistics.probabilistic_sharpe_ratio(moments)
    figures["minimum_track_record"] = statistics.minimum_track_record_length(moments)
    count = len(tried.names)
    if count == 1 or (count > 1 and variance is not None):
        spread = variance or 0.0
        figures["expected_maximum_sharpe"] = statistics.expected_maximum_sharpe(count, spread) * yearly
        figures["deflated_sharpe"] = statistics.deflated_sharpe_ratio(moments, count, spread)
    return figures


def intervals(
    name: str,
    values: FloatArray,
    statistic: Statistic,
    settings: StatisticsSettings,
    *,
    scale: float = 1.0,
    overlap: int = 1,
) -> dict[str, float | None]:
    """Bounds of both intervals by name: `<name>_hac_low` and so on, each times `scale`."""
    hac = hac_interval(values, statistic, overlap)
    bootstrap = bootstrap_interval(values, statistic, settings.bootstrap_replications, settings.seed, overlap)
    return _bounds(f"{name}_hac", hac, scale) | _bounds(f"{name}_bootstrap", bootstrap, scale)


def _bounds(name: str, interval: Interval | None, scale: float) -> dict[str, float | None]:
    low, high = (None, None) if interval is None else (interval[0] * scale, interval[1] * scale)
    return {f"{name}_low": low, f"{name}_high": high}


def _identity(trial: Trial) -> tuple[str, str]:
    return trial.kind, trial.name


def _pooled(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """`date, value`: the mean of the parts' values at a date, sorted by date."""
    rows = pl.concat([part.select("date", "value") for part in parts])
    if len(parts) == 1 or rows.is_empty():
        return rows
    days, where = np.unique(rows["date"].to_numpy(), return_inverse=True)
    # Added in the order of the rows, so that the bytes do not depend on threads.
    return pl.DataFrame({"date": days, "value": np.bincount(where, rows["value"].to_numpy()) / np.bincount(where)})


def _side_by_side(series: Sequence[pl.DataFrame]) -> FloatArray:
    """Returns over the dates that all series have."""
    if not series:
        return np.empty((0, 0))
    joined = series[0].select("date", pl.col("value").alias("0"))
    for number, rows in enumerate(series[1:], start=1):
        joined = joined.join(rows.select("date", pl.col("value").alias(str(number))), on="date", how="inner")
    return joined.sort("date").drop("date").to_numpy()


def _spanned(days: pl.Series) -> int:
    """Calendar days from the first to the last."""
    return (days[-1] - days[0]).days if len(days) else 0


def _days(sessions: int) -> float:
    """Calendar days that a number of sessions takes."""
    return (sessions - 1) * 365.25 / SESSIONS_PER_YEAR
