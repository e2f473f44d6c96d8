"""Kinds of the other modules once more, in assets where those do not plant them."""

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.assets import market as market_wiring
from quant_assets.assets import portfolio as portfolio_wiring
from quant_assets.assets import signals as signal_wiring
from quant_assets.market import fundamentals, macro, universe
from quant_assets.signals import selection
from quant_assets_tests.audit.leaks import leak, own, spoil, spoil_rows


def _spoil_indicators(patch: pytest.MonkeyPatch, **columns: pl.Expr) -> None:
    def spoiled(real: Any, *args: Any) -> Any:
        made = real(*args)
        return made._replace(rows=made.rows.sort("ticker", "date").with_columns(**columns))

    spoil(patch, signal_wiring, "compute_indicators", spoiled)


def _of_series(value: pl.Expr) -> pl.Expr:
    return value.over("series_id", order_by="known_at")


def _of_reports(value: pl.Expr) -> pl.Expr:
    return value.over("ticker", "frequency", "provider", order_by=["panel_from", "period_end"])


@leak("every second figure from the one after", "perturbation", "macro", kind="a fill from later rows")
def _(patch: pytest.MonkeyPatch) -> None:
    seldom = pl.when(pl.col("period").dt.month() % 2 == 0).then("value")
    spoil_rows(patch, macro, "as_known", value=pl.coalesce(_of_series(seldom.backward_fill()), "value"))


@leak("the next figure, where there is one", "perturbation", "macro", kind="a shift whose last rows are dropped")
def _(patch: pytest.MonkeyPatch) -> None:
    def following(real: Any, *args: Any) -> pl.DataFrame:
        rows = real(*args).with_columns(value=_of_series(pl.col("value").shift(-1)))
        return rows.drop_nulls("value")

    spoil(patch, macro, "as_known", following)


# The cut lies before most reports of a quarter: the next one of a ticker must be among the run's months.
_BEFORE_REPORTS: dict[str, Any] = {"first": "2023-07", "last": "2023-11", "cut": date(2023, 10, 16), "reach": 4}


@leak("revenue between two reports", "perturbation", "fundamentals", kind="an interpolation", **_BEFORE_REPORTS)
def _(patch: pytest.MonkeyPatch) -> None:
    value = pl.col("revenue")
    between = (_of_reports(value.shift(1)) + _of_reports(value.shift(-1))) / 2.0
    spoil_rows(patch, fundamentals, "as_known", revenue=pl.coalesce(between, value))


@leak(
    "revenue less its mean", "perturbation", "fundamentals", kind="a statistic over the whole sample", **_BEFORE_REPORTS
)
def _(patch: pytest.MonkeyPatch) -> None:
    mean = pl.col("revenue").mean().over("ticker", "frequency")
    spoil_rows(patch, fundamentals, "as_known", revenue=pl.col("revenue") - mean)


@leak("members that are left on the last day", "perturbation", "universe", kind="members that will trade on")
def _(patch: pytest.MonkeyPatch) -> None:
    def left(real: Any, *args: Any) -> pl.DataFrame:
        rows = real(*args)
        last = rows.filter(pl.col("date") == pl.col("date").max())["ticker"]
        return rows.filter(pl.col("ticker").is_in(last.implode()))

    spoil(patch, universe, "members", left)


@leak("volume by the age of the bar", "truncation", "prices", kind="an age against the last day of the data")
def _(patch: pytest.MonkeyPatch) -> None:
    age = (pl.col("date").max() - pl.col("date")).dt.total_days()
    spoil_rows(patch, market_wiring, "adjust", volume=pl.col("volume") * 0.999**age)


@leak("volume by the number of bars", "perturbation", "prices", kind="a count of rows to come")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(patch, market_wiring, "adjust", volume=pl.col("volume") / own(pl.len()))


@leak(
    "a price with noise by the number of bars", "perturbation", "prices", kind="a seed that the amount of data decides"
)
def _(patch: pytest.MonkeyPatch) -> None:
    def noisy(real: Any, ohlcv: pl.DataFrame) -> pl.DataFrame:
        rows = real(ohlcv)
        draw = pl.Series(np.random.default_rng(len(rows)).uniform(size=len(rows)))
        return rows.with_columns(volume=pl.col("volume") + draw)

    spoil(patch, market_wiring, "adjust", noisy)


@leak("the higher of two closes", "perturbation", "prices", kind="a price picked from two sessions")
def _(patch: pytest.MonkeyPatch) -> None:
    def higher(real: Any, ohlcv: pl.DataFrame) -> pl.DataFrame:
        rows = real(ohlcv).sort("ticker", "date")
        return rows.with_columns(close=pl.max_horizontal("close", own(pl.col("close").shift(-1))))

    spoil(patch, market_wiring, "adjust", higher)


@leak("peaks in units of the last one", "perturbation", "price_peaks", kind="a scale anchored at the end of the data")
def _(patch: pytest.MonkeyPatch) -> None:
    last = pl.col("close").sort_by("as_of").last().over("ticker")
    spoil_rows(patch, market_wiring, "peaks", close=pl.col("close") / last)


@leak(
    "the quarter's last volatility",
    "perturbation",
    "regime_state",
    kind="the last value of a period from its first day on",
)
def _(patch: pytest.MonkeyPatch) -> None:
    quarter = pl.col("as_of").dt.truncate("1q")
    spoil_rows(
        patch, portfolio_wiring, "judge_regime", volatility=pl.col("volatility").sort_by("as_of").last().over(quarter)
    )


@leak("a momentum that comes back is mended", "perturbation", "indicators", kind="cleaning with hindsight")
def _(patch: pytest.MonkeyPatch) -> None:
    value, before, after = (own(pl.col("momentum").shift(lag)) for lag in (0, 1, -1))
    spike = ((value - before) * (after - value) < 0.0).fill_null(False)
    _spoil_indicators(patch, momentum=pl.when(spike).then((before + after) / 2.0).otherwise(value))


@leak("momentum with its neighbours", "truncation", "indicators", kind="a smoothed path")
def _(patch: pytest.MonkeyPatch) -> None:
    _spoil_indicators(patch, momentum=own(pl.col("momentum").rolling_mean(3, min_samples=1, center=True)))


@leak("a decaying mean of later returns", "perturbation", "features", kind="a filter that runs backwards too")
def _(patch: pytest.MonkeyPatch) -> None:
    back = own(pl.col("return_5").reverse().ewm_mean(alpha=0.2, ignore_nulls=True).reverse())
    spoil_rows(patch, signal_wiring, "compute_features", return_5=back)


@leak("a bonus by place among the tickers", "perturbation", "candidates", kind="a code by what else is there")
def _(patch: pytest.MonkeyPatch) -> None:
    code = pl.col("ticker").rank("dense").cast(pl.Float64)
    spoil_rows(patch, selection, "scores", composite_score=pl.col("composite_score") + 0.01 * code)
