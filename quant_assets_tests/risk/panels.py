"""Prices, members and weights of a made-up sector, for the tests of risk."""

from datetime import date

import numpy as np
import polars as pl

from quant_assets.market.calendar import sessions

DAYS = sessions(date(2019, 1, 2), date(2021, 6, 30))


def prices(seed: int = 1, names: int = 5, days: np.ndarray = DAYS) -> pl.DataFrame:
    """Closes that have a common factor, in the shape of dataset prices."""
    rng = np.random.default_rng(seed)
    factor = 0.009 * rng.standard_t(6, len(days))
    own = 0.008 * rng.standard_normal((names, len(days)))
    closes = 40 * np.exp(np.cumsum((0.5 + rng.random((names, 1))) * factor + own, axis=1))
    tickers = [f"N{number}" for number in range(names)]
    frame = pl.DataFrame({"ticker": np.repeat(tickers, len(days)), "date": np.tile(days, names)})
    return frame.with_columns(
        close=pl.Series(closes.ravel()),
        panel_from=pl.col("date"),
        listed=pl.lit(DAYS[0].item()),
        unexplained=pl.lit(False),
        in_sector=pl.lit(True),
    )


def universe(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.select("ticker", "date")


def decision(as_of: date, weights: dict[str, float]) -> pl.DataFrame:
    return pl.DataFrame(
        {"ticker": list(weights), "as_of": [as_of] * len(weights), "weight": list(weights.values())},
        {"ticker": pl.String, "as_of": pl.Date, "weight": pl.Float64},
    )
