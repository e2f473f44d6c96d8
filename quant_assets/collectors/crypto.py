"""Daily candles of crypto pairs: the table that every venue fills."""

import polars as pl

from quant_assets.collectors.tables import Table

#: One candle of a pair at a venue and UTC day that is over. Prices in the pair's second currency, volume in its first.
CANDLES = Table(
    "candles",
    pl.Schema(
        {
            "pair": pl.String,
            "venue": pl.String,
            "date": pl.Date,
            "open": pl.Float64,
            "high": pl.Float64,
            "low": pl.Float64,
            "close": pl.Float64,
            "volume": pl.Float64,
        }
    ),
    ("pair", "venue", "date"),
)
