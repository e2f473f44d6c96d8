"""Leaks of kinds that the audit was not built for: written after it, and each caught as it was."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.assets import market as market_wiring
from quant_assets.assets import signals as signal_wiring
from quant_assets.market import macro
from quant_assets.windows.windows import Windows
from quant_assets_tests.audit.leaks import leak, own, spoil, spoil_rows, spoil_simulation


@leak("a spike mended by the close after it", "perturbation", "prices", kind="cleaning with hindsight")
def _(patch: pytest.MonkeyPatch) -> None:
    def mended(real: Any, ohlcv: pl.DataFrame) -> pl.DataFrame:
        rows = real(ohlcv)
        close, before, after = pl.col("close"), own(pl.col("close").shift(1)), own(pl.col("close").shift(-1))
        spike = ((close / before - 1.0) * (after / close - 1.0) < -1e-4).fill_null(False)
        return rows.with_columns(close=pl.when(spike).then((before + after) / 2.0).otherwise(close))

    spoil(patch, market_wiring, "adjust", mended)


@leak("every second row between its neighbours", "truncation", "features", kind="an interpolation")
def _(patch: pytest.MonkeyPatch) -> None:
    seldom = pl.when(pl.col("date").dt.ordinal_day() % 2 == 0).then("return_20")
    spoil_rows(patch, signal_wiring, "compute_features", return_20=own(seldom.interpolate()))


@leak("how many rows a ticker has", "perturbation", "features", kind="a count of rows to come")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(patch, signal_wiring, "compute_features", return_60=own(pl.len().cast(pl.Float64)))


@leak("the week's last value", "perturbation", "indicators", kind="the last value of a period from its first day on")
def _(patch: pytest.MonkeyPatch) -> None:
    def weekly(real: Any, *args: Any) -> Any:
        made = real(*args)
        week = pl.col("date").dt.truncate("1w")
        return made._replace(rows=made.rows.with_columns(pl.col("momentum").last().over("ticker", week)))

    spoil(patch, signal_wiring, "compute_indicators", weekly)


@leak("peers that are there on the last day", "perturbation", "features", kind="peers of a later day")
def _(patch: pytest.MonkeyPatch) -> None:
    def against_them(real: Any, *args: Any) -> pl.DataFrame:
        rows = real(*args)
        peers = rows.filter(pl.col("date") == pl.col("date").max()).select("ticker")
        mean = rows.join(peers, on="ticker").group_by("date").agg(peers=pl.col("return_20").mean())
        joined = rows.join(mean, on="date", how="left", maintain_order="left")
        return joined.with_columns(return_20=pl.col("return_20") - pl.col("peers")).drop("peers")

    spoil(patch, signal_wiring, "compute_features", against_them)


@leak("a number for each ticker in the frame", "perturbation", "features", kind="a code by what else is there")
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(patch, signal_wiring, "compute_features", return_5=pl.col("ticker").rank("dense").cast(pl.Float64))


@leak("an average forth and back", "perturbation", "indicators", kind="a filter that runs backwards too")
def _(patch: pytest.MonkeyPatch) -> None:
    def both_ways(real: Any, windows: Windows, values: np.ndarray, window: int) -> np.ndarray:
        forth = real(windows, values, window)
        back = forth.copy()
        for session in range(back.shape[1] - 2, -1, -1):
            later = np.where(np.isnan(back[:, session + 1]), forth[:, session], back[:, session + 1])
            back[:, session] = 0.9 * forth[:, session] + 0.1 * later
        return back

    spoil(patch, Windows, "mean", both_ways)


@leak("only what trades to the end", "perturbation", "indicators", kind="members that will trade on")
def _(patch: pytest.MonkeyPatch) -> None:
    def still_there(real: Any, prices: pl.DataFrame, members: pl.DataFrame, *rest: Any) -> Any:
        end = pl.col("date").max()
        last = prices.group_by("ticker").agg(end)
        on = last.filter(pl.col("date") == end)["ticker"].implode()
        return real(prices, members.filter(pl.col("ticker").is_in(on)), *rest)

    spoil(patch, signal_wiring, "compute_indicators", still_there)


@leak("the better of two closes", "perturbation", "backtest", kind="a price picked from two sessions")
def _(patch: pytest.MonkeyPatch) -> None:
    def better(real: Any, weights: Any, prices: pl.DataFrame, *args: Any, **kwargs: Any) -> Any:
        picked = pl.max_horizontal("close", own(pl.col("close").shift(-1)))
        return real(weights, prices.sort("ticker", "date").with_columns(close=picked), *args, **kwargs)

    spoil_simulation(patch, better)


@leak("less the mean of its calendar month", "perturbation", "macro", kind="a season over all years")
def _(patch: pytest.MonkeyPatch) -> None:
    def adjusted(real: Any, given: pl.DataFrame, days: Any) -> pl.DataFrame:
        season = pl.col("value").mean().over("series_id", pl.col("period").dt.month())
        return real(given.with_columns(value=pl.col("value") - season), days)

    spoil(patch, macro, "as_known", adjusted)


@leak("how old a row is", "truncation", "features", kind="an age against the last day of the data")
def _(patch: pytest.MonkeyPatch) -> None:
    age = (pl.col("date").max() - pl.col("date")).dt.total_days()
    spoil_rows(patch, signal_wiring, "compute_features", return_5=pl.col("return_5") * 0.99**age)


@leak("noise seeded by the number of rows", "perturbation", "features", kind="a seed that the amount of data decides")
def _(patch: pytest.MonkeyPatch) -> None:
    def noisy(real: Any, *args: Any) -> pl.DataFrame:
        rows = real(*args)
        draw = np.random.default_rng(len(rows)).normal(size=len(rows))
        return rows.with_columns(return_1=pl.col("return_1") + 1e-4 * pl.Series(draw))

    spoil(patch, signal_wiring, "compute_features", noisy)


@leak("the partner that moves most alike", "perturbation", "features", kind="a choice over the whole sample")
def _(patch: pytest.MonkeyPatch) -> None:
    def of_partner(real: Any, *args: Any) -> pl.DataFrame:
        rows = real(*args)
        wide = rows.pivot("ticker", index="date", values="return_1").sort("date").drop("date").fill_null(0.0)
        alike = np.corrcoef(wide.to_numpy().T)
        np.fill_diagonal(alike, -2.0)
        names = np.array(wide.columns)
        partner = pl.DataFrame({"ticker": names, "partner": names[np.argmax(np.nan_to_num(alike, nan=-2.0), axis=0)]})
        theirs = rows.select("date", partner="ticker", theirs="return_60")
        joined = rows.join(partner, on="ticker", how="left").join(theirs, on=["date", "partner"], how="left")
        return joined.with_columns(return_60="theirs").drop("partner", "theirs").sort("ticker", "date")

    spoil(patch, signal_wiring, "compute_features", of_partner)
