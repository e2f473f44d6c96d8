"""An index or fund as benchmark of a backtest: its returns at sessions, and a result relative to it."""

import math
from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.backtest.factor_models import regress
from quant_assets.backtest.metrics import MIN_ANNUALISED_SESSIONS, compound, information_ratio
from quant_assets.errors import SettingsError, SourceError
from quant_assets.market.calendar import SESSIONS_PER_YEAR, sessions
from quant_assets.schemas import DATASETS

#: Unit of each figure of `against_index`.
INDEX_UNITS: Mapping[str, str] = {
    "index_return": "1",
    "index_beta": "1",
    "index_alpha": "1 per year",
    "index_alpha_t": "1",
    "index_tracking_error": "1 per year",
    "index_information_ratio": "1",
    "index_sessions": "sessions",
}

#: A series that moves less than this counts as constant.
_NEGLIGIBLE = 1e-12


def benchmark_rows(closes: pl.DataFrame, ticker: str, days: NDArray[np.datetime64]) -> pl.DataFrame:
    """Dataset benchmark of some sessions.

    Sessions before the series' first close have no rows. From then on it must have every session.

    Args:
        closes: `ticker, date, close` of all series, as known to the provider at the last session.
        ticker: ticker of the series.
        days: datetime64[D], the sessions, ascending.

    Raises:
        SettingsError: the provider has no such series; names the available ones.
        SourceError: the series lacks a session; names it, the series and the remedy.

    """
    series = closes.filter(pl.col("ticker") == ticker).sort("date")
    empty = pl.DataFrame(schema=DATASETS["benchmark"].schema)
    if series.is_empty():
        tickers = sorted(closes["ticker"].unique())
        if not len(tickers):
            raise SettingsError(
                f"backtest.benchmark is '{ticker}', but the provider has no series by the last session; name their "
                "file in files.indices, or leave backtest.benchmark empty"
            )
        shown = ", ".join(tickers[:30]) + (f" and {len(tickers) - 30} more" if len(tickers) > 30 else "")
        raise SettingsError(
            f"backtest.benchmark is '{ticker}', which the provider does not have by the last session; choose one of "
            f"{shown}, or leave it empty"
        )
    first = series["date"][0]
    listed = days[days >= np.datetime64(first)]
    if not len(listed):
        return empty
    # Includes the session before, for the first return.
    spanned = sessions(first, listed[-1].item())
    start = max(int(np.searchsorted(spanned, listed[0])) - 1, 0)
    calendar = pl.DataFrame({"date": spanned[start:]}, schema={"date": pl.Date})
    rows = calendar.join(series, on="date", how="left").sort("date")
    lacking = rows.filter(pl.col("close").is_null())["date"].to_list()
    if lacking:
        others = len(lacking) - 1
        more = f" and {others} more session{'s' if others > 1 else ''} up to {lacking[-1]}" if others else ""
        last = series["date"][-1]
        raise SourceError(
            f"{ticker} has no close on {lacking[0]}{more} (its closes are of {first} to {last}); backtest.benchmark "
            "needs one of every session from the first on: complete the file of files.indices, or name another series"
        )
    returns = pl.col("close") / pl.col("close").shift(1) - 1.0
    rows = rows.with_columns(index_return=returns, ticker=pl.lit(ticker))
    return rows.filter(pl.col("date") >= listed[0].item()).select(list(empty.schema))


def with_index(backtest: pl.DataFrame, benchmark: pl.DataFrame | None) -> pl.DataFrame:
    """Rows of dataset backtest or portfolio_backtest with the returns of dataset benchmark; null without one.

    Args:
        backtest: by date, of one sector or several.
        benchmark: `date, index_return`; None where none is named.

    """
    if benchmark is None:
        return backtest
    returns = benchmark.select("date", "index_return")
    return backtest.drop("index_return").join(returns, on="date", how="left", maintain_order="left")


def against_index(frame: pl.DataFrame) -> dict[str, float | None]:
    r"""Figures of a track record relative to the index, over the sessions with a known index return.

    `index_return` is the index's own total. Beta and alpha come from :math:`r_t = a + \beta i_t + e_t` with the net
    return r and the index's i, without a risk-free rate; alpha is :math:`252 a`, its t is by Newey and West.
    The tracking error is :math:`\sqrt{252}` times the sample deviation of r - i.

    Args:
        frame: `date, net_return, index_return`, one row per session, in any order. The session of the first execution,
            before which nothing was held, is left out (`metrics.since_first_execution`).

    Returns:
        Every key of `INDEX_UNITS`, in its order; None where a figure is undefined: alpha and beta with fewer than
        `metrics.MIN_ANNUALISED_SESSIONS` sessions.

    """
    figures: dict[str, float | None] = dict.fromkeys(INDEX_UNITS)
    if "index_return" not in frame.columns:
        return figures
    rows = frame.sort("date").drop_nulls("index_return")
    returns, index = rows["net_return"].to_numpy(), rows["index_return"].to_numpy()
    if not len(rows):
        return figures
    figures["index_sessions"] = float(len(rows))
    figures["index_return"] = compound(index.tolist())
    figures["index_information_ratio"] = information_ratio(returns.tolist(), index.tolist())
    if len(rows) >= 2:
        figures["index_tracking_error"] = float((returns - index).std(ddof=1)) * math.sqrt(SESSIONS_PER_YEAR)
    if len(rows) >= MIN_ANNUALISED_SESSIONS and index.std() > _NEGLIGIBLE:
        fit = regress(returns, index[:, None])
        figures["index_alpha"] = float(fit.coefficients[0]) * SESSIONS_PER_YEAR
        figures["index_beta"] = float(fit.coefficients[1])
        if fit.errors[0] > _NEGLIGIBLE:
            figures["index_alpha_t"] = float(fit.t[0])
    return figures
