"""Bars of one price file of the `files` provider as the Protocol has them."""

import polars as pl

from quant_assets.settings.providers import PriceFile
from quant_assets.sources.base import BARS

#: Columns of what happens to a share, which a file may lack.
EVENTS = ("dividend", "split_ratio")


def bars_of(file: PriceFile, given: pl.DataFrame, precedence: int) -> pl.DataFrame:
    """Rows of a file with its adjustment, provider and precedence (`BARS`); null where it tells no event.

    Args:
        file: its entry in the settings.
        given: its rows under our names.
        precedence: its place in the settings.

    """
    split = pl.col("split_ratio")
    return (
        given.with_columns(pl.lit(None, pl.Float64).alias(name) for name in EVENTS if name not in given.columns)
        .with_columns(
            split_ratio=pl.when(split == file.no_split).then(1.0).otherwise(split),
            adjustment=pl.lit(file.adjustment),
            provider=pl.lit(file.provider),
            precedence=pl.lit(precedence, pl.Int32),
        )
        .select(list(BARS))
    )
