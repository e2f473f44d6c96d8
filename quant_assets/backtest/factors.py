"""Dataset `factor_statistics`: how well factors rank later returns, from sessions' cross-sections to monthly means.

A factor is a feature, a candidate score or a model's forecast. Figures over years, and their errors, are in
`factor_summary`.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.backtest.factor_kernels import compare, persist
from quant_assets.features.labels import DELISTING_SESSIONS
from quant_assets.market.containment import known
from quant_assets.market.panel import BoolArray, FloatArray, IntArray
from quant_assets.schemas import DATASETS
from quant_assets.schemas.research import QUANTILES
from quant_assets.settings.domain import CandidateSettings, LabelSettings
from quant_assets.signals.candidates import scores

#: Figures of a session, in the order of the last axis but one of the result of `session_figures`.
FIGURES = (
    "names",
    "ic",
    *(f"quantile_{number}" for number in range(1, QUANTILES + 1)),
    "top_turnover",
    "bottom_turnover",
    "rank_autocorrelation",
)
#: Figures that are present or missing together, and the column that counts the sessions on which they are present.
COUNTED = {
    "ic_sessions": ("names", "ic"),
    "quantile_sessions": tuple(name for name in FIGURES if name.startswith("quantile_")),
    "turnover_sessions": ("top_turnover", "bottom_turnover"),
    "rank_sessions": ("rank_autocorrelation",),
}
SCORES = ("composite_score", "momentum_score", "ma_slope_score", "volatility_score")

#: Edges of the quantiles as shares, computed from percentages like those of pandas' qcut: the last bit decides values
#: on an edge.
_SHARES = np.linspace(0.0, 1.0, QUANTILES + 1) * 100.0 / 100.0


@dataclass(frozen=True)
class CrossSections:
    """The names of each session, their outcomes, and their later rows. n rows in order of session and ticker.

    Attributes:
        order: int64 of shape (n,): position of each row in the source frame.
        starts: int64 of shape (n_sessions + 1,): rows of session j are starts[j] to starts[j + 1].
        returns: float64 of shape (n_horizons, n): forward returns, NaN where there is none.
        by_return: int64 of that shape: rows of each session by forward return, those without one last.
        later: int64 of that shape: the row of the same ticker `horizon` sessions later, -1 where there is none.
        horizons: sessions from entry to exit.

    """

    order: IntArray
    starts: IntArray
    returns: FloatArray
    by_return: IntArray
    later: IntArray
    horizons: tuple[int, ...]

    @classmethod
    def of(
        cls,
        rows: pl.DataFrame,
        labels: pl.DataFrame,
        horizons: Sequence[int],
        entry_lag: int,
        sessions: NDArray[np.datetime64],
    ) -> "CrossSections":
        """Arrange rows (`ticker`, `date`, each pair once) and dataset labels; every date is one of the sessions.

        Labels that are `unexplained` are left out.
        """
        tickers = rows["ticker"].unique().sort()
        code = tickers.search_sorted(rows["ticker"]).to_numpy().astype(np.int64)
        day = np.searchsorted(sessions, rows["date"].to_numpy().astype("datetime64[D]"))
        place = np.full((len(sessions), len(tickers)), -1, dtype=np.int64)
        place[day, code] = 0
        present = place.ravel() == 0
        place.ravel()[present] = np.arange(len(rows))
        order = np.empty(len(rows), dtype=np.int64)
        order[place[day, code]] = np.arange(len(rows))
        day, code = day[order], code[order]
        starts = np.searchsorted(day, np.arange(len(sessions) + 1))

        shape = (len(horizons), len(rows))
        returns, later = np.full(shape, np.nan), np.full(shape, -1, dtype=np.int64)
        by_return = np.empty(shape, dtype=np.int64)
        labels = known(labels).filter(
            pl.col("ticker").is_in(tickers.implode()), pl.col("date").is_between(*_span(sessions))
        )
        for number, horizon in enumerate(horizons):
            of_horizon = labels.filter(pl.col("horizon") == horizon)
            on, heard = (
                np.searchsorted(sessions, of_horizon[name].to_numpy().astype("datetime64[D]"))
                for name in ("date", "known_at")
            )
            row = place[on, tickers.search_sorted(of_horizon["ticker"]).to_numpy()]
            usable = (row >= 0) & (heard <= on + complete_after(horizon, entry_lag))
            returns[number, row[usable]] = of_horizon["forward_return"].to_numpy()[usable]
            by_return[number] = np.lexsort((returns[number], day))
            ahead = day + horizon < len(sessions)
            later[number, ahead] = place[day[ahead] + horizon, code[ahead]]
        return cls(order, starts, returns, by_return, later, tuple(horizons))


def complete_after(horizon: int, entry_lag: int) -> int:
    """Sessions after a cross-section's own until its last label is known, delistings included."""
    return entry_lag + horizon + DELISTING_SESSIONS


def session_figures(values: FloatArray, sections: CrossSections, wanted: BoolArray, min_names: int) -> FloatArray:
    """Figures of one factor on each session and horizon.

    - `ic`: Spearman's correlation of the factor and the forward return, ties sharing their mean rank; `names` is the
      number of names. Both over the names with a value and a forward return.
    - `quantile_1` (lowest values) to `quantile_5`: mean forward return of the quantile less that of all names
      (alphalens' `demeaned`), with quantiles of these names; a value on an edge belongs to the lower quantile.
    - `top_turnover`, `bottom_turnover`: share of the names of the highest and lowest quantile `horizon` sessions later
      that are not in it now. This and the next figure use all names with a value, with or without a label.
    - `rank_autocorrelation`: correlation of the names' ranks now with those `horizon` sessions later, over names with
      both.

    Args:
        values: float64 of shape (n,) in the order of the sections, NaN where missing.
        sections: names and outcomes.
        wanted: bool of shape (n_horizons, n_sessions).
        min_names: least number of names for a figure.

    Returns:
        float64 of shape (n_horizons, n_figures, n_sessions), figures as in `FIGURES`; NaN for a session that is not
        wanted, has too few names, all values or all returns equal (`ic`), or two equal edges of the quantiles.

    References:
        Grinold and Kahn (2000), Active Portfolio Management, chapter 6; alphalens.performance.

    """
    out = np.full((len(sections.horizons), len(FIGURES), len(sections.starts) - 1), np.nan)
    ranks, quantiles = compare(
        values, sections.returns, sections.by_return, sections.starts, wanted, _SHARES, min_names, out
    )
    for number, horizon in enumerate(sections.horizons):
        later = sections.later[number]
        persist(ranks, quantiles, later, horizon, sections.starts, wanted[number], min_names, QUANTILES, out[number])
    return out


def factor_statistics(
    features: pl.DataFrame,
    names: Sequence[str],
    indicators: pl.DataFrame,
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    first_day: date,
    as_ofs: Sequence[date],
    settings: LabelSettings,
    candidate_settings: CandidateSettings,
    min_names: int,
) -> pl.DataFrame:
    """Dataset factor_statistics: monthly means over the cross-sections that became complete in the month.

    The cross-section of a session and horizon is complete `complete_after` sessions later: all its labels are known
    then and final.

    Args:
        features: dataset features of one sector, from the first session whose cross-section becomes complete in the
            first month.
        names: the features to evaluate.
        indicators: dataset indicators of the same months, for the candidate scores; missing scores are left out.
        predictions: dataset predictions of the same months; each forecast is evaluated at its own horizon.
        labels: dataset labels of the same months.
        sessions: sessions without a gap, from the first of these months to the last `as_of`.
        first_day: first day of the result's months.
        as_ofs: last session of each of these months.
        settings: horizons and entry lag.
        candidate_settings: settings of the candidates' scores.
        min_names: least number of names for a figure.

    Returns:
        Rows without `sector`; none for a factor without any figure in the month.

    """
    complete = np.arange(len(sessions)) + np.array(
        [[complete_after(horizon, settings.entry_lag)] for horizon in settings.horizons]
    )
    inside = complete < len(sessions)
    on = sessions[np.minimum(complete, len(sessions) - 1)]
    wanted = inside & (on >= np.datetime64(first_day)) & (on <= np.datetime64(as_ofs[-1]) if as_ofs else False)
    month = np.searchsorted(np.array(as_ofs, dtype="datetime64[D]"), on)
    keys, sums = [], []
    for kind, rows, factors, horizons in _factors(
        features, names, indicators, predictions, sessions, settings, candidate_settings
    ):
        sections = CrossSections.of(rows, labels, horizons, settings.entry_lag, sessions)
        chosen = [settings.horizons.index(horizon) for horizon in horizons]
        judge = partial(
            _sums,
            sections=sections,
            wanted=wanted[chosen],
            month=month[chosen],
            months=len(as_ofs),
            min_names=min_names,
        )
        keys += [(kind, factor, horizon) for factor in factors for horizon in horizons]
        with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
            sums += [row for part in pool.map(judge, [rows[column] for column in factors.values()]) for row in part]
    return _frame(keys, sums, as_ofs)


def _factors(
    features: pl.DataFrame,
    names: Sequence[str],
    indicators: pl.DataFrame,
    predictions: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    settings: LabelSettings,
    candidate_settings: CandidateSettings,
) -> Iterator[tuple[str, pl.DataFrame, Mapping[str, str], tuple[int, ...]]]:
    """Kind, rows, factor to column, and the horizons at which it is evaluated."""
    yield "feature", features, {name: name for name in names}, settings.horizons
    # The universe gives the scores only the number of names, which does not matter here.
    nobody = pl.DataFrame(schema={"ticker": pl.String, "date": pl.Date})
    scored = scores(indicators, nobody, sessions.tolist(), candidate_settings).rename({"as_of": "date"})
    yield "candidate_score", scored, {name: name for name in SCORES}, settings.horizons
    for model in predictions["model"].unique().sort():
        for horizon in settings.horizons:
            rows = predictions.filter(pl.col("model") == model, pl.col("horizon") == horizon)
            yield "model", rows, {model: "prediction"}, (horizon,)


def _sums(
    factor: pl.Series, sections: CrossSections, wanted: BoolArray, month: IntArray, months: int, min_names: int
) -> list[FloatArray]:
    """The result of `_by_month` of each horizon; `wanted` and `month` are of shape (n_horizons, n_sessions)."""
    values = factor.cast(pl.Float64).fill_null(np.nan).to_numpy()[sections.order]
    figures = session_figures(values, sections, wanted, min_names)
    return [_by_month(of_horizon, at, months) for of_horizon, at in zip(figures, month, strict=True)]


def _by_month(figures: FloatArray, month: IntArray, months: int) -> FloatArray:
    """Counts of `COUNTED`, sums of `FIGURES` and the sum of squared ICs: float64 of shape (n, n_months).

    `bincount` adds in the order of the sessions, so that a month's sum does not depend on other months.
    """
    present = {name: ~np.isnan(values) for name, values in zip(FIGURES, figures, strict=True)}
    rows: list[FloatArray] = [
        np.bincount(month[present[names[-1]]], minlength=months).astype(np.float64) for names in COUNTED.values()
    ]
    squared = figures[FIGURES.index("ic")] ** 2
    for name, values in [*zip(FIGURES, figures, strict=True), ("ic", squared)]:
        rows_of = present[name]
        rows.append(np.bincount(month[rows_of], values[rows_of], months).astype(np.float64))
    return np.array(rows)


def _frame(keys: Sequence[tuple[str, str, int]], sums: Sequence[FloatArray], as_ofs: Sequence[date]) -> pl.DataFrame:
    schema = DATASETS["factor_statistics"].schema
    if not keys or not as_ofs:
        return pl.DataFrame(schema=schema)
    cube = np.stack(sums, axis=1).reshape(len(COUNTED) + len(FIGURES) + 1, -1)  # (figure, factor x month)
    counts = dict(zip(COUNTED, cube, strict=False))
    totals = dict(zip(FIGURES, cube[len(COUNTED) :], strict=False))
    columns: dict[str, pl.Series] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for counter, figures in COUNTED.items():
            columns[counter] = pl.Series(counts[counter]).cast(pl.Int32)
            for name in figures:
                columns[name] = pl.Series(totals[name] / counts[counter], nan_to_null=True)
        mean = totals["ic"] / counts["ic_sessions"]
        spread = np.sqrt(np.maximum(cube[-1] / counts["ic_sessions"] - mean**2, 0.0))
    columns["ic_std"] = pl.Series(spread, nan_to_null=True)
    kinds, factors, horizons = zip(*keys, strict=True)
    place = np.repeat(np.arange(len(keys)), len(as_ofs))
    frame = pl.DataFrame(
        {
            "as_of": pl.Series(np.tile(np.array(as_ofs, dtype="datetime64[D]"), len(keys)), dtype=pl.Date),
            "kind": pl.Series(kinds, dtype=pl.String).gather(place),
            "factor": pl.Series(factors, dtype=pl.String).gather(place),
            "horizon": pl.Series(horizons, dtype=pl.Int32).gather(place),
        }
        | columns
    )
    some = pl.any_horizontal(pl.col(name) > 0 for name in COUNTED)
    return frame.filter(some).select(list(schema)).sort("as_of", "kind", "factor", "horizon")


def _span(sessions: NDArray[np.datetime64]) -> tuple[date, date]:
    return sessions[0].item(), sessions[-1].item()
