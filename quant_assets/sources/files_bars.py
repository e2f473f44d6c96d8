"""Conversion of the bars of a price file to the Protocol's schema."""

import polars as pl

from quant_assets.settings.providers import PriceFile
from quant_assets.sources.base import BARS

#: Columns of events, which a file may lack.
EVENTS = ("dividend", "split_ratio")


def bars_of(file: PriceFile, rows: pl.DataFrame, precedence: int) -> pl.DataFrame:
    """Rows of a file with its adjustment, provider and precedence (`BARS`); null without columns of events.

    Args:
        file: its entry in the settings.
        rows: its rows under our names.
        precedence: its position in the settings.

    """
    split = pl.col("split_ratio")
    return (
        rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in EVENTS if name not in rows.columns)
        .with_columns(
            split_ratio=pl.when(split == file.no_split).then(1.0).otherwise(split),
            adjustment=pl.lit(file.adjustment),
            provider=pl.lit(file.provider),
            precedence=pl.lit(precedence, pl.Int32),
        )
        .select(list(BARS))
    )
