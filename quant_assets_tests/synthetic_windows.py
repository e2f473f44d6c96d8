"""Bars of a made-up market in which the last weeks' returns go on, with labels and rows, for kinds with windows."""

from datetime import date

import numpy as np
import polars as pl

from quant_assets.learning.bars import Bars
from quant_assets.learning.rows import Rows
from quant_assets.market.calendar import sessions

FIRST, LAST = date(2018, 1, 2), date(2021, 12, 31)


def prices(
    names: int = 12, strength: float = 0.6, seed: int = 5, first: date = FIRST, last: date = LAST
) -> pl.DataFrame:
    """Dataset prices of a sector: a drift that changes slowly moves each name, so that the windows tell the future."""
    rng, days = np.random.default_rng(seed), sessions(first, last)
    drift = np.zeros((names, len(days)))
    for t in range(1, len(days)):
        drift[:, t] = 0.98 * drift[:, t - 1] + np.sqrt(1 - 0.98**2) * rng.normal(size=names)
    noise = rng.normal(size=(names, len(days)))
    close = 20.0 * np.exp(np.cumsum(0.01 * (strength * drift + noise), axis=1))
    spread = 1.0 + 0.004 * rng.uniform(size=(4, names, len(days)))
    return pl.DataFrame(
        {
            "ticker": np.repeat([f"T{place:02d}" for place in range(names)], len(days)),
            "date": pl.Series(np.tile(days, names), dtype=pl.Date),
            "open": (close * spread[0] / spread[1]).ravel(),
            "high": (close * spread[2] * 1.004).ravel(),
            "low": (close / spread[3] / 1.004).ravel(),
            "close": close.ravel(),
            "volume": np.exp(rng.normal(12, 0.3, size=close.size)),
            "unexplained": False,
            "in_sector": True,
        }
    ).with_columns(listed=pl.lit(days[0].item()), panel_from="date")


def labelled(bars: pl.DataFrame, horizons: tuple[int, ...] = (5, 20)) -> pl.DataFrame:
    """Labels of every row of the bars: the return from the next close on."""
    close, day = pl.col("close"), pl.col("date")
    return pl.concat(
        bars.sort("ticker", "date")
        .select(
            "ticker",
            "date",
            horizon=pl.lit(horizon, pl.Int32),
            forward_return=(close.shift(-1 - horizon) / close.shift(-1) - 1).over("ticker"),
            known_at=day.shift(-1 - horizon).over("ticker"),
        )
        .drop_nulls()
        for horizon in horizons
    )


def rows(
    bars: pl.DataFrame, first: date, last: date, horizons: tuple[int, ...] = (5, 20), every: int = 1, back: int = 300
) -> Rows:
    """Rows of the sessions from one day to another, with their bars and targets."""
    days = sessions(first, last)[::every]
    long = labelled(bars, horizons)
    wide = long.pivot("horizon", index=["ticker", "date"], values="forward_return").join(
        long.group_by("ticker", "date").agg(pl.col("known_at").max()), on=["ticker", "date"]
    )
    names = [str(each) for each in horizons]
    frame = (
        wide.filter(pl.col("date").is_in(pl.Series(days, dtype=pl.Date).implode()))
        .drop_nulls(names)
        .sort("date", "ticker")
    )
    return Rows.of(frame, (), horizons, names, bars=Bars.between(bars, first, last, back))
