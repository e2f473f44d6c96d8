"""Features and labels of a made-up sector with a planted relation, for whatever learns."""

from datetime import date

import numpy as np
import polars as pl

from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.market.calendar import sessions
from quant_assets.schemas import DATASETS

#: What models see: no test depends on which features these are.
FEATURES = FeatureLibrary({"core": ready_made("core")}).names

#: The feature that carries the planted relation.
PLANTED = "return_20"

Market = tuple[pl.DataFrame, pl.DataFrame]


def simulate(
    strength: float = 0.002,
    tickers: int = 22,
    horizons: tuple[int, ...] = (1, 5, 20, 60),
    first: date = date(2018, 1, 1),
    last: date = date(2021, 12, 31),
    seed: int = 1,
) -> Market:
    """Features and labels of `tickers` names; one feature is a slow signal of which one deviation adds `strength` to
    the daily return."""
    rng = np.random.default_rng(seed)
    days = sessions(first, last)
    count = len(days)
    names = [f"T{i:02d}" for i in range(tickers)]
    signal = np.empty((tickers, count))
    signal[:, 0] = rng.normal(size=tickers)
    for t in range(1, count):
        signal[:, t] = 0.97 * signal[:, t - 1] + np.sqrt(1 - 0.97**2) * rng.normal(size=tickers)
    daily = 0.008 * rng.normal(size=count) + 0.015 * rng.normal(size=(tickers, count))
    daily[:, 1:] += strength * signal[:, :-1]
    logs = np.cumsum(np.log1p(daily), axis=1)
    values = rng.uniform(size=(len(FEATURES), tickers * count))
    values[:, rng.uniform(size=tickers * count) < 0.02] = np.nan
    values[FEATURES.index(PLANTED)] = signal.ravel()
    features = pl.DataFrame(
        {"ticker": np.repeat(names, count), "date": pl.Series(np.tile(days, tickers), dtype=pl.Date)}
        | {name: pl.Series(values[i], nan_to_null=True) for i, name in enumerate(FEATURES)}
    )
    parts = []
    for horizon in horizons:
        kept = count - horizon - 1
        parts.append(
            pl.DataFrame(
                {
                    "ticker": np.repeat(names, kept),
                    "date": pl.Series(np.tile(days[:kept], tickers), dtype=pl.Date),
                    "horizon": pl.Series([horizon] * (kept * tickers), dtype=pl.Int32),
                    "forward_return": np.expm1(logs[:, horizon + 1 :] - logs[:, 1 : kept + 1]).ravel(),
                    "entry_date": pl.Series(np.tile(days[1 : kept + 1], tickers), dtype=pl.Date),
                    "exit_date": pl.Series(np.tile(days[horizon + 1 :], tickers), dtype=pl.Date),
                    "known_at": pl.Series(np.tile(days[horizon + 1 :], tickers), dtype=pl.Date),
                    "delisted": np.zeros(kept * tickers, dtype=bool),
                    "unexplained": np.zeros(kept * tickers, dtype=bool),
                }
            )
        )
    labels = pl.concat(parts).select(list(DATASETS["labels"].schema)).sort("ticker", "date", "horizon")
    return features.sort("ticker", "date"), labels
