"""Datasets `factor_tear_sheet` and `market_tear_sheet`: ICs of factors over years and sectors, with standard errors.

The inputs, figures by month, are from `factors`; the pages that show the results are in `reporting.tear_sheet`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.backtest.factors import COUNTED
from quant_assets.backtest.intervals import critical_value
from quant_assets.backtest.statistics import CONFIDENCE
from quant_assets.market.panel import FloatArray
from quant_assets.schemas import DATASETS
from quant_assets.schemas.research import QUANTILES

#: With fewer months than this, or than this number per lag, there is no standard error.
MIN_MONTHS = 12
_MONTHS_PER_LAG = 5

#: Share of worthless factors whose |t| reaches `significant_t`.
BY_CHANCE = 1.0 - CONFIDENCE

_KEY = ("kind", "factor", "horizon")
_SESSIONS_PER_MONTH = 21
#: Errors below this are rounding.
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True)
class Summary:
    """A sector's tear sheet at one decision.

    Attributes:
        as_of: session of the decision.
        rows: dataset factor_tear_sheet without `page_file`.
        by_year: `kind, factor, horizon, year, ic_sessions, ic`; the year is that in which the outcomes were known.
        by_month: `kind, factor, horizon, as_of, ic, quantile_1` and so on: a row for each month of the tear sheet.

    """

    as_of: date
    rows: pl.DataFrame
    by_year: pl.DataFrame
    by_month: pl.DataFrame


def newey_west_lags(horizon: int) -> int:
    """Lags, in months, of the standard error of a monthly series of ICs: three times the months of overlap.

    Two outcomes share part of their returns if they begin fewer than `horizon` sessions apart. The Bartlett kernel
    weights longer lags less: with as many lags as the overlap, it would leave out half of the overlap's effect.
    """
    return -(-3 * (horizon - 1) // _SESSIONS_PER_MONTH)


def least_months(horizon: int) -> int:
    """Fewest months for a standard error of an IC at a horizon in sessions."""
    return max(MIN_MONTHS, _MONTHS_PER_LAG * newey_west_lags(horizon))


@cache
def significant_t(horizon: int, months: int) -> float:
    """The |t| that a worthless factor reaches with probability `BY_CHANCE`: more with fewer months and more lags.

    Share of 8,000 simulated noise series that reach it with `least_months`: 4.7, 5.3, 5.9 and 6.5 % at horizons 1,
    5, 20 and 60, where |t| above 2 has 7.1, 10.0, 14.2 and 14.1 %.
    """
    return critical_value((newey_west_lags(horizon) + 1) / months)


def standard_errors(sums: FloatArray, lags: int) -> FloatArray:
    r"""Newey-West standard error of the mean of a series known by month.

    With the months' sums of deviations from the mean :math:`S_m` and n sessions in all, the variance of the mean is
    :math:`\frac{M}{M - 1} n^{-2} \sum_m (S_m^2 + 2 \sum_{k=1}^{L} (1 - \frac{k}{L + 1}) S_m S_{m-k})`: within a month
    every covariance counts in full, unlike with a kernel over sessions. The caller divides by n.

    Args:
        sums: S of shape (n_months, n_series); 0 in a month without a session.
        lags: L.

    Returns:
        n times the standard error, of shape (n_series,), without the factor M / (M - 1).

    References:
        Newey and West (1987), Econometrica 55(3), eq. 5.

    """
    variance = _total(sums**2)
    for lag in range(1, min(lags, len(sums) - 1) + 1):
        variance = variance + 2.0 * (1.0 - lag / (lags + 1.0)) * _total(sums[lag:] * sums[:-lag])
    return np.sqrt(np.maximum(variance, 0.0))


def summaries(monthly: pl.DataFrame, as_ofs: Sequence[date], history_months: int) -> list[Summary]:
    """A tear sheet for each decision, in their order, over the `history_months` up to it, or as many as there are.

    Means over sessions give each session the same weight. `ic_std` is the deviation of the sessions' ICs (divided by
    their number less 1); `ic_t` is `ic` over its `standard_errors` with `newey_west_lags`, null below `least_months`.

    Args:
        monthly: dataset factor_statistics of one sector, the months of the decisions and those before.
        as_ofs: decision sessions.
        history_months: months of a tear sheet.

    """
    keys = monthly.select(_KEY).unique().sort(_KEY)
    month_of_row = _month_number(monthly["as_of"])
    first = int(month_of_row.min()) if len(month_of_row) else 0
    months = int(month_of_row.max()) - first + 1 if len(month_of_row) else 0
    columns = monthly.select(_KEY).join(keys.with_row_index("column"), on=list(_KEY), how="left", maintain_order="left")
    cells = month_of_row - first, columns["column"].to_numpy().astype(np.int64)

    def panel(values: FloatArray) -> FloatArray:
        """A figure by month and key, 0 where there is no row."""
        filled = np.zeros((months, len(keys)))
        filled[cells] = values
        return filled

    counts = {name: panel(monthly[name].cast(pl.Float64).to_numpy()) for name in COUNTED}
    sums = {
        figure: panel(monthly[figure].fill_null(0.0).to_numpy()) * counts[counter]
        for counter, figures in COUNTED.items()
        for figure in figures
    }
    deviation, mean = (monthly[name].fill_null(0.0).to_numpy() for name in ("ic_std", "ic"))
    # Sums of squares: a month's `ic_std` is divided by the number of sessions.
    squares = panel(deviation**2 + mean**2) * counts["ic_sessions"]
    by_month = monthly.select(*_KEY, "as_of", "ic", *(f"quantile_{quantile}" for quantile in range(1, QUANTILES + 1)))
    sheets = []
    for as_of in as_ofs:
        end = as_of.year * 12 + as_of.month - first  # the month after the decision's
        window = slice(max(end - history_months, 0), max(end, 0))
        sheets.append(
            Summary(
                as_of,
                _tear_sheet_rows(
                    as_of,
                    keys,
                    {name: values[window] for name, values in counts.items()},
                    {name: values[window] for name, values in sums.items()},
                    squares[window],
                ),
                _by_year(keys, counts["ic_sessions"][window], sums["ic"][window], first + window.start),
                by_month.filter((month_of_row >= first + window.start) & (month_of_row < first + window.stop)),
            )
        )
    return sheets


def market_rows(sheets: pl.DataFrame) -> pl.DataFrame:
    """Dataset market_tear_sheet without `page_file`, from the sectors' factor_tear_sheet (with `sector`).

    A sector's weight in the means is its number of names times its sessions with an IC.
    """
    schema = {name: dtype for name, dtype in DATASETS["market_tear_sheet"].schema.items() if name != "page_file"}
    key = ["as_of", *_KEY]
    rated = sheets.filter(pl.col("ic").is_not_null()).sort(*key, "sector")
    group = rated.select(pl.struct(key).rle_id()).to_series().to_numpy()  # one for each factor and horizon
    n_groups = int(group[-1]) + 1 if len(group) else 0
    spread = (rated[f"quantile_{QUANTILES}"] - rated["quantile_1"]).fill_null(np.nan).to_numpy()
    weight = (rated["names"] * rated["ic_sessions"]).to_numpy()

    def mean(values: FloatArray) -> FloatArray:
        """Weighted mean of each group; bincount adds in the order of the rows."""
        observed = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            means = np.bincount(group[observed], (weight * values)[observed], n_groups) / np.bincount(
                group[observed], weight[observed], n_groups
            )
        return means.astype(np.float64)

    ic = mean(rated["ic"].to_numpy())
    tested = rated.select(pl.col("ic_t").abs(), "horizon", "months").iter_rows()
    significant = [t is not None and t >= significant_t(horizon, months) for t, horizon, months in tested]
    rows = rated.with_columns(significant=pl.Series(significant, dtype=pl.Boolean)).group_by(key, maintain_order=True)
    counted = rows.agg(
        sectors=pl.len(),
        lowest_ic=pl.col("ic").min(),
        highest_ic=pl.col("ic").max(),
        positive_sectors=(pl.col("ic") > 0).sum(),
        significant_sectors=pl.col("significant").sum(),
    )
    columns = {
        "ic": pl.Series(ic, dtype=pl.Float64),
        "spread": pl.Series(mean(spread), dtype=pl.Float64, nan_to_null=True),
    }
    return counted.with_columns(**columns).cast(schema).select(list(schema))  # type: ignore[arg-type]


def _tear_sheet_rows(
    as_of: date, keys: pl.DataFrame, counts: dict[str, FloatArray], sums: dict[str, FloatArray], squares: FloatArray
) -> pl.DataFrame:
    """Rows of dataset factor_tear_sheet without `page_file`, for the keys with a figure.

    Arrays have shape (n_months, n_keys): `counts` of sessions and `sums` of figures over them, by the names of
    `COUNTED`, and sums of squared ICs.
    """
    schema = {name: dtype for name, dtype in DATASETS["factor_tear_sheet"].schema.items() if name != "page_file"}
    if not len(squares):
        return pl.DataFrame(schema=schema)
    columns: dict[str, FloatArray] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for counter, figures in COUNTED.items():
            columns[counter] = _total(counts[counter])
            for name in figures:
                columns[name] = _total(sums[name]) / columns[counter]
        n, ic = columns["ic_sessions"], columns["ic"]
        present = counts["ic_sessions"] > 0
        columns["months"] = present.sum(axis=0).astype(np.float64)
        columns["ic_std"] = np.where(n > 1, np.sqrt(np.maximum(_total(squares) - n * ic**2, 0.0) / (n - 1)), np.nan)
        errors = np.full(len(keys), np.nan)
        deviations = np.where(present, sums["ic"] - counts["ic_sessions"] * ic, 0.0)
        horizons = keys["horizon"].to_numpy()
        for horizon in np.unique(horizons):
            of_horizon, lags = horizons == horizon, newey_west_lags(int(horizon))
            months = columns["months"][of_horizon]
            error = standard_errors(deviations[:, of_horizon], lags) / n[of_horizon] * np.sqrt(months / (months - 1))
            enough = (months >= least_months(int(horizon))) & (error > _NEGLIGIBLE)
            errors[of_horizon] = np.where(enough, error, np.nan)
        columns["ic_standard_error"], columns["ic_t"] = errors, ic / errors
    frame = keys.with_columns(
        as_of=pl.lit(as_of),
        **{name: pl.Series(values, nan_to_null=True, dtype=pl.Float64) for name, values in columns.items()},
    )
    has_figure = pl.any_horizontal(pl.col(name) > 0 for name in COUNTED)
    return frame.filter(has_figure).cast(schema).select(list(schema))  # type: ignore[arg-type]


def _by_year(keys: pl.DataFrame, counts: FloatArray, sums: FloatArray, first: int) -> pl.DataFrame:
    """Mean IC by calendar year; `first` is the number of the first month."""
    year = (first + np.arange(len(counts))) // 12
    years = np.unique(year)
    n, total = (np.array([_total(values[year == number]) for number in years]).reshape(-1) for values in (counts, sums))
    with np.errstate(invalid="ignore"):
        mean = pl.Series(total / n, nan_to_null=True, dtype=pl.Float64)
    rows = pl.concat([keys] * len(years)) if len(years) else keys.clear()
    columns = {
        "year": pl.Series(np.repeat(years, len(keys)), dtype=pl.Int32),
        "ic_sessions": pl.Series(n, dtype=pl.Float64).cast(pl.Int32),
    }
    return rows.with_columns(**columns, ic=mean).filter(pl.col("ic_sessions") > 0)


def _month_number(days: pl.Series) -> NDArray[np.int64]:
    """Months since the year 0, January being 0."""
    return (days.dt.year().cast(pl.Int64) * 12 + days.dt.month().cast(pl.Int64) - 1).to_numpy()


def _total(values: FloatArray) -> FloatArray:
    """Sum over the months, one after the other, so that a series has the same bits alone and among others.

    NumPy's own sum does so along the rows of a C-ordered array with several columns; along memory the order differs.
    """
    rows = np.ascontiguousarray(values)
    total: FloatArray = rows.sum(axis=0) if rows.shape[1] > 1 else np.cumsum(rows, axis=0)[-1]
    return total


def spread_correlations(
    by_month: pl.DataFrame, factors: Sequence[tuple[str, str]], horizon: int, min_months: int = MIN_MONTHS
) -> NDArray[np.float64]:
    """Correlation of factors by their monthly spread, the return of the highest quantile less that of the lowest.

    Args:
        by_month: as `Summary.by_month`.
        factors: `kind` and `factor` of each.
        horizon: sessions.
        min_months: months that two factors must share.

    Returns:
        float64 of shape (n_factors, n_factors); NaN with too few months, or where a spread never changes.

    """
    of_horizon = by_month.filter(pl.col("horizon") == horizon)
    month_of_row = _month_number(of_horizon["as_of"])
    months = np.unique(month_of_row)
    spread = (of_horizon[f"quantile_{QUANTILES}"] - of_horizon["quantile_1"]).fill_null(np.nan).to_numpy()
    columns = {factor: column for column, factor in enumerate(factors)}
    panel = np.full((len(months), len(factors)), np.nan)
    factor_of_row = zip(of_horizon["kind"], of_horizon["factor"], strict=True)
    for factor, month, value in zip(factor_of_row, np.searchsorted(months, month_of_row), spread, strict=True):
        if factor in columns:
            panel[month, columns[factor]] = value
    present = ~np.isnan(panel)
    correlations = np.full((len(factors), len(factors)), np.nan)
    for i in range(len(factors)):
        for j in range(i + 1):
            shared = present[:, i] & present[:, j]
            if shared.sum() < min_months:
                continue
            a, b = (panel[shared, column] - panel[shared, column].mean() for column in (i, j))
            scale = np.sqrt((a * a).sum() * (b * b).sum())
            if scale > _NEGLIGIBLE:
                correlations[i, j] = correlations[j, i] = (a * b).sum() / scale
    return correlations
